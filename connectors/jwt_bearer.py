"""Sign the assertions with which a service logs in without a password (RFC 7523, RS256)."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from pydantic import SecretStr

from consentry.errors import ConfigError

GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"


def assertion(private_key: SecretStr, claims: Mapping[str, str | int], header: Mapping[str, str] | None = None) -> str:
    """Return the signed claims as a compact JWT.

    private_key: RSA, in PEM; line ends may be written as \\n, as they are in one-line variables.
    Raises ConfigError when it is no such key.
    """
    key = _loaded(private_key)
    signed = f"{_coded({'alg': 'RS256', 'typ': 'JWT', **(header or {})})}.{_coded(claims)}"
    signature = key.sign(signed.encode(), PKCS1v15(), SHA256())
    return f"{signed}.{_base64url(signature)}"


def _loaded(private_key: SecretStr) -> RSAPrivateKey:
    pem = private_key.get_secret_value().replace("\\n", "\n").encode()
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    # Raised here and not above, so that the error's context does not hold the key.
    if not isinstance(key, RSAPrivateKey):
        raise ConfigError("private_key is no unencrypted RSA key in PEM. Check the variable that holds it.")
    return key


def _coded(value: Mapping[str, str | int]) -> str:
    return _base64url(json.dumps(value, separators=(",", ":")).encode())


def _base64url(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()
