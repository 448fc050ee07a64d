"""Write records by an ingest job of Bulk API 2.0, where 200 records a call would use up an org's day.

A job is made, given its records as CSV, closed, and looked at until it has ended; what became of each record is told in
two files, in no order, each line with what was sent (Bulk API 2.0 and Bulk API Developer Guide, v67.0: "Create a Job",
"Upload Job Data", "Get Job Successful Record Results", "Get Job Failed Record Results").
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from consentry.connectors.base import Ok, Outcome, Retry, Unknown
from consentry.connectors.http import HttpClient, HttpFailed
from consentry.connectors.http_destination import code_in, shaped, text
from consentry.model.batch import Row

# A value of this spelling empties a field, and an empty one leaves it alone; there is no other way to write the text.
EMPTIES = "#N/A"
_ENDED: Mapping[str, Outcome] = {"JobComplete": Unknown(), "Failed": Retry(60.0), "Aborted": Retry(60.0)}
# `CODE:sentence:Field Field --`; the sentence may quote the record.
_ERROR = re.compile(r"(?P<code>[A-Z_]+):.*?(?::(?P<field>[A-Za-z]\w*)[^:]*)?--\s*", re.DOTALL)
# An id has 15 signs, and 3 more that only spell out their case.
_ID_SIGNS = 15


class Ingest:
    """The ingest jobs of one object. data: the path of the data API with its version. key: the field of `upsert`."""

    def __init__(self, http: HttpClient, data: str, *, object: str, key: str) -> None:
        self._http, self._jobs, self._object, self._key = http, f"{data}/jobs/ingest", object, key

    def start(self, operation: str, records: Sequence[Mapping[str, Any]]) -> str:
        """Hand records over and return the job's id. operation: `update` by their Id, or `upsert` by the key.

        A job that is not closed is never worked off, so that an answer lost on the way changes nothing.
        """
        about = {"object": self._object, "operation": operation, "contentType": "CSV"}
        about |= {"columnDelimiter": "COMMA", "lineEnding": "LF"}
        about |= {"externalIdFieldName": self._key} if operation == "upsert" else {}
        made = shaped(self._http.request("POST", self._jobs, body=about, repeatable=True), "Salesforce")
        job = str(made.get("id"))
        self._http.request("PUT", f"{self._path(job)}/batches", body=_as_csv(records), repeatable=False)
        self._http.request("PATCH", self._path(job), body={"state": "UploadComplete"}, repeatable=True)
        return job

    def outcomes(
        self,
        job: str,
        rows: Sequence[Row],
        value: Callable[[Row], str | None],
        judged: Callable[[str, str | None], Outcome],
    ) -> list[Outcome] | None:
        """Say what became of each row; None while the job is under way, Unknown when the org has no such job.

        value: what a row has for the key. judged: the outcome of a record that failed, by its code and field.
        """
        try:
            state = str(shaped(self._http.request("GET", self._path(job)), "Salesforce").get("state"))
        except HttpFailed as failed:
            if failed.status not in (400, 404):
                raise
            return [Unknown() for _ in rows]
        if state not in _ENDED:
            return None
        places = {name: place for place, row in enumerate(rows) for name in _names(row.remote_id, value(row))}
        found: list[Outcome] = [_ENDED[state] for _ in rows]
        for line in self._lines(job, "successfulResults"):
            self._note(found, places, line, Ok(line.get("sf__Id")))
        for line in self._lines(job, "failedResults"):
            error = _ERROR.fullmatch(line.get("sf__Error") or "")
            code, field = (error["code"], error["field"]) if error else ("refused", None)
            self._note(found, places, line, judged(code_in(code, "refused"), field))
        return found

    def _note(self, found: list[Outcome], places: Mapping[str, int], line: Mapping[str, str], outcome: Outcome) -> None:
        names = _names(line.get("Id") or line.get("sf__Id"), line.get(self._key))
        place = next((places[name] for name in names if name in places), None)
        if place is not None:
            found[place] = outcome

    def _lines(self, job: str, results: str) -> Iterator[dict[str, str]]:
        told = io.BytesIO()
        self._http.request("GET", f"{self._path(job)}/{results}/", into=told)
        yield from csv.DictReader(io.StringIO(told.getvalue().decode("utf-8-sig", "replace"), newline=""))

    def _path(self, job: str) -> str:
        return f"{self._jobs}/{quote(job, safe='')}"


def can_ingest(record: Mapping[str, Any]) -> bool:
    """Tell whether CSV can hold a record: one value cannot be written there."""
    return EMPTIES not in record.values()


def _names(id: str | None, value: str | None) -> list[str]:
    """Return by what a line and its row find each other: the key, whatever its case, and the id."""
    return [name for name in (value and f"key {value.lower()}", id and f"id {id[:_ID_SIGNS]}") if name]


def _as_csv(records: Sequence[Mapping[str, Any]]) -> bytes:
    columns = sorted({name for record in records for name in record})
    written = io.StringIO()
    writer = csv.writer(written, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerow(columns)
    for record in records:
        writer.writerow([_cell(record[name]) if name in record else "" for name in columns])
    return written.getvalue().encode()


def _cell(value: Any) -> str:
    return text(value) or EMPTIES
