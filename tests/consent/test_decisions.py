"""The answer for one person, in the cases that others get wrong; T-numbers are those of docs/consent.md."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from consent_town import ADS, EMAIL, HELP, NOW, PHONE, POLICY, Town, keyring, towns

from consentry.consent.gate import Gate, Target

DAY = timedelta(days=1)
JANUARY = datetime(2026, 1, 1, tzinfo=UTC)
ANN = "ann@example.com"


def test_a_grant_lets_a_person_through(town: Town) -> None:
    town.person("ann", email=ANN)
    town.tell(ANN)
    assert town.reason("ann") == "allow"


def test_t1_no_consent_record_is_no(town: Town) -> None:
    town.person("ann", email=ANN)
    assert town.reason("ann") == "no_record"


def test_t1_a_person_without_any_identifier_is_refused(town: Town) -> None:
    town.person("ann")
    assert town.reason("ann") == "no_record"


def test_t2_a_record_for_another_purpose_does_not_cover_this_one(town: Town) -> None:
    town.person("ann", email=ANN)
    town.tell(ANN, purpose="ads")
    assert town.reason("ann") == "purpose_not_covered"


def test_t4_an_unknown_purpose_grants_nothing_and_is_counted(town: Town) -> None:
    town.person("ann", email=ANN)
    assert town.tell(ANN, purpose="newsletterr").noted == {"unknown_purpose": 1}
    assert town.reason("ann") == "unmapped"


def test_an_alias_stands_for_its_purpose(town: Town) -> None:
    town.person("ann", email=ANN)
    town.tell(ANN, purpose="segment:Newsletter")
    assert town.reason("ann") == "allow"


@pytest.mark.parametrize("state", ["CONFIRMD", "true", True, 1, "yes", "TRUE ", "Granted", None, "", {}, []])
def test_t5_t6_t7_a_state_outside_the_vocabulary_is_a_denial(town: Town, state: object) -> None:
    town.person("ann", email=ANN)
    town.tell(ANN, effective_at=JANUARY - DAY)
    imported = town.ledger.record([{**town.row(ANN), "state": state}], policy=town.policy)
    assert imported.noted == {"unknown_state": 1}
    assert town.reason("ann") == "denied"


def test_t6_a_source_is_understood_in_its_own_declared_words_only(tmp_path: Path) -> None:
    declared = POLICY.replace("crm_import: {trust: 1}", 'crm_import: {trust: 1, states: {"yes": granted}}')
    for town in towns(tmp_path, text=declared):
        town.person("ann", email=ANN)
        town.person("bob", email="bob@example.com")
        town.tell(ANN, "yes", source_system="crm_import")
        town.tell("bob@example.com", "granted", source_system="crm_import")
        assert town.reason("ann") == "allow"
        assert town.reason("bob") == "denied"


def test_t9_of_merged_people_the_most_restrictive_answer_holds(town: Town) -> None:
    town.person("ann", email=ANN)
    town.also("ann", "email", "ann.b@example.com")
    town.tell(ANN)
    town.tell("ann.b@example.com", "withdrawn")
    assert town.reason("ann") == "merged_conflict"


def test_t10_strict_scope_wants_a_grant_for_every_identifier_of_a_merged_person(town: Town) -> None:
    town.person("ann", email=ANN)
    town.also("ann", "email", "ann.b@example.com")
    town.tell(ANN)
    assert town.reason("ann") == "identifier_scope"


def test_t10_identifier_scope_sends_the_granting_identifier_only(tmp_path: Path) -> None:
    both = Target("both", "mailer", "newsletter", "list", ("email", "phone"))
    for town in towns(tmp_path, text=POLICY.replace("identifier_scope: strict", "identifier_scope: identifier")):
        town.person("ann", email=ANN, phone="+447700900123")
        town.also("ann", "email", "ann.b@example.com")
        town.tell(ANN)
        assert town.reason("ann", both) == "allow"
        assert dict(town.seal(both, ["ann"]).batch.rows[0].identifiers) == {"email": ANN}


def test_t11_a_grant_for_an_email_is_none_for_a_phone(town: Town) -> None:
    town.person("ann", email=ANN, phone="+447700900123")
    town.tell(ANN)
    assert town.reason("ann", PHONE) == "identifier_scope"


def test_t12_people_who_are_no_longer_merged_get_their_own_answers_back(town: Town) -> None:
    town.person("ann", email=ANN)
    town.also("ann", "email", "bob@example.com")
    town.tell(ANN)
    town.tell("bob@example.com", "withdrawn")
    assert town.reason("ann") == "merged_conflict"
    town.identifiers.clear()
    town.person("ann", email=ANN)
    town.person("bob", email="bob@example.com")
    assert (town.reason("ann"), town.reason("bob")) == ("allow", "withdrawn")


def test_t13_a_merge_after_the_plan_is_seen_when_the_batch_is_sealed(town: Town) -> None:
    town.person("ann", email=ANN)
    town.tell(ANN)
    town.tell("bob@example.com", "withdrawn")
    assert town.decide(EMAIL).allowed == 1
    town.also("ann", "email", "bob@example.com")
    town.settle()
    assert town.seal(EMAIL, ["ann"]).refused == (("ann", "merged_conflict"),)


def test_t14_an_identifier_of_two_people_carries_no_grant(town: Town) -> None:
    town.person("ann", email="family@example.com")
    town.person("bob", email="family@example.com")
    town.tell("family@example.com")
    assert town.reason("ann") == "shared_identifier"


@pytest.mark.parametrize(
    "variant",
    [
        "Jane.Doe@gmail.com",
        " jane.doe@gmail.com ",
        "janedoe@gmail.com",
        "j.anedoe+shop@googlemail.com",
        "\uff4aane.doe@gmail.com",
        "jane\u200b.doe@gmail.com",
        "jane.doe@GMAIL.com",
    ],
)
def test_t15_every_spelling_of_a_withdrawn_mailbox_is_withdrawn(town: Town, variant: str) -> None:
    town.person("jane", email="jane.doe@gmail.com")
    town.tell("janedoe@gmail.com")
    assert town.reason("jane") == "allow"
    town.tell(variant, "withdrawn", effective_at=JANUARY + DAY)
    assert town.reason("jane") == "withdrawn"


@pytest.mark.parametrize("junk", ["n/a", "test@test.com", "N/A", "null", "none@none", ""])
def test_t16_a_junk_value_is_never_recorded_and_never_matched(town: Town, junk: str) -> None:
    town.person("ann", email=junk or None)
    assert town.tell(junk, identifier_type="email").refused == {"invalid_identifier": 1}
    assert town.reason("ann") == "no_record"


def test_t16_a_junk_phone_is_never_recorded(town: Town) -> None:
    assert town.tell("+10000000000").refused == {"invalid_identifier": 1}


def test_t17_two_systems_that_disagree_within_the_skew_are_a_refusal(town: Town) -> None:
    town.person("ann", email=ANN)
    town.tell(ANN, "withdrawn", source_system="web")
    town.tell(ANN, source_system="app", effective_at=JANUARY + timedelta(minutes=5))
    assert town.reason("ann") == "conflict_within_skew"
    town.tell(ANN, source_system="app", effective_at=JANUARY + timedelta(minutes=5, seconds=1))
    assert town.reason("ann") == "allow"


def test_t18_a_grant_after_a_withdrawal_in_the_same_system_holds(town: Town) -> None:
    town.person("ann", email=ANN)
    town.tell(ANN, "withdrawn")
    town.tell(ANN, effective_at=JANUARY + timedelta(seconds=1))
    assert town.reason("ann") == "allow"


def test_t19_a_later_import_does_not_undo_what_the_person_said_directly(town: Town) -> None:
    town.person("ann", email=ANN)
    town.tell(ANN, "withdrawn", source_system="preference_centre")
    town.tell(ANN, source_system="crm_import", method="import", effective_at=JANUARY + 30 * DAY)
    assert town.reason("ann") == "withdrawn"
    town.tell(ANN, source_system="preference_centre", effective_at=JANUARY + 31 * DAY)
    assert town.reason("ann") == "allow"


def test_t20_a_grant_from_the_future_is_refused_and_a_refusal_counts_now(town: Town) -> None:
    town.person("ann", email=ANN)
    future = datetime.now(UTC) + DAY
    assert town.tell(ANN, effective_at=future).refused == {"future_time": 1}
    assert town.reason("ann") == "no_record"
    town.tell(ANN)
    assert town.tell(ANN, "withdrawn", effective_at=future).noted == {"future_time": 1}
    assert town.reason("ann") == "withdrawn"


@pytest.mark.parametrize("when", [datetime(2026, 1, 1), "2026-01-01T00:00:00", 1767225600, "1767225600000", None])
def test_t21_a_time_without_zone_or_unit_is_not_guessed(town: Town, when: object) -> None:
    town.person("ann", email=ANN)
    assert town.tell(ANN, effective_at=when).refused == {"unreadable_time": 1}
    assert town.tell(ANN, "withdrawn", effective_at=when).new == 1
    assert town.reason("ann") == "withdrawn"


def test_t23_an_event_that_comes_again_changes_nothing(town: Town) -> None:
    row = town.row(ANN)
    assert town.ledger.record([row], policy=town.policy).new == 1
    head = town.ledger.head()
    again = town.ledger.record([row, row], policy=town.policy)
    assert (again.new, again.duplicate, town.ledger.head()) == (0, 2, head)


def test_t23_an_id_that_comes_again_with_other_content_may_refuse_but_never_grant(town: Town) -> None:
    town.person("ann", email=ANN)
    town.tell(ANN, source_event_id="x", state="withdrawn")
    later = {"source_event_id": "x", "effective_at": JANUARY + DAY}
    assert town.tell(ANN, "granted", **later).refused == {"reused_event_id": 1}
    town.tell(ANN, source_event_id="y", effective_at=JANUARY + 2 * DAY)
    assert town.reason("ann") == "allow"
    changed = town.row(ANN, "withdrawn", source_event_id="y", effective_at=JANUARY + 3 * DAY)
    assert town.ledger.record([changed, changed], policy=town.policy).new == 1
    assert town.reason("ann") == "withdrawn"


def test_t24_a_grant_runs_out_at_the_very_instant(town: Town) -> None:
    town.person("ann", email=ANN)
    edge = datetime(2025, 5, 1, 12, tzinfo=UTC)
    town.tell(ANN, effective_at=edge)
    assert town.reason("ann") == "expired"
    town.tell(ANN, effective_at=edge + timedelta(microseconds=1))
    assert town.reason("ann") == "allow"


def test_t24_a_grant_with_an_end_of_its_own_ends_there(town: Town) -> None:
    town.person("ann", email=ANN)
    town.tell(ANN, expires_at=NOW)
    assert town.reason("ann") == "expired"
    town.tell(ANN, effective_at=JANUARY + DAY, expires_at=NOW + timedelta(microseconds=1))
    assert town.reason("ann") == "allow"


def test_t25_a_grant_under_an_old_notice_is_superseded(town: Town) -> None:
    town.person("ann", email=ANN)
    town.tell(ANN, notice_version=1)
    assert town.reason("ann") == "notice_superseded"


def test_t26_a_grant_recorded_today_was_not_known_yesterday(town: Town) -> None:
    town.person("ann", email=ANN)
    before = datetime.now(UTC)
    town.tell(ANN, effective_at=JANUARY - 200 * DAY)
    town.settle()
    back = Gate(town.policy, town.ledger, town.ring, as_of=NOW, known_at=before)
    assert back.decide(town.warehouse, [EMAIL])["news"].refused == {"no_record": 1}
    assert town.decide(EMAIL).allowed == 1


def test_t27_what_was_withdrawn_after_the_plan_does_not_leave(town: Town) -> None:
    town.person("ann", email=ANN)
    town.person("bob", email="bob@example.com")
    town.tell(ANN)
    town.tell("bob@example.com")
    assert town.decide(EMAIL).allowed == 2
    town.tell(ANN, "withdrawn", effective_at=JANUARY + DAY)
    sealed = town.seal(EMAIL, ["ann", "bob"])
    assert [row.person_id for row in sealed.batch.rows] == ["bob"]
    assert sealed.refused == (("ann", "withdrawn"),)


def test_t29_withdrawing_from_everything_ends_every_purpose(town: Town) -> None:
    town.person("ann", email=ANN)
    town.tell(ANN)
    town.tell(ANN, "withdrawn", purpose="*", effective_at=JANUARY + DAY)
    assert town.reason("ann") == "withdrawn"


def test_t29_nobody_grants_everything(town: Town) -> None:
    town.person("ann", email=ANN)
    assert town.tell(ANN, purpose="*").noted == {"unknown_purpose": 1}
    assert town.reason("ann") == "unmapped"


@pytest.mark.parametrize("missing", ["mechanism", "notice_version"])
def test_a_grant_that_cannot_be_demonstrated_has_no_effect(town: Town, missing: str) -> None:
    town.person("ann", email=ANN)
    town.ledger.record([{**town.row(ANN), missing: None}], policy=town.policy)
    assert town.reason("ann") == "unproven"


def test_every_purpose_of_a_destination_must_hold(town: Town) -> None:
    town.person("ann", email=ANN)
    town.tell(ANN)
    assert town.reason("ann", ADS) == "purpose_not_covered"
    town.tell(ANN, purpose="ads")
    assert town.reason("ann", ADS) == "allow"


def test_a_clock_set_back_never_revives_what_was_withdrawn_since(town: Town) -> None:
    town.person("ann", email=ANN)
    town.tell(ANN)
    town.tell(ANN, "withdrawn", effective_at=NOW + DAY)
    assert town.reason("ann") == "withdrawn"


def test_a_grant_after_the_clock_does_not_count_yet(town: Town) -> None:
    town.person("ann", email=ANN)
    town.tell(ANN, effective_at=NOW + timedelta(microseconds=1))
    assert town.reason("ann") == "no_record"


def test_without_the_identifier_there_is_nothing_to_send(town: Town) -> None:
    town.person("ann", phone="+447700900123")
    town.tell("+447700900123")
    assert town.reason("ann") == "no_identifier"


def test_a_profile_wants_a_grant_for_the_profiling_purpose(town: Town) -> None:
    town.person("ann", email=ANN)
    town.person("bob", email="bob@example.com")
    town.tell(ANN, purpose="personalisation")
    town.tell("bob@example.com")
    town.settle()
    decided, _ = town.gate.decide_profile(town.warehouse)
    assert (decided.allowed, decided.refused) == (1, {"purpose_not_covered": 1})


def test_without_a_profiling_purpose_nobody_is_profiled(tmp_path: Path) -> None:
    for town in towns(tmp_path, text=POLICY.replace("profiling: {purpose: personalisation}", "")):
        town.person("ann", email=ANN)
        town.tell(ANN, purpose="personalisation")
        town.settle()
        decided, _ = town.gate.decide_profile(town.warehouse)
        assert (decided.allowed, decided.refused) == (0, {"no_policy": 1})


def test_deciding_one_target_keeps_the_decisions_of_the_others(town: Town) -> None:
    town.person("ann", email=ANN)
    town.tell(ANN)
    town.settle()
    town.gate.decide_profile(town.warehouse)
    town.gate.decide(town.warehouse, [EMAIL, HELP])
    town.gate.decide(town.warehouse, [EMAIL])
    found = town.warehouse.sql("SELECT target, count(*) AS n FROM ops.decision GROUP BY target ORDER BY target")
    assert found.to_pylist() == [{"target": t, "n": 1} for t in ("help", "news", "profile")]


def test_t47_after_a_key_rotation_old_consents_and_suppressions_still_match(town: Town) -> None:
    town.person("ann", email=ANN)
    town.person("bob", email="bob@example.com")
    town.tell(ANN)
    town.tell("bob@example.com")
    town.ledger.suppress("email", "bob@example.com", reason="objection")
    town.ring = keyring(1, 2)
    town.ledger.keyring = town.ring
    town.gate = Gate(town.policy, town.ledger, town.ring, as_of=NOW)
    assert (town.reason("ann"), town.reason("bob")) == ("allow", "suppressed")
    town.tell(ANN, "withdrawn", effective_at=JANUARY + DAY)
    assert town.reason("ann") == "withdrawn"
