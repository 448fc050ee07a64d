"""Customer.io, Braze and Iterable as destinations, against the sandbox."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from consentry.connectors.base import Destination, Ok, Rejected, Removes, Skipped, Unknown
from consentry.connectors.braze import Braze, BrazeConfig
from consentry.connectors.customer_io import CustomerIo, CustomerIoConfig
from consentry.connectors.http_destination import HttpDestination
from consentry.connectors.iterable import Iterable, IterableConfig
from consentry.errors import DestinationFailed
from consentry.model.batch import Row
from consentry.testing.sandbox import Sandbox
from consentry.testing.sandbox import segments_by_id as accounts
from tests.connectors.recorder import Recorder, account, batch, person, played


def _customer_io(url: str, transport: Any = None, **settings: Any) -> CustomerIo:
    values = {"base_url": url, "site_id": "site", "token": "sandbox-customer-io", **settings}
    config = CustomerIoConfig.model_validate(values)
    return CustomerIo(config, account=account(), sleep=lambda seconds: None, transport=transport)


def _braze(url: str, transport: Any = None, **settings: Any) -> Braze:
    config = BrazeConfig.model_validate({"base_url": url, "token": "sandbox-braze", "identifier": "email", **settings})
    return Braze(config, account=account(), sleep=lambda seconds: None, transport=transport)


def _iterable(url: str, transport: Any = None, **settings: Any) -> Iterable:
    config = IterableConfig.model_validate({"base_url": url, "token": "sandbox-iterable", **settings})
    return Iterable(config, account=account(), sleep=lambda seconds: None, transport=transport)


MAKE: dict[str, Any] = {"customer_io": _customer_io, "braze": _braze, "iterable": _iterable}


@pytest.fixture(params=sorted(MAKE))
def name(request: pytest.FixtureRequest, sandbox: Sandbox) -> str:
    found = sandbox.vendors[str(request.param)]
    assert isinstance(found, accounts.AudienceVendor)
    found.make("7")
    return found.name


def _members(sandbox: Sandbox, name: str, audience: str) -> set[str]:
    return set(sandbox.vendors[name].members().get(audience, []))


def _audience(name: str) -> str:
    return "vips" if name == "braze" else "7"


def test_people_join_change_and_leave_in_few_calls(sandbox: Sandbox, name: str) -> None:
    connector: HttpDestination[Any] = MAKE[name](sandbox.url(name), create=True)
    assert isinstance(connector, Destination) and isinstance(connector, Removes)
    rows = [person(n, tier="a") for n in range(150)]
    assert list(connector.write(batch(_audience(name), *rows))) == [Ok()] * 150
    assert connector.api_calls <= 2
    assert len(_members(sandbox, name, _audience(name))) == 150
    changed = batch(_audience(name), person(1, tier="b"), operation="change")
    assert list(connector.write(changed)) == [Ok()]
    leaving = batch(_audience(name), *rows[1:], rows[1], person(999), operation="remove")
    assert list(connector.remove(leaving)) == [Ok()] * 151
    assert _members(sandbox, name, _audience(name)) == {"person0@example.com"}
    people = sandbox.vendors[name].people  # type: ignore[attr-defined]
    assert next(one for key, one in people.items() if "person1@" in key)["tier"] == "b"


def test_trap_3_rows_that_fail_inside_a_success_are_rejected(sandbox: Sandbox, name: str) -> None:
    connector = MAKE[name](sandbox.url(name), create=True)
    sandbox.fault("partial", match=f"/{name}/", rows=(1,))
    outcomes = list(connector.write(batch(_audience(name), person(1), person(2), person(3), Row("none", {}, {}))))
    assert [outcomes[0], outcomes[2]] == [Ok(), Ok()]
    assert isinstance(outcomes[1], Rejected) and isinstance(outcomes[3], Rejected)
    assert outcomes[3].code == "identifier_missing"
    assert _members(sandbox, name, _audience(name)) == {"person1@example.com", "person3@example.com"}
    assert "example.com" not in repr(outcomes)  # trap 11: Braze's own words quote the value


def test_trap_2_subscriptions_are_never_written(sandbox: Sandbox, name: str) -> None:
    connector = MAKE[name](sandbox.url(name), create=True)
    field = {"customer_io": "unsubscribed", "braze": "email_subscribe", "iterable": "unsubscribedChannelIds"}[name]
    with pytest.raises(DestinationFailed, match="subscription state"):
        list(connector.write(batch(_audience(name), person(1, **{field: "x"}))))
    assert connector.api_calls == 0


def test_wrong_keys_and_unknown_audiences_are_sentences(sandbox: Sandbox, name: str) -> None:
    stranger = MAKE[name](sandbox.url(name), token="canary")
    assert not stranger.check().ok and MAKE[name](sandbox.url(name)).check().ok
    with pytest.raises(DestinationFailed, match="refuses the credentials") as caught:
        list(stranger.write(batch(_audience(name), person(1))))
    assert "canary" not in f"{caught.value!r}{stranger.http!r}{stranger.check()!r}"
    wrong = {"customer_io": "8", "braze": "email", "iterable": "x"}[name]
    with pytest.raises(DestinationFailed):
        list(MAKE[name](sandbox.url(name), create=True).write(batch(wrong, person(1))))


def test_a_lost_answer_is_sent_again_and_then_left_unknown(sandbox: Sandbox, name: str) -> None:
    connector = MAKE[name](sandbox.url(name), create=True)
    sandbox.fault("lost_answer", match=f"/{name}/", seconds=0.01)
    assert list(connector.write(batch(_audience(name), person(1)))) == [Ok()]
    sandbox.fault("lost_answer", match=f"/{name}/", seconds=0.01, times=50)
    outcomes = connector.write(batch(_audience(name), person(2)))
    assert next(outcomes) == Unknown()
    with pytest.raises(DestinationFailed):
        next(outcomes)


def test_an_add_that_customer_io_may_have_passed_over_is_said_to_be_unverified(sandbox: Sandbox) -> None:
    played(sandbox, accounts.CustomerIo).make("7")
    recorder = Recorder()
    connector = _customer_io(sandbox.url("customer_io"), recorder, create=False)
    assert list(connector.write(batch("7", person(1)))) == [Skipped("unverified")]
    (request,) = recorder.seen
    assert request.url.params["id_type"] == "email"
    assert recorder.bodies("add_customers") == [{"ids": ["person1@example.com"]}]
    recorder.close()


def test_large_people_are_split_by_size_or_refused(sandbox: Sandbox) -> None:
    played(sandbox, accounts.CustomerIo).make("7")
    connector = _customer_io(sandbox.url("customer_io"))
    rows = [person(n, blob="x" * 30_000) for n in range(40)]
    outcomes = list(connector.write(batch("7", *rows, person(99, blob="x" * 32_001))))
    assert outcomes == [Ok()] * 40 + [Rejected("profile_too_large")]
    assert connector.api_calls == 4


def test_braze_gets_75_at_a_time_and_only_people_it_knows(sandbox: Sandbox) -> None:
    recorder = Recorder()
    connector = _braze(sandbox.url("braze"), recorder)
    list(connector.write(batch("vips", *(person(n) for n in range(75)))))
    list(connector.remove(batch("vips", person(1), operation="remove")))
    added, removed = recorder.bodies("/users/track")
    assert len(added["attributes"]) == 75 and not played(sandbox, accounts.Braze).people
    assert all(one["_update_existing_only"] is True and one["vips"] is True for one in added["attributes"])
    assert removed["attributes"][0]["vips"] is None
    assert connector.capabilities.batch_max == 75
    recorder.close()


def test_iterable_never_unsubscribes_a_channel_and_names_who_was_forgotten(sandbox: Sandbox) -> None:
    vendor = played(sandbox, accounts.Iterable)
    vendor.make("7")
    vendor.forgotten.add("person2@example.com")
    connector = _iterable(sandbox.url("iterable"))
    outcomes = list(connector.write(batch("7", person(1), person(2))))
    assert outcomes == [Ok(), Rejected("forgotten_emails")]
    list(connector.remove(batch("7", person(1), operation="remove")))
    assert vendor.channel_unsubscribes == 0


def test_failures_that_iterable_counts_and_does_not_name_leave_the_rest_unknown() -> None:
    answer = {"successCount": 1, "failCount": 2, "failedUpdates": {"invalidEmails": ["person1@example.com"]}}
    transport = httpx.MockTransport(lambda request: httpx.Response(200, json=answer))
    outcomes = list(_iterable("https://api.example.com", transport).write(batch("7", person(1), person(2), person(3))))
    assert outcomes == [Rejected("invalid_emails"), Unknown(), Unknown()]
