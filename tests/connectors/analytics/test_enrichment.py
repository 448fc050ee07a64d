"""People Data Labs and FullContact, against the sandbox and, where there is one, the published description."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from described import Described
from reading import Wire, account, leaks

from consentry.connectors.base import Enriches
from consentry.connectors.fullcontact import FullContact, FullContactConfig
from consentry.connectors.people_data_labs import PeopleDataLabs, PeopleDataLabsConfig
from consentry.connectors.registry import connector
from consentry.errors import RetryLater, SourceFailed
from consentry.testing.sandbox import Sandbox
from consentry.testing.sandbox.enrichment import FullContact as FullContactSimulator
from consentry.testing.sandbox.enrichment import PeopleDataLabs as PdlSimulator

NOON = datetime(2026, 3, 31, 12, tzinfo=UTC)


def _email(number: int) -> str:
    return f"person{number}@example.com"


@pytest.fixture
def pdl(sandbox: Sandbox) -> Iterator[PdlSimulator]:
    found = sandbox.vendors["people_data_labs"]
    assert isinstance(found, PdlSimulator)
    # Every second person is known.
    found.known = {_email(n): {"job_title": "gardener", "industry": "farming"} for n in range(0, 100, 2)}
    yield found


@pytest.fixture
def contact(sandbox: Sandbox) -> Iterator[FullContactSimulator]:
    found = sandbox.vendors["fullcontact"]
    assert isinstance(found, FullContactSimulator)
    found.known = {_email(n): {"fullName": "Ada", "title": "gardener"} for n in range(0, 100, 2)}
    yield found


def _pdl(sandbox: Sandbox, *, wire: Wire | None = None, **more: Any) -> PeopleDataLabs:
    values = {"api_key": "sandbox-pdl", "base_url": sandbox.url("people_data_labs"), **more}
    config = PeopleDataLabsConfig.model_validate(values)
    return PeopleDataLabs(config, account=account(), transport=wire, sleep=lambda seconds: None, now=lambda: NOON)


def _fullcontact(sandbox: Sandbox, **more: Any) -> FullContact:
    values = {"api_key": "sandbox-fullcontact", "base_url": sandbox.url("fullcontact"), **more}
    config = FullContactConfig.model_validate(values)
    return FullContact(config, account=account(), sleep=lambda seconds: None, now=lambda: NOON)


def _people(numbers: Iterable[int]) -> Iterator[pa.RecordBatch]:
    for number in numbers:
        yield pa.RecordBatch.from_pylist([{"person_id": str(number), "email": _email(number), "phone": None}])


def _rows(vendor: Enriches, numbers: Iterable[int]) -> list[dict[str, Any]]:
    return [row for page in vendor.enrich(_people(numbers)) for row in page.records.to_pylist()]


def test_a_match_is_paid_for_and_no_match_is_neither_an_error_nor_billed(sandbox: Sandbox, pdl: PdlSimulator) -> None:
    rows = _rows(_pdl(sandbox), range(30))
    assert [row["status"] for row in rows] == ["found", "none"] * 15
    assert json.loads(rows[0]["data"]) == {"job_title": "gardener", "industry": "farming"}
    assert {(row["source"], row["fetched_at"]) for row in rows} == {("people_data_labs", NOON)}
    assert (pdl.billed, len(pdl.asked)) == (15, 30)
    assert connector("people_data_labs") is PeopleDataLabs and connector("fullcontact") is FullContact


@pytest.mark.parametrize(
    ("budget", "asked"), [({"max_lookups": 7}, 7), ({"max_matches": 3}, 5), ({"max_lookups": 0}, 0)]
)
def test_a_run_never_asks_or_pays_beyond_its_budget(
    sandbox: Sandbox, pdl: PdlSimulator, budget: dict[str, int], asked: int
) -> None:
    taken: list[int] = []

    def endless() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    settings: dict[str, Any] = {**budget}
    rows = _rows(_pdl(sandbox, **settings), endless())
    assert len(rows) == len(pdl.asked) == asked
    assert len(taken) <= asked + 1


def test_a_match_below_the_wanted_likelihood_is_none(sandbox: Sandbox, pdl: PdlSimulator) -> None:
    pdl.likelihood = 5
    assert [row["status"] for row in _rows(_pdl(sandbox), [0])] == ["none"]
    assert [row["likelihood"] for row in _rows(_pdl(sandbox, min_likelihood=3), [0])] == [5.0]


def test_a_hash_is_enough_and_only_wanted_fields_come(sandbox: Sandbox, pdl: PdlSimulator) -> None:
    hashed = hashlib.sha256(_email(0).encode()).hexdigest()
    people = pa.RecordBatch.from_pylist([{"person_id": "p", "email": hashed}])
    (page,) = _pdl(sandbox, fields=["job_title"]).enrich([people])
    assert json.loads(page.records["data"][0].as_py()) == {"job_title": "gardener"}
    assert pdl.asked == [hashed]


def test_no_credit_ends_the_look_ups_behind_what_was_answered(sandbox: Sandbox, pdl: PdlSimulator) -> None:
    pdl.credit = 2
    rows: list[Any] = []
    with pytest.raises(SourceFailed, match="no credit") as caught:
        for page in _pdl(sandbox).enrich(_people(range(10))):
            rows += page.records.to_pylist()
    assert [row["status"] for row in rows] == ["found", "none", "found", "none"]
    assert caught.value.code == "no_credit"
    assert leaks(caught.value, "@example.com", "sandbox-pdl") == []


def test_a_lost_answer_is_not_asked_for_again_because_it_may_have_cost(sandbox: Sandbox, pdl: PdlSimulator) -> None:
    sandbox.fault("lost_answer", after=0, times=1, seconds=0.01)
    rows = _rows(_pdl(sandbox), [0, 2])
    assert [row["status"] for row in rows] == ["lost", "found"]
    assert pdl.asked == [_email(0), _email(2)]


def test_a_vendor_that_answers_nothing_is_left_alone(sandbox: Sandbox, pdl: PdlSimulator) -> None:
    sandbox.fault("lost_answer", times=100, seconds=0.01)
    with pytest.raises(SourceFailed, match="5 answers in a row") as caught:
        _rows(_pdl(sandbox), range(50))
    assert caught.value.code == "answers_lost"
    assert len(pdl.asked) == 5


def test_a_pause_that_is_asked_for_is_taken_or_ends_the_look_ups(sandbox: Sandbox, pdl: PdlSimulator) -> None:
    sandbox.fault("rate_limited", times=1)
    assert len(_rows(_pdl(sandbox), range(4))) == 4
    sandbox.fault("daily_limit", times=100)
    with pytest.raises(RetryLater):
        _rows(_pdl(sandbox), range(4))


def test_trap_11_neither_key_nor_address_stands_in_a_url_or_an_error(
    sandbox: Sandbox, pdl: PdlSimulator, contact: FullContactSimulator, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    wire = Wire()
    _rows(_pdl(sandbox, wire=wire), range(4))
    for request, _ in wire.passed:
        assert request.url.query == b"" and request.headers["x-api-key"] == "sandbox-pdl"
    for vendor in (_pdl(sandbox, api_key="canary-key"), _fullcontact(sandbox, api_key="canary-key")):
        with pytest.raises(SourceFailed, match="refuses the credentials") as caught:
            _rows(vendor, [0])
        assert leaks(caught.value, "canary-key", "@example.com") == []
        checked = vendor.check()
        assert not checked.ok and "canary" not in checked.sentence + repr(vendor) + repr(vendor.http)
    for kind in ("reset", "garbage", "server_error", "refused_batch"):
        sandbox.fault(kind, times=50)
        with pytest.raises(SourceFailed) as caught:
            _rows(_pdl(sandbox), range(10))
        assert leaks(caught.value, "sandbox-pdl", "@example.com") == []
        sandbox.clear_faults()
    assert "@example.com" not in caplog.text and "sandbox-pdl" not in caplog.text


def test_fullcontact_tells_matches_nobody_and_queued_apart(sandbox: Sandbox, contact: FullContactSimulator) -> None:
    contact.queued = {_email(2)}
    rows = _rows(_fullcontact(sandbox), [0, 1, 2])
    assert [row["status"] for row in rows] == ["found", "none", "queued"]
    assert contact.billed == 1
    assert json.loads(rows[0]["data"])["title"] == "gardener"


def test_check_costs_nothing(sandbox: Sandbox, pdl: PdlSimulator, contact: FullContactSimulator) -> None:
    for vendor, simulator in ((_pdl(sandbox), pdl), (_fullcontact(sandbox), contact)):
        found = vendor.check()
        assert found.ok and "1,000 look-ups" in found.sentence
        assert simulator.billed == 0


def test_what_is_sent_and_answered_fits_the_published_description(sandbox: Sandbox, pdl: PdlSimulator) -> None:
    described = Described("peopledatalabs/pdl-specs.json")
    operation = described.document["paths"]["/v5/person/enrich"]["get"]
    known = {one["name"]: one["schema"] for one in operation["parameters"] if one["in"] == "query"}
    wire = Wire()
    _rows(_pdl(sandbox, wire=wire, required="job_title", fields=["job_title", "industry"]), range(2))
    assert [answer.status_code for _, answer in wire.passed] == [200, 404]
    for request, answer in wire.passed:
        for name, value in json.loads(request.content).items():
            described.validate(value, known[name])
        assert str(answer.status_code) in operation["responses"]
    described.validate(
        wire.passed[0][1].json()["data"], operation["responses"]["200"]["content"]["application/json"]["schema"]
    )
