"""Mailchimp's segments as a destination, against the sandbox and the vendor's own client."""

from __future__ import annotations

import io
import json
import tarfile
from typing import Any

import httpx
import pytest

from consentry.connectors.base import Destination, KnowsByValue, LooksUp, Ok, Pending, Polls, Rejected, Removes, Unknown
from consentry.connectors.http import AnswerLost
from consentry.connectors.mailchimp import Mailchimp, MailchimpConfig, subscriber_hash
from consentry.connectors.mailchimp_batch import _unpacked
from consentry.delivery.exchange import exchange
from consentry.errors import DestinationFailed, RetryLater
from consentry.model.batch import Row
from consentry.testing.sandbox import Sandbox
from consentry.testing.sandbox.mailchimp import Mailchimp as Account
from tests.connectors.recorder import Recorder, account, batch, listening, person, played, through

AUDIENCE = "list1/4711"


def _mailchimp(url: str, token: str = "sandbox-us6", transport: Any = None, **settings: Any) -> Mailchimp:
    config = MailchimpConfig.model_validate({"base_url": url, "token": token, **settings})
    return Mailchimp(config, account=account(), sleep=lambda seconds: None, transport=transport)


@pytest.fixture
def shop(sandbox: Sandbox) -> Account:
    vendor = played(sandbox, Account)
    vendor.make(AUDIENCE)
    for number in range(10):
        vendor.join("list1", f"person{number}@example.com")
    return vendor


@pytest.fixture
def mailchimp(sandbox: Sandbox, shop: Account) -> Mailchimp:
    return _mailchimp(sandbox.url("mailchimp"))


def _key(number: int) -> str:
    return subscriber_hash(f"person{number}@example.com")


def _in(shop: Account) -> set[str]:
    return set(shop.audiences[AUDIENCE])


def test_the_data_centre_comes_from_the_key() -> None:
    config = MailchimpConfig.model_validate({"token": "0123-us19"})
    assert config.base_url == "https://us19.api.mailchimp.com"
    with pytest.raises(ValueError, match="data centre") as caught:
        MailchimpConfig.model_validate({"token": "canary"})
    assert "canary" not in str(caught.value)


def test_members_of_the_list_join_the_segment_and_strangers_are_named(shop: Account, mailchimp: Mailchimp) -> None:
    outcomes = through(mailchimp, batch(AUDIENCE, person(1), person(77), person(2)))
    assert outcomes == [Ok(_key(1)), Rejected("not_on_list", "email"), Ok(_key(2))]
    assert _in(shop) == {_key(1), _key(2)}


def test_members_who_were_in_before_are_ok(shop: Account, mailchimp: Mailchimp) -> None:
    rows = [person(number) for number in range(5)]
    assert through(mailchimp, batch(AUDIENCE, *rows)) == through(mailchimp, batch(AUDIENCE, *rows))


def test_trap_2_nobody_is_re_subscribed_and_nobody_joins_without_the_option(
    sandbox: Sandbox, shop: Account, mailchimp: Mailchimp
) -> None:
    gone = shop.join("list1", "person3@example.com", "unsubscribed")
    willing = _mailchimp(sandbox.url("mailchimp"), new_members="subscribed")
    for connector in (mailchimp, willing):
        for fields in ({}, {"given_name": "Ada"}):
            list(connector.write(batch(AUDIENCE, person(3, **fields), person(5, **fields))))
            assert shop.people[f"list1/{gone}"]["status"] == "unsubscribed"
    assert through(mailchimp, batch(AUDIENCE, person(88))) == [Rejected("not_on_list", "email")]
    assert f"list1/{_key(88)}" not in shop.people


def test_who_is_new_joins_with_the_status_that_the_job_names(sandbox: Sandbox, shop: Account) -> None:
    mailchimp = _mailchimp(sandbox.url("mailchimp"), new_members="pending")
    assert through(mailchimp, batch(AUDIENCE, person(90))) == [Ok(_key(90))]
    assert through(mailchimp, batch(AUDIENCE, person(91, given_name="Ada"), operation="add")) == [Ok(_key(91))]
    assert {shop.people[f"list1/{_key(n)}"]["status"] for n in (90, 91)} == {"pending"}
    assert shop.people[f"list1/{_key(91)}"]["merge_fields"] == {"FNAME": "Ada"}


def test_trap_3_errors_inside_a_200_are_rejected_with_a_reason(sandbox: Sandbox, shop: Account) -> None:
    mailchimp = _mailchimp(sandbox.url("mailchimp"), new_members="pending")
    sandbox.fault("partial", match="/3.0/lists/list1", method="POST", rows=(1,))
    outcomes = through(mailchimp, batch(AUDIENCE, person(90), person(91), Row("bad", {"email": "no address"}, {})))
    assert outcomes == [Ok(_key(90)), Rejected("ERROR_GENERIC"), Rejected("ERROR_GENERIC")]
    assert _in(shop) == {_key(90)}


def test_trap_15_a_batch_with_mixed_results_is_read_row_by_row(sandbox: Sandbox, shop: Account) -> None:
    recorder = Recorder()
    mailchimp = _mailchimp(sandbox.url("mailchimp"), transport=recorder)
    rows = [person(n, given_name=f"N{n}", tier=n) for n in (1, 2, 77, 4)]
    sandbox.fault("partial", match="/3.0/batches", method="POST", rows=(1,))
    outcomes = through(mailchimp, batch(AUDIENCE, *rows))
    assert outcomes == [Ok(_key(1)), Rejected("invalid_resource"), Rejected("not_on_list", "email"), Ok(_key(4))]
    assert _in(shop) == {_key(1), _key(4)}, "a row that is refused is in no audience that the ledger does not know"
    assert shop.people[f"list1/{_key(4)}"]["merge_fields"] == {"FNAME": "N4", "TIER": 4}
    (sent,) = recorder.bodies("/batches")
    for one in sent["operations"]:
        assert isinstance(one["body"], str) and json.loads(one["body"])
        assert one["path"].startswith("/lists/") and one["method"] == "PATCH"
    recorder.close()


def test_a_change_writes_fields_and_leaves_the_segment_alone(shop: Account, mailchimp: Mailchimp) -> None:
    assert through(mailchimp, batch(AUDIENCE, person(1, _key(1), city="Ulm"), operation="change")) == [Ok(_key(1))]
    assert shop.people[f"list1/{_key(1)}"]["merge_fields"] == {"CITY": "Ulm"} and not _in(shop)


def test_a_batch_that_has_not_ended_is_pending_and_its_people_are_accounted_for(
    shop: Account, mailchimp: Mailchimp
) -> None:
    shop.polls_to_complete = 10_000
    sent = batch(AUDIENCE, person(1, city="Ulm"))
    (pending,) = mailchimp.write(sent)
    assert isinstance(pending, Pending) and mailchimp.poll(pending.job, sent) is None


@pytest.mark.parametrize("fault", ["server_error", "rate_limited", "refused_batch"])
def test_nobody_is_in_a_segment_unknown_to_the_ledger(
    sandbox: Sandbox, shop: Account, mailchimp: Mailchimp, fault: str
) -> None:
    """When the fields cannot be written, people are in the segment already."""
    sandbox.fault(fault, match="/3.0/batches", times=50)
    answer = exchange(mailchimp, batch(AUDIENCE, person(1, city="Ulm")))
    wanted = Rejected("Invalid Resource") if fault == "refused_batch" else Unknown()
    assert type(answer.outcomes[0]) is type(wanted)
    assert _in(shop) == (set() if fault == "refused_batch" else {_key(1)})


def test_results_elsewhere_are_fetched_without_the_key_and_never_in_the_clear(shop: Account) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        about = {"id": "1", "status": "finished", "response_body_url": "http://store.example.com/x"}
        return httpx.Response(200, json=about)

    mailchimp = _mailchimp("https://us6.api.example.com", transport=httpx.MockTransport(answer))
    with pytest.raises(DestinationFailed, match="without encryption"):
        mailchimp.poll("1", batch(AUDIENCE, person(1, city="Ulm")))


def test_removals_leave_the_list_as_it_is(shop: Account, mailchimp: Mailchimp) -> None:
    through(mailchimp, batch(AUDIENCE, person(1), person(2)))
    rows = (person(1), person(1), person(99))
    assert through(mailchimp, batch(AUDIENCE, *rows, operation="remove")) == [Ok(_key(1)), Ok(), Ok(_key(99))]
    assert _in(shop) == {_key(2)} and f"list1/{_key(1)}" in shop.people


def test_trap_14_a_segment_is_read_in_pages_of_1000_and_again_when_it_moves(shop: Account) -> None:
    keys = [f"{n:032x}" for n in range(2500)]
    calls: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        calls.append(str(request.url.params["count"]))
        offset = int(request.url.params["offset"])
        # While the first pages are read, somebody leaves: every later row moves one place down.
        held = keys[1:] if len(calls) > 1 else keys
        page = [{"id": key} for key in held[offset : offset + 1000]]
        return httpx.Response(200, json={"members": page, "total_items": len(held)})

    mailchimp = _mailchimp("https://us6.api.example.com", transport=httpx.MockTransport(answer))
    assert mailchimp.lookup(AUDIENCE, keys) == frozenset(keys[1:])
    assert set(calls) == {"1000"} and len(calls) == 6


def test_trap_14_who_unsubscribed_is_read_from_each_list_of_a_sync_and_again_when_it_moves() -> None:
    calls: list[tuple[str, str]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        listed, status = request.url.path.split("/")[3], request.url.params["status"]
        calls.append((listed, status))
        held = [f"{n:032x}" for n in range(1500 if status == "unsubscribed" and listed == "list1" else 0)]
        # While the first pages are read, somebody is gone: every later row moves one place down.
        held = held[1:] if len(calls) > 1 else held
        offset, at = int(request.url.params["offset"]), "2026-01-01T00:00:00+00:00"
        page = [{"id": key, "email_address": f"{key}@example.com", "last_changed": at} for key in held]
        return httpx.Response(200, json={"members": page[offset : offset + 1000], "total_items": len(held)})

    mailchimp = _mailchimp("https://us6.api.example.com", transport=httpx.MockTransport(answer))
    told = list(mailchimp.opt_outs(None, ["list1/1", "list2/7", "list1/2"]))
    assert len(told) == len({one.value for one in told}) == 1499
    assert {listed for listed, _ in calls} == {"list1", "list2"}
    assert calls.count(("list1", "unsubscribed")) == 4


def test_trap_5_a_bare_403_is_a_rate_limit_and_one_with_words_is_not(
    sandbox: Sandbox, shop: Account, mailchimp: Mailchimp
) -> None:
    sandbox.fault("rate_limited", times=2)
    assert through(mailchimp, batch(AUDIENCE, person(1))) == [Ok(_key(1))]
    sandbox.fault("rate_limited", times=100)
    with pytest.raises(RetryLater):
        through(mailchimp, batch(AUDIENCE, person(2)))
    refusing = httpx.MockTransport(lambda request: httpx.Response(403, json={"title": "Forbidden"}))
    with pytest.raises(DestinationFailed, match="403"):
        list(_mailchimp("https://us6.api.example.com", transport=refusing).write(batch(AUDIENCE, person(2))))


def test_wrong_keys_and_unknown_segments_are_sentences(sandbox: Sandbox, mailchimp: Mailchimp) -> None:
    stranger = _mailchimp(sandbox.url("mailchimp"), "canary-us6")
    assert mailchimp.check().ok and not stranger.check().ok
    assert "canary" not in f"{stranger.check()!r}{stranger.http!r}"
    with pytest.raises(DestinationFailed, match="404"):
        through(mailchimp, batch("list1/9", person(1)))
    with pytest.raises(DestinationFailed, match="segment id"):
        through(mailchimp, batch("list1", person(1)))


def test_an_archive_that_cannot_be_read_leaves_the_outcome_open() -> None:
    with pytest.raises(AnswerLost):
        list(_unpacked(io.BytesIO(b"no archive")))
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo("not json"), io.BytesIO())
    with pytest.raises(AnswerLost):
        list(_unpacked(io.BytesIO(packed.getvalue())))


def test_it_adds_removes_and_looks_up(mailchimp: Mailchimp) -> None:
    for what in (Destination, Removes, LooksUp, Polls, KnowsByValue):
        assert isinstance(mailchimp, what)


@pytest.mark.filterwarnings("ignore")
def test_the_requests_are_those_of_the_vendors_own_client(sandbox: Sandbox, shop: Account) -> None:
    """mailchimp-marketing 3.0.80."""
    package = pytest.importorskip("mailchimp_marketing", reason="Install the dependency group `reference`.")
    recorder = Recorder()
    mailchimp = _mailchimp(sandbox.url("mailchimp"), transport=recorder, new_members="pending")
    through(mailchimp, batch(AUDIENCE, person(90)))
    through(mailchimp, batch(AUDIENCE, person(90, given_name="Ada")))
    through(mailchimp, batch(AUDIENCE, person(90), operation="remove"))
    mailchimp.check()
    with listening({}) as heard:
        client: Any = package.Client({"api_key": "sandbox-us6"})
        client.api_client.host = f"{heard.url}/3.0"
        client.lists.batch_list_members(
            "list1",
            {"members": [{"email_address": "person90@example.com", "status": "pending"}], "update_existing": False},
        )
        client.lists.batch_segment_members({"members_to_add": ["person90@example.com"]}, "list1", "4711")
        operation = {
            "method": "PATCH",
            "path": f"/lists/list1/members/{_key(90)}",
            "operation_id": "0",
            "body": json.dumps({"merge_fields": {"FNAME": "Ada"}}),
        }
        client.batches.start({"operations": [operation]})
        client.lists.batch_segment_members({"members_to_remove": ["person90@example.com"]}, "list1", "4711")
        client.ping.get()
        theirs = [(method, path, body) for method, path, _, body in heard.requests]
        assert all(headers["authorization"].startswith("Basic ") for _, _, headers, _ in heard.requests)
    ours = [
        (one.method, one.url.path.removeprefix("/mailchimp"), json.loads(one.content) if one.content else None)
        for one in recorder.seen
    ]
    assert [one for one in theirs if one not in ours] == []
    recorder.close()
