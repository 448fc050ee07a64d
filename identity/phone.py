"""The canonical form of a phone number: E.164, with the region as declared and never guessed."""

from __future__ import annotations

import re

import phonenumbers
import pyarrow as pa

from consentry.identity.junk import junk_digits

# Ofcom keeps 07700 900000 to 900999 free for drama (ofcom.org.uk, "Numbers for drama use"); libphonenumber calls
# them invalid for want of an operator. Nobody answers them, so that test data may use them.
_DRAMA = re.compile(r"\+447700900\d{3}")
# E.164 has 15 digits; with brackets, spaces, an exit code and an extension no number is longer than this.
MAX_LENGTH = 40
Verdict = tuple[str | None, str, str | None]


def canonical_phones(values: pa.Array, regions: pa.Array) -> tuple[pa.Array, pa.Array, pa.Array]:
    """Return canonical numbers (null where there is none), a status and a reason code for each.

    values: text without invisible characters, trimmed. regions: ISO 3166 codes of two letters, or null.
    """
    verdicts = [_verdict(value, region) for value, region in zip(values.to_pylist(), regions.to_pylist(), strict=True)]
    columns = list(zip(*verdicts, strict=True)) or [(), (), ()]
    return tuple(pa.array(column, pa.string()) for column in columns)


def _verdict(value: str, region: str | None) -> Verdict:
    if len(value) > MAX_LENGTH:
        return None, "invalid", "too_long"
    digits = "".join(c for c in value if c.isdecimal())
    if not digits:
        return None, "invalid", "phone_syntax"
    if junk_digits(digits):
        return None, "blocked", "repeated_digits"
    international = value.startswith("+")
    if not international and not region:
        return None, "invalid", "phone_without_region"
    home = (region or "").strip().upper()
    if not international and home not in phonenumbers.SUPPORTED_REGIONS:
        return None, "invalid", "phone_unknown_region"
    return _parsed(value, None if international else home)


def _parsed(value: str, region: str | None) -> Verdict:
    try:
        number = phonenumbers.parse(value, region)
    except phonenumbers.NumberParseException:
        return None, "invalid", "phone_syntax"
    # An office shares one number and tells its people apart by the extension, which E.164 cannot carry.
    if number.extension:
        return None, "invalid", "phone_with_extension"
    text = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    if junk_digits(str(number.national_number)):
        return None, "blocked", "repeated_digits"
    if not phonenumbers.is_valid_number(number) and not _DRAMA.fullmatch(text):
        return None, "invalid", "phone_not_assigned"
    return text, "ok", None
