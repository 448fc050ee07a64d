"""Salesforce as a destination: an audience is a checkbox of an object's records.

Records are kept by composite requests of 200, each record on its own (`allOrNone: false`), and those of a large batch
by an ingest job of Bulk API 2.0, which runs follow to its end. Fields that hold an opt-out (`HasOptedOutOfEmail` and
the like) are not written.

Proof level C: the published protocol and simple-salesforce's calls through a simulator; Salesforce publishes no
description, and no live org was used. Limits: the checkbox must exist; a record that two rules of the org see as
a duplicate is refused with the org's code; people are found by one field that is unique or an id look-up.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from consentry.connectors.base import Capabilities, Ok, Outcome, Pending, Rejected, Retry
from consentry.connectors.customer_io import refuse_subscription
from consentry.connectors.http import Answer, AnswerLost, HttpClient, failing_as
from consentry.connectors.http_destination import Outcomes, accounted, code_in, objects, shaped
from consentry.connectors.salesforce_ingest import Ingest, can_ingest
from consentry.connectors.salesforce_read import DATA
from consentry.errors import DestinationFailed
from consentry.model.batch import Batch, Row

BATCH_MAX = 10_000
COMPOSITE_MAX = 200
LOOKUP_MAX = 100
SUBSCRIPTION = frozenset({"HasOptedOutOfEmail", "HasOptedOutOfFax", "DoNotCall"})
_SAME = {
    "email": "Email",
    "phone": "Phone",
    "given_name": "FirstName",
    "family_name": "LastName",
    "city": "MailingCity",
    "country": "MailingCountry",
    "postal_code": "MailingPostalCode",
}
_FIELD = re.compile(r"[A-Za-z]\w{0,79}")
# Two writers at one record: the loser may try again.
_PASSING = frozenset({"UNABLE_TO_LOCK_ROW", "REQUEST_LIMIT_EXCEEDED", "SERVER_UNAVAILABLE"})
_GONE = frozenset({"ENTITY_IS_DELETED", "INVALID_CROSS_REFERENCE_KEY", "NOT_FOUND"})
_AGAIN_SECONDS = 30.0

CAPABILITIES = Capabilities(
    batch_max=BATCH_MAX,
    key_fields=("email",),
    operations=frozenset({"add", "change", "remove"}),
    asynchronous=True,
)


class SalesforceRecords:
    """The records of one object. key: the field they are known by; identifier: ours that stands for it.

    create: whether people who are not known are made. bulk_from: records for which a job is begun.
    """

    def __init__(
        self, http: HttpClient, *, object: str, key: str, identifier: str, create: bool, bulk_from: int
    ) -> None:
        self._http, self._object, self._key, self._identifier, self._create = http, object, key, identifier, create
        self._ingest, self._bulk_from = Ingest(http, DATA, object=object, key=key), bulk_from

    def write(self, batch: Batch) -> Iterator[Outcome]:
        """Keep the records, and tick the checkbox; Ok carries the record's id."""
        return accounted(batch, self._write)

    def remove(self, batch: Batch) -> Iterator[Outcome]:
        """Untick the checkbox; a record that is not there needs none."""
        return accounted(batch, self._remove)

    def poll(self, job: str, batch: Batch) -> list[Outcome] | None:
        """Say what an ingest job did with its records; Ok carries the record's id."""
        with failing_as(DestinationFailed):
            return self._ingest.outcomes(job, batch.rows, self._value, _judged)

    def lookup(self, audience: str, remote_ids: Iterable[str]) -> frozenset[str]:
        """Return those of the record ids whose checkbox is ticked."""
        wanted, found = list(remote_ids), set[str]()
        with failing_as(DestinationFailed):
            for first in range(0, len(wanted), LOOKUP_MAX):
                some = wanted[first : first + LOOKUP_MAX]
                found |= set(self._select("Id", f"{_checkbox(audience)} = true AND Id IN ({_listed(some)})"))
        return frozenset(found)

    def _write(self, batch: Batch, outcomes: Outcomes) -> None:
        refuse_subscription(batch.rows, SUBSCRIPTION, "Salesforce")
        box = _checkbox(batch.audience)
        places = list(outcomes.keyed(lambda row: row.remote_id or self._value(row), self._identifier).values())
        ids = {place: str(batch.rows[place].remote_id) for place in places if batch.rows[place].remote_id}
        new = [place for place in places if place not in ids]
        if new and not self._create:
            ids |= self._ids(new, batch.rows)
        strangers = [place for place in new if place not in ids]
        kept = [*ids, *(strangers if self._create else ())]
        records = {place: self._record(batch.rows[place]) | {box: True} for place in kept}
        if len(records) >= self._bulk_from:
            self._find(box)
            self._queue("update", {place: records[place] | {"Id": id} for place, id in ids.items()}, outcomes)
            self._queue("upsert", {place: records[place] for place in strangers if self._create}, outcomes)
        left = frozenset(outcomes.open())
        self._update({place: id for place, id in ids.items() if place in left}, records, outcomes, box)
        if self._create:
            self._upsert([place for place in strangers if place in left], records, outcomes, box)
        for place in strangers if not self._create else ():
            outcomes.settle(place, Rejected("record_missing", self._identifier))

    def _remove(self, batch: Batch, outcomes: Outcomes) -> None:
        box = _checkbox(batch.audience)
        places = list(
            outcomes.keyed(lambda row: row.remote_id or self._value(row), self._identifier, twice=Ok()).values()
        )
        ids = {place: str(batch.rows[place].remote_id) for place in places if batch.rows[place].remote_id}
        ids |= self._ids([place for place in places if place not in ids], batch.rows)
        self._update(ids, {place: {box: False} for place in ids}, outcomes, box, gone=Ok())
        for place in places:
            if place not in ids:
                outcomes.settle(place, Ok())

    def _update(
        self,
        ids: Mapping[int, str],
        records: Mapping[int, Mapping[str, Any]],
        outcomes: Outcomes,
        box: str,
        *,
        gone: Outcome | None = None,
    ) -> None:
        places = list(ids)
        for first in range(0, len(places), COMPOSITE_MAX):
            some = places[first : first + COMPOSITE_MAX]
            made = [{"attributes": {"type": self._object}, **records[place], "id": ids[place]} for place in some]
            _read(self._patch(f"{DATA}/composite/sobjects", made), some, outcomes, gone, box)

    def _upsert(
        self, places: Sequence[int], records: Mapping[int, Mapping[str, Any]], outcomes: Outcomes, box: str
    ) -> None:
        path = f"{DATA}/composite/sobjects/{quote(self._object)}/{quote(self._key)}"
        for first in range(0, len(places), COMPOSITE_MAX):
            some = places[first : first + COMPOSITE_MAX]
            made = [
                {"attributes": {"type": self._object}, **records[place], self._key: self._value(outcomes.rows[place])}
                for place in some
            ]
            _read(self._patch(path, made), some, outcomes, None, box)

    def _queue(self, operation: str, records: Mapping[int, Mapping[str, Any]], outcomes: Outcomes) -> None:
        """Hand records to a job; those that CSV cannot hold are left open."""
        queued = {place: record for place, record in records.items() if can_ingest(record)}
        if queued:
            job = self._ingest.start(operation, list(queued.values()))
            for place in queued:
                outcomes.settle(place, Pending(job))

    def _find(self, box: str) -> None:
        """Ask whether there is such a checkbox: without it a job fails as a whole, and does not say why."""
        about = shaped(self._http.request("GET", f"{DATA}/sobjects/{quote(self._object)}/describe"), "Salesforce")
        if box not in {field.get("name") for field in objects(about.get("fields"))}:
            raise _no_box(box)

    def _patch(self, path: str, records: Sequence[Mapping[str, Any]]) -> Answer:
        return self._http.request("PATCH", path, body={"allOrNone": False, "records": list(records)}, repeatable=True)

    def _ids(self, places: Sequence[int], rows: Sequence[Row]) -> dict[int, str]:
        """Ask which records there are for some rows; of two that match, neither is taken."""
        wanted = {place: str(self._value(rows[place])) for place in places}
        found: dict[str, list[str]] = {}
        values = list(dict.fromkeys(wanted.values()))
        for first in range(0, len(values), LOOKUP_MAX):
            some = values[first : first + LOOKUP_MAX]
            for record in self._records(f"Id, {self._key}", f"{self._key} IN ({_listed(some)})"):
                found.setdefault(str(record.get(self._key)).lower(), []).append(str(record.get("Id")))
        return {place: ids[0] for place, value in wanted.items() if len(ids := found.get(value.lower(), [])) == 1}

    def _select(self, field: str, where: str) -> list[str]:
        return [str(record.get(field)) for record in self._records(field, where)]

    def _records(self, fields: str, where: str) -> list[dict[str, Any]]:
        query = f"SELECT {fields} FROM {self._object} WHERE {where}"
        return objects(
            shaped(self._http.request("GET", f"{DATA}/query", params={"q": query}), "Salesforce").get("records")
        )

    def _value(self, row: Row) -> str | None:
        return row.identifiers.get(self._identifier)

    def _record(self, row: Row) -> dict[str, Any]:
        others = {name: value for name, value in row.identifiers.items() if name != self._identifier}
        own = {self._key: self._value(row)} if self._value(row) else {}
        return {_SAME.get(name, name): value for name, value in {**others, **row.fields}.items()} | own


def _read(answer: Answer, places: Sequence[int], outcomes: Outcomes, gone: Outcome | None, box: str) -> None:
    """Read one result a record, in the order of the records; any other number cannot be believed."""
    results = objects(answer.body)
    if len(results) != len(places):
        raise AnswerLost("Salesforce gave another number of results than records. Check base_url.", code="garbage")
    for place, result in zip(places, results, strict=True):
        if result.get("success") is True:
            outcomes.settle(place, Ok(str(result.get("id"))))
            continue
        error = next(iter(objects(result.get("errors"))), {})
        code = code_in(error.get("statusCode"), "refused")
        fields = error.get("fields")
        field = fields[0] if isinstance(fields, list) and fields and _FIELD.fullmatch(str(fields[0])) else None
        if code == "INVALID_FIELD" and field == box:
            raise _no_box(box)
        outcomes.settle(place, gone if gone and code in _GONE else _judged(code, field))


def _judged(code: str, field: str | None) -> Outcome:
    """Return what the failure of one record means."""
    return Retry(_AGAIN_SECONDS) if code in _PASSING else Rejected(code, field)


def _no_box(box: str) -> DestinationFailed:
    message = f"Salesforce has no field {box!r}, or hides it. Make the checkbox, or give the login access to it."
    return DestinationFailed(message, code="audience_missing")


def _checkbox(audience: str) -> str:
    if not _FIELD.fullmatch(audience) or audience in SUBSCRIPTION:
        message = "An audience of Salesforce is the API name of a checkbox field, such as In_VIPs__c."
        raise DestinationFailed(message, code="audience_malformed")
    return audience


def _listed(values: Sequence[str]) -> str:
    r"""Write SOQL text literals: \ and ' are escaped (SOQL and SOSL Reference, "Quoted String Escape Sequences")."""
    return ",".join("'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'" for value in values)
