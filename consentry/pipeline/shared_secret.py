"""The secret that whoever calls a job over HTTP shares with it; it is given in an environment variable."""

from __future__ import annotations

import os

from consentry.consent.signature import LEAST_SECRET
from consentry.errors import StopRun


def shared_secret(variable: str) -> bytes:
    """Return the secret of an environment variable. Raises StopRun when there is none, or one that can be guessed."""
    secret = os.environ.get(variable, "").strip().encode()
    if len(secret) < LEAST_SECRET or len(set(secret)) < 8:
        message = f"The environment variable {variable} holds no secret of {LEAST_SECRET} characters or more. Set one."
        raise StopRun(message, code="weak_key")
    return secret
