"""Run a query as a Bulk API 2.0 job and fetch its results.

The results come as CSV in portions; each names the locator of the next, and the last one the text `null`
(airbyte #6209, jsforce #1278). What a portion holds is counted against Sforce-NumberOfRecords.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO, cast

import pyarrow as pa
from pyarrow import csv

from consentry.connectors.http import HttpClient, HttpFailed
from consentry.connectors.paging import repeated
from consentry.errors import RetryLater, SourceFailed

PORTION = 50_000
# Seconds between looks at a job, and how many looks one run takes: about an hour.
_LOOKS = (1.0, 2.0, 4.0, 8.0, 15.0, *(30.0 for _ in range(119)))
_ENDED = frozenset({"Failed", "Aborted"})


class Bulk:
    """The query jobs of one org. data: the path of the data API with its version."""

    def __init__(self, http: HttpClient, data: str, sleep: Callable[[float], None]) -> None:
        self._http, self._jobs, self._sleep = http, f"{data}/jobs/query", sleep

    def start(self, operation: str, query: str) -> str:
        """Start a job and return its id. operation: query, or queryAll with the deleted records."""
        body = {"operation": operation, "query": query, "contentType": "CSV", "columnDelimiter": "COMMA"}
        # A job that was started twice is only read once; the other one runs out by itself.
        answer = self._http.request("POST", self._jobs, body={**body, "lineEnding": "LF"}, repeatable=True)
        return str(_object(answer.body)["id"])

    def is_known(self, job: str) -> bool:
        """Tell whether the org still has the job; it forgets jobs after seven days."""
        try:
            self._http.request("GET", f"{self._jobs}/{job}")
        except HttpFailed as failed:
            if failed.status not in (400, 404):
                raise
            return False
        return True

    def wait(self, job: str) -> None:
        """Return when the job is done. Raises SourceFailed when it failed, RetryLater when it takes too long."""
        for look in _LOOKS:
            state = _object(self._http.request("GET", f"{self._jobs}/{job}").body).get("state")
            if state == "JobComplete":
                return
            if state in _ENDED:
                message = (
                    f"Salesforce ended the bulk query with state {state}. Look at Setup, Bulk Data Load Jobs, for the "
                    "reason; a field without read permission is the commonest. Then run again."
                )
                raise SourceFailed(message, code="bulk_failed")
            self._sleep(look)
        raise RetryLater("The bulk query is still under way at Salesforce. Run again later.", after=900, code="bulk")

    def results(self, job: str, fields: Sequence[str], locator: str | None) -> Iterator[tuple[pa.Table, str | None]]:
        """Yield the portions behind a locator, each with the next locator, None behind the last."""
        passed = {locator}
        while True:
            table, locator = self._portion(job, fields, locator)
            if locator is not None and locator in passed:
                raise repeated("Salesforce")
            passed.add(locator)
            yield table, locator
            if locator is None:
                return

    def _portion(self, job: str, fields: Sequence[str], locator: str | None) -> tuple[pa.Table, str | None]:
        params = {"maxRecords": str(PORTION)} | ({"locator": locator} if locator else {})
        with tempfile.TemporaryFile() as file:
            into = cast("BinaryIO", file)
            headers = self._http.request("GET", f"{self._jobs}/{job}/results", params=params, into=into).headers
            count = int(headers.get("sforce-numberofrecords", "0") or 0)
            table = _parsed(into, fields, count)
        following = headers.get("sforce-locator")
        return table, None if following in (None, "", "null") else following


def _parsed(file: BinaryIO, fields: Sequence[str], count: int) -> pa.Table:
    """Read a portion; a field that is empty is null, and every other text stays as it is, `#N/A` too."""
    table: pa.Table | None = pa.table({name: pa.array([], pa.string()) for name in fields})
    if count:
        table = _read(file, None)
        if table is not None and table.column_names != list(fields):
            # Only the first portion is sure to have a header.
            file.seek(0)
            table = _read(file, fields)
    if table is None or table.num_rows != count:
        message = "A portion of Salesforce's bulk results does not hold what it announces. Run again."
        raise SourceFailed(message, code="truncated")
    return table


def _read(file: BinaryIO, names: Sequence[str] | None) -> pa.Table | None:
    # Every column is text: what looks like a number or a date may be a customer's number.
    kinds = {name: pa.string() for name in names or _header(file)}
    options = csv.ConvertOptions(
        column_types=kinds, null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=True
    )
    try:
        return csv.read_csv(
            file,
            read_options=csv.ReadOptions(column_names=list(names) if names else None, block_size=1 << 24),
            parse_options=csv.ParseOptions(newlines_in_values=True),
            convert_options=options,
        )
    # Arrow's message quotes the line, which is somebody's record.
    except (pa.ArrowInvalid, pa.ArrowKeyError):
        return None


def _header(file: BinaryIO) -> list[str]:
    line = file.readline().decode("utf-8-sig", errors="replace").strip()
    file.seek(0)
    return [name.strip('"') for name in line.split(",")]


def _object(body: Any) -> Mapping[str, Any]:
    if not isinstance(body, Mapping):
        raise SourceFailed("Salesforce answered something that is not its API. Check base_url.", code="garbage")
    return body
