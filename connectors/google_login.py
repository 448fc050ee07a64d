"""Log in to Google's APIs with a service account's key (OAuth 2.0, JWT bearer grant, RFC 7523)."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping

import httpx
from pydantic import SecretStr, TypeAdapter, ValidationError

from consentry.connectors.http import BaseUrl
from consentry.connectors.jwt_bearer import GRANT, assertion
from consentry.connectors.tokens import Login, token_endpoint
from consentry.errors import ConfigError

# An assertion is good for an hour at most (Google, "Using OAuth 2.0 for Server to Server Applications").
LIFETIME = 3600
_URL: TypeAdapter[str] = TypeAdapter(BaseUrl)


def google_login(
    key: SecretStr,
    scope: str,
    *,
    account: str,
    transport: httpx.BaseTransport | None = None,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.time,
) -> Login:
    """Return the login of a service account.

    key: the JSON key file's contents. scope: a URL such as https://www.googleapis.com/auth/analytics.readonly.
    Raises ConfigError when the key is none; the message quotes nothing of it.
    """
    email, url, private = _read_key(key)

    def form(_refresh: str | None) -> Mapping[str, str]:
        now = int(clock())
        claims: dict[str, str | int] = {"iss": email, "scope": scope, "aud": url, "iat": now, "exp": now + LIFETIME}
        return {"grant_type": GRANT, "assertion": assertion(private, claims)}

    fetch = token_endpoint(
        url, vendor="Google", account=account, form=form, transport=transport, sleep=sleep, clock=clock
    )
    return Login(fetch, account=account, clock=clock)


def _read_key(key: SecretStr) -> tuple[str, str, SecretStr]:
    """Return the account's address, where it logs in, and its private key."""
    try:
        found = json.loads(key.get_secret_value())
        parts = str(found["client_email"]), _URL.validate_python(found["token_uri"]), SecretStr(found["private_key"])
        assertion(parts[2], {})
    except (ValueError, KeyError, TypeError, ValidationError, ConfigError):
        parts = None
    # Raised here and not above: the error that was caught there quotes the key.
    if parts is None:
        raise ConfigError(
            "The Google credentials are not a service account's JSON key. Create one in the Google Cloud console and "
            "put the file's contents into the environment variable.",
            code="bad_credentials",
        )
    return parts
