"""Which values are no identifiers: placeholders that people and systems type into fields that must be filled."""

# pyright: reportAttributeAccessIssue=false
# pyarrow.compute makes its functions at import, where no checker sees them.

from __future__ import annotations

import string

import pyarrow as pa
import pyarrow.compute as pc

# Segment Unify blocks `^[0-]*$`, -1, null and anonymous (identity-resolution-onboarding.md); the rest are the
# placeholders that CRM exports are full of. Compared in lower case, with surrounding punctuation gone.
_WORDS = frozenset(
    """
    -1 -9 -99 -999 #n/a (null) absent anon anonymous asdf asdfgh blank customer default deleted dummy empty example
    fake false guest invalid k.a. keine missing n.a. n.v.t. n/a n/d na nan nada nil nobody nomail no-email no_email
    noemail none noone nope not_available not_provided not_set notavailable notprovided null nv nvt placeholder private
    qwerty removed s/n sample sin tba tbc tbd test test1 test123 tester testing true undefined unknown unspecified
    unbekannt user void x xx xxx xxxx xyz yyy zzz
    """.split()  # noqa: SIM905 - a list of fifty quoted words reads worse
) | {"not available", "not provided", "not set", "no email", "no phone"}
# Before the @ only what no name can be: "guest" or "na" may be somebody's mailbox.
_MAILBOXES = frozenset(
    """
    abuse anon anonymous asdf asdfgh blank do-not-reply do_not_reply donot-reply donotreply dummy fake invalid
    mailer-daemon missing n.a n/a no-email no-reply no-spam no.reply no_email no_reply nobody noemail nomail none noone
    noreply nospam not_provided notavailable notprovided null placeholder postmaster qwerty test test1 test123 testing
    undefined unknown xxx xxxx
    """.split()  # noqa: SIM905
)
_MAIL_DOMAINS = frozenset({"test.com", "none.com", "na.com", "noemail.com", "nomail.com", "fake.com", "asdf.com"})
_REPEATED = "|".join(f"{c}{{3,}}" for c in string.ascii_lowercase + string.digits)

_FILLER = r"[\s0._*?#/\\-]"
SEQUENCES = frozenset(
    {"123456", "1234567", "12345678", "123456789", "1234567890", "0123456789", "9876543210", "987654321"}
)


def placeholder(values: pa.Array) -> pa.BooleanArray:
    """Tell which of the lower-case values stand for "there is none", whatever the identifier type."""
    known = pc.is_in(values, value_set=pa.array(sorted(_WORDS)))
    return pc.or_(known, pc.match_substring_regex(values, f"^{_FILLER}*$"))


def repeated(values: pa.Array) -> pa.BooleanArray:
    """Tell which values are one letter or digit, three times or more."""
    return pc.match_substring_regex(values, f"^(?:{_REPEATED})$")


def junk_email(values: pa.Array) -> pa.BooleanArray:
    """Tell which lower-case addresses belong to nobody: no-reply boxes, test@..., aaa@..., placeholder domains."""
    box = pc.replace_substring_regex(values, "@[^@]*$", "")
    domain = pc.replace_substring_regex(values, "^.*@", "")
    bad_box = pc.or_(
        pc.is_in(box, value_set=pa.array(sorted(_MAILBOXES))),
        pc.or_(repeated(box), pc.match_substring_regex(box, f"^{_FILLER}+$")),
    )
    return pc.or_(bad_box, pc.is_in(domain, value_set=pa.array(sorted(_MAIL_DOMAINS))))


def junk_digits(digits: str) -> bool:
    """Tell whether the digits of a phone number are filler: too few different ones, or a run along the keys."""
    national = digits.lstrip("0")
    return len(set(digits[-7:])) <= 1 or len(set(national)) <= 1 or national in SEQUENCES or digits in SEQUENCES
