"""Tokens that run out and rotate: still logged in, whatever happens."""

from __future__ import annotations

import stat
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from urllib.parse import parse_qs

import httpx
import pytest
from pydantic import SecretStr

from consentry.connectors.http import HttpClient, HttpFailed
from consentry.connectors.tokens import Login, Tokens, TokenStore, token_endpoint

FIRST = SecretStr("canary-refresh-0")
_accounts = count()


class Vendor:
    """A server whose refresh tokens are good for one use; `expire` ends the access token of now."""

    def __init__(self) -> None:
        self.good, self.access, self.refreshes = FIRST.get_secret_value(), "", 0
        self.lock = threading.Lock()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        with self.lock:
            if request.url.path == "/token":
                return self._refresh(parse_qs(request.content.decode()))
            if request.headers["authorization"] != f"Bearer {self.access}":
                return httpx.Response(401, json=[{"errorCode": "INVALID_SESSION_ID"}])
            return httpx.Response(200, json={"ok": True})

    def _refresh(self, form: Mapping[str, list[str]]) -> httpx.Response:
        if form["refresh_token"] != [self.good]:
            self.good = ""  # as vendors do: whoever reuses a token loses the whole family
            return httpx.Response(400, json={"error": "invalid_grant"})
        self.refreshes += 1
        self.good, self.access = f"canary-refresh-{self.refreshes}", f"canary-access-{self.refreshes}"
        return httpx.Response(200, json={"access_token": self.access, "refresh_token": self.good, "expires_in": 7200})

    def expire(self) -> None:
        self.access = "another"


def _login(vendor: Vendor, folder: Path) -> Login:
    fetch = token_endpoint(
        "https://login.example.com/token",
        vendor="Vendor",
        account=f"tokens-{next(_accounts)}",
        form=lambda refresh: {"grant_type": "refresh_token", "refresh_token": refresh or ""},
        rotates=True,
        transport=httpx.MockTransport(vendor),
    )
    return Login(fetch, account="crm", refresh=FIRST, store=TokenStore(folder / "tokens.json"))


def _client(vendor: Vendor, folder: Path) -> HttpClient:
    login = _login(vendor, folder)
    return HttpClient(
        "https://api.example.com",
        vendor="Vendor",
        account=f"tokens-{next(_accounts)}",
        headers=login.headers,
        renew=login.renew,
        transport=httpx.MockTransport(vendor),
    )


def test_a_token_that_runs_out_in_mid_run_is_renewed_and_the_call_sent_again(tmp_path: Path) -> None:
    vendor = Vendor()
    client = _client(vendor, tmp_path)
    for _ in range(3):
        assert client.request("POST", "/x", body={}).body == {"ok": True}
        vendor.expire()
    assert vendor.refreshes == 3


def test_trap_4_two_workers_refresh_a_single_use_token_once(tmp_path: Path) -> None:
    vendor = Vendor()
    clients = [_client(vendor, tmp_path) for _ in range(4)]
    for _ in range(3):
        before = vendor.refreshes
        vendor.expire()
        with ThreadPoolExecutor(8) as pool:
            calls = [pool.submit(clients[n % 4].request, "GET", "/x") for n in range(16)]
        assert all(call.result().status == 200 for call in calls)
        assert vendor.refreshes == before + 1


def test_trap_4_after_a_crash_behind_a_refresh_the_account_is_still_logged_in(tmp_path: Path) -> None:
    vendor = Vendor()
    _login(vendor, tmp_path).tokens()
    # Nothing of the first process is left but its file.
    assert _client(vendor, tmp_path).request("GET", "/x").status == 200
    vendor.expire()
    assert _client(vendor, tmp_path).request("GET", "/x").status == 200
    assert vendor.refreshes == 2


def test_trap_4_tokens_lie_on_the_disk_before_anyone_can_use_them(tmp_path: Path) -> None:
    store = TokenStore(tmp_path / "tokens.json")
    seen: list[str] = []

    class Watched(TokenStore):
        def write(self, account: str, seed: str, tokens: Tokens) -> None:
            seen.append("written")
            super().write(account, seed, tokens)

    login = Login(lambda refresh: Tokens("a", "r2"), account="crm", refresh=FIRST, store=Watched(tmp_path / "t.json"))
    login.headers()
    assert seen == ["written"]
    store.write("crm", "s", Tokens("a"))
    assert stat.S_IMODE((tmp_path / "tokens.json").stat().st_mode) == 0o600


def test_a_new_refresh_token_in_the_configuration_supersedes_the_stored_one(tmp_path: Path) -> None:
    used: list[str | None] = []

    def fetch(refresh: str | None) -> Tokens:
        used.append(refresh)
        return Tokens(f"access-{len(used)}", f"next-{len(used)}")

    store = TokenStore(tmp_path / "tokens.json")
    Login(fetch, account="crm", refresh=SecretStr("one"), store=store).tokens()
    Login(fetch, account="crm", refresh=SecretStr("one"), store=store).tokens()
    Login(fetch, account="crm", refresh=SecretStr("two"), store=store).tokens()
    assert used == ["one", "two"]


def test_a_token_near_its_end_is_renewed_beforehand() -> None:
    now, made = 1000.0, count(1)
    login = Login(lambda refresh: Tokens(f"t{next(made)}", None, now + 100), account="a", clock=lambda: now)
    assert login.tokens().access == login.tokens().access == "t1"
    now += 50
    assert login.tokens().access == "t2"


def test_a_dead_refresh_token_ends_in_a_sentence_without_any_token(tmp_path: Path) -> None:
    vendor = Vendor()
    vendor.good = "spent elsewhere"
    with pytest.raises(HttpFailed, match="log in anew") as caught:
        _client(vendor, tmp_path).request("GET", "/x")
    assert caught.value.code == "invalid_grant"
    assert "canary" not in f"{caught.value!r}{caught.value.__context__!r}{caught.value.__dict__}"


def test_a_401_that_stays_is_not_asked_again_and_again(tmp_path: Path) -> None:
    seen: list[str] = []

    def refuse(request: httpx.Request) -> httpx.Response:
        seen.append(request.url.path)
        return httpx.Response(401)

    made = count(1)
    login = Login(lambda refresh: Tokens(f"t{next(made)}"), account="a")
    client = HttpClient(
        "https://api.example.com", vendor="Vendor", account=f"tokens-{next(_accounts)}",
        headers=login.headers, renew=login.renew, transport=httpx.MockTransport(refuse),
    )  # fmt: skip
    with pytest.raises(HttpFailed, match="credentials"):
        client.request("GET", "/x")
    assert seen == ["/x", "/x"]


def test_no_token_is_shown(tmp_path: Path) -> None:
    tokens = Tokens("canary", "canary", 1.0, {"instance_url": "canary"})
    login = Login(lambda refresh: tokens, account="a", refresh=FIRST, store=TokenStore(tmp_path / "t.json"))
    login.tokens()
    assert "canary" not in repr(tokens) + repr(login) + repr(TokenStore(tmp_path))
