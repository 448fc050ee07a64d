"""Tell whether a message to the consent listener comes from who knows the secret, and is not an old one.

    X-Consentry-Signature: t=<seconds since 1970>,v1=<hex HMAC-SHA256 of "<t>.<body>">

The header is built as Stripe and Segment build theirs: the time is signed too, so that a message that somebody caught
cannot be sent again later.
"""

from __future__ import annotations

import hmac
import re

HEADER = "X-Consentry-Signature"
TOLERANCE_S = 300
LEAST_SECRET = 32
_SHAPE = re.compile(r"t=([0-9]{1,12}),v1=([0-9a-f]{64})")


def sign(secret: bytes, body: bytes, *, at: int) -> str:
    """Return the header of a message; at: seconds since 1970."""
    return f"t={at},v1={_mac(secret, body, str(at))}"


def is_signed(secret: bytes, body: bytes, header: str, *, now: float) -> bool:
    """Tell whether the header is that of this very message, made in the last five minutes."""
    found = _SHAPE.fullmatch(header)
    if found is None:
        return False
    fresh = abs(now - int(found[1])) <= TOLERANCE_S
    return hmac.compare_digest(found[2], _mac(secret, body, found[1])) and fresh


def _mac(secret: bytes, body: bytes, at: str) -> str:
    return hmac.digest(secret, at.encode() + b"." + body, "sha256").hex()
