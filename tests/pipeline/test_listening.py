"""Consent over HTTP: a message that is not signed, or is old, changes nothing; a withdrawal is heard at once."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass

import httpx
import pytest
from starlette.applications import Starlette

from consentry.consent.signature import HEADER, is_signed, sign
from consentry.errors import StopRun
from consentry.pipeline.listening import listener
from consentry.pipeline.load import Loaded, load_job
from consentry.pipeline.privacy import ledger_of
from tests.conftest import TinyJob, email

SECRET = "an-0penly-known-secret-of-the-tests-7f3a"
WORD = {
    "source_system": "form",
    "source_event_id": "w-1",
    "identifier_type": "email",
    "identifier_value": email(3),
    "purpose": "news",
    "state": "withdrawn",
    "effective_at": "2026-01-20T00:00:00Z",
}


@pytest.fixture
def loaded(tiny: TinyJob, monkeypatch: pytest.MonkeyPatch) -> Loaded:
    """The tiny job, and the secret."""
    monkeypatch.setenv("HOOK", SECRET)
    return load_job(tiny.path)


@dataclass(frozen=True)
class Client:
    """Posts to the listener without a socket."""

    app: Starlette

    def post(self, path: str, *, content: bytes, headers: dict[str, str]) -> httpx.Response:
        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
                return await client.post(path, content=content, headers=headers)

        return asyncio.run(ask())


@pytest.fixture
def client(loaded: Loaded) -> Client:
    """A client of the listener."""
    return Client(listener(loaded, variable="HOOK"))


def signed(body: bytes, *, ago: int = 0, secret: str = SECRET) -> dict[str, str]:
    return {HEADER: sign(secret.encode(), body, at=int(time.time()) - ago)}


def events(loaded: Loaded) -> int:
    with ledger_of(loaded) as ledger:
        return ledger.head()[0]


def test_a_signed_withdrawal_is_in_the_ledger_at_once(client: Client, loaded: Loaded) -> None:
    body = json.dumps(WORD).encode()
    answer = client.post("/consents", content=body, headers=signed(body))
    assert (answer.status_code, answer.json()["new"], events(loaded)) == (200, 1, 1)
    # The same message again is the same word.
    again = client.post("/consents", content=body, headers=signed(body))
    assert (again.json()["duplicate"], events(loaded)) == (1, 1)


BODY = json.dumps(WORD).encode()


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {HEADER: ""},
        {HEADER: "t=,v1="},
        {HEADER: sign(SECRET.encode(), BODY, at=0)},
        signed(BODY, ago=301),
        signed(BODY, ago=-3_000),
        signed(BODY, secret=SECRET + "x"),
        signed(BODY + b" "),
        {HEADER: signed(BODY)[HEADER].replace("v1=", "v0=")},
        {HEADER: signed(BODY)[HEADER].upper()},
        {HEADER: signed(BODY)[HEADER] + "," + signed(BODY)[HEADER]},
    ],
)
def test_t71_a_message_without_its_signature_or_too_old_changes_nothing(
    client: Client, loaded: Loaded, headers: dict[str, str]
) -> None:
    answer = client.post("/consents", content=BODY, headers=headers)
    assert (answer.status_code, answer.json()["code"], events(loaded)) == (401, "not_signed", 0)
    assert email(3) not in answer.text


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/consents", b"", 400),
        ("/consents", b"{", 400),
        ("/consents", b"[]", 400),
        ("/consents", b"[1]", 400),
        ("/consents", b"[" * 100_000, 400),
        ("/consents", b" " * 1_000_001, 413),
        ("/consents", json.dumps([WORD] * 1_001).encode(), 400),
        ("/signals/nobody", BODY, 404),
    ],
)
def test_t73_what_cannot_be_read_is_refused_and_changes_nothing(
    client: Client, loaded: Loaded, path: str, body: bytes, status: int
) -> None:
    answer = client.post(path, content=body, headers=signed(body))
    assert (answer.status_code, events(loaded)) == (status, 0)


def test_what_a_platform_sends_is_decoded(client: Client, loaded: Loaded) -> None:
    payload = {
        "identifier": email(3),
        "identifierType": "email",
        "purposes": [{"Id": "x", "TransactionType": "WITHDRAWN"}],
    }
    row = {**{k: v for k, v in WORD.items() if k not in ("purpose", "state")}, "payload": json.dumps(payload)}
    body = json.dumps([row]).encode()
    answer = client.post("/signals/onetrust", content=body, headers=signed(body))
    assert (answer.status_code, answer.json()["new"], events(loaded)) == (200, 1, 1)


@pytest.mark.parametrize("secret", ["", "short", "a" * 64])
def test_a_secret_that_can_be_guessed_refuses_to_start(
    loaded: Loaded, monkeypatch: pytest.MonkeyPatch, secret: str
) -> None:
    monkeypatch.setenv("HOOK", secret)
    with pytest.raises(StopRun, match="holds no secret") as caught:
        listener(loaded, variable="HOOK")
    assert not secret or secret not in str(caught.value)


def test_a_signature_is_of_one_body_and_one_time() -> None:
    header = sign(b"k" * 32, b"body", at=1_000)
    assert is_signed(b"k" * 32, b"body", header, now=1_300)
    assert not is_signed(b"k" * 32, b"body", header, now=1_300.1)
    assert not is_signed(b"k" * 32, b"body", header.replace("t=1000", "t=1001"), now=1_001)
