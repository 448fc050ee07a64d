"""Change a value on its way out as the policy says: pass, token, match hash, band, truncate, generalise, drop.

A value that a transform cannot read becomes None and does not leave: a birth date that is not a date is no year.
Match hashes are what ad platforms demand and no pseudonym: anyone can try all phone numbers.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Annotated, Literal, Self, assert_never

from pydantic import Field, model_validator

from consentry.config import Model, Name
from consentry.consent.match_rules import IN_BASE64, RULES
from consentry.consent.normal import HASHED_KIND, is_hash, normal, squeezed
from consentry.consent.tokens import token
from consentry.model.batch import Value

DIRECT_IDENTIFIERS = frozenset({"email", "phone"})


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


class GeneraliseGeo(_Rule):
    """Round a latitude or longitude: one decimal is about 11 km, none about 111 km."""

    transform: Literal["generalise_geo"]
    decimals: Annotated[int, Field(ge=0, le=2)] = 1


class GeneraliseIp(_Rule):
    """Keep the network of an address: 24 bits of IPv4, 48 of IPv6."""

    transform: Literal["generalise_ip"]


class Seal(_Rule):
    """Put a token in the value's place that whoever holds the job's keys can open again (AES-SIV)."""

    transform: Literal["seal"]


class MatchSha256(Model):
    """Hash an identifier as the platform's rules say, to be matched with the platform's own hashes."""

    transform: Literal["match_sha256"]
    rules: str


class MatchField(_Rule):
    """Hash a field as the platform's rules say, to be matched beside the identifiers; `kind`: what the field is."""

    transform: Literal["match_sha256"]
    rules: str
    kind: Literal[
        "given_name",
        "family_name",
        "gender",
        "birth_year",
        "birth_month",
        "birth_day",
        "city",
        "state",
        "postal_code",
        "country",
    ]

    @model_validator(mode="after")
    def _is_known(self) -> Self:
        fault = match_fault(self.rules, self.kind)
        if fault:
            raise ValueError(fault)
        return self


class PassIdentifier(Model):
    """Let the identifier out in its normal form."""

    transform: Literal["pass"]


class TokenIdentifier(Model):
    """Put a token of this destination in the identifier's place."""

    transform: Literal["token"]


FieldRule = Annotated[
    Pass | Drop | Token | Seal | Band | Truncate | GeneraliseDate | GeneraliseGeo | GeneraliseIp | MatchField,
    Field(discriminator="transform"),
]
IdentifierRule = Annotated[PassIdentifier | MatchSha256 | TokenIdentifier, Field(discriminator="transform")]


def leave(rule: FieldRule, value: Value, key: bytes, version: int, seal: Callable[[str], str]) -> Value:
    """Return what leaves in a field's place, None when nothing does.

    key: that of the token, if one is made. seal: makes a token that can be opened again.
    """
    if value is None:
        return None
    match rule:
        case Pass():
            return value
        case Drop():
            return None
        case Token():
            return token(key, value, version=version)
        case Seal():
            return seal(str(value))
        case GeneraliseGeo():
            return generalise_geo(value, rule.decimals)
        case GeneraliseIp():
            return generalise_ip(str(value))
        case Band():
            return band(value, rule.width, rule.top)
        case Truncate():
            return str(value)[: rule.length]
        case GeneraliseDate():
            return generalise_date(value, rule.to)
        case MatchField():
            return match_hash(rule.rules, rule.kind, str(value))
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


def generalise_geo(value: Value, decimals: int) -> str | None:
    """Round a coordinate in degrees, None for what is none; nothing of the lost places can be read from it."""
    try:
        degrees = Decimal(str(value).strip())
    except InvalidOperation:
        return None
    if isinstance(value, bool) or not degrees.is_finite() or abs(degrees) > 180:
        return None
    rounded = degrees.quantize(Decimal(1).scaleb(-decimals))
    return str(abs(rounded) if rounded == 0 else rounded)


def generalise_ip(value: str) -> str | None:
    """Return the network of an address: 203.0.113.0/24 or 2001:db8:1::/48; an IPv4 inside an IPv6 is an IPv4."""
    try:
        address = ip_address(value.strip())
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    bits = 24 if address.version == 4 else 48
    return str(ip_network(f"{address}/{bits}", strict=False))


def match_hash(rules: str, kind: str, value: str) -> str | None:
    """Return an identifier hashed (SHA-256) as `rules` write it, None when it cannot be written so.

    A kind that ends in `_sha256` was hashed before it came here: lower-case hex passes as it is, all else is no hash.
    """
    if kind.endswith(HASHED_KIND):
        return value if is_hash(value) else None
    written = RULES[rules][kind](value)
    if not written:
        return None
    digest = hashlib.sha256(written.encode()).digest()
    return base64.b64encode(digest).decode() if rules in IN_BASE64 else digest.hex()


def rules_fault(kind: str, rule: IdentifierRule) -> str | None:
    """Return the sentence of what is wrong with the rules an identifier is to be hashed by, if anything."""
    return match_fault(rule.rules, kind) if isinstance(rule, MatchSha256) else None


def match_fault(rules: str, kind: str) -> str | None:
    """Return the sentence of what is wrong with hashing a kind of value by some rules, if anything."""
    if rules not in RULES:
        return f"The match rules {rules!r} are not known. There are: {', '.join(sorted(RULES))}."
    if kind.removesuffix(HASHED_KIND) not in RULES[rules]:
        return f"The match rules {rules!r} say nothing of {kind!r}. They know: {', '.join(RULES[rules])}."
    return None
