"""How each advertising platform wants a value written before it is hashed, to be matched with its own hashes.

A set of rules has a name and a date and never changes: a platform that changes its page gets a new set. Every set
has golden vectors in tests/consent/vectors. What is empty after writing is no value.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

from consentry.consent.normal import normal, squeezed

Write = Callable[[str], str | None]
_GMAIL = re.compile(r"([^@]+)@(gmail\.com|googlemail\.com)")
_UK_POSTCODE = re.compile(r"([a-z]{1,2}[0-9][a-z0-9]?)([0-9][a-z]{2})")


def email(value: str) -> str | None:
    """Write an address without white space, in lower case."""
    text = squeezed(value).lower()
    return text if normal("email", text) else None


def _split(value: str) -> tuple[str, str]:
    local, _, domain = (email(value) or "").rpartition("@")
    return local, domain


def _gmail_without_dots(value: str) -> str | None:
    text = email(value)
    found = _GMAIL.fullmatch(text) if text else None
    return f"{found[1].replace('.', '')}@{found[2]}" if found else text


def _gmail_bare(value: str) -> str | None:
    """Drop dots and everything from a + on, for Gmail's two domains alone."""
    text = email(value)
    found = _GMAIL.fullmatch(text) if text else None
    if not found:
        return text
    local = found[1].partition("+")[0].replace(".", "")
    return f"{local}@{found[2]}" if local else None


def _without_suffix(value: str) -> str | None:
    local, domain = _split(value)
    bare = local.partition("+")[0]
    return f"{bare}@{domain}" if bare else None


def e164(value: str) -> str | None:
    """Write a number with + and country code; one without a country code cannot be written, and none is guessed."""
    return normal("phone", value)


def digits(value: str) -> str | None:
    """Write a number with its country code and without +."""
    number = normal("phone", value)
    return number[1:] if number else None


def _lower(value: str) -> str | None:
    return _composed(_plain(value).lower()) or None


def _letters(value: str) -> str | None:
    """Keep letters and marks of every script, in lower case: no punctuation, white space or digits."""
    return _composed("".join(c for c in _plain(value).lower() if unicodedata.category(c)[0] in "LM")) or None


def _name(value: str) -> str | None:
    """Drop punctuation and the white space around; letters of every script stay."""
    kept = (c for c in _plain(value).lower() if unicodedata.category(c)[0] not in "PSC")
    return " ".join(_composed("".join(kept)).split()) or None


def _gender(value: str) -> str | None:
    first = (_lower(value) or "")[:1]
    return first if first in ("m", "f") else None


def _number_between(least: int, most: int, width: int) -> Write:
    def write(value: str) -> str | None:
        text = _plain(value)
        inside = text.isascii() and text.isdigit() and least <= int(text) <= most
        return f"{int(text):0{width}d}" if inside else None

    return write


def _postal_code(value: str) -> str | None:
    """Drop white space; of a US code the first five digits, of a UK one area, district and sector."""
    text = _composed(squeezed(value).lower())
    if re.fullmatch(r"\d{5}-?\d{4}", text):
        return text[:5]
    british = _UK_POSTCODE.fullmatch(text)
    return f"{british[1]}{british[2][0]}" if british else text or None


def _country(value: str) -> str | None:
    text = _lower(value) or ""
    return text if re.fullmatch(r"[a-z]{2}", text) else None


def _plain(value: str) -> str:
    """Return the text in NFKC, without invisible characters and without white space at its ends."""
    return "".join(c for c in _composed(value) if unicodedata.category(c) not in ("Cf", "Cc") or c.isspace()).strip()


def _composed(value: str) -> str:
    """Compose letters and their marks: once more after anything that stood between them was dropped."""
    return unicodedata.normalize("NFKC", value)


# google@2026-08: developers.google.com/data-manager/api/get-started/formatting: lower, no white space at all, for
#   gmail.com and googlemail.com no dots before the @ (the +suffix stays: the page is silent); phone with the +.
# google@2026-11: what Google's own formatter does (google-ads-datamanager-util 0.4.0, August 2026): for those two
#   domains the +suffix goes too; names trimmed and lower. Region and postal code are sent plain.
# meta: Meta's table as restated in help.hcltechsw.com (Unica, "Data Normalization"): trim, lower; phone digits with
#   country code and no +; names without punctuation, UTF-8 kept (Meta's own Python mixin drops every letter beyond
#   a-z, which contradicts the table and empties Cyrillic names). External ids and device ids are not hashed.
# linkedin: docs.tealium.com: lower, trim. snap: developers.snap.com, Conversions API best practices.
# tiktok: two pages contradict each other, so there are two sets: "How to create a custom audience with a customer
#   file" (September 2025: + kept, +suffix kept) and "List of supported IDs and formats" (August 2025: neither).
# x: developer.x.com, user data. uid2: IABTechLab/uid2docs: Gmail bare, base64 of the raw hash.
RULES: dict[str, dict[str, Write]] = {
    "google@2026-08": {"email": _gmail_without_dots, "phone": e164},
    "google@2026-11": {"email": _gmail_bare, "phone": e164, "given_name": _lower, "family_name": _lower},
    "meta@2026-08": {
        "email": email,
        "phone": digits,
        "given_name": _name,
        "family_name": _name,
        "gender": _gender,
        "birth_year": _number_between(1900, 2100, 4),
        "birth_month": _number_between(1, 12, 2),
        "birth_day": _number_between(1, 31, 2),
        "city": _letters,
        "state": _letters,
        "postal_code": _postal_code,
        "country": _country,
    },
    "linkedin@2026-08": {"email": email},
    "snap@2026-08": {"email": email, "phone": digits},
    "tiktok-file@2025-09": {"email": email, "phone": e164},
    "tiktok-ids@2025-08": {"email": _without_suffix, "phone": digits},
    "x@2026-08": {"email": email},
    "uid2@2026-08": {"email": _gmail_bare, "phone": e164},
}
IN_BASE64 = frozenset({"uid2@2026-08"})
