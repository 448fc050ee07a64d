"""What did the people allow: the consent events of both days, from two systems that do not always agree.

Day 1 holds the history up to the morning of 9 December 2011; day 2 the withdrawals of that afternoon.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np

from consentry.testing.people import Person
from consentry.testing.records import Notes

DAY_2 = datetime(2011, 12, 9, 12, tzinfo=UTC)
WITHDRAWALS = 0.025  # of the customers, on day 2, of e-mail; a third as many of ads
_UNKNOWN_STATES = ("maybe", "opted-in?", "TRUE", "1", "subscribed")
# What became of the question; the rest was never asked. Conflict: two systems say opposite things within 5 minutes.
_EMAIL = {
    "granted": 0.70,
    "denied": 0.07,
    "withdrawn": 0.05,
    "expired": 0.04,
    "superseded": 0.04,
    "conflict": 0.02,
    "unknown_state": 0.01,
    "unknown_purpose": 0.01,
}
_ADS = {"granted": 0.55, "denied": 0.15, "withdrawn": 0.04, "superseded": 0.02, "conflict": 0.01}
_PROFILING = {"objected": 0.03}


@dataclass(slots=True)
class Choices:
    """The events made so far, and who said yes to what and never anything else.

    granted: (person key, purpose) of every plain yes. objected: of every objection.
    """

    rng: np.random.Generator
    notes: Notes
    granted: set[tuple[str, str]] = field(default_factory=set)
    objected: set[tuple[str, str]] = field(default_factory=set)
    made: Counter[str] = field(default_factory=Counter)

    def day1(self, people: list[Person]) -> Iterator[str]:
        """Give the lines of day 1, person after person."""
        for person in people:
            for purpose, shares in (("email_marketing", _EMAIL), ("ads_targeting", _ADS), ("profiling", _PROFILING)):
                story = _pick(shares, float(self.rng.random()))
                if story:
                    yield from self._tell(story, person, purpose)

    def day2(self, people: list[Person], members: dict[str, set[str]]) -> Iterator[str]:
        """Give the withdrawals of day 2, by people who are members of a segment, plainly said yes and share nothing.

        members: purpose -> keys of the people in a segment that is synced for it.
        """
        plain = [p for p in people if not p.role and (p.key, "profiling") not in self.objected]
        count = round(sum(1 for p in people if p.customer_number) * WITHDRAWALS)
        for purpose, wanted in (("email_marketing", count), ("ads_targeting", count // 3)):
            able = [p for p in plain if p.key in members[purpose] and (p.key, purpose) in self.granted]
            chosen = self.rng.permutation(len(able))[:wanted].tolist()
            for n in sorted(chosen):
                self.notes.defects[f"day2_withdrawn_{purpose}"] += 1
                self.notes.rows["consents_day2"] += 1
                moment = DAY_2 + timedelta(minutes=int(self.rng.integers(0, 700)))
                yield self._line(able[n], purpose, "withdrawn", moment, source="preference_centre")

    def _tell(self, story: str, person: Person, purpose: str) -> Iterator[str]:
        """Tell one person's story with one purpose, in one to three events."""
        asked = DAY_2 - timedelta(minutes=int(self.rng.integers(60, 500 * 24 * 60)))
        later = asked + (DAY_2 - asked) * float(self.rng.uniform(0.1, 0.9))
        if story != "granted" and story != "denied":
            self.notes.defects[f"consent_{story}"] += 1
        match story:
            case "withdrawn":
                told = [
                    (purpose, "granted", asked, "checkout", 3),
                    (purpose, "withdrawn", later, "preference_centre", 3),
                ]
            case "expired":
                old = datetime(2009, 6, 1, tzinfo=UTC) + timedelta(minutes=int(self.rng.integers(0, 180 * 24 * 60)))
                told = [(purpose, "granted", old, "checkout", 2)]
            case "superseded":
                told = [(purpose, "granted", asked, "checkout", 1)]
            case "conflict":
                soon = asked + timedelta(seconds=int(self.rng.integers(5, 280)))
                told = [(purpose, "granted", asked, "checkout", 3), (purpose, "denied", soon, "newsletter_form", 3)]
            case "unknown_state":
                told = [(purpose, str(self.rng.choice(_UNKNOWN_STATES)), asked, "newsletter_form", 3)]
            case "unknown_purpose":
                told = [("sms_2009_campaign", "granted", asked, "newsletter_form", 3)]
            case "granted" if self.rng.random() < 0.12:
                # Said yes twice: at the checkout, and again when the notice changed.
                told = [(purpose, "granted", asked, "checkout", 2), (purpose, "granted", later, "preference_centre", 3)]
            case _:
                told = [(purpose, story, asked, "checkout", 3)]
        if story == "granted":
            self.granted.add((person.key, purpose))
        if story == "objected":
            self.objected.add((person.key, purpose))
        for what, state, moment, source, version in told:
            self.notes.rows["consents_day1"] += 1
            yield self._line(person, what, state, moment, source=source, version=version)

    def _line(
        self, person: Person, purpose: str, state: str, moment: datetime, *, source: str, version: int = 3
    ) -> str:
        self.made[source] += 1
        by_number = bool(person.customer_number) and person.role in ("shop_no_email", "shop_junk_email")
        event = {
            "event_id": f"{source}-{self.made[source]:06d}",
            "source": source,
            "identifier_type": "customer_number" if by_number else "email",
            "identifier": person.customer_number if by_number else person.email,
            "region": person.country or None,
            "purpose": purpose,
            "state": state,
            "method": "explicit",
            "mechanism": {"checkout": "tick_box", "newsletter_form": "form"}.get(source, "settings_page"),
            "notice_id": "privacy-notice",
            "notice_version": version,
            "regime": "gdpr",
            "jurisdiction": person.country or None,
            "effective_at": moment.isoformat(timespec="seconds").replace("+00:00", "Z"),
            "expires_at": None,
        }
        return json.dumps(event, ensure_ascii=False, separators=(",", ":")) + "\n"


def _pick(shares: dict[str, float], chance: float) -> str:
    """Pick the story whose share the chance falls into; empty beyond the last."""
    for story, share in shares.items():
        if chance < share:
            return story
        chance -= share
    return ""
