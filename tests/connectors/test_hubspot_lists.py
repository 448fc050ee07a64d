"""HubSpot's lists as a destination, against the sandbox and the vendor's own client."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import httpx
import pytest

from consentry.connectors.base import Destination, LooksUp, Ok, Outcome, Rejected, Removes, Unknown
from consentry.connectors.hubspot import HubSpot, HubSpotConfig
from consentry.errors import DestinationFailed, RetryLater
from consentry.model.batch import Row
from consentry.testing.sandbox import Sandbox
from consentry.testing.sandbox.hubspot_lists import ContactList
from tests.connectors.recorder import Recorder, account, batch, listening, person


def _hubspot(url: str, token: str = "sandbox-hubspot", **more: Any) -> HubSpot:
    config = HubSpotConfig.model_validate({"base_url": url, "token": token})
    return HubSpot(config, account=account(), sleep=lambda seconds: None, **more)


@pytest.fixture
def hubspot(sandbox: Sandbox) -> HubSpot:
    return _hubspot(sandbox.url("hubspot"))


@pytest.fixture
def list_id(sandbox: Sandbox) -> str:
    with sandbox.hubspot.lock:
        sandbox.hubspot.contacts.declare(["tier", "optin", "visits", "city"])
        sandbox.hubspot.lists._lists["77"] = ContactList("77", "Newsletter", "MANUAL", "2026-01-01T00:00:00Z")
    return "77"


def _members(sandbox: Sandbox) -> set[str | None]:
    rows = sandbox.hubspot.contacts.rows
    return {rows[int(id)].properties.get("email") for id in sandbox.hubspot.members()["Newsletter"]}


def _ids(outcomes: list[Outcome]) -> list[str]:
    return [str(outcome.remote_id) for outcome in outcomes if isinstance(outcome, Ok)]


def test_contacts_are_kept_and_join_the_list_in_few_calls(sandbox: Sandbox, hubspot: HubSpot, list_id: str) -> None:
    outcomes = list(hubspot.write(batch(list_id, *(person(n, tier="a") for n in range(201, 1201)))))
    assert len(_ids(outcomes)) == len(set(_ids(outcomes))) == 1000
    assert len(_members(sandbox)) == 1000
    assert hubspot.api_calls == 11  # ten batches of 100, one membership call
    changes = [person(n, id, tier="b") for n, id in zip(range(201, 211), _ids(outcomes), strict=False)]
    assert _ids(list(hubspot.write(batch(list_id, *changes, operation="change")))) == _ids(outcomes)[:10]
    assert hubspot.api_calls == 12
    assert sandbox.hubspot.contacts.rows[int(_ids(outcomes)[0])].properties["tier"] == "b"


def test_trap_16_values_are_strings_zero_and_false_survive_and_none_clears(
    sandbox: Sandbox, hubspot: HubSpot, list_id: str
) -> None:
    (first,) = _ids(list(hubspot.write(batch(list_id, person(300, visits=0, optin=False, city="Ulm")))))
    values = sandbox.hubspot.contacts.rows[int(first)].properties
    assert (values["visits"], values["optin"], values["city"]) == ("0", "false", "Ulm")
    list(hubspot.write(batch(list_id, person(300, first, city=None), operation="change")))
    assert sandbox.hubspot.contacts.rows[int(first)].properties["city"] is None


def test_trap_16_one_contact_named_twice_does_not_fail_the_batch(
    sandbox: Sandbox, hubspot: HubSpot, list_id: str
) -> None:
    twin = Row("twin", {"email": "PERSON301@example.com"}, {})
    outcomes = list(hubspot.write(batch(list_id, person(301), twin, person(302), Row("none", {}, {}))))
    assert isinstance(outcomes[0], Ok) and isinstance(outcomes[2], Ok)
    assert [outcomes[1], outcomes[3]] == [
        Rejected("identifier_duplicate", "email"),
        Rejected("identifier_missing", "email"),
    ]


def test_trap_16_a_conflict_is_split_until_the_row_at_fault_stands_alone(
    sandbox: Sandbox, hubspot: HubSpot, list_id: str
) -> None:
    rows = [person(n, **({"no_such_property": "x"} if n == 433 else {})) for n in range(400, 500)]
    outcomes = list(hubspot.write(batch(list_id, *rows)))
    assert outcomes[33] == Rejected("VALIDATION_ERROR")
    assert len(_ids(outcomes)) == 99 and len(_members(sandbox)) == 99


def test_trap_3_rows_that_fail_inside_a_200_are_rejected_and_the_others_taken(
    sandbox: Sandbox, hubspot: HubSpot, list_id: str
) -> None:
    sandbox.fault("partial", match="batch/upsert", rows=(1, 3))
    outcomes = list(hubspot.write(batch(list_id, *(person(n) for n in range(500, 505)))))
    assert [outcomes[1], outcomes[3]] == [Rejected("VALIDATION_ERROR")] * 2
    assert _members(sandbox) == {f"person{n}@example.com" for n in (500, 502, 504)}


def test_a_contact_that_vanished_before_it_joined_is_rejected(sandbox: Sandbox, hubspot: HubSpot, list_id: str) -> None:
    sandbox.fault("partial", match="memberships/add", rows=(0,))
    outcomes = list(hubspot.write(batch(list_id, person(510), person(511))))
    assert outcomes[0] == Rejected("record_missing") and isinstance(outcomes[1], Ok)


def test_removals_take_contacts_off_by_id_or_by_e_mail(sandbox: Sandbox, hubspot: HubSpot, list_id: str) -> None:
    ids = _ids(list(hubspot.write(batch(list_id, *(person(n) for n in range(520, 524))))))
    rows = (person(520, ids[0]), person(521), person(999))
    assert list(hubspot.remove(batch(list_id, *rows, operation="remove"))) == [Ok(ids[0]), Ok(ids[1]), Ok(None)]
    assert _members(sandbox) == {"person522@example.com", "person523@example.com"}
    assert hubspot.lookup(list_id, ids) == {ids[2], ids[3]}


def test_a_lost_answer_is_sent_again_and_nobody_is_there_twice(
    sandbox: Sandbox, hubspot: HubSpot, list_id: str
) -> None:
    before = sandbox.hubspot.contacts.count()
    sandbox.fault("lost_answer", match="batch/upsert", seconds=0.01)
    assert len(_ids(list(hubspot.write(batch(list_id, person(530)))))) == 1
    assert sandbox.hubspot.contacts.count() == before + 1


def test_an_answer_that_never_comes_leaves_the_rows_unknown(sandbox: Sandbox, hubspot: HubSpot, list_id: str) -> None:
    sandbox.fault("lost_answer", match="memberships/add", seconds=0.01, times=50)
    outcomes = hubspot.write(batch(list_id, person(540), Row("none", {}, {})))
    assert [next(outcomes), next(outcomes)] == [Unknown(), Rejected("identifier_missing", "email")]
    with pytest.raises(DestinationFailed, match="not known"):
        next(outcomes)


def test_an_unknown_list_a_wrong_token_and_a_used_up_day_are_sentences(sandbox: Sandbox, hubspot: HubSpot) -> None:
    with pytest.raises(DestinationFailed, match="404"):
        list(hubspot.write(batch("no-list", person(550))))
    with pytest.raises(DestinationFailed, match="refuses the credentials") as caught:
        list(_hubspot(sandbox.url("hubspot"), "canary-token").remove(batch("77", person(1), operation="remove")))
    assert "canary" not in repr(caught.value)
    sandbox.fault("daily_limit", times=50)
    with pytest.raises(RetryLater):
        list(hubspot.write(batch("77", person(551))))


def test_trap_20_a_repeated_cursor_raises() -> None:
    page = {"results": [{"recordId": "1"}], "paging": {"next": {"after": "1"}}}
    transport = httpx.MockTransport(lambda request: httpx.Response(200, json=page))
    with pytest.raises(DestinationFailed) as caught:
        _hubspot("https://api.example.com", transport=transport).lookup("77", ["2"])
    assert caught.value.code == "repeated_cursor"


def test_trap_13_the_version_is_in_every_request(sandbox: Sandbox, list_id: str) -> None:
    recorder = Recorder()
    hubspot = _hubspot(sandbox.url("hubspot"), transport=recorder)
    list(hubspot.write(batch(list_id, person(570))))
    list(hubspot.remove(batch(list_id, person(570), operation="remove")))
    assert all("/2026-09/" in one.url.path for one in recorder.seen) and len(recorder.seen) == 4
    recorder.close()


def test_it_adds_removes_and_looks_up(hubspot: HubSpot) -> None:
    assert isinstance(hubspot, Destination) and isinstance(hubspot, Removes) and isinstance(hubspot, LooksUp)


@pytest.mark.filterwarnings("ignore")
def test_the_requests_are_those_of_the_vendors_own_client(sandbox: Sandbox, list_id: str) -> None:
    """hubspot-api-client 12, which still writes v3 where we write 2026-09."""
    package = pytest.importorskip("hubspot", reason="Install the dependency group `reference`.")
    models: Any = pytest.importorskip("hubspot.crm.contacts")
    recorder = Recorder()
    hubspot = _hubspot(sandbox.url("hubspot"), transport=recorder)
    (id,) = _ids(list(hubspot.write(batch(list_id, person(560, tier="a")))))
    list(hubspot.write(batch(list_id, person(560, id, tier="b"), operation="change")))
    list(hubspot.remove(batch(list_id, person(560), operation="remove")))
    with listening({"status": "COMPLETE", "results": [], "completedAt": "2026-01-01T00:00:00Z"}) as heard:
        client: Any = package.HubSpot(access_token="sandbox-hubspot", host=heard.url)
        upsert = models.SimplePublicObjectBatchInputUpsert(
            id="person560@example.com",
            id_property="email",
            properties={"email": "person560@example.com", "tier": "a"},
            object_write_trace_id="0",
        )
        update = models.SimplePublicObjectBatchInput(
            id=id, properties={"email": "person560@example.com", "tier": "b"}, object_write_trace_id="0"
        )
        contacts, lists = client.crm.contacts.batch_api, client.crm.lists.memberships_api
        for call in (
            lambda: contacts.upsert(models.BatchInputSimplePublicObjectBatchInputUpsert(inputs=[upsert])),
            lambda: lists.add(list_id, [id]),
            lambda: contacts.update(models.BatchInputSimplePublicObjectBatchInput(inputs=[update])),
            lambda: lists.remove(list_id, [id]),
        ):
            with suppress(ValueError):  # the one answer for all does not fit every model of the client
                call()
        theirs = [(method, path.replace("/v3", ""), body) for method, path, _, body in heard.requests]
        assert all(headers["authorization"] == "Bearer sandbox-hubspot" for _, _, headers, _ in heard.requests)
    ours = [
        (one.method, one.url.path.removeprefix("/hubspot").replace("/2026-09", ""), json.loads(one.content))
        for one in recorder.seen
        if not one.url.path.endswith("/batch/read")
    ]
    assert ours == theirs
    recorder.close()
