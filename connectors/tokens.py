"""Access tokens that run out: fetched when needed, renewed by one at a time, and stored before they are used.

A connector makes one `Login` and gives it to its client:

    login = Login(
        token_endpoint("https://login.example.com/oauth/token", vendor="Vendor", account=account,
                       form=lambda refresh: {"grant_type": "refresh_token", "refresh_token": refresh, ...}),
        account=account, refresh=config.refresh_token, store=TokenStore(keep / "tokens.json"),
    )
    HttpClient(base_url, headers=login.headers, renew=login.renew, ...)

Some vendors let a refresh token be used once and give the next one with the answer (Salesforce, mandatory in
2026: airbyte #80783, #82783; tap-salesforce #223). Two workers that refresh at the same time, or a crash behind
a refresh, would lock the account out. So a refresh happens under a lock that all processes share, whoever gets
the lock looks first whether another has just done the work, and the new tokens lie on the disk before anyone
uses them.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from pydantic import SecretStr

from consentry.connectors.http import Answer, HttpClient, HttpFailed, vendor_code
from consentry.errors import StopRun

# A token that runs out within this many seconds is renewed beforehand.
EARLY = 60.0
# What an answer of a token endpoint says beside the tokens, and connectors ask for.
_KEPT = ("instance_url", "api_domain", "id", "scope")


class LoginRefused(HttpFailed):
    """A login that was refused: nothing that waited for it is at fault."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a vendor gave: the token for calls, the one for the next refresh, and when the first runs out.

    expires_at: Unix seconds, None when the vendor does not say. extra: plain words beside them, such as
    `instance_url`.
    """

    access: str = field(repr=False)
    refresh: str | None = field(default=None, repr=False)
    expires_at: float | None = None
    extra: Mapping[str, str] = field(default_factory=dict, repr=False)


# Asks the vendor for tokens, with the refresh token to be used now, None when there is none.
Fetch = Callable[[str | None], Tokens]


class TokenStore:
    """A file of tokens by account, which only its owner can read (mode 0600), and the lock of their refresh."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __repr__(self) -> str:
        return f"TokenStore({self._path})"

    def read(self, account: str, seed: str) -> Tokens | None:
        """Return the tokens of an account; None when the login they were made from has changed since."""
        kept = self._all().get(account)
        if not isinstance(kept, dict) or kept.get("seed") != seed:
            return None
        return Tokens(kept["access"], kept["refresh"], kept["expires_at"], kept["extra"])

    def write(self, account: str, seed: str, tokens: Tokens) -> None:
        """Put the tokens on the disk; when this returns they survive a crash."""
        content = json.dumps({**self._all(), account: {**asdict(tokens), "seed": seed}}).encode()
        beside = self._path.with_name(self._path.name + ".new")
        with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self._path)
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep every other thread and process out of the refresh."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(self._path.with_name(self._path.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def _all(self) -> dict[str, Any]:  # plain JSON
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return {}
        try:
            found = json.loads(content)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise StopRun(f"The token file {self._path} is damaged. Remove it and log in anew.", code="token_file")
        return found


class Login:
    """The tokens of one account; calls of any number of threads and processes may share it.

    fetch: asks the vendor. refresh: the refresh token of the configuration, with which the first login is made; a
    new one there supersedes what is stored. store: where tokens lie; without it they last as long as the object,
    which is enough where a refresh needs no refresh token. scheme: the word before the token in the header.
    """

    def __init__(
        self,
        fetch: Fetch,
        *,
        account: str,
        refresh: SecretStr | None = None,
        store: TokenStore | None = None,
        scheme: str = "Bearer",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._fetch, self._account, self._store, self._scheme, self._clock = fetch, account, store, scheme, clock
        self._first = refresh
        secret = refresh.get_secret_value() if refresh else ""
        self._seed = hashlib.sha256(secret.encode()).hexdigest()
        self._tokens: Tokens | None = None
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"Login({self._account})"

    def tokens(self) -> Tokens:
        """Return tokens that are good now; asks the vendor when there are none. Raises HttpFailed, RetryLater."""
        with self._lock:
            if self._tokens is None or not self._is_good(self._tokens):
                self._tokens = self._new(refused=None)
            return self._tokens

    def headers(self) -> dict[str, str]:
        """Return the header that a call carries."""
        return {"Authorization": f"{self._scheme} {self.tokens().access}"}

    def renew(self, refused: Mapping[str, str]) -> bool:
        """Make sure that the token of these headers, which the vendor refused, is not used again.

        Returns whether there is another one now.
        """
        token = refused.get("Authorization", "").removeprefix(f"{self._scheme} ")
        with self._lock:
            if self._tokens is None or self._tokens.access == token:
                self._tokens = self._new(refused=token)
            return self._tokens.access != token

    def _new(self, refused: str | None) -> Tokens:
        if self._store is None:
            kept = self._tokens.refresh if self._tokens else None
            return self._fetch(kept or self._configured())
        with self._store.locked():
            stored = self._store.read(self._account, self._seed)
            if stored and stored.access != refused and self._is_good(stored):
                return stored  # another worker was first
            tokens = self._fetch((stored.refresh if stored else None) or self._configured())
            if tokens.refresh is None and stored:
                tokens = Tokens(tokens.access, stored.refresh, tokens.expires_at, tokens.extra)
            self._store.write(self._account, self._seed, tokens)
            return tokens

    def _configured(self) -> str | None:
        return self._first.get_secret_value() if self._first else None

    def _is_good(self, tokens: Tokens) -> bool:
        return tokens.expires_at is None or tokens.expires_at - EARLY > self._clock()


def token_endpoint(
    url: str,
    *,
    vendor: str,
    account: str,
    form: Callable[[str | None], Mapping[str, str]],
    headers: Mapping[str, str] | None = None,
    rotates: bool = False,
    transport: httpx.BaseTransport | None = None,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.time,
) -> Fetch:
    """Return the function that asks an OAuth 2 token endpoint (RFC 6749, section 4.4 and 6) for tokens.

    form: the fields of the request, given the refresh token. rotates: a refresh token is good for one use, so that
    a request whose answer got lost is not simply sent again.
    """
    parts = urlsplit(url)
    sent = dict(headers or {})
    client = HttpClient(
        f"{parts.scheme}://{parts.netloc}",
        vendor=vendor,
        account=f"{account}/login",
        headers=lambda: sent,
        transport=transport,
        sleep=sleep,
    )

    def fetch(refresh: str | None) -> Tokens:
        path = parts.path or "/"
        failed: HttpFailed | None = None
        try:
            return _tokens(client.request("POST", path, form=form(refresh), repeatable=not rotates), vendor, clock())
        except HttpFailed as error:
            failed = error
        raise _refused(failed, vendor)

    return fetch


def _tokens(answer: Answer, vendor: str, now: float) -> Tokens:
    body = answer.body if isinstance(answer.body, Mapping) else {}
    access, refresh = body.get("access_token"), body.get("refresh_token")
    if not isinstance(access, str) or not access:
        code = vendor_code(body) or "no_token"
        raise HttpFailed(f"{vendor} answered the login without a token ({code}). Check the credentials.", code=code)
    try:
        expires_at = now + float(body["expires_in"])
    except (KeyError, TypeError, ValueError):
        expires_at = None
    extra = {name: value for name in _KEPT if isinstance(value := body.get(name), str)}
    return Tokens(access, refresh if isinstance(refresh, str) else None, expires_at, extra)


def _refused(failed: HttpFailed, vendor: str) -> HttpFailed:
    if failed.status not in (400, 401, 403):
        return failed
    message = (
        f"{vendor} refuses the login ({failed.code}). Check client id, secret and refresh token in the environment; "
        "a refresh token that was used elsewhere is dead, log in anew for another."
    )
    return LoginRefused(message, status=failed.status, code=failed.code)
