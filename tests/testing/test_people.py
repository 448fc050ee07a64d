"""The quickstart's data: made again it is the same, its faults are there, and its people exist nowhere."""

from __future__ import annotations

import csv
import filecmp
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import phonenumbers
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from consentry.testing.choices import DAY_2
from consentry.testing.mistakes import JUNK_EMAILS, JUNK_PHONES, mistype
from consentry.testing.people import ROLES, deal_roles
from consentry.testing.phones import capacity, is_reserved_phone, national, reserved_phone
from consentry.testing.purchases import sample_path, shoppers
from consentry.testing.quickstart_data import generate, is_at_risk, is_champion
from consentry.testing.records import AS_OF, SHOP_COLUMNS
from consentry.testing.web import web_record

DATA = sample_path().parent
COUNTRIES = ("GB", "US", "CA", "DE", "FR", "AU")
EMAIL = re.compile(r"[^\s\",:;]+@[\w.-]+\.[a-z]+", re.IGNORECASE)
RESERVED = ("@example.com", "@example.org", "@example.net")


def lines(name: str) -> Iterator[dict[str, Any]]:
    """Read the sound lines of a JSONL file."""
    for line in (DATA / name).read_text(encoding="utf-8").splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            assert name == "web_events.jsonl"


def shop_rows() -> list[list[str]]:
    with (DATA / "shop_customers.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))[1:]


@pytest.fixture(scope="module")
def expected() -> dict[str, Any]:
    return yaml.safe_load((DATA / "expected.yaml").read_text())


@pytest.fixture(scope="module")
def truth() -> dict[str, str]:
    return {row["record_id"]: row["person"] for row in lines("truth.jsonl")}


def test_the_committed_files_are_made_again_byte_for_byte(tmp_path: Path) -> None:
    generate(tmp_path)
    made = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file())
    same, different, missing = filecmp.cmpfiles(tmp_path, DATA, made, shallow=False)
    assert (same, different, missing) == (made, [], [])
    assert {p.relative_to(DATA).as_posix() for p in DATA.rglob("*") if p.is_file()} - set(made) == {"README.md"}


def test_the_files_are_small_enough_to_be_committed() -> None:
    assert sum(p.stat().st_size for p in DATA.rglob("*") if p.is_file()) < 8_000_000
    assert (DATA / "purchases.parquet").stat().st_size < 3_000_000


def test_every_record_has_its_person_in_the_truth_file(truth: dict[str, str]) -> None:
    records = {f"crm:{contact['id']}" for contact in lines("crm_contacts.jsonl")}
    records |= {f"shop:{row[0]}" for row in shop_rows()}
    records |= {web_record(call) for call in lines("web_events.jsonl") if call["anonymousId"]}
    assert records <= set(truth)
    assert len(truth) - len(records) <= 10  # calls whose only line is broken


def test_the_rows_of_each_stream_are_as_many_as_expected_says(expected: dict[str, Any]) -> None:
    def count(name: str) -> int:
        return len((DATA / name).read_text(encoding="utf-8").splitlines())

    assert expected["rows"] == {
        "consents_day1": count("day1/consents.jsonl"),
        "consents_day2": count("day2/consents.jsonl"),
        "crm_contacts": count("crm_contacts.jsonl"),
        "purchases": pq.read_metadata(sample_path()).num_rows,
        "shop_customers": count("shop_customers.csv") - 1,
        "web_events": count("web_events.jsonl"),
    }


def test_the_shop_export_has_the_faults_that_are_promised(expected: dict[str, Any]) -> None:
    rows, faults = shop_rows(), expected["defects"]
    sound = [dict(zip(SHOP_COLUMNS, row, strict=True)) for row in rows if len(row) == len(SHOP_COLUMNS)]
    numbers = Counter(row["customer_number"] for row in sound)
    form = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s.]+")
    invalid = [r for r in sound if r["email"] and r["email"] not in JUNK_EMAILS and not form.fullmatch(r["email"])]
    assert len(rows) - len(sound) == faults["shop_malformed_line"] > 0
    assert sum(numbers.values()) - len(numbers) == faults["shop_duplicate_key"] > 0
    assert len(invalid) == faults["shop_invalid_email"] > 0
    assert sum(row["email"] in JUNK_EMAILS for row in sound) == faults["shop_junk_email"] > 0
    assert sum(row["phone"] in JUNK_PHONES for row in sound) == faults["shop_junk_phone"] > 0
    assert (
        sum(row["registered_at"].startswith(("203", "204", "205", "206", "207", "208", "209")) for row in sound)
        == (faults["shop_future_date"])
    )


def test_the_crm_has_the_faults_that_are_promised(expected: dict[str, Any], truth: dict[str, str]) -> None:
    contacts, faults = list(lines("crm_contacts.jsonl")), expected["defects"]
    twice = [n for n in Counter(truth[f"crm:{contact['id']}"] for contact in contacts).values() if n == 2]
    assert len(twice) == sum(count for name, count in faults.items() if name.startswith("crm_twice_"))
    properties = [contact["properties"] for contact in contacts]
    assert sum(p["email"] in JUNK_EMAILS for p in properties) == faults["crm_junk_email"] > 0
    assert sum(p["lifecyclestage"] == "custmer" for p in properties) == faults["crm_unknown_stage"] > 0
    assert (
        sum((p["birthdate"] or "") >= "2031" and p["birthdate"][:2] == "20" for p in properties)
        == (faults["crm_future_birthdate"])
    )
    assert all(value is None or isinstance(value, str) for p in properties for value in p.values())


def test_the_web_calls_have_the_faults_that_are_promised(expected: dict[str, Any]) -> None:
    calls, faults = list(lines("web_events.jsonl")), expected["defects"]
    ids = Counter(call["messageId"] for call in calls)
    assert expected["rows"]["web_events"] - len(calls) == faults["web_malformed_line"] > 0
    assert len(calls) - len(ids) == faults["web_delivered_twice"] > 0
    assert sum(call["timestamp"] > "2012" for call in calls) == faults["web_future_timestamp"] > 0
    assert sum(call["anonymousId"] is None for call in calls) == faults["web_no_identity"] > 0


def test_sound_web_calls_lie_within_sixty_days_before_the_end() -> None:
    moments = [call["timestamp"] for call in lines("web_events.jsonl") if call["timestamp"] < "2012"]
    assert min(moments) >= "2011-10-11"
    assert max(moments) < AS_OF.isoformat()


def test_customers_of_crm_and_shop_are_customers_of_the_purchases() -> None:
    numbers = {shopper.customer_number for shopper in shoppers(DATA / "purchases.parquet")}
    contacts = {c["properties"]["customer_number"] for c in lines("crm_contacts.jsonl")} - {None}
    assert len(numbers) >= 1_500
    assert {row[0] for row in shop_rows()} == numbers
    assert contacts <= numbers


def test_consents_of_day_1_all_lie_before_those_of_day_2() -> None:
    first = [event["effective_at"] for event in lines("day1/consents.jsonl")]
    second = [event["effective_at"] for event in lines("day2/consents.jsonl")]
    boundary = DAY_2.isoformat().replace("+00:00", "Z")
    assert max(first) < boundary <= min(second)
    assert max(second) <= AS_OF.isoformat().replace("+00:00", "Z")


def test_consents_hold_conflicts_withdrawals_old_notices_and_words_nobody_knows(expected: dict[str, Any]) -> None:
    events, faults = list(lines("day1/consents.jsonl")), expected["defects"]
    states = Counter(event["state"] for event in events)
    known = {"granted", "denied", "withdrawn", "objected"}
    assert states["withdrawn"] == faults["consent_withdrawn"] > 0
    assert states["objected"] == faults["consent_objected"] > 0
    assert sum(n for state, n in states.items() if state not in known) == faults["consent_unknown_state"] > 0
    assert sum(event["notice_version"] == 1 for event in events) == faults["consent_superseded"] > 0
    assert sum(event["effective_at"] < "2009-12-10" for event in events) == faults["consent_expired"] > 0
    assert sum(event["purpose"] == "sms_2009_campaign" for event in events) == faults["consent_unknown_purpose"] > 0
    assert faults["consent_conflict"] > 0


def test_the_ids_of_consent_events_are_unique_over_both_days() -> None:
    ids = [(e["source"], e["event_id"]) for day in ("day1", "day2") for e in lines(f"{day}/consents.jsonl")]
    assert len(ids) == len(set(ids))


def test_who_withdraws_on_day_2_said_yes_on_day_1_and_is_in_a_mailed_segment() -> None:
    members = {s.customer_number for s in shoppers(sample_path()) if is_champion(s) or is_at_risk(s)}
    mailbox = {row[1]: row[0] for row in shop_rows()}
    said: dict[tuple[str, str], list[str]] = {}
    for event in lines("day1/consents.jsonl"):
        said.setdefault((event["identifier"], event["purpose"]), []).append(event["state"])
    withdrawn = list(lines("day2/consents.jsonl"))
    assert all(set(said[event["identifier"], event["purpose"]]) == {"granted"} for event in withdrawn)
    assert not any((event["identifier"], "profiling") in said for event in withdrawn)
    mailed = [event["identifier"] for event in withdrawn if event["purpose"] == "email_marketing"]
    assert len(mailed) == len(set(mailed)) == 40
    assert all(mailbox[address] in members for address in mailed)


@pytest.mark.parametrize("takes", [is_champion, is_at_risk])
def test_the_mailed_segments_have_a_useful_size(takes: Any) -> None:
    assert 50 <= sum(takes(shopper) for shopper in shoppers(sample_path())) <= 600


def test_no_email_address_lies_outside_the_reserved_domains() -> None:
    for path in DATA.rglob("*"):
        if path.suffix in (".jsonl", ".csv"):
            found = {address.lower() for address in EMAIL.findall(path.read_text(encoding="utf-8"))}
            assert {a for a in found if not a.endswith(RESERVED)} <= {"test@test.com"}, path.name


def test_no_phone_lies_outside_the_reserved_ranges() -> None:
    seen = [(row[2], row[5]) for row in shop_rows() if len(row) == len(SHOP_COLUMNS)]
    seen += [(c["properties"]["phone"] or "", c["properties"]["country"]) for c in lines("crm_contacts.jsonl")]
    for phone, country in seen:
        if phone in ("", *JUNK_PHONES):
            continue
        # A number without country code belongs to one of the few countries that have reserved ones.
        regions = [country] if country else [None, *COUNTRIES]
        assert any(is_reserved_phone(e164(phone, region)) for region in regions)


def e164(phone: str, region: str | None) -> str:
    try:
        number = phonenumbers.parse(phone, region)
    except phonenumbers.NumberParseException:
        return ""
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


@pytest.mark.parametrize("country", COUNTRIES)
def test_reserved_phones_are_valid_unique_and_readable_as_national_numbers(country: str) -> None:
    numbers = [reserved_phone(country, n) for n in range(0, capacity(country))]
    assert len(set(numbers)) == len(numbers) >= 1_000
    assert all(is_reserved_phone(number) for number in numbers)
    for number in numbers[::97]:
        assert phonenumbers.is_valid_number(phonenumbers.parse(number))
        assert e164(national(number), country) == number


def test_a_country_without_reserved_numbers_gives_no_phone() -> None:
    assert reserved_phone("ES", 0) == "" == reserved_phone("GB", capacity("GB"))


@given(st.text("abcdefghijklmnopqrstuvwxyz", min_size=2, max_size=20), st.integers(0, 1 << 32))
def test_a_typing_error_always_changes_the_word_and_little_of_it(word: str, seed: int) -> None:
    wrong = mistype(word, np.random.default_rng(seed))
    assert wrong != word
    assert abs(len(wrong) - len(word)) <= 1


@given(st.integers(1, 5_000), st.integers(0, 1 << 32))
def test_roles_are_dealt_in_their_shares_and_families_are_whole(customers: int, seed: int) -> None:
    dealt = Counter(deal_roles(customers, np.random.default_rng(seed)).values())
    assert all(abs(dealt[role] - customers * share) <= 2 for role, share in ROLES.items())
    assert all(dealt[role] % 2 == 0 for role in ("family_email", "family_phone", "shared_device"))


def test_a_scaled_set_has_the_customers_and_events_that_were_asked_for(tmp_path: Path) -> None:
    notes = generate(tmp_path, customers=300, events_each=20)
    assert notes.rows["purchases"] == 300 * 10
    assert len(shoppers(tmp_path / "purchases.parquet")) == 300
    web = notes.rows["web_events"] - notes.defects["web_delivered_twice"]
    assert web == 330 * 10
    ids = pq.read_table(tmp_path / "purchases.parquet", columns=["line_id"])["line_id"].to_pylist()
    assert ids == list(range(3_000))


def test_another_seed_gives_other_people(tmp_path: Path) -> None:
    generate(tmp_path / "a", customers=50, seed=1)
    generate(tmp_path / "b", customers=50, seed=2)
    assert (tmp_path / "a/shop_customers.csv").read_bytes() != (tmp_path / "b/shop_customers.csv").read_bytes()


def test_a_set_of_no_customers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 1 customer"):
        generate(tmp_path, customers=0)
