"""HubSpot as a destination: contacts are kept by batch upserts, an audience is a list of them.

Being on a list is not consent to be written to: HubSpot's communication preferences are not touched.

Proof level A: the vendor's 2026-09 descriptions (objects.json, lists.json) and its Python client 12 for the same
operations, against a simulator; no live account. Limits: batches of 100 and the ten-second burst stand in the
documentation only; 100,000 ids in a membership call are documented, 2,000 are sent. Only MANUAL and SNAPSHOT
lists take members.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any
from urllib.parse import quote

from consentry.connectors.base import Capabilities, Ok, Outcome, Rejected
from consentry.connectors.http import Answer, HttpClient, failing_as
from consentry.connectors.http_destination import Outcomes, accounted, code_in, halving, objects, shaped, text
from consentry.connectors.hubspot_read import VERSION
from consentry.connectors.quota import Limit
from consentry.errors import DestinationFailed
from consentry.model.batch import Batch, Row

BATCH_MAX = 100
# Many batches of contacts share one membership call.
MEMBERS_MAX = 2_000
MEMBERS_PAGE = 250
QUOTA = {"": (Limit(100, 10.0),)}
# Canonical names -> HubSpot's own properties.
_SAME = {"given_name": "firstname", "family_name": "lastname", "postal_code": "zip"}
_CONTACTS = f"/crm/objects/{VERSION}/contacts/batch"
_LISTS = f"/crm/lists/{VERSION}"

CAPABILITIES = Capabilities(
    batch_max=MEMBERS_MAX,
    key_fields=("email",),
    operations=frozenset({"add", "change", "remove"}),
    quota=QUOTA,
)


class HubSpotLists:
    """The lists of contacts of one account. contact_key: by which unique property a contact is known."""

    def __init__(self, http: HttpClient, *, contact_key: str = "email") -> None:
        self._http, self._key = http, contact_key

    def write(self, batch: Batch) -> Iterator[Outcome]:
        """Upsert the contacts and put the new ones on the list; Ok carries the contact's id."""
        return accounted(batch, self._write, self._find)

    def remove(self, batch: Batch) -> Iterator[Outcome]:
        """Take the contacts off the list; one that HubSpot does not know is off it already."""
        return accounted(batch, self._remove, self._find)

    def lookup(self, audience: str, remote_ids: Iterable[str]) -> frozenset[str]:
        """Return those of the contact ids that are on the list; the list is read until all are found."""
        wanted, found = set(remote_ids), set[str]()
        query = {"limit": str(MEMBERS_PAGE)}
        with failing_as(DestinationFailed):
            while wanted - found:
                page = shaped(self._http.request("GET", f"{_list(audience)}/memberships", params=query), "HubSpot")
                found |= {str(item.get("recordId")) for item in objects(page.get("results"))} & wanted
                after = str(((page.get("paging") or {}).get("next") or {}).get("after") or "")
                if not after:
                    break
                if after == query.get("after"):
                    message = "HubSpot gave the same page again, which would never end. Run again."
                    raise DestinationFailed(message, code="repeated_cursor")
                query["after"] = after
        return frozenset(found)

    def _write(self, batch: Batch, outcomes: Outcomes) -> None:
        # A batch that names one contact twice fails as a whole (hubspot-api-nodejs #545, #548).
        places = outcomes.keyed(lambda row: row.remote_id or self._value(row), self._key).values()
        ids: dict[int, str] = {}
        for verb in ("update", "upsert"):
            due = [place for place in places if bool(batch.rows[place].remote_id) == (verb == "update")]
            for first in range(0, len(due), BATCH_MAX):
                halving(partial(self._put, verb, ids, outcomes), due[first : first + BATCH_MAX], outcomes)
        if batch.operation == "change":
            for place, id in ids.items():
                outcomes.settle(place, Ok(id))
            return
        self._join(batch.audience, ids, outcomes)

    def _put(self, verb: str, ids: dict[int, str], outcomes: Outcomes, places: Sequence[int]) -> None:
        """Write contacts and note the id of each that was taken; the others' outcomes are settled."""
        inputs = [self._input(place, outcomes.rows[place]) for place in places]
        # An upsert by a unique property may be sent twice.
        answer = self._http.request("POST", f"{_CONTACTS}/{verb}", body={"inputs": inputs}, repeatable=True)
        ids |= _read(answer, places, inputs, outcomes)

    def _input(self, place: int, row: Row) -> dict[str, Any]:
        values = {**row.identifiers, **row.fields}
        made: dict[str, Any] = {
            # All values are strings: 0 and false too, and nothing clears a property.
            "properties": {_SAME.get(name, name): text(value) for name, value in values.items()},
            # Ties an error to its row, whatever else the answer says.
            "objectWriteTraceId": str(place),
        }
        if row.remote_id:
            return {"id": row.remote_id, **made}
        return {"idProperty": self._key, "id": self._value(row), **made}

    def _value(self, row: Row) -> str | None:
        value = row.identifiers.get(self._key)
        return value.lower() if value and self._key == "email" else value

    def _join(self, audience: str, ids: Mapping[int, str], outcomes: Outcomes) -> None:
        if not ids:
            return
        path = f"{_list(audience)}/memberships/add"
        answer = shaped(self._http.request("PUT", path, body=list(dict.fromkeys(ids.values()))), "HubSpot")
        missing = {str(id) for id in answer.get("recordIdsMissing") or ()}
        for place, id in ids.items():
            outcomes.settle(place, Rejected("record_missing") if id in missing else Ok(id))

    def _remove(self, batch: Batch, outcomes: Outcomes) -> None:
        rows = batch.rows
        ids = {place: row.remote_id for place, row in enumerate(rows) if row.remote_id}
        asked = [place for place in outcomes.open() if place not in ids and self._value(rows[place])]
        for first in range(0, len(asked), BATCH_MAX):
            ids |= self._ids(asked[first : first + BATCH_MAX], rows)
        if ids:
            body = list(dict.fromkeys(ids.values()))
            shaped(self._http.request("PUT", f"{_list(batch.audience)}/memberships/remove", body=body), "HubSpot")
        for place, row in enumerate(rows):
            named = row.remote_id or self._value(row)
            outcomes.settle(place, Ok(ids.get(place)) if named else Rejected("identifier_missing", self._key))

    def _ids(self, places: Sequence[int], rows: Sequence[Row]) -> dict[int, str]:
        """Ask which contacts there are for some rows."""
        values = {place: self._value(rows[place]) for place in places}
        body = {
            "inputs": [{"id": value} for value in dict.fromkeys(values.values())],
            "idProperty": self._key,
            "properties": [self._key],
            "propertiesWithHistory": [],
        }
        answer = shaped(self._http.request("POST", f"{_CONTACTS}/read", body=body, repeatable=True), "HubSpot")
        known: dict[str, str] = {}
        for item in objects(answer.get("results")):
            value = str((item.get("properties") or {}).get(self._key))
            known[value.lower() if self._key == "email" else value] = str(item.get("id"))
        return {place: known[value] for place, value in values.items() if value in known}

    def _find(self, audience: str) -> None:
        self._http.request("GET", _list(audience))


def _list(audience: str) -> str:
    return f"{_LISTS}/{quote(audience, safe='')}"


def _read(
    answer: Answer, places: Sequence[int], inputs: Sequence[Mapping[str, Any]], outcomes: Outcomes
) -> dict[int, str]:
    """Read results and errors of a batch, whatever its status: the 2026-09 description knows no 207.

    Rows that stand in neither stay open, which makes them Unknown.
    """
    body = shaped(answer, "HubSpot")
    by_trace = {str(place): place for place in places}
    by_id = {str(one.get("id")).lower(): place for place, one in zip(places, inputs, strict=True)}
    for error in objects(body.get("errors")):
        context = error.get("context") or {}
        code = code_in(error.get("category"), "refused")
        for place in _named(context.get("objectWriteTraceId"), by_trace) or _named(context.get("ids"), by_id):
            outcomes.settle(place, Rejected(code))
    ids: dict[int, str] = {}
    for item in objects(body.get("results")):
        trace, value = item.get("objectWriteTraceId"), (item.get("properties") or {}).get("email")
        known = by_trace.get(str(trace), by_id.get(str(item.get("id")), by_id.get(str(value).lower())))
        if known is not None:
            ids[known] = str(item.get("id"))
    return ids


def _named(values: object, places: Mapping[str, int]) -> list[int]:
    listed = values if isinstance(values, list) else [values]
    return [places[str(value).lower()] for value in listed if str(value).lower() in places]
