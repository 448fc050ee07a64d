"""Log in to Google's APIs with a service account's key (OAuth 2.0, JWT bearer grant, RFC 7523)."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import httpx
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from pydantic import SecretStr, TypeAdapter, ValidationError

from consentry.connectors.http import BaseUrl
from consentry.connectors.tokens import Login, token_endpoint
from consentry.errors import ConfigError

GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
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
    email, url, private = _read_key(key.get_secret_value())

    def form(_refresh: str | None) -> Mapping[str, str]:
        now = int(clock())
        claims = {"iss": email, "scope": scope, "aud": url, "iat": now, "exp": now + LIFETIME}
        return {"grant_type": GRANT, "assertion": _signed(claims, private)}

    fetch = token_endpoint(
        url, vendor="Google", account=account, form=form, transport=transport, sleep=sleep, clock=clock
    )
    return Login(fetch, account=account, clock=clock)


def _read_key(text: str) -> tuple[str, str, rsa.RSAPrivateKey]:
    try:
        found = json.loads(text)
        email, url = str(found["client_email"]), _URL.validate_python(found["token_uri"])
        private = serialization.load_pem_private_key(found["private_key"].encode(), password=None)
    except (ValueError, KeyError, TypeError, AttributeError, ValidationError):
        email, url, private = "", "", None
    if not isinstance(private, rsa.RSAPrivateKey):
        _no_key()
    return email, url, private


def _no_key() -> NoReturn:
    # Raised outside the handler: the error that was caught there quotes the key.
    raise ConfigError(
        "The Google credentials are not a service account's JSON key. Create one in the Google Cloud console and put "
        "the file's contents into the environment variable.",
        code="bad_credentials",
    )


def _signed(claims: Mapping[str, Any], private: rsa.RSAPrivateKey) -> str:
    """Write a JSON Web Token signed with RS256 (RFC 7515, section 7.1)."""
    head = {"alg": "RS256", "typ": "JWT"}
    content = b".".join(_coded(json.dumps(part, separators=(",", ":")).encode()) for part in (head, claims))
    signature = private.sign(content, padding.PKCS1v15(), hashes.SHA256())
    return (content + b"." + _coded(signature)).decode()


def _coded(content: bytes) -> bytes:
    return base64.urlsafe_b64encode(content).rstrip(b"=")
