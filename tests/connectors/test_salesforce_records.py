"""Salesforce's records as a destination, against the sandbox."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from consentry.connectors.base import Destination, LooksUp, Ok, Outcome, Rejected, Removes, Retry, Unknown
from consentry.connectors.salesforce import Salesforce, SalesforceConfig
from consentry.errors import DestinationFailed, SkipRecord
from consentry.model.batch import Row
from consentry.testing.sandbox import Sandbox
from consentry.testing.sandbox.salesforce import Salesforce as Org
from tests.connectors.recorder import Recorder, account, batch, person, played, through

BOX = "In_VIPs__c"


@pytest.fixture
def org(sandbox: Sandbox) -> Org:
    found = played(sandbox, Org)
    with found.lock:
        found.objects.declare("Contact", {BOX: "boolean", "Tier__c": "string"})
        found.objects.put(
            "Contact",
            [
                {"Id": f"003{n:06d}", "Email": f"person{n}@example.com", "LastName": f"L{n}", BOX: False}
                for n in range(300)
            ],
        )
    return found


def _salesforce(sandbox: Sandbox, transport: Any = None, **settings: Any) -> Salesforce:
    logins = played(sandbox, Org).logins
    values = {
        "base_url": sandbox.url("salesforce"),
        "client_id": logins.client_id,
        "client_secret": logins.client_secret,
        **settings,
    }
    config = SalesforceConfig.model_validate(values)
    return Salesforce(config, account=account(), sleep=lambda seconds: None, transport=transport)


def _in(org: Org) -> set[str]:
    with org.lock:
        _, _, found = org.objects.select(f"SELECT Email FROM Contact WHERE {BOX} = true", deleted=False)
    return {str(record["Email"]) for record in found}


def _ids(outcomes: list[Outcome]) -> list[str]:
    return [str(outcome.remote_id) for outcome in outcomes if isinstance(outcome, Ok)]


def test_known_people_are_ticked_changed_and_unticked(sandbox: Sandbox, org: Org) -> None:
    salesforce = _salesforce(sandbox)
    outcomes = list(salesforce.write(batch(BOX, *(person(n, Tier__c="a") for n in range(200)))))
    assert _ids(outcomes) == [f"003{n:06d}" for n in range(200)] and len(_in(org)) == 200
    assert salesforce.api_calls == 3  # two look-ups of 100, one write
    list(salesforce.write(batch(BOX, person(1, _ids(outcomes)[1], Tier__c="b"), operation="change")))
    assert salesforce.api_calls == 4
    rows = (person(0, _ids(outcomes)[0]), person(1), person(1), person(999))
    assert list(salesforce.remove(batch(BOX, *rows, operation="remove"))) == [
        Ok("003000000"),
        Ok("003000001"),
        Ok(),
        Ok(),
    ]
    assert len(_in(org)) == 198
    assert salesforce.lookup(BOX, ["003000001", "003000002"]) == {"003000002"}


def test_a_large_batch_is_written_by_a_job_and_each_record_told_of_on_its_own(sandbox: Sandbox, org: Org) -> None:
    salesforce = _salesforce(sandbox, bulk_from=100)
    people = [person(n, f"003{n:06d}", Tier__c='a "b", c') for n in range(250)]
    sandbox.fault("partial", match="/batches", rows=(3,))
    outcomes = through(salesforce, batch(BOX, *people))
    assert outcomes[3] == Rejected("FIELD_CUSTOM_VALIDATION_EXCEPTION", "Email")
    assert _ids(outcomes) == [f"003{n:06d}" for n in range(250) if n != 3] and len(_in(org)) == 249
    # Describe the object, make the job, upload, close, look three times, read two files.
    assert salesforce.api_calls == 9
    with org.lock:
        _, _, found = org.objects.select(f"SELECT Tier__c FROM Contact WHERE {BOX} = true", deleted=False)
    assert {record["Tier__c"] for record in found} == {'a "b", c'}


def test_a_job_makes_strangers_empties_fields_and_leaves_to_single_calls_what_csv_cannot_say(
    sandbox: Sandbox, org: Org
) -> None:
    salesforce = _salesforce(sandbox, bulk_from=1, create=True)
    known = person(1, "003000001", Tier__c=None)
    told = [person(900, family_name="New"), person(901), known, person(2, "003000002", Tier__c="#N/A")]
    outcomes = through(salesforce, batch(BOX, *told))
    assert isinstance(outcomes[0], Ok)
    assert outcomes[1:] == [Rejected("REQUIRED_FIELD_MISSING", "LastName"), Ok("003000001"), Ok("003000002")]
    assert _in(org) == {f"person{n}@example.com" for n in (1, 2, 900)}
    with org.lock:
        _, _, found = org.objects.select("SELECT Id, Tier__c FROM Contact WHERE Id = '003000002'", deleted=False)
    assert found == [{"Id": "003000002", "Tier__c": "#N/A"}]


def test_a_job_for_a_checkbox_that_is_not_there_is_not_begun(sandbox: Sandbox, org: Org) -> None:
    with pytest.raises(DestinationFailed, match="no field 'Nowhere__c'"):
        through(_salesforce(sandbox, bulk_from=1), batch("Nowhere__c", person(1)))
    assert org.ingest_jobs == {}


def test_strangers_are_made_only_when_the_job_says_so(sandbox: Sandbox, org: Org) -> None:
    stranger = person(900, family_name="New")
    assert list(_salesforce(sandbox).write(batch(BOX, stranger))) == [Rejected("record_missing", "email")]
    (made,) = _salesforce(sandbox, create=True).write(batch(BOX, stranger))
    assert isinstance(made, Ok) and _in(org) == {"person900@example.com"}
    outcomes = list(_salesforce(sandbox, create=True).write(batch(BOX, person(901))))
    assert outcomes == [Rejected("REQUIRED_FIELD_MISSING", "LastName")]


def test_trap_3_records_that_fail_inside_a_200_are_rejected(sandbox: Sandbox, org: Org) -> None:
    sandbox.fault("partial", match="/composite/", rows=(1,))
    outcomes = list(_salesforce(sandbox).write(batch(BOX, person(1), person(2), person(3))))
    assert outcomes[1] == Rejected("FIELD_CUSTOM_VALIDATION_EXCEPTION", "Email")
    assert _in(org) == {"person1@example.com", "person3@example.com"}


def test_a_lock_is_tried_again_and_a_wrong_count_believed_by_nobody(sandbox: Sandbox, org: Org) -> None:
    def answering(results: Any) -> Salesforce:
        def answer(request: httpx.Request) -> httpx.Response:
            if request.url.path.endswith("/token"):
                return httpx.Response(200, json={"access_token": "x", "instance_url": "https://org.example.com"})
            return httpx.Response(200, json=results)

        values = {"base_url": "https://org.example.com", "client_id": "c", "client_secret": "s"}
        config = SalesforceConfig.model_validate(values)
        return Salesforce(config, account=account(), transport=httpx.MockTransport(answer), sleep=lambda seconds: None)

    rows = (person(1, "0031"), person(2, "0032"))
    locked = {"success": False, "errors": [{"statusCode": "UNABLE_TO_LOCK_ROW", "fields": []}]}
    assert list(answering([locked, {"success": True, "id": "0032"}]).write(batch(BOX, *rows))) == [
        Retry(30.0),
        Ok("0032"),
    ]
    outcomes = answering([{"success": True, "id": "0032"}]).write(batch(BOX, *rows))
    assert [next(outcomes), next(outcomes)] == [Unknown(), Unknown()]
    with pytest.raises(DestinationFailed):
        next(outcomes)


def test_records_go_each_on_its_own_and_values_cannot_leave_their_quotes(sandbox: Sandbox, org: Org) -> None:
    recorder = Recorder()
    salesforce = _salesforce(sandbox, recorder)
    list(salesforce.write(batch(BOX, person(1, given_name="Ada"))))
    (body,) = recorder.bodies("/composite/")
    assert body == {
        "allOrNone": False,
        "records": [
            {
                "attributes": {"type": "Contact"},
                "FirstName": "Ada",
                "Email": "person1@example.com",
                BOX: True,
                "id": "003000001",
            }
        ],
    }
    recorder.seen.clear()
    hostile = Row("x", {"email": "o'x' OR Id != '\\@example.com"}, {})
    with pytest.raises(SkipRecord):  # the simulator's grammar knows no escapes
        list(salesforce.write(batch(BOX, hostile)))
    query = recorder.seen[-1].url.params["q"]
    assert query.endswith(r"IN ('o\'x\' OR Id != \'\\@example.com')")
    recorder.close()


def test_a_refused_login_refuses_no_row(sandbox: Sandbox, org: Org) -> None:
    stranger = _salesforce(sandbox, client_secret="canary")
    with pytest.raises(DestinationFailed, match="refuses the login") as caught:
        list(stranger.write(batch(BOX, person(1))))
    assert "canary" not in repr(caught.value)


def test_opt_outs_are_no_fields_and_audiences_are_field_names(sandbox: Sandbox, org: Org) -> None:
    with pytest.raises(DestinationFailed, match="subscription state"):
        list(_salesforce(sandbox).write(batch(BOX, person(1, HasOptedOutOfEmail=False))))
    with pytest.raises(DestinationFailed, match="no field 'Nowhere__c'"):
        list(_salesforce(sandbox).write(batch("Nowhere__c", person(1))))
    for audience in ("HasOptedOutOfEmail", "x = true OR Id", ""):
        with pytest.raises(DestinationFailed, match="checkbox"):
            list(_salesforce(sandbox).write(batch(audience, person(1))))


def test_it_adds_removes_and_looks_up(sandbox: Sandbox) -> None:
    salesforce = _salesforce(sandbox)
    assert isinstance(salesforce, Destination) and isinstance(salesforce, Removes) and isinstance(salesforce, LooksUp)
    assert json.dumps(sorted(salesforce.capabilities.operations)) == '["add", "change", "remove"]'
