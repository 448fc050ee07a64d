"""Change a value on its way out as the policy says: pass, token, match hash, band, truncate, generalise, drop.

A value that a transform cannot read becomes None and does not leave: a birth date that is not a date is no year.
Match hashes are what ad platforms demand and no pseudonym: anyone can try all phone numbers.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from datetime import date, datetime
from typing import Annotated, Literal, assert_never

from pydantic import Field

from consentry.config import Model, Name
from consentry.consent.normal import normal, squeezed
from consentry.consent.tokens import token
from consentry.model.batch import Value

DIRECT_IDENTIFIERS = frozenset({"email", "phone"})
_GMAIL = re.compile(r"([^@]+)@(gmail\.com|googlemail\.com)")


class _Rule(Model):
    special_category: Name | None = None


class Pass(_Rule):
    """Let the value out as it is."""

    transform: Literal["pass"]


class Drop(_Rule):
    """Keep the value in."""

    transform: Literal["drop"]


class Token(_Rule):
    """Put a token of this destination in the value's place."""

    transform: Literal["token"]


class Band(_Rule):
    """Name the band of `width` a number falls into: 30-39; from `top` on, 80+."""

    transform: Literal["band"]
    width: Annotated[int, Field(gt=0)]
    top: int | None = None


class Truncate(_Rule):
    """Keep the first `length` characters."""

    transform: Literal["truncate"]
    length: Annotated[int, Field(ge=1)]


class GeneraliseDate(_Rule):
    """Keep the month (2011-12), quarter (2011-Q4) or year (2011) of a date."""

    transform: Literal["generalise_date"]
    to: Literal["month", "quarter", "year"]


class MatchSha256(Model):
    """Hash an identifier as the platform's rules say, to be matched with the platform's own hashes."""

    transform: Literal["match_sha256"]
    rules: str


class PassIdentifier(Model):
    """Let the identifier out in its normal form."""

    transform: Literal["pass"]


class TokenIdentifier(Model):
    """Put a token of this destination in the identifier's place."""

    transform: Literal["token"]


FieldRule = Annotated[Pass | Drop | Token | Band | Truncate | GeneraliseDate, Field(discriminator="transform")]
IdentifierRule = Annotated[PassIdentifier | MatchSha256 | TokenIdentifier, Field(discriminator="transform")]


def leave(rule: FieldRule, value: Value, key: bytes, version: int) -> Value:
    """Return what leaves in a field's place, None when nothing does; key: that of the token, if one is made."""
    if value is None:
        return None
    match rule:
        case Pass():
            return value
        case Drop():
            return None
        case Token():
            return token(key, value, version=version)
        case Band():
            return band(value, rule.width, rule.top)
        case Truncate():
            return str(value)[: rule.length]
        case GeneraliseDate():
            return generalise_date(value, rule.to)
        case _:
            assert_never(rule)


def leave_identifier(rule: IdentifierRule, kind: str, value: str, key: bytes, version: int) -> str | None:
    """Return what leaves in an identifier's place, None when the value can identify nobody."""
    form = normal(kind, value)
    if form is None:
        return None
    match rule:
        case PassIdentifier():
            # Gmail's dots are part of what the person wrote; only matching goes without them.
            return squeezed(value).lower() if kind == "email" else form
        case TokenIdentifier():
            return token(key, form, version=version)
        case MatchSha256():
            return match_hash(rule.rules, kind, value)
        case _:
            assert_never(rule)


def band(value: Value, width: int, top: int | None) -> str | None:
    """Name the band of a number: 34 in tens is 30-39, and 80 with top 80 is 80+."""
    try:
        number = int(float(value)) if value is not None and not isinstance(value, bool) else None
    except (ValueError, OverflowError):
        return None
    if number is None:
        return None
    if top is not None and number >= top:
        return f"{top}+"
    low = number // width * width
    return f"{low}-{low + width - 1}"


def generalise_date(value: object, to: Literal["month", "quarter", "year"]) -> str | None:
    """Return the month, quarter or year of a date or of ISO 8601 text."""
    try:
        day = value if isinstance(value, date) else datetime.fromisoformat(str(value))
    except ValueError:
        return None
    if to == "year":
        return f"{day.year:04d}"
    return f"{day.year:04d}-{day.month:02d}" if to == "month" else f"{day.year:04d}-Q{(day.month + 2) // 3}"


def match_hash(rules: str, kind: str, value: str) -> str | None:
    """Return the lower-case hex SHA-256 of an identifier as `rules` write it, None when it cannot be written so."""
    written = _RULES[rules][kind](value)
    return hashlib.sha256(written.encode()).hexdigest() if written else None


def rules_fault(kind: str, rule: IdentifierRule) -> str | None:
    """Return the sentence of what is wrong with the rules an identifier is to be hashed by, if anything."""
    if not isinstance(rule, MatchSha256):
        return None
    if rule.rules not in _RULES:
        return f"The match rules {rule.rules!r} are not known. There are: {', '.join(sorted(_RULES))}."
    if kind not in _RULES[rule.rules]:
        return f"The match rules {rule.rules!r} say nothing of {kind!r}. They know: {', '.join(_RULES[rule.rules])}."
    return None


def _trimmed_email(value: str) -> str | None:
    text = squeezed(value).lower()
    return text if normal("email", text) else None


def _google_email(value: str) -> str | None:
    text = _trimmed_email(value)
    found = _GMAIL.fullmatch(text) if text else None
    return f"{found[1].replace('.', '')}@{found[2]}" if found else text


def _e164(value: str) -> str | None:
    return normal("phone", value)


def _digits(value: str) -> str | None:
    number = normal("phone", value)
    return number[1:] if number else None


# google: developers.google.com/data-manager/api/get-started/formatting: lower, no white space at all, for
#   gmail.com and googlemail.com no dots before the @ (the +suffix stays: the page is silent); phone with the +.
# meta: Meta's table as restated in help.hcltechsw.com (Unica, "Data Normalization"): trim, lower; phone digits
#   with country code and no +.
# linkedin: docs.tealium.com: lower, trim. snap: developers.snap.com, Conversions API best practices.
_RULES: dict[str, dict[str, Callable[[str], str | None]]] = {
    "google@2026-08": {"email": _google_email, "phone": _e164},
    "meta@2026-08": {"email": _trimmed_email, "phone": _digits},
    "linkedin@2026-08": {"email": _trimmed_email},
    "snap@2026-08": {"email": _trimmed_email, "phone": _digits},
}
