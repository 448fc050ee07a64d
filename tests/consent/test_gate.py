"""Nothing reaches a destination but what the gate sealed, and the gate seals only what the policy names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from consent_town import ADS, EMAIL, HELP, NOW, PHONE, POLICY, Town, towns
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consentry.consent.gate import Gate, Target
from consentry.consent.sealed import open_value
from consentry.errors import Blocked, ConfigError, SkipRecord
from consentry.model.batch import Batch, Row, payload_hash

ANN = "ann@example.com"
EVERYTHING = Target(
    "everything",
    "mailer",
    "newsletter",
    "list-1",
    ("email", "phone"),
    {
        "name": "given_name",
        "age": "age",
        "id": "customer_number",
        "since": "registered_on",
        "area": "postcode",
        "notes": "notes",
    },
)


def settled(town: Town) -> None:
    town.person(
        "ann", email=ANN, phone="+447700900123", given_name="Ann", age=34, customer_number="C-1",
        registered_on="2025-03-04", postcode="SW1A 1AA", notes="likes tea",
    )  # fmt: skip
    town.tell(ANN)
    town.tell("+447700900123")
    town.decide(EVERYTHING)


def test_what_leaves_is_what_the_policy_says(town: Town) -> None:
    settled(town)
    row = town.seal(EVERYTHING, ["ann"]).batch.rows[0]
    assert dict(row.identifiers) == {"email": ANN, "phone": "+447700900123"}
    fields = dict(row.fields)
    assert str(fields.pop("id")).startswith("p1.1.")
    assert fields == {"name": "Ann", "age": "30-39", "since": "2025-03", "area": "SW"}


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(extra=st.dictionaries(st.text(min_size=1, max_size=12), st.text(max_size=12), max_size=5))
def test_a_field_that_is_not_named_never_leaves(town: Town, extra: dict[str, str]) -> None:
    if "ann" not in town.people:
        settled(town)
    row = {**extra, **town.people["ann"], "religion": "canary"}
    sealed = town.gate.seal(town.warehouse, EMAIL, "add", [row], batch_id="b")
    assert dict(sealed.batch.rows[0].fields) == {"first_name": "Ann"}
    assert set(sealed.batch.rows[0].identifiers) == {"email"}


def test_identifiers_leave_as_hashes_or_tokens_where_the_policy_says_so(town: Town) -> None:
    settled(town)
    town.tell(ANN, purpose="ads")
    town.tell("+447700900123", purpose="ads")
    hashed = town.seal(ADS, ["ann"]).batch.rows[0].identifiers
    assert {len(value) for value in hashed.values()} == {64}
    assert town.seal(HELP, ["ann"]).batch.rows[0].identifiers["email"].startswith("p1.1.")


def test_a_reversible_token_leaves_where_the_policy_says_so_and_comes_back(tmp_path: Path) -> None:
    for town in towns(tmp_path, text=POLICY.replace("notes: {transform: drop}", "notes: {transform: seal}")):
        settled(town)
        left = str(town.seal(EVERYTHING, ["ann"]).batch.rows[0].fields["notes"])
        assert left.startswith("s1.1.") and "tea" not in left
        assert open_value(town.ring, "mailer", "notes", left) == "likes tea"
        with pytest.raises(SkipRecord):
            open_value(town.ring, "ad_platform", "notes", left)


def test_a_sealed_batch_is_recognised_by_its_gate_only(town: Town) -> None:
    settled(town)
    batch = town.seal(EMAIL, ["ann"]).batch
    town.gate.verify(batch)
    with pytest.raises(Blocked) as caught:
        Gate(town.policy, town.ledger, town.ring, as_of=NOW).verify(batch)
    assert caught.value.code == "unsealed_batch"


def test_a_batch_that_anybody_else_made_or_changed_is_blocked(town: Town) -> None:
    settled(town)
    batch = town.seal(EMAIL, ["ann"]).batch
    row = batch.rows[0]
    forged = [
        Batch("b1", "mailer", "list-1", "newsletter", "add", (Row("bob", {"email": "bob@example.com"}, {}),)),
        replace(batch, seal=b""),
        replace(batch, seal=batch.digest(b"guess" * 8)),
        replace(batch, destination="ad_platform"),
        replace(batch, audience="list-2"),
        replace(batch, purpose="ads"),
        replace(batch, operation="change"),
        replace(batch, batch_id="b2"),
        replace(batch, rows=(*batch.rows, row)),
        replace(batch, rows=()),
        replace(batch, rows=(replace(row, fields={**row.fields, "phone": "+447700900123"}),)),
        replace(batch, rows=(replace(row, identifiers={"email": "bob@example.com"}),)),
        replace(batch, rows=(replace(row, remote_id="other"),)),
    ]
    for one in forged:
        with pytest.raises(Blocked):
            town.gate.verify(one)


def test_a_removal_needs_no_consent_and_carries_no_field(town: Town) -> None:
    settled(town)
    town.tell(ANN, "withdrawn")
    town.people["ann"]["remote_id"] = "r-1"
    sealed = town.seal(EMAIL, ["ann"], "remove")
    row = sealed.batch.rows[0]
    assert (dict(row.identifiers), dict(row.fields), row.remote_id) == ({"email": ANN}, {}, "r-1")
    town.gate.verify(sealed.batch)


def test_someone_whose_record_is_gone_is_still_removed_by_the_remote_id(town: Town) -> None:
    settled(town)
    gone = {"person_id": "gone", "remote_id": "r-9"}
    sealed = town.gate.seal(town.warehouse, EMAIL, "remove", [gone], batch_id="b")
    assert sealed.batch.rows[0].remote_id == "r-9"
    assert town.gate.seal(town.warehouse, EMAIL, "remove", [{"person_id": "x"}], batch_id="b").refused == (
        ("x", "no_identifier"),
    )


def test_someone_whom_the_gate_has_never_seen_is_refused(town: Town) -> None:
    settled(town)
    stranger = {"person_id": "stranger", "email": ANN}
    assert town.gate.seal(town.warehouse, EMAIL, "add", [stranger], batch_id="b").refused == (
        ("stranger", "no_record"),
    )


def test_an_identifier_slipped_into_the_row_does_not_leave(town: Town) -> None:
    settled(town)
    row = {**town.people["ann"], "email": "bob@example.com"}
    assert town.gate.seal(town.warehouse, EMAIL, "add", [row], batch_id="b").refused == (("ann", "no_identifier"),)


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (replace(EMAIL, destination="mailr"), "no destination 'mailr'; did you mean 'mailer'?"),
        (replace(EMAIL, purpose="newsletr"), "no purpose 'newsletr'; did you mean 'newsletter'?"),
        (replace(EMAIL, purpose="ads"), "is not for purpose 'ads'"),
        (replace(EMAIL, identifiers=("cookie",)), "names no identifier 'cookie'"),
        (replace(EMAIL, identifiers=()), "no identifier is sent"),
        (replace(EMAIL, fields={"x": "given_nam"}), "names no field 'given_nam' (for 'x')"),
    ],
)
def test_t62_what_the_policy_does_not_name_is_not_admitted(town: Town, target: Target, said: str) -> None:
    settled(town)
    for attempt in (
        lambda: town.gate.admit(target),
        lambda: town.gate.decide(town.warehouse, [target]),
        lambda: town.gate.seal(town.warehouse, target, "add", [town.people["ann"]], batch_id="b"),
    ):
        with pytest.raises(ConfigError) as caught:
            attempt()
        assert said in str(caught.value)


def test_payload_hashes_in_bulk_are_those_of_the_sealed_rows(town: Town) -> None:
    settled(town)
    town.person("bob", email="bob@example.com", given_name="Bob")
    town.tell("bob@example.com")
    for target in (EVERYTHING, EMAIL, PHONE):
        town.decide(target)
        sealed = town.seal(target, ["ann", "bob"])
        query = "SELECT * FROM identity.golden"
        batches = town.gate.payload_hashes(town.warehouse, target, query)
        found = {row["person_id"]: row["payload_hash"] for batch in batches for row in batch.to_pylist()}
        assert set(found) == {"ann", "bob"}
        assert all(found[person] == name for person, name in sealed.payload_hashes.items())


def test_a_payload_hash_changes_with_value_and_mapping_and_with_nothing_else(town: Town) -> None:
    settled(town)
    first = town.seal(EMAIL, ["ann"]).payload_hashes["ann"]
    town.people["ann"]["remote_id"] = "r-1"
    assert town.seal(EMAIL, ["ann"], "change").payload_hashes["ann"] == first
    renamed = replace(EMAIL, fields={"vorname": "given_name"})
    assert town.seal(renamed, ["ann"]).payload_hashes["ann"] != first
    town.people["ann"]["given_name"] = "Anna"
    assert town.seal(EMAIL, ["ann"]).payload_hashes["ann"] != first
    assert len(first) == len(payload_hash(b"k" * 32, Row("p", {}, {}), ""))


def test_no_identifier_and_no_key_stands_in_the_ops_zone(town: Town) -> None:
    settled(town)
    town.ledger.suppress("email", ANN, reason="objection")
    town.gate.decide_profile(town.warehouse)
    for table in town.warehouse.tables("ops"):
        for row in town.warehouse.sql(f"SELECT * FROM {table}").to_pylist():
            text = repr(row)
            assert ANN not in text
            assert "7700900123" not in text


def test_errors_and_reprs_show_no_personal_value(town: Town) -> None:
    settled(town)
    sealed = town.seal(EVERYTHING, ["ann"])
    assert ANN not in repr(sealed)
    assert "Ann" not in repr(sealed.batch)
