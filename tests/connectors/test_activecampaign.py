"""ActiveCampaign as a destination, against the sandbox."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from consentry.connectors.activecampaign import ActiveCampaign, ActiveCampaignConfig
from consentry.connectors.base import Destination, Ok, Rejected, Removes, Unknown
from consentry.errors import DestinationFailed
from consentry.model.batch import Row
from consentry.testing.sandbox import Sandbox
from consentry.testing.sandbox.activecampaign import ActiveCampaign as Account
from tests.connectors.recorder import Recorder, account, batch, person, played


def _made(sandbox: Sandbox, transport: Any = None, **settings: Any) -> ActiveCampaign:
    return _at(sandbox.url("activecampaign"), transport, **settings)


def _at(url: str, transport: Any = None, **settings: Any) -> ActiveCampaign:
    config = ActiveCampaignConfig.model_validate({"base_url": url, "token": "sandbox-activecampaign", **settings})
    return ActiveCampaign(config, account=account(), sleep=lambda seconds: None, transport=transport)


@pytest.fixture
def there(sandbox: Sandbox) -> Account:
    vendor = played(sandbox, Account)
    vendor.make("7", "8")
    return vendor


def test_people_join_change_and_leave(sandbox: Sandbox, there: Account) -> None:
    there.fields += ["OTHER", "TIER"]
    connector = _made(sandbox)
    assert isinstance(connector, Destination) and isinstance(connector, Removes)
    rows = [person(n, tier="a", given_name="Ada") for n in range(5)]
    outcomes = list(connector.write(batch("7", *rows)))
    assert all(isinstance(one, Ok) and one.remote_id for one in outcomes)
    assert len(there.members()["7"]) == 5
    assert there.people["person1@example.com"] | {"id": "x"} == {"id": "x", "firstName": "Ada", "TIER": "a"}
    calls = connector.api_calls
    list(connector.write(batch("7", person(1, tier=None), operation="change")))
    assert connector.api_calls == calls + 1
    assert there.people["person1@example.com"]["TIER"] == ""
    known = outcomes[2].remote_id if isinstance(outcomes[2], Ok) else None
    leaving = batch("7", person(1), person(2, known), person(2, known), person(999), operation="remove")
    assert all(isinstance(one, Ok) for one in connector.remove(leaving))
    assert there.members()["7"] == [f"person{n}@example.com" for n in (0, 3, 4)]


@pytest.mark.parametrize(("status", "word"), [("0", "unconfirmed"), ("2", "unsubscribed"), ("3", "bounced")])
def test_trap_2_nobody_is_subscribed_again(sandbox: Sandbox, there: Account, status: str, word: str) -> None:
    there.audiences["7"]["person1@example.com"] = status
    outcomes = list(_made(sandbox).write(batch("7", person(1), person(2))))
    assert outcomes[0] == Rejected(word)
    assert isinstance(outcomes[1], Ok)
    assert there.audiences["7"]["person1@example.com"] == status
    assert not there.resubscribed


def test_who_unsubscribed_is_found_behind_a_page_of_lists(sandbox: Sandbox, there: Account) -> None:
    for number in range(100, 320):
        there.audiences[str(number)] = {"person1@example.com": "1"}
    there.audiences["999"] = {"person1@example.com": "2"}
    assert list(_made(sandbox).write(batch("999", person(1)))) == [Rejected("unsubscribed")]
    assert not there.resubscribed


def test_only_the_option_subscribes_again_and_not_who_bounced(sandbox: Sandbox, there: Account) -> None:
    there.audiences["7"] = {"person1@example.com": "2", "person2@example.com": "3"}
    recorder = Recorder()
    outcomes = list(_made(sandbox, recorder, resubscribe=True).write(batch("7", person(1), person(2))))
    assert isinstance(outcomes[0], Ok)
    assert outcomes[1] == Rejected("bounced")
    (sent,) = recorder.bodies("/api/3/contactLists")
    contact = there.people["person1@example.com"]["id"]
    assert sent == {"contactList": {"list": "7", "contact": contact, "status": "1", "sourceid": 4}}
    assert there.resubscribed == ["person1@example.com"]
    recorder.close()


def test_leaving_touches_no_other_list_and_nobody_who_was_not_on_it(sandbox: Sandbox, there: Account) -> None:
    connector = _made(sandbox)
    list(connector.write(batch("7", person(1))))
    list(connector.write(batch("8", person(1), person(2))))
    list(connector.remove(batch("7", person(1), person(2), operation="remove")))
    assert there.audiences["7"] == {"person1@example.com": "2"}
    assert there.members()["8"] == ["person1@example.com", "person2@example.com"]


def test_a_contact_that_was_deleted_there_is_out(sandbox: Sandbox, there: Account) -> None:
    assert list(_made(sandbox).remove(batch("7", person(1, "4711"), operation="remove"))) == [Ok("4711")]


def test_trap_3_a_refused_contact_is_one_dead_letter(sandbox: Sandbox, there: Account) -> None:
    rows = (person(1), Row("bad", {"email": "no-address"}, {}), Row("none", {}, {}), person(2))
    outcomes = list(_made(sandbox).write(batch("7", *rows)))
    assert outcomes[1] == Rejected("email_invalid")
    assert outcomes[2] == Rejected("identifier_missing", "email")
    assert there.members()["7"] == ["person1@example.com", "person2@example.com"]
    assert "no-address" not in repr(outcomes)


def test_a_wrong_key_list_or_field_is_a_sentence_and_sends_nobody(sandbox: Sandbox, there: Account) -> None:
    stranger = _made(sandbox, token="canary")
    assert not stranger.check().ok and _made(sandbox).check().ok
    assert "canary" not in f"{stranger.check()!r}{stranger.http!r}{stranger.config!r}"
    for audience, sentence in (("9", "has nothing at"), ("vips", "number of a list")):
        with pytest.raises(DestinationFailed, match=sentence):
            list(_made(sandbox).write(batch(audience, person(1))))
    with pytest.raises(DestinationFailed, match="no custom field with the tag 'TIER'"):
        list(_made(sandbox).write(batch("7", person(1, tier="a"))))
    assert not there.people


def test_the_base_url_is_asked_for_and_never_made_up() -> None:
    with pytest.raises(ValidationError, match="base_url"):
        ActiveCampaignConfig.model_validate({"token": "x"})


def test_an_answer_without_the_lists_never_counts_as_not_unsubscribed() -> None:
    seen: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.method + request.url.path)
        return httpx.Response(200, json={"contact": {"id": "1"}})

    connector = _at("https://shop.api-us1.example.com", httpx.MockTransport(answer))
    outcomes = connector.write(batch("7", person(1)))
    assert next(outcomes) == Unknown()
    with pytest.raises(DestinationFailed, match="not its API"):
        next(outcomes)
    assert "POST/api/3/contactLists" not in seen


def test_at_most_five_requests_a_second_are_announced() -> None:
    ((limit,),) = ActiveCampaign.capabilities.quota.values()
    assert (limit.calls, limit.seconds) == (5, 1.0)
