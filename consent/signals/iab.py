"""Read IAB strings: TCF v2.3, GPP with its US sections, and Global Privacy Control.

Layouts: IAB TCF "Consent string and vendor list formats" v2; Global-Privacy-Platform, Core and Sections/US-*. Since
2026-02-28 a TCF string without the segment disclosedVendors is invalid, on that day too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from consentry.consent.signals.bits import Bits, Malformed
from consentry.consent.signals.rows import Row, Sent

DISCLOSURE_NEEDED = datetime(2026, 2, 28, tzinfo=UTC)
_DISCLOSED = 1


@dataclass(frozen=True, slots=True)
class Tcf:
    """What a TCF string says to one vendor; `valid` is false where disclosedVendors is missing and must not be."""

    created: datetime
    updated: datetime
    purposes: frozenset[int]
    vendor: bool
    disclosed: bool
    valid: bool


def read_tcf(text: str, vendor: int) -> Tcf:
    """Read a TCF v2 string; raises Malformed for what is none."""
    core, *others = text.strip().split(".")
    if len(others) > 3:
        raise Malformed("The string has too many segments.")
    bits = Bits(core)
    if bits.number(6) != 2:
        raise Malformed("The string is not of TCF version 2.")
    created, updated = (_deciseconds(bits.number(36)) for _ in range(2))
    # CMP id and version, screen, language, vendor list and policy version, two flags, special features.
    bits.skip(12 + 12 + 6 + 12 + 12 + 6 + 1 + 1 + 12)
    field = bits.number(24)
    purposes = frozenset(number for number in range(1, 25) if field >> (24 - number) & 1)
    bits.skip(24 + 1 + 12)
    consented = bits.holds(vendor)
    disclosed: bool | None = None
    for other in others:
        segment = Bits(other)
        kind = segment.number(3)
        if kind not in (_DISCLOSED, 2, 3):
            raise Malformed("The string has a segment of no known type.")
        if kind == _DISCLOSED:
            disclosed = segment.holds(vendor)
    valid = disclosed is not None or created < DISCLOSURE_NEEDED
    return Tcf(created, updated, purposes, consented, disclosed is not False, valid)


def _deciseconds(value: int) -> datetime:
    if value > 10**11:
        raise Malformed("A date of the string is too far off.")
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=value * 100)


def tcf(sent: Sent) -> Iterator[Row]:
    """Read a TCF string into a word for each purpose of the policy with an alias {tcf: [...]}."""
    try:
        found = read_tcf(sent.payload, sent.block.vendor or 0)
    except Malformed:
        yield from sent.unreadable()
        return
    at = found.updated.isoformat()
    for name, purpose in sent.policy.purposes.items():
        asked = [number for alias in purpose.alias if isinstance(alias, dict) for number in alias.get("tcf", [])]
        if asked:
            grants = found.valid and found.vendor and found.disclosed and found.purposes >= set(asked)
            yield sent.says(name, "granted" if grants else "denied", regime="gdpr", effective_at=at)


# Section id -> (two-bit fields before the opt-outs, opt-outs, two-bit sensitive categories, known-child fields).
# usnat depends on its version; sections that are not listed are taken as opted out.
# The states' documents in Sections/US-States, read 2026-11. MD, IN, KY and RI (24 to 27) are drafts for comment, with a
# section header whose list of sub-sections cannot be written as they say (an id 0 in Fibonacci code): opted out.
_STATES = {
    8: (3, 2, 9, 2),  # California
    9: (3, 2, 8, 1),  # Virginia
    10: (3, 2, 7, 1),  # Colorado
    11: (4, 2, 8, 1),  # Utah
    12: (3, 2, 8, 3),  # Connecticut
    13: (3, 2, 8, 3),  # Florida
    14: (3, 2, 8, 3),  # Montana
    15: (3, 2, 11, 3),  # Oregon
    16: (3, 2, 8, 1),  # Texas
    17: (3, 2, 9, 5),  # Delaware
    18: (4, 2, 8, 1),  # Iowa
    19: (3, 2, 8, 1),  # Nebraska
    20: (3, 2, 8, 3),  # New Hampshire
    21: (3, 2, 10, 5),  # New Jersey
    22: (3, 2, 8, 1),  # Tennessee
    23: (3, 2, 8, 1),  # Minnesota
}
_USNAT = {1: (6, 3, 12, 2), 2: (6, 3, 16, 3)}
_USNAT_ID, _USP, _US_IDS = 7, 6, range(7, 28)


@dataclass(frozen=True, slots=True)
class UsChoice:
    """What a US section says: opted out, not opted out, or nothing (None); and whether this is a known child."""

    opted_out: bool | None
    child: bool = False


def read_gpp(text: str) -> list[UsChoice]:
    """Read the US sections of a GPP string; raises Malformed for what is none."""
    header, *sections = text.strip().split("~")
    ids = read_gpp_header(header)
    if len(ids) != len(sections):
        raise Malformed("The string has other sections than its header says.")
    return [
        read_section(number, section)
        for number, section in zip(ids, sections, strict=True)
        if number == _USP or number in _US_IDS
    ]


def read_gpp_header(text: str) -> list[int]:
    """Return the section ids of a GPP header, in order."""
    bits = Bits(text)
    if (bits.number(6), bits.number(6)) != (3, 1):
        raise Malformed("The string is no GPP string of version 1.")
    ids: list[int] = []
    last = 0
    for _ in range(bits.number(12)):
        is_range = bits.flag()
        start = last + bits.fibonacci()
        last = start + bits.fibonacci() if is_range else start
        if last > 1_000 or len(ids) + last - start >= 64:
            raise Malformed("The header names too many sections.")
        ids.extend(range(start, last + 1))
    return ids


def read_section(number: int, text: str) -> UsChoice:
    """Read one US section; one whose layout is not known counts as an opt-out."""
    if number == _USP:
        return _usp(text)
    core, *others = text.split(".")
    bits = Bits(core)
    version = bits.number(6)
    layout = _USNAT.get(version) if number == _USNAT_ID else _STATES.get(number) if version == 1 else None
    gpc = any(_is_gpc(Bits(other)) for other in others[:4])
    if layout is None:
        return UsChoice(True)
    notices, choices, sensitive, children = layout
    bits.skip(2 * notices)
    said = {bits.number(2) for _ in range(choices)}
    bits.skip(2 * sensitive)
    child = bits.number(2 * children) != 0
    if gpc or 1 in said or 3 in said:
        return UsChoice(True, child)
    return UsChoice(False if 2 in said else None, child)


def _is_gpc(bits: Bits) -> bool:
    return bits.number(2) == 1 and bits.flag()


def _usp(text: str) -> UsChoice:
    if len(text) != 4 or text[0] != "1" or text[2] not in "YN-":
        raise Malformed("The US privacy string is not four letters of version 1.")
    return UsChoice({"Y": True, "N": False, "-": None}[text[2]])


def gpp(sent: Sent) -> Iterator[Row]:
    """Read a GPP string: an opt-out in any US section ends sale and sharing; 0 (not applicable) is no word."""
    try:
        choices = read_gpp(sent.payload)
    except Malformed:
        yield from sent.unreadable()
        return
    if any(choice.child for choice in choices):
        yield sent.child()
    said = [choice.opted_out for choice in choices if choice.opted_out is not None]
    if said:
        for purpose in sent.sold_for:
            # Not having opted out is no consent: it counts under an opt-out regime alone.
            state, method = ("objected", "explicit") if any(said) else ("granted", "implied")
            yield sent.says(purpose, state, method=method, regime="us")


def gpc(sent: Sent) -> Iterator[Row]:
    """Read the header Sec-GPC: `1` is an objection to sale and sharing (11 CCR 7025); nothing else is a word."""
    if sent.payload.strip() == "1":
        for purpose in sent.sold_for:
            yield sent.says(purpose, "objected", method="gpc")
