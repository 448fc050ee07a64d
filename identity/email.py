"""The canonical form of an e-mail address: Unicode folded, lower case, the domain in ASCII."""

# pyright: reportAttributeAccessIssue=false
# pyarrow.compute makes its functions at import, where no checker sees them.

from __future__ import annotations

import unicodedata

import pyarrow as pa
import pyarrow.compute as pc
from email_validator import EmailNotValidError, validate_email

# RFC 5321, section 4.5.3.1: 64 octets before the @, 254 for the whole path.
MAX_LENGTH = 254
# Plain ASCII addresses that the library accepts as they stand; the others are asked of the library itself, at
# about 20 microseconds each. RE2 runs in linear time whatever the value.
_PLAIN = (
    r"^[a-z0-9_+-]{1,32}(?:\.[a-z0-9_+-]{1,31}){0,1}@"
    r"(?:[a-z0-9](?:[a-z0-9]{0,40}|[a-z0-9-]{0,20}[a-z0-9])\.){1,3}[a-z]{2,18}$"
)
_ASKED = r"xn--|@..--|\...--|\.(?:arpa|invalid|local|localhost|onion|test)$"


def canonical_emails(values: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Return the canonical addresses, null where there is none, and a reason code for each null.

    values: text, folded by NFKC, without invisible characters, trimmed, lower case. Only syntax is looked at, no
    DNS: a customer's address does not leave the machine. Reserved test domains (RFC 2606) are addresses too.
    """
    plain = pc.and_not(pc.match_substring_regex(values, _PLAIN), pc.match_substring_regex(values, _ASKED))
    slow = pc.filter(values, pc.invert(plain))
    asked = [_ask(value) for value in slow.to_pylist()]
    canonical = pc.replace_with_mask(values, pc.invert(plain), pa.array(asked, pa.string()))
    reasons = pc.if_else(pc.is_null(canonical), "email_syntax", pa.scalar(None, pa.string()))
    return canonical, reasons


def _ask(value: str) -> str | None:
    if len(value) > MAX_LENGTH:
        return None
    try:
        found = validate_email(value, check_deliverability=False, test_environment=True)
    except (EmailNotValidError, UnicodeError):
        return None
    address = unicodedata.normalize("NFKC", f"{found.local_part}@{found.ascii_domain}").lower()
    return address if len(address) <= MAX_LENGTH else None
