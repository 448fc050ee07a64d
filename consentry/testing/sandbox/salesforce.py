"""Salesforce as consentry meets it: logins, SOQL by REST, query jobs of Bulk API 2.0.

Salesforce publishes no description; contracts are from its REST, Bulk API 2.0 and OAuth guides (v67.0, November 2026).
"""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from starlette.responses import Response

from consentry.testing.sandbox.faults import Fault
from consentry.testing.sandbox.limits import Limit, Window
from consentry.testing.sandbox.plain import PlainVendor
from consentry.testing.sandbox.salesforce_data import Objects, Row
from consentry.testing.sandbox.salesforce_ingest import IngestJob, as_csv
from consentry.testing.sandbox.salesforce_login import Logins
from consentry.testing.sandbox.salesforce_writes import write
from consentry.testing.sandbox.vendor import Call, Handler, Json, Operation, Refused, whole_number

DATA = "/services/data/v67.0"
DAILY = 15_000
_ORG = (Limit(DAILY, 86_400, "DAILY"),)
# Salesforce refuses request lines beyond this.
URL_MAX = 16_384


@dataclass
class Job:
    """A query job; it is done after it was looked at twice."""

    id: str
    rows: list[Row]
    fields: tuple[str, ...]
    looked: int = 0
    failing: bool = False

    @property
    def state(self) -> str:
        """Return the state that the next look sees."""
        if self.failing:
            return "Failed"
        return ("UploadComplete", "InProgress", "JobComplete")[min(self.looked, 2)]


class Salesforce(PlainVendor):
    """One org."""

    name: ClassVar[str] = "salesforce"
    token: ClassVar[str] = "sandbox-salesforce"
    codes: ClassVar[dict[str, str]] = {
        "unauthorized": "INVALID_SESSION_ID",
        "limited": "REQUEST_LIMIT_EXCEEDED",
        "unavailable": "SERVER_UNAVAILABLE",
        "invalid": "MALFORMED_QUERY",
    }

    def reset(self) -> None:
        """Forget everything: the state of a new org."""
        self.objects = Objects()
        self.logins = Logins()
        self.jobs: dict[str, Job] = {}
        self.ingest_jobs: dict[str, IngestJob] = {}
        # How often an ingest job is looked at before it is done.
        self.polls_to_complete = 2
        self.cursors: dict[str, list[Row]] = {}
        # Rows in an answer of REST, and the most a portion of bulk results has; Salesforce's own are 2,000 and more.
        self.page_rows, self.portion_rows = 2_000, 100_000
        # Whether portions behind the first repeat the header line.
        self.repeats_header = True
        # Lets the next jobs fail, as a query without permission for a field does.
        self.jobs_fail = False
        self._serial = 0

    def environment(self, base_url: str) -> dict[str, str]:
        """Return the variables with which a job finds this simulator."""
        return {
            "SALESFORCE_BASE_URL": base_url,
            "SALESFORCE_CLIENT_ID": self.logins.client_id,
            "SALESFORCE_CLIENT_SECRET": self.logins.client_secret,
        }

    def put(self, name: str, records: Iterable[Mapping[str, Json]]) -> None:
        """Add records of an object, or replace them by their Id."""
        with self.lock:
            self.objects.put(name, records)

    def operations(self) -> Sequence[Operation]:
        """List what the API can do."""
        table: list[tuple[str, str, Handler]] = [
            ("GET", f"{DATA}/limits", self.limits),
            ("GET", f"{DATA}/sobjects/{{object}}/describe", self.describe),
            ("GET", f"{DATA}/query", self.query),
            ("GET", f"{DATA}/queryAll", self.query_all),
            ("GET", f"{DATA}/query/{{locator}}", self.query_more),
            ("POST", f"{DATA}/jobs/query", self.start_job),
            ("GET", f"{DATA}/jobs/query/{{job}}", self.look_at_job),
            ("GET", f"{DATA}/jobs/query/{{job}}/results", self.job_results),
            ("POST", f"{DATA}/jobs/ingest", self.start_ingest),
            ("PUT", f"{DATA}/jobs/ingest/{{job}}/batches", self.upload),
            ("PATCH", f"{DATA}/jobs/ingest/{{job}}", self.close_ingest),
            ("GET", f"{DATA}/jobs/ingest/{{job}}", self.look_at_ingest),
            ("GET", f"{DATA}/jobs/ingest/{{job}}/{{results}}", self.ingest_results),
            ("PATCH", f"{DATA}/composite/sobjects", self.composite_update),
            ("PATCH", f"{DATA}/composite/sobjects/{{object}}/{{key}}", self.composite_upsert),
        ]
        login = Operation("POST", "/services/oauth2/token", self.log_in)
        # Salesforce takes every path with a slash behind it, too.
        return [login, *(Operation(verb, path, does, _ORG, "org", (f"{path}/",)) for verb, path, does in table)]

    def authenticate(self, call: Call) -> None:
        """Ask for an access token that was given out and has not run out."""
        if not call.request.url.path.endswith("/services/oauth2/token"):
            self.logins.check(call.header("authorization"))

    def log_in(self, call: Call) -> Response:
        """POST token: client credentials, a signed assertion, or a refresh token that is good once."""
        return self.json(self.logins.grant(call, str(call.request.base_url).rstrip("/")))

    def limits(self, call: Call) -> Response:
        """GET limits: what is left of the day."""
        return self.json({"DailyApiRequests": {"Max": DAILY, "Remaining": DAILY - 1}})

    def composite_update(self, call: Call) -> Response:
        """PATCH records by their ids."""
        return self.json(write(self, call, key=None))

    def composite_upsert(self, call: Call) -> Response:
        """PATCH records by another field, made where they are missing."""
        return self.json(write(self, call, key=call.path("key")))

    def describe(self, call: Call) -> Response:
        """GET an object's fields."""
        kinds = self.objects.fields(call.path("object"))
        return self.json({"name": call.path("object"), "fields": [{"name": n, "type": k} for n, k in kinds.items()]})

    def query(self, call: Call) -> Response:
        """GET query: live records only."""
        return self._query(call, deleted=False)

    def query_all(self, call: Call) -> Response:
        """GET queryAll: with the records of the recycle bin."""
        return self._query(call, deleted=True)

    def _query(self, call: Call, *, deleted: bool) -> Response:
        if len(str(call.request.url)) > URL_MAX:
            return Response("URI Too Long", 414, media_type="text/html")
        name, _, rows = self.objects.select(call.query("q"), deleted=deleted)
        locator = f"01g{self.next_id():012d}AAA"
        self.cursors[locator] = [{"attributes": {"type": name}, **row} for row in rows]
        return self._records(call, locator, 0)

    def query_more(self, call: Call) -> Response:
        """GET the next records of a query: the locator is the cursor and how many were read."""
        locator, _, begin = call.path("locator").partition("-")
        place = whole_number(begin, least=0, most=10**9)
        if locator not in self.cursors or place is None:
            raise Refused(400, "INVALID_QUERY_LOCATOR", "invalid query locator")
        return self._records(call, locator, place)

    def _records(self, call: Call, locator: str, begin: int) -> Response:
        rows = self.cursors[locator]
        end = begin + self.page_rows
        body: dict[str, Json] = {"totalSize": len(rows), "done": end >= len(rows), "records": rows[begin:end]}
        if end < len(rows):
            following = begin if call.repeats_cursor() else end
            body["nextRecordsUrl"] = f"{call.request.scope.get('root_path', '')}{DATA}/query/{locator}-{following}"
        return self.json(body)

    def start_job(self, call: Call) -> Response:
        """POST a query job."""
        body = _object(call)
        if body.get("operation") not in ("query", "queryAll"):
            raise Refused(400, "INVALIDJOB", "Unknown operation")
        _, fields, rows = self.objects.select(str(body.get("query")), deleted=body["operation"] == "queryAll")
        job = Job(f"750{self.next_id():012d}AAA", rows, fields, failing=self.jobs_fail)
        self.jobs[job.id] = job
        return self.json({"id": job.id, "operation": body["operation"], "state": "UploadComplete"})

    def look_at_job(self, call: Call) -> Response:
        """GET a job: its state moves on with every look."""
        job = self._job(call)
        state = job.state
        job.looked += 1
        return self.json({"id": job.id, "state": state, "numberRecordsProcessed": len(job.rows)})

    def job_results(self, call: Call) -> Response:
        """GET a portion of the results: CSV, with the next locator in a header, the text `null` behind the last."""
        job = self._job(call)
        if job.state != "JobComplete":
            raise Refused(400, "INVALIDJOBSTATE", "The job has no results yet")
        begin = _place(call.query("locator"))
        most = whole_number(call.query("maxRecords") or "100000", least=1, most=10**9) or 1
        rows = job.rows[begin : begin + min(most, self.portion_rows)]
        end = begin + len(rows)
        header = begin == 0 or self.repeats_header
        following = begin if call.repeats_cursor() and begin else end
        locator = "null" if end >= len(job.rows) else base64.b64encode(str(following).encode()).decode()
        headers = {"Sforce-NumberOfRecords": str(len(rows)), "Sforce-Locator": locator}
        return Response(_as_csv(job.fields, rows, header), media_type="text/csv", headers=headers)

    def start_ingest(self, call: Call) -> Response:
        """POST an ingest job."""
        body = _object(call)
        name, operation = str(body.get("object")), str(body.get("operation"))
        self.objects.fields(name)
        if operation not in ("update", "upsert") or (operation == "upsert") != ("externalIdFieldName" in body):
            raise Refused(400, "INVALIDJOB", "Unknown operation, or a key that does not belong to it")
        key = str(body["externalIdFieldName"]) if operation == "upsert" else None
        job = IngestJob(f"750{self.next_id():012d}AAA", name, operation, key, self.polls_to_complete)
        self.ingest_jobs[job.id] = job
        return self.json({"id": job.id, "state": job.state, "contentUrl": f"{DATA[1:]}/jobs/ingest/{job.id}/batches"})

    def upload(self, call: Call) -> Response:
        """PUT the records of a job."""
        if not call.header("content-type").startswith("text/csv"):
            raise Refused(415, "UNSUPPORTED_MEDIA_TYPE", "The data of the job is CSV")
        self._ingest_job(call).take(call.body, call.failing_rows())
        return Response(status_code=201)

    def close_ingest(self, call: Call) -> Response:
        """PATCH a job: its upload is complete."""
        if _object(call).get("state") != "UploadComplete":
            raise Refused(400, "INVALIDJOB", "A job can only be closed here")
        job = self._ingest_job(call)
        job.close()
        return self.json({"id": job.id, "state": job.state})

    def look_at_ingest(self, call: Call) -> Response:
        """GET a job: its state moves on with every look."""
        job = self._ingest_job(call)
        counts = {
            "numberRecordsProcessed": len(job.successful) + len(job.failed),
            "numberRecordsFailed": len(job.failed),
        }
        return self.json({"id": job.id, "state": job.look(self), **counts})

    def ingest_results(self, call: Call) -> Response:
        """GET what became of the records."""
        job, kinds = self._ingest_job(call), {"successfulResults": "successful", "failedResults": "failed"}
        if call.path("results") not in kinds or job.state != "JobComplete":
            raise Refused(400, "INVALIDJOBSTATE", "The job has no such results yet")
        return Response(as_csv(getattr(job, kinds[call.path("results")])), media_type="text/csv")

    def _ingest_job(self, call: Call) -> IngestJob:
        if call.path("job") not in self.ingest_jobs:
            raise Refused(404, "NOT_FOUND", "The requested resource does not exist")
        return self.ingest_jobs[call.path("job")]

    def _job(self, call: Call) -> Job:
        if call.path("job") not in self.jobs:
            raise Refused(404, "NOT_FOUND", "The requested resource does not exist")
        return self.jobs[call.path("job")]

    def problem(self, refused: Refused) -> Response:
        """Write `[{errorCode, message}]`; a refused login is `{error, error_description}`."""
        if refused.code.startswith("invalid_") or refused.code == "unsupported_grant_type":
            return self.json({"error": refused.code, "error_description": refused.detail}, refused.status)
        return self.json([{"errorCode": refused.code, "message": refused.detail, **refused.more}], refused.status)

    def fault_refusal(self, fault: Fault) -> Refused | None:
        """Return the refusal that a planned fault asks for; the day's limit is a 403, never a 429."""
        if fault.kind == "daily_limit":
            return self.limit_refusal(Window(_ORG[0], -1, 3600))
        return super().fault_refusal(fault)

    def limit_headers(self, windows: list[Window]) -> dict[str, str]:
        """Return what is used of the day."""
        used = DAILY - windows[0].remaining if windows else 0
        return {"Sforce-Limit-Info": f"api-usage={used}/{DAILY}"}

    def limit_refusal(self, window: Window) -> Refused:
        """Refuse with 403: the calls of 24 hours are used up."""
        return Refused(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.")


def _object(call: Call) -> dict[str, Json]:
    body = json.loads(call.body)
    if not isinstance(body, dict):
        raise Refused(400, "JSON_PARSER_ERROR", "Unexpected value")
    return body


def _place(locator: str) -> int:
    if not locator:
        return 0
    try:
        return int(base64.b64decode(locator, validate=True))
    except ValueError:
        raise Refused(400, "INVALIDLOCATOR", "The locator is not valid") from None


def _as_csv(fields: Sequence[str], rows: Sequence[Row], header: bool) -> str:
    written = io.StringIO()
    writer = csv.writer(written, quoting=csv.QUOTE_ALL, lineterminator="\n")
    if header:
        writer.writerow(fields)
    for row in rows:
        writer.writerow([_cell(row[name]) for name in fields])
    return written.getvalue()


def _cell(value: Json) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value).removesuffix("+0000") + "Z" if str(value).endswith("+0000") else str(value)
