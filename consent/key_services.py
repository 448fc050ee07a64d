"""Let a key service keep the key that the master keys are wrapped under: Vault's transit engine, or AWS KMS.

Only wrapped masters lie on our disk; without the service and the right to use its key nothing can be read. A master is
bound to its version, so that wrapped masters cannot change places in the file.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

from consentry.errors import ConfigError, StopRun

T = TypeVar("T")
TIMEOUT_S = 10
_HERE = frozenset({"127.0.0.1", "localhost", "::1"})


class KeyService(Protocol):
    """What wraps and unwraps; `place` names the key for people, and is no secret."""

    @property
    def place(self) -> str: ...
    def wrap(self, master: bytes, version: int) -> str: ...
    def unwrap(self, wrapped: str, version: int) -> bytes: ...


class VaultTransit:
    """A key of Vault's transit engine (developer.hashicorp.com/vault/api-docs/secret/transit), of type aes256-gcm96.

    variable: the environment variable with the token, which needs `update` on encrypt/<key> and decrypt/<key>.
    """

    def __init__(self, url: str, key: str, *, mount: str = "transit", variable: str = "VAULT_TOKEN") -> None:
        try:
            import hvac
        except ImportError:
            raise ConfigError("Install consentry[vault] to keep keys in Vault.") from None
        _refuse_open_line(url)
        token = os.environ.get(variable, "").strip()
        if not token:
            raise StopRun(f"The environment variable {variable} is not set. Set it to a Vault token.", code="no_key")
        self.place = f"vault:{mount}/{key}"
        self._key, self._mount = key, mount
        # The client is untyped.
        client: Any = hvac.Client(url=url, token=token, timeout=TIMEOUT_S)
        self._transit = client.secrets.transit

    def wrap(self, master: bytes, version: int) -> str:
        """Return a master as Vault's ciphertext."""
        plain = base64.b64encode(master).decode()
        answer = _asked(self.place, lambda: self._transit.encrypt_data(plaintext=plain, **self._named(version)))
        return _inside(self.place, lambda: str(answer["data"]["ciphertext"]))

    def unwrap(self, wrapped: str, version: int) -> bytes:
        """Return the master of a ciphertext."""
        answer = _asked(self.place, lambda: self._transit.decrypt_data(ciphertext=wrapped, **self._named(version)))
        return _inside(self.place, lambda: base64.b64decode(answer["data"]["plaintext"], validate=True))

    def _named(self, version: int) -> dict[str, str]:
        bound = base64.b64encode(_bound(version).encode()).decode()
        return {"name": self._key, "mount_point": self._mount, "associated_data": bound}


class AwsKms:
    """A symmetric key of AWS KMS; credentials come from where boto3 looks for them, never from the job.

    key: id, ARN or alias. endpoint: another address of the service, such as that of a VPC endpoint.
    """

    def __init__(self, key: str, *, region: str | None = None, endpoint: str | None = None) -> None:
        try:
            import boto3
            from botocore.config import Config
        except ImportError:
            raise ConfigError("Install consentry[aws] to keep keys in AWS KMS.") from None
        if endpoint:
            _refuse_open_line(endpoint)
        self.place, self._key = f"aws_kms:{key}", key
        patience = Config(connect_timeout=TIMEOUT_S, read_timeout=TIMEOUT_S, retries={"total_max_attempts": 3})
        # The client is made from data files and has no type.
        self._client: Any = _asked(
            self.place, lambda: boto3.client("kms", region_name=region, endpoint_url=endpoint, config=patience)
        )

    def wrap(self, master: bytes, version: int) -> str:
        """Return a master as base64 of KMS's ciphertext."""
        answer = _asked(self.place, lambda: self._client.encrypt(Plaintext=master, **self._named(version)))
        return _inside(self.place, lambda: base64.b64encode(answer["CiphertextBlob"]).decode())

    def unwrap(self, wrapped: str, version: int) -> bytes:
        """Return the master of a ciphertext."""
        blob = _inside(self.place, lambda: base64.b64decode(wrapped, validate=True))
        answer = _asked(self.place, lambda: self._client.decrypt(CiphertextBlob=blob, **self._named(version)))
        return _inside(self.place, lambda: bytes(answer["Plaintext"]))

    def _named(self, version: int) -> dict[str, Any]:
        return {"KeyId": self._key, "EncryptionContext": {"consentry": _bound(version)}}


def _bound(version: int) -> str:
    return f"consentry/master/k{version}"


def _refuse_open_line(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _HERE):
        raise ConfigError(f"Keys do not travel to {parts.hostname or url!r} without https. Write its https address.")


# What a client answers is its own; it is looked into by `_inside`.
def _asked(place: str, ask: Callable[[], Any]) -> Any:
    try:
        return ask()
    except Exception as error:  # the border: the clients' errors quote addresses, requests and answers
        kind = type(error).__name__
    message = f"The key service {place} did not answer as it should ({kind}). Nothing is read or sent without its keys."
    raise StopRun(message, code="keys_unreachable")


def _inside(place: str, look: Callable[[], T]) -> T:
    try:
        return look()
    except (KeyError, TypeError, ValueError):
        pass
    raise StopRun(f"The key service {place} gave an answer that holds no key.", code="keys_unreachable")
