"""Meta's custom audiences as a destination, against the sandbox and the vendor's own package."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import httpx
import pytest

from consentry.connectors.base import Destination, Ok, Rejected, Removes, Unknown
from consentry.connectors.meta import Meta, MetaConfig
from consentry.errors import DestinationFailed, SkipRecord
from consentry.model.batch import Row
from consentry.testing.sandbox import Sandbox
from consentry.testing.sandbox.meta import Meta as Account
from tests.connectors.recorder import Recorder, account, batch, played


def _meta(url: str, token: str = "sandbox-meta", **more: Any) -> Meta:
    config = MetaConfig.model_validate({"base_url": url, "token": token})
    return Meta(config, account=account(), sleep=lambda seconds: None, **more)


@pytest.fixture
def ads(sandbox: Sandbox) -> Account:
    vendor = played(sandbox, Account)
    vendor.make("4711")
    return vendor


@pytest.fixture
def meta(sandbox: Sandbox, ads: Account) -> Meta:
    return _meta(sandbox.url("meta"))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _row(number: int, **more: str) -> Row:
    return Row(f"p{number}", {"email": _hash(f"person{number}@example.com"), **more}, {})


def _answering(**answer: Any) -> Meta:
    return _meta("https://graph.example.com", transport=httpx.MockTransport(lambda _: httpx.Response(200, json=answer)))


def test_people_are_added_and_removed_by_their_hashes(ads: Account, meta: Meta) -> None:
    rows = [_row(n) for n in range(1000)]
    assert list(meta.write(batch("4711", *rows))) == [Ok()] * 1000
    assert meta.api_calls == 1 and len(ads.audiences["4711"]) == 1000
    assert list(meta.remove(batch("4711", *rows[:999], operation="remove"))) == [Ok()] * 999
    assert set(ads.audiences["4711"]) == {_hash("person999@example.com")}


def test_an_upload_is_a_session_that_ends_with_its_last_request(ads: Account, meta: Meta) -> None:
    list(meta.write(batch("4711", _row(1), _row(2))))
    list(meta.write(batch("4711", _row(1), _row(2))))
    assert all(one["last_batch_flag"] is True and one["batch_seq"] == 1 for one in ads.sessions)
    assert [one["estimated_num_total"] for one in ads.sessions] == [2, 2]
    assert len({one["session_id"] for one in ads.sessions}) == 2
    assert all(0 < one["session_id"] < 2**63 for one in ads.sessions)


def test_trap_10_only_hashes_leave_and_external_ids_go_as_they_are(ads: Account, meta: Meta) -> None:
    rows = (
        Row("plain", {"email": "ada@example.com"}, {}),
        Row("upper", {"email": _hash("x").upper()}, {}),
        Row("empty", {"email": ""}, {}),
        Row("names", {}, {"given_name": _hash("ada")}),
        Row("id", {"external_id": "C-1"}, {"given_name": _hash("ada"), "city": None, "our_own": "x"}),
        Row("hashed", {"email_sha256": _hash("bea@example.com")}, {}),
    )
    assert list(meta.write(batch("4711", *rows))) == [
        Rejected("not_hashed", "EMAIL"),
        Rejected("not_hashed", "EMAIL"),
        Rejected("identifier_missing"),
        Rejected("identifier_missing"),
        Ok(),
        Ok(),
    ]
    assert ads.audiences["4711"]["C-1"] == {"EMAIL": "", "EXTERN_ID": "C-1", "FN": _hash("ada")}
    assert _hash("bea@example.com") in ads.audiences["4711"]


def test_trap_11_samples_of_bad_entries_are_never_shown(sandbox: Sandbox, ads: Account, meta: Meta) -> None:
    sandbox.fault("partial", match="/meta/", rows=(0,))
    outcomes = list(meta.write(batch("4711", _row(1, external_id="canary-1"), _row(2))))
    assert "canary" not in repr(outcomes)
    one = _answering(num_received=1, num_invalid_entries=1, invalid_entry_samples=["canary@example.com"])
    assert list(one.write(batch("4711", _row(1)))) == [Rejected("invalid_entry")]


def test_trap_3_entries_that_cannot_be_read_are_found_by_halving(ads: Account, meta: Meta) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        data = json.loads(request.content)["payload"]["data"]
        bad = sum(_hash("person5@example.com") in one for one in data)
        return httpx.Response(200, json={"num_received": len(data), "num_invalid_entries": bad})

    halving = _meta("https://graph.example.com", transport=httpx.MockTransport(answer))
    outcomes = list(halving.write(batch("4711", *(_row(n) for n in range(64)))))
    assert outcomes == [Rejected("invalid_entry") if n == 5 else Ok() for n in range(64)]
    assert halving.api_calls == 13


def test_an_answer_that_does_not_add_up_leaves_everybody_unknown() -> None:
    for answer in ({"num_received": 1, "num_invalid_entries": 0}, {"num_received": 2}, {}):
        assert list(_answering(**answer).write(batch("4711", _row(1), _row(2)))) == [Unknown(), Unknown()]


def test_an_audience_below_the_minimum_is_a_refusal_with_its_code(ads: Account, meta: Meta) -> None:
    list(meta.write(batch("4711", _row(1), _row(2))))
    ads.smallest = 2
    with pytest.raises(SkipRecord) as caught:
        list(meta.remove(batch("4711", _row(1), operation="remove")))
    assert caught.value.code == "AudienceTooSmall"


def test_unknown_audiences_and_wrong_tokens_are_sentences(sandbox: Sandbox, meta: Meta) -> None:
    with pytest.raises(DestinationFailed, match="404"):
        list(meta.write(batch("none", _row(1))))
    stranger = _meta(sandbox.url("meta"), "canary")
    assert not stranger.check().ok and meta.check().ok and "canary" not in f"{stranger.check()}{stranger.http!r}"


def test_trap_13_the_version_is_in_every_request(sandbox: Sandbox, ads: Account) -> None:
    recorder = Recorder()
    meta = _meta(sandbox.url("meta"), transport=recorder)
    meta.check()
    list(meta.write(batch("4711", _row(1))))
    assert all(one.url.path.startswith("/meta/v25.0/") for one in recorder.seen)
    recorder.close()


def test_it_adds_and_removes(meta: Meta) -> None:
    assert isinstance(meta, Destination) and isinstance(meta, Removes)


@pytest.mark.filterwarnings("ignore")
def test_the_payload_is_that_of_the_vendors_own_package(sandbox: Sandbox, ads: Account) -> None:
    """facebook-business 26: `add_users` and `remove_users` send what `format_params` makes, to `/{id}/users`."""
    package = pytest.importorskip(
        "facebook_business.adobjects.customaudience", reason="Install the dependency group `reference`."
    )
    recorder = Recorder()
    meta = _meta(sandbox.url("meta"), transport=recorder)
    list(meta.write(batch("4711", _row(1, external_id="C-1"))))
    (body,) = recorder.bodies("/users")
    theirs = package.CustomAudience.format_params(
        ["EMAIL", "EXTERN_ID"],
        [[_hash("person1@example.com"), "C-1"]],
        is_raw=True,
        pre_hashed=True,
        session=body["session"],
    )
    assert body == theirs
    recorder.close()
