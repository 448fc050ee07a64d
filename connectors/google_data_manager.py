"""Google customer match as a destination, through the Data Manager API.

Identifiers come hashed by the policy (`match_sha256`, rules `google@2026-11`). What Google is told of a person's
consent is what the row says: the fields `ad_user_data` and `ad_personalization`, which the policy names under
`signals`, hold the word of the ledger, and only the word `granted` becomes CONSENT_GRANTED. One request holds people
of one answer alone, because Google reads the settings of a request as those of all its people
(support.google.com/google-ads/answer/14310715). Accepted is not applied: the status of each request is asked for
until it is final.
"""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import httpx
from pydantic import Field, SecretStr

from consentry.connectors.base import Capabilities, ConnectorConfig, HashRules, Ok, Rejected, Retry, Unknown
from consentry.connectors.google_login import google_login
from consentry.connectors.http import BaseUrl
from consentry.connectors.http_destination import HttpConfig, HttpDestination, Outcomes, code_in, objects, shaped
from consentry.connectors.quota import Limit
from consentry.errors import DestinationFailed
from consentry.model.batch import Batch, Row

SCOPE = "https://www.googleapis.com/auth/datamanager"
BATCH_MAX, IDENTIFIERS_MAX = 10_000, 10
SIGNALS = {"ad_user_data": "adUserData", "ad_personalization": "adPersonalization"}
# What Google got wrong itself may be sent again; every other reason is about the row.
_PASSING = frozenset({"PROCESSING_ERROR_REASON_INTERNAL_ERROR", "PROCESSING_ERROR_REASON_UNSPECIFIED"})
_PREFIX = "PROCESSING_ERROR_REASON_"
_HASH = re.compile(r"[0-9a-f]{64}")
_FIRST_POLL, _POLL_CAP, _AGAIN_SECONDS = 2.0, 60.0, 60.0
Signals = tuple[tuple[str, str], ...]


class GoogleDataManagerConfig(HttpConfig):
    """The Google Ads account, and the service account that writes to it."""

    base_url: BaseUrl = Field(default="https://datamanager.googleapis.com", description="Where the API is.")
    credentials: SecretStr = Field(description="The service account's JSON key, as ${VARIABLE}.")
    customer_id: str = Field(pattern=r"^\d{4,12}$", description="The account whose user lists are kept, digits only.")
    account_type: Literal["GOOGLE_ADS", "DISPLAY_VIDEO_ADVERTISER", "DISPLAY_VIDEO_PARTNER", "DATA_PARTNER"] = Field(
        default="GOOGLE_ADS", description="What kind of account it is."
    )
    login_customer_id: str | None = Field(
        default=None, pattern=r"^\d{4,12}$", description="The manager account, when access goes through one."
    )
    terms_accepted: bool = Field(
        default=False, description="true once you have accepted Google's customer match terms: it is sent as your word."
    )
    without_signals: Literal["refuse", "send"] = Field(
        default="refuse",
        description="What becomes of people of whom ad_user_data is not known; Google takes them as not consenting.",
    )
    patience_seconds: float = Field(default=600.0, gt=0, description="How long a request's status is waited for.")


class GoogleDataManager(HttpDestination[GoogleDataManagerConfig]):
    """The user lists of one account; `audience` is the list's number.

    Proof level A: Google's discovery document (datamanager v1) and its own Python package for the same messages,
    against a simulator; no live account. Limits: 10,000 people and 10 identifiers each a request stand in the
    documentation only; a request that is not final in time leaves its rows unknown, and they are sent again; who
    changes an address is added under the new one, and the old one stays until somebody takes it out.
    """

    Config: ClassVar[type[ConnectorConfig]] = GoogleDataManagerConfig
    vendor: ClassVar[str] = "Google"
    capabilities = Capabilities(
        batch_max=BATCH_MAX,
        key_fields=("email", "phone"),
        operations=frozenset({"add", "change", "remove"}),
        asynchronous=True,
        hashing=HashRules("google@2026-11", ("email", "phone"), "google-ads-datamanager-util 0.4.0", "2026-11-22"),
        quota={"": (Limit(300, 60.0), Limit(100_000, 86_400.0))},
    )

    def __init__(
        self,
        config: GoogleDataManagerConfig,
        *,
        account: str = "",
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        name = account or config.customer_id
        self._login = google_login(config.credentials, SCOPE, account=name, transport=transport, sleep=sleep)
        super().__init__(config, account=name, transport=transport, sleep=sleep)

    def headers(self) -> Mapping[str, str]:
        """Return a token of the service account."""
        return self._login.headers()

    def renew(self, refused: Mapping[str, str]) -> bool:
        """Log in anew."""
        return self._login.renew(refused)

    def greet(self) -> str:
        """Log in; there is no call that changes nothing and needs no list."""
        self._login.headers()
        return "Google accepts the service account's key; whether it may write a list shows when it does."

    def send(self, batch: Batch, outcomes: Outcomes) -> None:
        """Ingest people, those of one consent answer in one request."""
        if not self.config.terms_accepted:
            message = (
                "Google wants its customer match terms accepted. Accept them there, then set 'terms_accepted: true'."
            )
            raise DestinationFailed(message, code="terms_not_accepted")
        members = self._members(batch.rows, outcomes)
        groups: dict[Signals, list[int]] = defaultdict(list)
        for place in members:
            said = signals(batch.rows[place])
            if dict(said).get("adUserData") == "CONSENT_DENIED":
                outcomes.settle(place, Rejected("consent_denied", "ad_user_data"))
            elif "adUserData" not in dict(said) and self.config.without_signals == "refuse":
                outcomes.settle(place, Rejected("consent_not_known", "ad_user_data"))
            else:
                groups[said].append(place)
        sent = [
            (places, self._request("ingest", batch.audience, [members[place] for place in places], dict(said)))
            for said, places in groups.items()
        ]
        for places, request in sent:
            self._await(request, places, outcomes)

    def take_out(self, batch: Batch, outcomes: Outcomes) -> None:
        """Remove people; a consent that ended needs this, for a later denial removes nobody."""
        members = self._members(batch.rows, outcomes)
        if members:
            request = self._request("remove", batch.audience, list(members.values()), {})
            self._await(request, list(members), outcomes)

    def _members(self, rows: Sequence[Row], outcomes: Outcomes) -> dict[int, dict[str, Any]]:
        """Return the member that each row makes, by its place; the others are settled."""
        made: dict[int, dict[str, Any]] = {}
        for place, row in enumerate(rows):
            identifiers, fault = _identifiers(row)
            if fault:
                outcomes.settle(place, Rejected("not_hashed", fault))
            elif not identifiers:
                outcomes.settle(place, Rejected("identifier_missing"))
            else:
                made[place] = {"userData": {"userIdentifiers": identifiers[:IDENTIFIERS_MAX]}}
        return made

    def _request(self, verb: str, audience: str, members: Sequence[Mapping[str, Any]], said: Mapping[str, str]) -> str:
        body: dict[str, Any] = {
            "destinations": [self._destination(audience)],
            "audienceMembers": list(members),
            "encoding": "HEX",
        }
        if verb == "ingest":
            body["termsOfService"] = {"customerMatchTermsOfServiceStatus": "ACCEPTED"}
            if said:
                body["consent"] = dict(said)
        answer = shaped(
            self.http.request("POST", f"/v1/audienceMembers:{verb}", body=body, repeatable=True), self.vendor
        )
        return str(answer.get("requestId") or "")

    def _destination(self, audience: str) -> dict[str, Any]:
        kind = self.config.account_type
        made: dict[str, Any] = {
            "operatingAccount": {"accountType": kind, "accountId": self.config.customer_id},
            "productDestinationId": audience,
        }
        if self.config.login_customer_id:
            made["loginAccount"] = {"accountType": kind, "accountId": self.config.login_customer_id}
        return made

    def _await(self, request: str, places: Sequence[int], outcomes: Outcomes) -> None:
        """Ask for a request's status until it is final, and settle its rows by it."""
        pause, waited, found = _FIRST_POLL, 0.0, dict[str, Any]()
        while request and waited < self.config.patience_seconds:
            self._sleep(pause)
            waited += pause
            pause = min(pause * 2, _POLL_CAP)
            params = {"requestId": request}
            answer = shaped(self.http.request("GET", "/v1/requestStatus:retrieve", params=params), self.vendor)
            found = next(iter(objects(answer.get("requestStatusPerDestination"))), {})
            if found.get("requestStatus") in ("SUCCESS", "FAILED", "PARTIAL_SUCCESS"):
                break
        _settle(found, places, outcomes)


def signals(row: Row) -> Signals:
    """Return what a row says of consent in Google's words; what it does not say is left out, never made up."""
    said: list[tuple[str, str]] = []
    for name, theirs in SIGNALS.items():
        word = row.fields.get(name)
        if word is not None and word != "":
            # Any word but the one for yes is a no.
            said.append((theirs, "CONSENT_GRANTED" if word == "granted" else "CONSENT_DENIED"))
    return tuple(said)


def _identifiers(row: Row) -> tuple[list[dict[str, Any]], str]:
    """Return the user identifiers of a row, and the name of one that is no hash, if any."""
    found: list[dict[str, Any]] = []
    for name, value in row.identifiers.items():
        theirs = {"email": "emailAddress", "phone": "phoneNumber"}.get(name.removesuffix("_sha256"))
        if theirs and value:
            if not _HASH.fullmatch(value):
                return [], name
            found.append({theirs: value})
    parts = {name: str(row.fields.get(name) or "") for name in ("given_name", "family_name", "country", "postal_code")}
    if all(parts.values()):
        if not (_HASH.fullmatch(parts["given_name"]) and _HASH.fullmatch(parts["family_name"])):
            return [], "given_name"
        names = {"givenName": parts["given_name"], "familyName": parts["family_name"]}
        # Region and postal code go as they are.
        place = {"regionCode": parts["country"].upper(), "postalCode": parts["postal_code"]}
        found.append({"address": names | place})
    return found, ""


def _settle(found: Mapping[str, Any], places: Sequence[int], outcomes: Outcomes) -> None:
    """Read a final status: rows that an error names are refused, the others taken as far as Google says so."""
    status = found.get("requestStatus")
    errors = objects((found.get("errorInfo") or {}).get("errorCounts"))
    unnamed = False
    for error in errors:
        reason = code_in(error.get("reason"), f"{_PREFIX}UNKNOWN")
        outcome = Retry(_AGAIN_SECONDS) if reason in _PASSING else Rejected(reason.removeprefix(_PREFIX).lower())
        indices = [index for index in error.get("recordIndices") or () if isinstance(index, int)]
        for index in indices:
            if 0 <= index < len(places):
                outcomes.settle(places[index], outcome)
        unnamed = unnamed or len(indices) < int(str(error.get("recordCount") or 0))
        if status == "FAILED" and not indices and len(errors) == 1:
            for place in places:
                outcomes.settle(place, outcome)
    taken = status == "SUCCESS" or (status == "PARTIAL_SUCCESS" and errors and not unnamed)
    for place in places:
        outcomes.settle(place, Ok() if taken else Unknown())
