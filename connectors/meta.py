"""Meta custom audiences as a destination: hashed identifiers in, hashed identifiers out.

Values come hashed by the policy (`match_sha256`, rules `meta@2026-08`); an external id and a device id go as they
are. A value that is no hash is refused here, so that a slip in the policy sends nobody's address in the clear.
Meta tells how many entries it could not read, not which: `invalid_entry_samples` holds them in the clear and is
never looked at.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping, Sequence
from typing import ClassVar
from urllib.parse import quote

from pydantic import Field, SecretStr

from consentry.connectors.base import Capabilities, ConnectorConfig, HashRules, Ok, Rejected
from consentry.connectors.http import BaseUrl
from consentry.connectors.http_destination import HttpConfig, HttpDestination, Outcomes, shaped
from consentry.connectors.quota import Limit
from consentry.model.batch import Batch, Row

VERSION = "v25.0"
BATCH_MAX = 10_000
# How often one batch is halved to find the entries that Meta cannot read; what is left then is Unknown.
SPLITS_MAX = 100
# Our names of identifiers and fields -> Meta's keys (facebook-business 26.0.3, CustomAudience.Schema.MultiKeySchema).
SCHEMA = {
    "email": "EMAIL",
    "phone": "PHONE",
    "external_id": "EXTERN_ID",
    "device_id": "MADID",
    "given_name": "FN",
    "family_name": "LN",
    "gender": "GEN",
    "birth_year": "DOBY",
    "birth_month": "DOBM",
    "birth_day": "DOBD",
    "city": "CT",
    "state": "ST",
    "postal_code": "ZIP",
    "country": "COUNTRY",
}
PLAIN = frozenset({"EXTERN_ID", "MADID"})
# A row is found by one of these; the others only make a match surer.
FINDS = frozenset({"EMAIL", "PHONE", "EXTERN_ID", "MADID"})
_HASH = re.compile(r"[0-9a-f]{64}")


class MetaConfig(HttpConfig):
    """The account, and how to log in."""

    base_url: BaseUrl = Field(default="https://graph.facebook.com", description="Where the API is.")
    token: SecretStr = Field(description="A system user's access token with ads_management, as ${VARIABLE}.")


class Meta(HttpDestination[MetaConfig]):
    """The custom audiences of one ad account; `audience` is the audience's id.

    Proof level C: the payload of the vendor's own package (facebook-business 26.0.3) and its documentation, against
    a simulator; the published type is opaque, and no live account was used. Limits: one request is one upload
    session of at most 10,000 people; entries that Meta cannot read are found by halving; an audience that Meta
    thinks too small cannot be shrunk (grouparoo PR #1108).
    """

    Config: ClassVar[type[ConnectorConfig]] = MetaConfig
    vendor: ClassVar[str] = "Meta"
    capabilities = Capabilities(
        batch_max=BATCH_MAX,
        key_fields=("email", "phone", "external_id", "device_id"),
        operations=frozenset({"add", "change", "remove"}),
        hashing=HashRules(
            "meta@2026-08", ("email", "phone"), 'help.hcltechsw.com, Unica, "Data Normalization"', "2026-08-22"
        ),
        quota={"": (Limit(100, 60.0),)},
        # Meta's help pages say about 100; smaller ones are not delivered to.
        audience_min=100,
    )

    def headers(self) -> Mapping[str, str]:
        """Return the token; in the header, because queries are logged."""
        return {"Authorization": f"Bearer {self.config.token.get_secret_value()}"}

    def greet(self) -> str:
        """Ask who the token belongs to."""
        self.http.request("GET", f"/{VERSION}/me", params={"fields": "id"})
        return "Meta accepts the token; custom audiences can be kept in step."

    def find(self, audience: str) -> None:
        """Ask for the audience."""
        self.http.request("GET", _path(audience), params={"fields": "id"})

    def send(self, batch: Batch, outcomes: Outcomes) -> None:
        """Add people; to add somebody again changes nothing."""
        self._upload("POST", batch, outcomes)

    def take_out(self, batch: Batch, outcomes: Outcomes) -> None:
        """Remove people by the same values."""
        self._upload("DELETE", batch, outcomes)

    def known_by(self, row: Row) -> Mapping[str, str]:
        """Return the values by which Meta finds somebody."""
        return {name: value for name, value in row.identifiers.items() if value and _key(name) in FINDS}

    def _upload(self, method: str, batch: Batch, outcomes: Outcomes) -> None:
        made = {place: _values(row) for place, row in enumerate(batch.rows)}
        for place, values in made.items():
            if not values.keys() & FINDS:
                outcomes.settle(place, Rejected("identifier_missing"))
            elif fault := next((key for key, value in values.items() if not _fits(key, value)), None):
                outcomes.settle(place, Rejected("not_hashed", fault))
        waiting = [outcomes.open()]
        splits = 0
        while waiting:
            places = waiting.pop()
            bad = self._session(method, batch, [made[place] for place in places]) if places else 0
            # Meta says how many it could not read, never which: the halves say it, as far as that is worth its calls.
            if bad is None or (0 < bad < len(places) and splits >= SPLITS_MAX):
                continue
            if 0 < bad < len(places):
                splits += 1
                waiting += [places[: len(places) // 2], places[len(places) // 2 :]]
                continue
            for place in places:
                outcomes.settle(place, Rejected("invalid_entry") if bad else Ok())

    def _session(self, method: str, batch: Batch, rows: Sequence[Mapping[str, str]]) -> int | None:
        """Send one upload, whole in itself; return how many entries Meta could not read, None when it does not say."""
        schema = [key for key in SCHEMA.values() if any(key in row for row in rows)]
        data = [[row.get(key, "") for key in schema] for row in rows]
        number = uuid.uuid5(uuid.NAMESPACE_OID, json.dumps([batch.batch_id, method, data])).int >> 65
        body = {
            "payload": {"schema": schema, "is_raw": True, "data": data},
            # With the flag on its only request nothing is left open when a later one never comes.
            "session": {
                "session_id": number,
                "batch_seq": 1,
                "last_batch_flag": True,
                "estimated_num_total": len(data),
            },
        }
        path = f"{_path(batch.audience)}/users"
        answer = shaped(self.http.request(method, path, body=body, repeatable=True), self.vendor)
        bad, received = answer.get("num_invalid_entries"), answer.get("num_received")
        return bad if isinstance(bad, int) and received == len(data) else None


def _values(row: Row) -> dict[str, str]:
    """Return what a row says in Meta's keys; what is empty is left out."""
    found: dict[str, str] = {}
    for name, value in {**row.fields, **row.identifiers}.items():
        key = _key(name)
        if key and value is not None and value != "":
            found[key] = str(value)
    return found


def _key(name: str) -> str | None:
    return SCHEMA.get(name.removesuffix("_sha256").lower()) or (name if name in SCHEMA.values() else None)


def _fits(key: str, value: str) -> bool:
    return key in PLAIN or _HASH.fullmatch(value) is not None


def _path(audience: str) -> str:
    return f"/{VERSION}/{quote(audience, safe='')}"
