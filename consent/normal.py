"""Bring an identifier to the form under which the ledger and the suppression list know it.

All spellings of one mailbox or one number must meet, or a withdrawal misses the person it came from: NFKC,
no zero-width characters, no spaces, lower case, IDNA domains, and for Gmail no dots and no +suffix, which Gmail
ignores (support.google.com/mail/answer/7436150). Junk that many records share is never an identifier.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

import phonenumbers

from consentry.errors import ConfigError

_GMAIL = frozenset({"gmail.com", "googlemail.com"})
# A kind of identifier that comes hashed is declared by its name, never guessed from how a value looks.
HASHED_KIND = "_sha256"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_E164 = re.compile(r"\+[1-9]\d{6,14}")
_JUNK_WORDS = frozenset(
    {"", "-", "0", "n/a", "na", "nan", "nil", "none", "null", "test", "undefined", "unknown", "anonymous", "guest"}
)
_JUNK_MAILBOXES = re.compile(r"(?:test|none|na|null|noreply|no-reply|unknown|nomail|noemail)@.*|.*@(?:test\.com|none)")


def normal(kind: str, value: str, region: str | None = None) -> str | None:
    """Return the normal form of an identifier, or None when it can identify nobody.

    region: ISO 3166 alpha-2 country of a phone number written without its country code; never guessed.
    """
    forms = normal_forms(kind, value, region)
    return forms[0] if forms else None


def identifying(kind: str, value: str, region: str | None = None) -> str:
    """Return the normal form of an identifier; raises ConfigError when it can identify nobody."""
    form = normal(kind, value, region)
    if form is None:
        raise ConfigError(f"This {kind} can identify nobody. {why_nobody(kind)}")
    return form


def normal_forms(kind: str, value: str, region: str | None = None) -> tuple[str, ...]:
    """Return every normal form, the ledger's first; the wider ones are for suppression, which must not miss.

    A +suffix is dropped in the wider form of any mailbox: the ledger may not (a grant for one is no grant for
    the other), suppression must.
    """
    text = squeezed(value)
    if text.casefold() in _JUNK_WORDS or len(text) > 320:
        return ()
    if kind.endswith(HASHED_KIND):
        return (text,) if is_hash(text) else ()
    if kind == "email":
        return _email_forms(text)
    if kind == "phone":
        number = _phone(text, region)
        return (number,) if number else ()
    return (text,)


def is_hash(text: str) -> bool:
    """Tell whether a text is a SHA-256 as platforms compare it: 64 hexadecimal digits in lower case."""
    return _SHA256.fullmatch(text) is not None


def why_nobody(kind: str) -> str:
    """Return what to do about an identifier of a kind that can identify nobody."""
    if kind.endswith(HASHED_KIND):
        return "A hash is 64 hexadecimal digits in lower case, of the value itself and not of another hash."
    return "A phone number needs its country code or a region; a filler that many records share is nobody."


def squeezed(text: str) -> str:
    """Return the text in NFKC without white space and invisible characters."""
    if text.isascii() and text.isprintable() and " " not in text:
        return text
    plain = ""
    # What is taken out can let a mark join the letter before it, which NFKC then writes as one.
    while plain != text:
        plain = text
        composed = unicodedata.normalize("NFKC", plain)
        text = "".join(c for c in composed if not c.isspace() and unicodedata.category(c) not in ("Cf", "Cc"))
    return text


def _email_forms(text: str) -> tuple[str, ...]:
    local, _, domain = text.lower().rpartition("@")
    # 'İ'.lower() is an i and a combining dot; composed again so that both spellings meet.
    local = unicodedata.normalize("NFKC", local)
    if not local or "." not in domain:
        return ()
    domain = _ascii_domain(domain.rstrip("."))
    if _JUNK_MAILBOXES.fullmatch(f"{local}@{domain}"):
        return ()
    bare = local.partition("+")[0] or local
    if domain in _GMAIL:
        return (f"{bare.replace('.', '')}@gmail.com",)
    return tuple(dict.fromkeys((f"{local}@{domain}", f"{bare}@{domain}")))


@lru_cache(maxsize=65_536)
def _ascii_domain(domain: str) -> str:
    if domain.isascii():
        return domain
    try:
        return domain.encode("idna").decode("ascii")
    except UnicodeError:
        return domain


def _phone(text: str, region: str | None) -> str | None:
    if _E164.fullmatch(text):
        return None if len(set(text[2:])) == 1 else text
    try:
        number = phonenumbers.parse(text, region.upper() if region else None)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_possible_number(number):
        return None
    e164 = str(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))
    return None if len(set(e164[2:])) == 1 else e164
