"""Google customer match as a destination, through the Data Manager API.

Identifiers come hashed by the policy (`match_sha256`, rules `google@2026-11`). What Google is told of a person's
consent is what the row says: the fields `ad_user_data` and `ad_personalization`, which the policy names under
`signals`, hold the word of the ledger, and only the word `granted` becomes CONSENT_GRANTED. One request holds people
of one answer alone, because Google reads the settings of a request as those of all its people
(support.google.com/google-ads/answer/14310715). Accepted is not applied: rows are pending until the
status of their request is final.
"""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import httpx
from pydantic import Field, SecretStr

from consentry.connectors.base import (
    Capabilities,
    ConnectorConfig,
    HashRules,
    Ok,
    Outcome,
    Pending,
    Rejected,
    Retry,
    Unknown,
)
from consentry.connectors.google_login import google_login
from consentry.connectors.http import BaseUrl, HttpFailed, failing_as
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
_AGAIN_SECONDS = 60.0
_FINAL = frozenset({"SUCCESS", "FAILED", "PARTIAL_SUCCESS"})
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
    patience_seconds: float = Field(
        default=600.0, gt=0, description="How long a run waits for its requests to be final."
    )


class GoogleDataManager(HttpDestination[GoogleDataManagerConfig]):
    """The user lists of one account; `audience` is the list's number.

    Proof level A: Google's discovery document (datamanager v1) and its own Python package for the same messages,
    against a simulator; no live account. Limits: 10,000 people and 10 identifiers each a request stand in the
    documentation only. Names and addresses only make a match surer: nobody is taken out by them.
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
        # 100 active people since 2025 (ppc.land); smaller lists serve nobody.
        audience_min=100,
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
        for said, places in groups.items():
            self._request("ingest", batch.audience, {place: members[place] for place in places}, dict(said), outcomes)

    def take_out(self, batch: Batch, outcomes: Outcomes) -> None:
        """Remove people; a consent that ended needs this, for a later denial removes nobody."""
        members = self._members(batch.rows, outcomes)
        if members:
            self._request("remove", batch.audience, members, {}, outcomes)

    @property
    def wait_seconds(self) -> float:
        """Return how long a run waits for requests to be final."""
        return self.config.patience_seconds

    def poll(self, job: str, batch: Batch) -> list[Outcome] | None:
        """Read the status of a request; None while it is not final."""
        outcomes = Outcomes(batch.rows)
        with failing_as(DestinationFailed):
            found = self._status(job)
        if found is not None and found.get("requestStatus") not in _FINAL:
            return None
        _settle(found or {}, range(len(batch.rows)), outcomes)
        return list(outcomes)

    def known_by(self, row: Row) -> Mapping[str, str]:
        """Return the hashes by which Google finds somebody."""
        return {name: value for name, value in row.identifiers.items() if value}

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

    def _request(
        self,
        verb: str,
        audience: str,
        members: Mapping[int, Mapping[str, Any]],
        said: Mapping[str, str],
        outcomes: Outcomes,
    ) -> None:
        """Send members, by their rows' places; the rows are pending then."""
        body: dict[str, Any] = {
            "destinations": [self._destination(audience)],
            "audienceMembers": list(members.values()),
            "encoding": "HEX",
        }
        if verb == "ingest":
            body["termsOfService"] = {"customerMatchTermsOfServiceStatus": "ACCEPTED"}
            if said:
                body["consent"] = dict(said)
        path = f"/v1/audienceMembers:{verb}"
        answer = shaped(self.http.request("POST", path, body=body, repeatable=True), self.vendor)
        request = answer.get("requestId")
        for place in members:
            # Without its name nobody can ask what became of a request.
            outcomes.settle(place, Pending(request) if isinstance(request, str) and request else Unknown())

    def _status(self, request: str) -> dict[str, Any] | None:
        """Return the status of a request at its one destination; None when Google does not know it any more."""
        try:
            answer = self.http.request("GET", "/v1/requestStatus:retrieve", params={"requestId": request})
        except HttpFailed as failed:
            if failed.status != 404:
                raise
            return None
        return next(iter(objects(shaped(answer, self.vendor).get("requestStatusPerDestination"))), {})

    def _destination(self, audience: str) -> dict[str, Any]:
        kind = self.config.account_type
        made: dict[str, Any] = {
            "operatingAccount": {"accountType": kind, "accountId": self.config.customer_id},
            "productDestinationId": audience,
        }
        if self.config.login_customer_id:
            made["loginAccount"] = {"accountType": kind, "accountId": self.config.login_customer_id}
        return made


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
