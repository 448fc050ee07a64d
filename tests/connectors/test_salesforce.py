"""Salesforce as a source, against the sandbox: each record exactly once, and still logged in."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from pydantic import ValidationError

from consentry.connectors.base import State
from consentry.connectors.salesforce import Salesforce, SalesforceConfig, SalesforceStream
from consentry.errors import RetryLater, SourceFailed
from consentry.testing.sandbox import Sandbox
from consentry.testing.sandbox.salesforce import Salesforce as Org

_accounts = count()
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
LATER = NOON + timedelta(hours=2)
SAME = "2026-03-02T11:00:00.000Z"
FIELDS = ("Id", "LastName", "Email")


@pytest.fixture
def org(sandbox: Sandbox) -> Iterator[Org]:
    vendor = sandbox.vendors["salesforce"]
    assert isinstance(vendor, Org)
    yield vendor


def _source(
    sandbox: Sandbox,
    *,
    now: datetime = NOON,
    stream: str = "contacts",
    keep: Path = Path(),
    account: str = "",
    **how: Any,
) -> Salesforce:
    login = {"client_id": "sandbox-client", "client_secret": "sandbox-salesforce"}
    config = {"base_url": sandbox.url("salesforce"), **login, **how.pop("config", {})}
    return Salesforce(
        SalesforceConfig.model_validate(config),
        streams={stream: SalesforceStream.model_validate({"fields": FIELDS, **how} if how.get("fields", 1) else {})},
        account=account or f"org-{next(_accounts)}",
        keep=keep,
        sleep=lambda seconds: None,
        now=lambda: now,
    )


def _rest(sandbox: Sandbox, **how: Any) -> Salesforce:
    return _source(sandbox, **{"via": "rest", **how})


def _contact(number: int, stamp: str = SAME, **more: Any) -> dict[str, Any]:
    return {
        "Id": f"003{number:012d}AAA",
        "LastName": f"Name{number}",
        "Email": f"person{number}@example.com",
        "SystemModstamp": stamp,
        **more,
    }


def _read(source: Salesforce, state: State | None = None) -> tuple[list[dict[str, Any]], State]:
    rows: list[dict[str, Any]] = []
    last: State = state or {}
    for page in source.read(source.discover()[0], state or {}):
        rows += page.records.to_pylist()
        last = json.loads(json.dumps(page.state))
    return rows, last


def _ids(rows: list[dict[str, Any]]) -> list[int]:
    return [int(row["Id"][3:15]) for row in rows]


@pytest.mark.parametrize("via", ["rest", "bulk"])
def test_the_first_read_gives_every_record_once_and_flags_the_deleted(sandbox: Sandbox, org: Org, via: str) -> None:
    org.put("Contact", [_contact(n, IsDeleted=n % 10 == 0) for n in range(1, 251)])
    rows, state = _read(_source(sandbox, via=via))
    assert Counter(_ids(rows)) == Counter(range(1, 251))
    assert {n for n, row in zip(_ids(rows), rows, strict=True) if row["IsDeleted"]} == set(range(10, 251, 10))
    assert rows[0]["SystemModstamp"] == SAME
    assert state["phase"] == "done"


def test_deleted_records_may_be_left_out(sandbox: Sandbox, org: Org) -> None:
    org.put("Contact", [_contact(n, IsDeleted=n == 3) for n in range(1, 6)])
    assert _ids(_read(_rest(sandbox, deleted=False))[0]) == [1, 2, 4, 5]


def test_trap_7_a_page_boundary_inside_equal_stamps_loses_and_repeats_nothing(sandbox: Sandbox, org: Org) -> None:
    org.page_rows = 7
    org.put("Contact", [_contact(n) for n in range(1, 51)])
    source = _rest(sandbox)
    stream = source.discover()[0]
    pages = list(source.read(stream, {}))
    assert len(pages) == 8
    for stop in range(1, len(pages)):
        # Taken up after any page, without the cursor of the query before.
        org.cursors.clear()
        state = json.loads(json.dumps(pages[stop - 1].state))
        behind = _rest(sandbox).read(stream, state)
        ids = [id for page in [*pages[:stop], *behind] for id in page.records["Id"].to_pylist()]
        assert len(ids) == len(set(ids)) == 50


def test_a_query_cursor_that_ran_out_is_replaced_by_the_last_stamp_and_id(sandbox: Sandbox, org: Org) -> None:
    org.page_rows = 10
    org.put("Contact", [_contact(n) for n in range(1, 41)])
    source = _rest(sandbox)
    ids: list[str] = []
    for page in source.read(source.discover()[0], {}):
        ids += page.records["Id"].to_pylist()
        org.cursors.clear()
    assert len(ids) == len(set(ids)) == 40


def test_trap_7_a_record_that_changes_while_it_is_read_comes_with_the_next_read(sandbox: Sandbox, org: Org) -> None:
    org.page_rows = 10
    org.put("Contact", [_contact(n) for n in range(1, 41)])
    source = _rest(sandbox)
    stream = source.discover()[0]
    first = next(source.read(stream, {}))
    org.cursors.clear()
    org.put("Contact", [_contact(35, "2026-03-02T12:01:00.000Z", LastName="Changed")])
    rest = list(source.read(stream, first.state))
    ids = [id for page in [first, *rest] for id in page.records["Id"].to_pylist()]
    assert len(ids) == len(set(ids)) == 39
    rows, _ = _read(_rest(sandbox, now=LATER), rest[-1].state)
    assert [(row["Id"], row["LastName"]) for row in rows] == [(_contact(35)["Id"], "Changed")]


def test_trap_6_a_late_transaction_is_picked_up_once(sandbox: Sandbox, org: Org) -> None:
    org.put("Contact", [_contact(1, "2026-03-02T11:55:00.000Z")])
    _, state = _read(_rest(sandbox))
    org.put("Contact", [_contact(2, "2026-03-02T11:58:00.000Z")])
    rows, state = _read(_rest(sandbox, now=NOON + timedelta(minutes=5)), state)
    assert _ids(rows) == [2]
    assert _read(_rest(sandbox, now=NOON + timedelta(minutes=6)), state)[0] == []


def test_trap_9_what_was_deleted_since_comes_as_a_tombstone(sandbox: Sandbox, org: Org) -> None:
    org.put("Contact", [_contact(n) for n in range(1, 4)])
    _, state = _read(_source(sandbox))
    org.put("Contact", [_contact(2, "2026-03-02T13:00:00.000Z", IsDeleted=True)])
    rows, _ = _read(_source(sandbox, now=LATER), state)
    assert [(number, row["IsDeleted"]) for number, row in zip(_ids(rows), rows, strict=True)] == [(2, True)]


def test_trap_9_a_merged_record_is_named_with_the_one_that_stands_for_it(sandbox: Sandbox, org: Org) -> None:
    master = _contact(1)["Id"]
    org.put("Contact", [_contact(1), _contact(2, IsDeleted=True, MasterRecordId=master), _contact(3, IsDeleted=True)])
    source = _source(sandbox, stream="contacts_merged")
    rows, _ = _read(source)
    assert rows == [{"id": master, "merged_id": _contact(2)["Id"], "updatedAt": SAME}]
    for via in ("rest", "bulk"):
        gone = {row["Id"]: row["_merged_into"] for row in _read(_source(sandbox, via=via))[0] if row["_deleted"]}
        assert gone == {_contact(2)["Id"]: master, _contact(3)["Id"]: None}


def test_trap_8_bulk_results_end_at_the_locator_that_says_null(sandbox: Sandbox, org: Org) -> None:
    org.portion_rows = 100
    org.put("Contact", [_contact(n) for n in range(1, 251)])
    for org.repeats_header in (True, False):
        sandbox.forget_requests()
        rows, _ = _read(_source(sandbox, via="bulk"))
        assert Counter(_ids(rows)) == Counter(range(1, 251))
        assert sum(seen.path.endswith("/results") for seen in sandbox.requests) == 3


def test_a_bulk_job_is_taken_up_where_it_stopped_and_started_once(sandbox: Sandbox, org: Org) -> None:
    org.portion_rows = 100
    org.put("Contact", [_contact(n) for n in range(1, 251)])
    source = _source(sandbox, via="bulk")
    stream = source.discover()[0]
    pages = list(source.read(stream, {}))
    for stop in range(1, len(pages)):
        state = json.loads(json.dumps(pages[stop - 1].state))
        behind = _source(sandbox, via="bulk").read(stream, state)
        ids = [id for page in [*pages[:stop], *behind] for id in page.records["Id"].to_pylist()]
        assert len(ids) == len(set(ids)) == 250
    assert len(org.jobs) == 1


def test_a_bulk_job_that_salesforce_forgot_is_started_anew(sandbox: Sandbox, org: Org) -> None:
    org.put("Contact", [_contact(n) for n in range(1, 11)])
    source = _source(sandbox, via="bulk")
    first = next(source.read(source.discover()[0], {}))
    org.jobs.clear()
    rows, _ = _read(_source(sandbox, via="bulk"), first.state)
    assert Counter(_ids(rows)) == Counter(range(1, 11))


def test_trap_20_hostile_text_survives_a_bulk_job(sandbox: Sandbox, org: Org) -> None:
    hostile = [
        'two\nlines, and "quotes"',
        "#N/A",
        "NULL",
        " spaces ",
        "007",
        "tab\there",
        "ünï🎈",
        "\r\nCR",
        "a,b",
        "'",
        "nul\0byte",
    ]
    org.put("Contact", [_contact(n, LastName=text) for n, text in enumerate(hostile, 1)])
    org.put("Contact", [_contact(99, LastName=None)])
    rows, _ = _read(_source(sandbox, via="bulk"))
    assert [row["LastName"] for row in rows] == [*hostile, None]


def test_bulk_and_rest_give_the_same_text(sandbox: Sandbox, org: Org) -> None:
    org.put("Opportunity", [{"Id": "006000000000001AAA", "SystemModstamp": SAME, "Amount": 12.5, "Name": "Deal"}])
    by = {
        via: _read(_source(sandbox, stream="opportunities", via=via, fields=("Amount",)))[0] for via in ("rest", "bulk")
    }
    assert by["rest"] == by["bulk"]
    assert by["rest"][0]["Amount"] == "12.5"


def test_a_failed_bulk_job_is_a_sentence(sandbox: Sandbox, org: Org) -> None:
    org.jobs_fail = True
    with pytest.raises(SourceFailed, match="Bulk Data Load Jobs") as caught:
        _read(_source(sandbox, via="bulk"))
    assert caught.value.code == "bulk_failed"


def test_trap_12_an_object_of_a_thousand_fields_is_read_without_a_long_url(sandbox: Sandbox, org: Org) -> None:
    names = {f"A_rather_long_custom_field_{n:04d}__c": "string" for n in range(1000)}
    org.objects.declare("Contact", names)
    org.put("Contact", [_contact(1)])
    rows, state = _read(_source(sandbox, fields=None))
    assert len(rows[0]) > 1000
    org.put("Contact", [_contact(2, "2026-03-02T13:00:00.000Z")])
    assert _ids(_read(_source(sandbox, fields=None, now=LATER), state)[0]) == [2]


def test_compound_fields_are_not_asked_for(sandbox: Sandbox, org: Org) -> None:
    names = _source(sandbox, fields=None).discover()[0].schema.names
    assert "MailingAddress" not in names and {"Id", "Email", "IsDeleted", "SystemModstamp"} <= set(names)


def test_an_object_of_ones_own_is_read_by_its_api_name(sandbox: Sandbox, org: Org) -> None:
    org.put("Membership__c", [{"Id": "a00000000000001AAA", "SystemModstamp": SAME, "Level__c": "Gold"}])
    rows, _ = _read(_rest(sandbox, stream="memberships", object="Membership__c", fields=("Level__c",)))
    assert [row["Level__c"] for row in rows] == ["Gold"]


def test_trap_5_the_days_limit_is_a_403_and_pauses_instead_of_spinning(sandbox: Sandbox, org: Org) -> None:
    source = _rest(sandbox)
    stream = source.discover()[0]
    sandbox.forget_requests()
    sandbox.fault("daily_limit", match="/salesforce/services/data", times=100)
    with pytest.raises(RetryLater) as caught:
        list(source.read(stream, {}))
    assert caught.value.after >= 3600
    assert len(sandbox.requests) == 1
    assert not source.check().ok


def test_trap_5_a_part_of_the_orgs_day_is_left_to_others(sandbox: Sandbox, org: Org) -> None:
    """Sforce-Limit-Info tells with each answer what was used of 15,000 calls: six are this share."""
    org.page_rows = 10
    org.put("Contact", [_contact(n) for n in range(1, 101)])
    source, rows = _rest(sandbox, config={"daily_share": 0.0004}), list[dict[str, Any]]()
    state: State = {}
    with pytest.raises(RetryLater) as caught:
        for page in source.read(source.discover()[0], {}):
            rows, state = rows + page.records.to_pylist(), page.state
    assert (round(caught.value.after), caught.value.exit_code, source.api_calls) == (3600, 4, 6)
    org.limiter.clear()  # a day has gone
    behind, _ = _read(_rest(sandbox), json.loads(json.dumps(state)))
    assert sorted(_ids(rows + behind)) == list(range(1, 101))


def test_trap_20_a_repeated_cursor_raises(sandbox: Sandbox, org: Org) -> None:
    org.page_rows = org.portion_rows = 5
    org.put("Contact", [_contact(n) for n in range(1, 31)])
    sandbox.fault("repeated_cursor", match="/query/", after=1, times=100)
    with pytest.raises(SourceFailed, match="never end"):
        _read(_rest(sandbox))
    sandbox.clear_faults()
    sandbox.fault("repeated_cursor", match="/results", after=1, times=100)
    with pytest.raises(SourceFailed, match="never end"):
        _read(_source(sandbox, via="bulk"))


# Logging in ---------------------------------------------------------------------------------------------------


def test_check_says_what_is_left_of_the_day(sandbox: Sandbox) -> None:
    check = _rest(sandbox).check()
    assert check.ok and "15000 calls are left" in check.sentence


def test_wrong_credentials_are_a_sentence_without_them(sandbox: Sandbox) -> None:
    source = _rest(sandbox, config={"client_secret": "canary-secret"})
    check = source.check()
    assert not check.ok and "invalid_client" in check.sentence
    with pytest.raises(SourceFailed) as caught:
        source.discover()
    assert "canary" not in f"{caught.value!r}{check!r}{source.http!r}{source.login!r}"


def test_a_signed_assertion_logs_in(sandbox: Sandbox, org: Org) -> None:
    key = generate_private_key(65537, 2048)
    org.logins.public_key, org.logins.now = key.public_key(), NOON.timestamp()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    jwt = {"auth": "jwt_bearer", "client_secret": None, "username": "integration@example.com", "private_key": pem}
    assert _rest(sandbox, config=jwt).check().ok
    # In one line, as many secret stores keep it.
    assert _rest(sandbox, config={**jwt, "private_key": pem.replace("\n", "\\n")}).check().ok
    assert not _rest(sandbox, config={**jwt, "username": "another@example.com"}).check().ok
    assert not _rest(sandbox, config={**jwt, "audience": "https://elsewhere.example.com"}).check().ok
    check = _rest(sandbox, config={**jwt, "private_key": "canary"}).check()
    assert not check.ok and "canary" not in check.sentence


def test_each_flow_says_what_it_lacks() -> None:
    with pytest.raises(ValidationError, match="auth jwt_bearer needs username and private_key"):
        SalesforceConfig.model_validate({"base_url": "https://x.example.com", "client_id": "a", "auth": "jwt_bearer"})


REFRESH = {"auth": "refresh_token", "refresh_token": "refresh-0"}


def test_trap_4_a_session_that_ends_in_mid_read_is_renewed(sandbox: Sandbox, org: Org, tmp_path: Path) -> None:
    org.page_rows = 10
    org.put("Contact", [_contact(n) for n in range(1, 41)])
    source = _rest(sandbox, config=REFRESH, keep=tmp_path)
    ids: list[str] = []
    for page in source.read(source.discover()[0], {}):
        ids += page.records["Id"].to_pylist()
        org.logins.expire()
    assert len(ids) == len(set(ids)) == 40


def test_trap_4_two_workers_share_a_rotating_token_and_a_crash_locks_nobody_out(
    sandbox: Sandbox, org: Org, tmp_path: Path
) -> None:
    """airbyte #80783, #82783; tap-salesforce #223: whoever uses a refresh token twice loses the login."""
    workers = [_rest(sandbox, config=REFRESH, keep=tmp_path, account="org") for _ in range(2)]
    for _ in range(5):
        org.logins.expire()
        with ThreadPoolExecutor(2) as pool:
            assert all(check.ok for check in pool.map(lambda worker: worker.check(), workers))
    # The refresh happened and was stored; the worker that asked for it is gone.
    org.logins.expire()
    workers[0].login.renew(workers[0].login.headers())
    workers.clear()
    assert _rest(sandbox, config=REFRESH, keep=tmp_path, account="org").check().ok
    file = tmp_path / "salesforce-tokens.json"
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_used_refresh_token_is_a_sentence(sandbox: Sandbox, org: Org, tmp_path: Path) -> None:
    check = _rest(sandbox, config={**REFRESH, "refresh_token": "canary-old"}, keep=tmp_path).check()
    assert not check.ok and "log in anew" in check.sentence and "canary" not in check.sentence
