"""Google customer match as a destination, against the sandbox, the discovery document and Google's own package."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from consentry.connectors.base import Destination, KnowsByValue, Ok, Pending, Polls, Rejected, Removes, Retry, Unknown
from consentry.connectors.google_data_manager import (
    GoogleDataManager,
    GoogleDataManagerConfig,
    _settle,
    signals,
)
from consentry.connectors.http_destination import Outcomes
from consentry.errors import ConfigError, DestinationFailed, SkipRecord
from consentry.model.batch import Row
from consentry.testing.sandbox import Sandbox
from consentry.testing.sandbox.ga4 import GA4
from consentry.testing.sandbox.google_data_manager import GoogleDataManager as Account
from tests.connectors.recorder import Recorder, account, batch, played, through

YES = {"ad_user_data": "granted", "ad_personalization": "granted"}


def _google(sandbox: Sandbox, transport: Any = None, **settings: Any) -> GoogleDataManager:
    key = played(sandbox, GA4).service_account(sandbox.url("ga4"))
    values = {"base_url": sandbox.url("google_data_manager"), "credentials": key, "customer_id": "1234567890"}
    config = GoogleDataManagerConfig.model_validate({"terms_accepted": True, **values, **settings})
    return GoogleDataManager(config, account=account(), sleep=lambda seconds: None, transport=transport)


@pytest.fixture
def ads(sandbox: Sandbox) -> Account:
    vendor = played(sandbox, Account)
    vendor.make("99")
    return vendor


@pytest.fixture
def google(sandbox: Sandbox, ads: Account) -> GoogleDataManager:
    return _google(sandbox)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _row(number: int, fields: dict[str, Any] | None = None, **more: str) -> Row:
    identifiers = {"email": _hash(f"person{number}@example.com"), **more}
    return Row(f"p{number}", identifiers, YES if fields is None else fields)


def test_people_are_ingested_and_removed_by_their_hashes(ads: Account, google: GoogleDataManager) -> None:
    rows = [_row(n) for n in range(1000)]
    assert through(google, batch("99", *rows)) == [Ok()] * 1000
    assert google.api_calls == 3 and len(ads.audiences["99"]) == 1000
    assert through(google, batch("99", *rows[:999], operation="remove")) == [Ok()] * 999
    assert set(ads.audiences["99"]) == {_hash("person999@example.com")}


def test_only_the_word_granted_becomes_granted() -> None:
    for word in ("Granted", "true", True, "yes", "denied", "withdrawn", "CONSENT_GRANTED", 1):
        assert signals(_row(1, {"ad_user_data": word})) == (("adUserData", "CONSENT_DENIED"),)
    assert signals(_row(1, {"ad_user_data": "granted"})) == (("adUserData", "CONSENT_GRANTED"),)
    assert signals(_row(1, {"ad_user_data": None, "ad_personalization": ""})) == ()


def test_t50_people_of_different_consent_go_in_different_requests(ads: Account, google: GoogleDataManager) -> None:
    half = {"ad_user_data": "granted", "ad_personalization": "denied"}
    rows = [_row(1), _row(2, half), _row(3), _row(4, {"ad_user_data": "denied"}), _row(5, {})]
    assert through(google, batch("99", *rows)) == [
        Ok(),
        Ok(),
        Ok(),
        Rejected("consent_denied", "ad_user_data"),
        Rejected("consent_not_known", "ad_user_data"),
    ]
    sent = [kept["body"] for kept in ads.requests.values()]
    assert [(len(one["audienceMembers"]), one["consent"]) for one in sent] == [
        (2, {"adUserData": "CONSENT_GRANTED", "adPersonalization": "CONSENT_GRANTED"}),
        (1, {"adUserData": "CONSENT_GRANTED", "adPersonalization": "CONSENT_DENIED"}),
    ]


def test_without_signals_nothing_is_claimed(sandbox: Sandbox, ads: Account) -> None:
    google = _google(sandbox, without_signals="send")
    assert through(google, batch("99", _row(5, {}))) == [Ok()]
    assert all("consent" not in kept["body"] for kept in ads.requests.values())


def test_the_terms_are_never_accepted_for_anybody(sandbox: Sandbox, ads: Account) -> None:
    with pytest.raises(DestinationFailed, match="terms"):
        list(_google(sandbox, terms_accepted=False).write(batch("99", _row(1))))
    assert not ads.requests


def test_trap_10_only_hashes_leave_and_a_plain_address_stays(ads: Account, google: GoogleDataManager) -> None:
    named = {"given_name": _hash("ada"), "family_name": _hash("byron"), "country": "gb", "postal_code": "M1 1AE"}
    rows = [
        Row("plain", {"email": "ada@example.com"}, YES),
        Row("upper", {"phone": _hash("x").upper()}, YES),
        Row("none", {"email": ""}, YES),
        Row("names", {}, {**YES, **named}),
        Row("clear", {}, {**YES, **named, "given_name": "Ada"}),
        Row("hashed", {"phone_sha256": _hash("+447700900123")}, YES),
    ]
    assert through(google, batch("99", *rows)) == [
        Rejected("not_hashed", "email"),
        Rejected("not_hashed", "phone"),
        Rejected("identifier_missing"),
        Ok(),
        Rejected("not_hashed", "given_name"),
        Ok(),
    ]
    (kept,) = ads.requests.values()
    first = kept["body"]["audienceMembers"][0]["userData"]["userIdentifiers"]
    # `address`, not `addressInfo`, which RudderStack sends and the schema does not have.
    assert set(first[0]) == {"address"}
    assert (first[0]["address"]["regionCode"], first[0]["address"]["postalCode"]) == ("GB", "M1 1AE")


def test_trap_3_rows_that_fail_in_a_request_are_named_by_their_reason(
    sandbox: Sandbox, ads: Account, google: GoogleDataManager
) -> None:
    sandbox.fault("partial", match=":ingest", rows=(1,))
    outcomes = through(google, batch("99", Row("none", {}, YES), _row(1), _row(2), _row(3)))
    assert outcomes == [Rejected("identifier_missing"), Ok(), Rejected("invalid_format"), Ok()]
    assert len(ads.audiences["99"]) == 2


def test_accepted_is_not_applied(ads: Account, google: GoogleDataManager) -> None:
    ads.polls_to_complete = 10_000
    sent = batch("99", _row(1))
    (pending,) = google.write(sent)
    assert isinstance(pending, Pending) and google.poll(pending.job, sent) is None
    assert not ads.audiences["99"]


@pytest.mark.parametrize(
    ("status", "errors", "wanted"),
    [
        ("SUCCESS", [], [Ok(), Ok()]),
        ("FAILED", [("DENIED_CONSENT", 2, [])], [Rejected("denied_consent")] * 2),
        ("FAILED", [("INTERNAL_ERROR", 2, [0, 1])], [Retry(60.0)] * 2),
        ("PARTIAL_SUCCESS", [("NO_CONSENT", 1, [1])], [Ok(), Rejected("no_consent")]),
        ("PARTIAL_SUCCESS", [("NO_CONSENT", 1, [])], [Unknown()] * 2),
        ("PROCESSING", [], [Unknown()] * 2),
        ("FAILED", [], [Unknown()] * 2),
    ],
)
def test_a_final_status_says_no_more_than_it_says(status: str, errors: list[Any], wanted: list[Any]) -> None:
    outcomes = Outcomes([_row(1), _row(2)])
    counts = [
        {"reason": f"PROCESSING_ERROR_REASON_{reason}", "recordCount": str(count), "recordIndices": indices}
        for reason, count, indices in errors
    ]
    _settle({"requestStatus": status, "errorInfo": {"errorCounts": counts}}, [0, 1], outcomes)
    assert list(outcomes) == wanted


def test_lists_and_keys_that_are_not_right_are_sentences(sandbox: Sandbox, google: GoogleDataManager) -> None:
    with pytest.raises(DestinationFailed, match="404"):
        through(google, batch("1", _row(1)))
    assert google.check().ok
    with pytest.raises(ConfigError) as caught:
        _google(sandbox, credentials="canary")
    assert "canary" not in str(caught.value)
    sandbox.fault("refused_batch", match=":ingest")
    with pytest.raises(SkipRecord) as refused:
        through(google, batch("99", _row(1)))
    assert refused.value.code == "INVALID_ARGUMENT"


def test_a_refused_login_ends_the_sync_and_refuses_no_row(sandbox: Sandbox, ads: Account) -> None:
    key = json.loads(played(sandbox, GA4).service_account(sandbox.url("ga4")))
    stranger = _google(sandbox, credentials=json.dumps({**key, "client_email": "other@example.com"}))
    with pytest.raises(DestinationFailed, match="refuses the login"):
        list(stranger.write(batch("99", _row(1))))


def test_it_adds_and_removes(google: GoogleDataManager) -> None:
    for what in (Destination, Removes, Polls, KnowsByValue):
        assert isinstance(google, what)


def _sent(sandbox: Sandbox) -> list[tuple[str, Any]]:
    recorder = Recorder()
    google = _google(sandbox, transport=recorder, login_customer_id="5555555555")
    named = {"given_name": _hash("ada"), "family_name": _hash("byron"), "country": "gb", "postal_code": "M1 1AE"}
    rows = (_row(1, phone=_hash("+447700900123")), _row(2, {**YES, **named}))
    through(google, batch("99", *rows))
    through(google, batch("99", *rows, operation="remove"))
    found = [
        (one.url.path.rpartition(":")[2], json.loads(one.content))
        for one in recorder.seen
        if "audienceMembers" in one.url.path
    ]
    recorder.close()
    return found


def test_every_request_fits_the_discovery_document(sandbox: Sandbox, ads: Account) -> None:
    root = Path(os.environ.get("CONSENTRY_SPECS", Path(__file__).resolve().parents[3] / "shared" / "specs"))
    path = root / "google" / "datamanager.v1.json"
    if not path.is_file():
        pytest.skip(f"The discovery document is not at {path}; set CONSENTRY_SPECS to the folder above it.")
    schemas = json.loads(path.read_text())["schemas"]
    sent = _sent(sandbox)
    assert [verb for verb, _ in sent] == ["ingest", "remove"]
    for verb, body in sent:
        name = {"ingest": "IngestAudienceMembersRequest", "remove": "RemoveAudienceMembersRequest"}[verb]
        assert list(_unfit(body, {"$ref": name}, schemas, verb)) == []


def _unfit(value: Any, schema: dict[str, Any], schemas: dict[str, Any], at: str) -> Iterator[str]:
    schema = schemas[schema["$ref"]] if "$ref" in schema else schema
    kinds = {"object": dict, "array": list, "string": str, "boolean": bool}
    if not isinstance(value, kinds[schema["type"]]):
        yield f"{at} is no {schema['type']}"
    elif isinstance(value, dict):
        for name, inner in value.items():
            if name in schema["properties"]:
                yield from _unfit(inner, schema["properties"][name], schemas, f"{at}/{name}")
            else:
                yield f"{at}/{name} is unknown"
    elif isinstance(value, list):
        for item in value:
            yield from _unfit(item, schema["items"], schemas, at)
    elif "enum" in schema and value not in schema["enum"]:
        yield f"{at} is none of the allowed words"


@pytest.mark.filterwarnings("ignore")
def test_the_messages_are_those_of_googles_own_package(sandbox: Sandbox, ads: Account) -> None:
    """google-ads-datamanager 0.9: its messages, written as JSON, are our bodies."""
    package: Any = pytest.importorskip("google.ads.datamanager_v1", reason="Install the dependency group `reference`.")
    accounts = package.ProductAccount.AccountType.GOOGLE_ADS
    there = package.Destination(
        operating_account=package.ProductAccount(account_type=accounts, account_id="1234567890"),
        login_account=package.ProductAccount(account_type=accounts, account_id="5555555555"),
        product_destination_id="99",
    )

    def one(**what: Any) -> Any:
        return package.UserIdentifier(**what)

    address = package.AddressInfo(
        given_name=_hash("ada"), family_name=_hash("byron"), region_code="GB", postal_code="M1 1AE"
    )
    first = [one(email_address=_hash("person1@example.com")), one(phone_number=_hash("+447700900123"))]
    second = [one(email_address=_hash("person2@example.com")), one(address=address)]
    members = [
        package.AudienceMember(user_data=package.UserData(user_identifiers=identifiers))
        for identifiers in (first, second)
    ]
    granted = package.ConsentStatus.CONSENT_GRANTED
    accepted = package.TermsOfServiceStatus.ACCEPTED
    ingest = package.IngestAudienceMembersRequest(
        destinations=[there],
        audience_members=members,
        consent=package.Consent(ad_user_data=granted, ad_personalization=granted),
        encoding=package.Encoding.HEX,
        terms_of_service=package.TermsOfService(customer_match_terms_of_service_status=accepted),
    )
    remove = package.RemoveAudienceMembersRequest(
        destinations=[there], audience_members=members, encoding=package.Encoding.HEX
    )
    how = {"use_integers_for_enums": False, "always_print_fields_with_no_presence": False}
    theirs = [json.loads(type(message).to_json(message, **how)) for message in (ingest, remove)]
    assert [body for _, body in _sent(sandbox)] == theirs
