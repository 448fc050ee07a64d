"""What a platform sent can be shown until the person is erased, and not a moment longer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from consent_town import Town, keyring, towns

from consentry.consent.evidence import PREFIX
from consentry.consent.ledger import Ledger
from consentry.consent.sealed import SubjectKeys
from consentry.consent.signals.read import read_signal
from consentry.consent.signals.rows import SignalBlock
from consentry.store.tables import consent_evidence

ANN, BOB = "ann@example.com", "bob@example.com"
PAYLOAD = '{"context": {"consent": {"categoryPreferences": {"Newsletter": true, "Ads": false}}}, "who": "canary-ann"}'
KEPT = SignalBlock(type="segment", notice_version=3, mechanism="banner", keep=True)


@pytest.fixture
def filed(tmp_path: Path) -> Iterator[Town]:
    """A town whose store is a file."""
    yield from towns(tmp_path, url=f"sqlite:///{tmp_path / 'store.db'}")


def told(town: Town, value: str, *, block: SignalBlock = KEPT, payload: str = PAYLOAD) -> list[dict[str, object]]:
    row = {
        "source_system": "web",
        "identifier_type": "email",
        "identifier_value": value,
        "effective_at": "2026-01-01T00:00:00Z",
        "payload": payload,
    }
    town.ledger.record(read_signal(row, block, town.policy), policy=town.policy)
    return town.ledger.history("email", value)


def names(events: list[dict[str, object]]) -> list[str]:
    return [str(event["evidence_uri"]) for event in events]


def test_one_payload_is_kept_once_for_all_it_says(town: Town) -> None:
    events = told(town, ANN)
    assert len(events) == 2 and len(set(names(events))) == 1
    assert names(events)[0].startswith(PREFIX)
    assert town.ledger.evidence.open(names(events)) == {names(events)[0]: PAYLOAD}
    told(town, ANN)
    with town.store.begin() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(consent_evidence)).scalar() == 1


def test_the_same_words_of_two_people_are_kept_apart(town: Town) -> None:
    ann, bob = told(town, ANN), told(town, BOB)
    assert not set(names(ann)) & set(names(bob))
    town.ledger.suppress("email", ANN, reason="erasure")
    assert town.ledger.evidence.open(names(ann)) == {}
    assert town.ledger.evidence.open(names(bob)) == {names(bob)[0]: PAYLOAD}


def test_an_erasure_ends_the_evidence_and_leaves_the_ledger_whole(town: Town) -> None:
    events = told(town, ANN)
    assert town.ledger.suppress("email", f" {ANN.upper()} ", reason="erasure")
    assert town.ledger.evidence.open(names(events)) == {}
    assert town.ledger.verify() is None
    # Who was erased leaves nothing readable again, though a withdrawal is still heard.
    again = told(town, ANN, payload=PAYLOAD.replace("true", "false"))
    assert town.ledger.evidence.open(names(again)) == {}


def test_an_objection_ends_no_evidence(town: Town) -> None:
    events = told(town, ANN)
    town.ledger.suppress("email", ANN, reason="objection")
    assert town.ledger.evidence.open(names(events))


def test_evidence_is_not_readable_in_the_store(filed: Town, tmp_path: Path) -> None:
    told(filed, ANN)
    content = b"".join(path.read_bytes() for path in tmp_path.glob("store.db*"))
    assert b"canary-ann" not in content and b"categoryPreferences" not in content


def test_t47_evidence_is_read_and_ended_after_a_rotation(town: Town) -> None:
    events = told(town, ANN)
    rotated = Ledger(town.store, keyring(1, 2))
    SubjectKeys(town.store, keyring(1, 2)).rewrap()
    assert rotated.evidence.open(names(events)) == {names(events)[0]: PAYLOAD}
    rotated.suppress("email", ANN, reason="erasure")
    assert rotated.evidence.open(names(events)) == {}


def test_nothing_is_kept_unless_it_is_asked_for(town: Town) -> None:
    events = told(town, ANN, block=KEPT.model_copy(update={"keep": False}))
    assert names(events) == ["None", "None"]
