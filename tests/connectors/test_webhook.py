"""The webhook as a destination: signed requests, one outcome an item."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from consentry.connectors.base import Destination, Ok, Rejected, Removes, Retry, Unknown
from consentry.connectors.webhook import REPEAT, SIGNATURE, TIMESTAMP, Webhook, WebhookConfig, sign
from consentry.errors import DestinationFailed, SkipRecord
from consentry.testing.sandbox import Sandbox
from consentry.testing.sandbox.webhook import SECRET
from consentry.testing.sandbox.webhook import Webhook as Receiver
from tests.connectors.recorder import Recorder, account, batch, person, played


def _webhook(url: str, secret: str = SECRET, **more: Any) -> Webhook:
    config = WebhookConfig.model_validate({"base_url": f"{url}/members", "secret": secret})
    return Webhook(config, account=account(), sleep=lambda seconds: None, **more)


def _answering(status: int, body: Any) -> Webhook:
    transport = httpx.MockTransport(lambda request: httpx.Response(status, json=body(json.loads(request.content))))
    return _webhook("https://hooks.example.com", transport=transport)


@pytest.fixture
def receiver(sandbox: Sandbox) -> Receiver:
    return played(sandbox, Receiver)


@pytest.fixture
def webhook(sandbox: Sandbox) -> Webhook:
    return _webhook(sandbox.url("webhook"))


def _emails(receiver: Receiver) -> set[str]:
    return {member["identifiers"]["email"] for member in receiver.audiences.get("vips", {}).values()}


def test_people_join_change_and_leave_by_an_id_that_stays(receiver: Receiver, webhook: Webhook) -> None:
    first = list(webhook.write(batch("vips", person(1, city="Ulm"), person(2))))
    ids = [outcome.remote_id for outcome in first if isinstance(outcome, Ok)]
    assert len(set(ids)) == 2 and webhook.api_calls == 1
    assert list(webhook.write(batch("vips", person(1, ids[0], city="Bonn"), operation="change"))) == first[:1]
    assert list(webhook.remove(batch("vips", person(2), operation="remove"))) == first[1:]
    assert _emails(receiver) == {"person1@example.com"}
    assert receiver.audiences["vips"][str(ids[0])]["fields"] == {"city": "Bonn"}


def test_requests_are_signed_over_time_and_body(sandbox: Sandbox) -> None:
    recorder = Recorder()
    webhook = _webhook(sandbox.url("webhook"), transport=recorder)
    one = batch("vips", person(1))
    list(webhook.write(one))
    (request,) = recorder.seen
    assert request.headers[SIGNATURE] == sign(SECRET, request.headers[TIMESTAMP], request.content)
    assert request.headers[REPEAT] == one.batch_id
    body = json.loads(request.content)
    assert set(body) == {"batch", "audience", "purpose", "join", "leave"} and body["leave"] == []
    assert set(body["join"][0]) == {"id", "identifiers", "fields"}
    recorder.close()


def test_a_wrong_secret_and_an_old_time_are_refused(sandbox: Sandbox, receiver: Receiver) -> None:
    stranger = _webhook(sandbox.url("webhook"), "canary-secret-canary")
    assert "401" in stranger.check().sentence
    assert "canary" not in f"{stranger.http!r}{stranger.check()!r}{stranger.config!r}"
    with pytest.raises(DestinationFailed, match="refuses the credentials"):
        list(_webhook(sandbox.url("webhook"), now=lambda: 1_000_000.0).write(batch("vips", person(1))))
    assert _webhook(sandbox.url("webhook")).check().ok and not receiver.audiences


def test_trap_3_items_refused_inside_a_207_are_rejected_and_the_others_taken(
    sandbox: Sandbox, receiver: Receiver, webhook: Webhook
) -> None:
    sandbox.fault("partial", match="/webhook/", rows=(1,))
    outcomes = list(webhook.write(batch("vips", *(person(n) for n in range(3)))))
    assert outcomes[1] == Rejected("not_wanted")
    assert _emails(receiver) == {"person0@example.com", "person2@example.com"}


def test_each_item_of_a_207_has_an_outcome_of_its_own() -> None:
    def body(sent: Any) -> Any:
        ids = [item["id"] for item in sent["join"]]
        return {
            "results": [
                {"id": ids[3], "status": 503},
                {"id": ids[0], "status": 201},
                {"id": ids[1], "status": 429, "retry_after": 7},
                {"id": ids[2], "status": 400, "code": "free text with person2@example.com"},
                {"id": "nobody", "status": 200},
                {"id": ids[5]},
            ]
        }

    outcomes = list(_answering(207, body).write(batch("vips", *(person(n) for n in range(6)))))
    assert isinstance(outcomes[0], Ok)
    assert outcomes[1:] == [Retry(7.0), Rejected("http_400"), Retry(60.0), Unknown(), Rejected("status_missing")]


def test_a_lost_answer_is_sent_again_under_the_same_name(
    sandbox: Sandbox, receiver: Receiver, webhook: Webhook
) -> None:
    sandbox.fault("lost_answer", match="/webhook/", seconds=0.01)
    assert isinstance(next(iter(webhook.write(batch("vips", person(1))))), Ok)
    assert receiver.repeated == 1 and len(receiver.audiences["vips"]) == 1


def test_a_refused_batch_is_said_to_be_refused_as_a_whole(webhook: Webhook) -> None:
    with pytest.raises(SkipRecord):
        list(webhook.write(batch("vips", person(1), person(2, refuse="x"))))


def test_a_207_that_is_not_readable_leaves_everything_unknown() -> None:
    outcomes = _answering(207, lambda sent: ["garbage"]).write(batch("vips", person(1)))
    assert next(outcomes) == Unknown()
    with pytest.raises(DestinationFailed) as caught:
        next(outcomes)
    assert caught.value.code == "garbage"


def test_it_adds_and_removes(webhook: Webhook) -> None:
    assert isinstance(webhook, Destination) and isinstance(webhook, Removes)
