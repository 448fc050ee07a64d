"""Read what a source reported about consent into the rows of the ledger, or say why it cannot be one.

Nothing is guessed towards a grant: a word that the source's vocabulary does not list is a denial, a purpose that the
policy does not know grants nothing, and a date that cannot be read is refused. A refusal by the person, however
badly written, is kept whenever it is clear whose it is: with a date of now if its own cannot be read.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from consentry.consent.instants import read_instant, written
from consentry.consent.normal import HASHED_KIND, normal
from consentry.consent.policy import Policy
from consentry.consent.rules import ANY, CHILD, UNMAPPED

_METHODS = frozenset({"explicit", "implied", "guardian", "gpc", "import", "agent"})
_MAX_TEXT = 255
MAX_EVIDENCE = 200_000


@dataclass(frozen=True, slots=True)
class Reported:
    """One row of the ledger before its identifier is keyed and its place in the chain is known.

    evidence: what was sent, as it came. undated: its date could not be read and is that of the reading. noted: what
    had to be taken as a refusal or set aside while reading, as codes.
    """

    kind: str
    value: str
    purpose: str
    state: str
    source_system: str
    source_event_id: str
    effective_at: datetime
    method: str
    mechanism: str | None
    regime: str | None
    jurisdiction: str | None
    notice_id: str | None
    notice_version: int | None
    expires_at: datetime | None
    evidence: str | None = None
    undated: bool = False
    noted: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Reported({self.source_system}, {self.purpose}, {self.state})"

    def same_as(self, purpose: str, state: str, effective_at: str) -> bool:
        """Tell whether a row that stands in the ledger under the same id says the same."""
        dated_alike = self.undated or written(self.effective_at) == effective_at
        return dated_alike and (self.purpose, self.state) == (purpose, state)

    def as_later_word(self) -> Reported:
        """Return this row under an id of its own: its source gave the id of an earlier row to another content."""
        content = "\x1f".join((self.purpose, self.state, written(self.effective_at)))
        return replace(self, source_event_id=_suffixed(self.source_event_id, content))


def read_row(row: Mapping[str, object], policy: Policy, *, now: datetime) -> Reported | str:
    """Read one row shaped like clean.consent; return the code of the refusal when it cannot be kept."""
    source, event_id = _text(row.get("source_system")), _text(row.get("source_event_id"))
    kind = _text(row.get("identifier_type"))
    if source is None or event_id is None or kind is None:
        return "no_event_id" if event_id is None else "incomplete"
    value = normal(kind, str(row.get("identifier_value") or ""), _text(row.get("region")))
    if value is None:
        if kind.endswith(HASHED_KIND):
            return "no_lower_case_hash"
        local = kind == "phone" and not str(row.get("identifier_value") or "+").strip().startswith("+")
        return "no_region" if local and not row.get("region") else "invalid_identifier"
    state, purpose, noted = _meaning(row, source, policy)
    effective, fault = _effective(row.get("effective_at"), policy, now)
    if fault:
        if state == "granted":
            return fault
        # The id carries the date that could not be read, so that the same row read again is the same row.
        event_id = _suffixed(event_id, f"{purpose}\x1f{state}\x1f{row.get('effective_at')}")
        noted = (*noted, fault)
    expires = read_instant(row.get("expires_at"))
    if expires is None and row.get("expires_at") is not None and state == "granted":
        return "unreadable_expiry"
    return Reported(
        kind=kind,
        value=value,
        purpose=purpose,
        state=state,
        source_system=source,
        source_event_id=event_id,
        effective_at=effective,
        method=_method(row.get("method")),
        mechanism=_text(row.get("mechanism")),
        regime=_lower(row.get("regime")),
        jurisdiction=_text(row.get("jurisdiction")),
        notice_id=_text(row.get("notice_id")),
        notice_version=_whole(row.get("notice_version")),
        expires_at=expires,
        evidence=_kept(row.get("evidence")),
        undated=fault is not None,
        noted=noted,
    )


def _meaning(row: Mapping[str, object], source: str, policy: Policy) -> tuple[str, str, tuple[str, ...]]:
    noted: list[str] = []
    word = row.get("state")
    state = policy.state_of(source, word) if isinstance(word, str) else None
    if state is None:
        noted.append("unknown_state")
    asked = _text(row.get("purpose"))
    purpose = policy.purpose_of(asked) if asked else None
    if asked in (ANY, CHILD) and state not in (None, "granted"):
        purpose = asked
    if purpose is None:
        noted.append("unknown_purpose")
    return state or "denied", purpose or UNMAPPED, tuple(noted)


def _effective(value: object, policy: Policy, now: datetime) -> tuple[datetime, str | None]:
    instant = read_instant(value)
    if instant is None:
        return now, "unreadable_time"
    return (now, "future_time") if instant > now + policy.file.merge.skew.span else (instant, None)


def _suffixed(event_id: str, content: str) -> str:
    return f"{event_id[:230]}#{hashlib.sha256(content.encode()).hexdigest()[:16]}"


def _method(value: object) -> str:
    word = value.strip().lower() if isinstance(value, str) else ""
    return word if word in _METHODS else "unknown"


def _lower(value: object) -> str | None:
    text = _text(value)
    return text.lower()[:16] if text else None


def _text(value: object) -> str | None:
    if value is None:
        return None
    text = "".join(c for c in str(value).strip() if unicodedata.category(c) not in ("Cc", "Cf"))
    # What is longer than the ledger keeps is told apart by its hash, not cut to the same beginning.
    return _suffixed(text, text) if len(text) > _MAX_TEXT else text or None


def _kept(value: object) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) <= MAX_EVIDENCE else None


def _whole(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    try:
        number = int(value)
    except ValueError:
        return None
    return number if 0 < number < 2**31 else None
