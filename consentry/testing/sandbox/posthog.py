"""PostHog as consentry meets it: HogQL queries over events, and the list of persons.

Contract: PostHog's documentation (API queries, Persons; November 2026). Queries really run, over DuckDB: a query
whose order or bounds are wrong gives wrong rows here as there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, ClassVar

import duckdb
import pyarrow as pa
from starlette.responses import Response

from consentry.testing.sandbox.limits import Limit
from consentry.testing.sandbox.plain import PlainVendor
from consentry.testing.sandbox.vendor import Call, Json, Operation, Refused, whole_number

PROJECT = "77"
# Unless the query says otherwise, and at most.
ROWS, ROWS_MAX = 100, 50_000
_LIMITS = (Limit(240, 60, "minute"), Limit(1_200, 3_600, "hour"))
_TEXTS = ("uuid", "event", "distinct_id", "person_id", "properties")
_SCHEMA = pa.schema([*((name, pa.string()) for name in _TEXTS), ("timestamp", pa.timestamp("us", tz="UTC"))])


class PostHog(PlainVendor):
    """One project. events: uuid, event, distinct_id, person_id, timestamp, properties (JSON text)."""

    name: ClassVar[str] = "posthog"
    token: ClassVar[str] = "sandbox-posthog"
    codes: ClassVar[dict[str, str]] = {
        "unauthorized": "authentication_failed",
        "limited": "throttled",
        "unavailable": "error",
        "invalid": "invalid_input",
    }

    def reset(self) -> None:
        """Forget everything: the state of a new project."""
        self.events: list[dict[str, Any]] = []
        self.persons: list[dict[str, Any]] = []
        # Where a link to the next page leads, when not here.
        self.next_host = ""

    def operations(self) -> Sequence[Operation]:
        """List what the API can do."""
        return [
            Operation("POST", "/api/projects/{id}/query/", self.query, _LIMITS, "private"),
            Operation("GET", "/api/projects/{id}/persons/", self.list_persons, _LIMITS, "private"),
        ]

    def authenticate(self, call: Call) -> None:
        """Ask for the personal API key, and for a project that it may read."""
        self.refuse_credentials(call.header("authorization") == f"Bearer {self.token}")
        if call.path("id") != PROJECT:
            raise Refused(403, "permission_denied", "You don't have access to the project.")

    def problem_body(self, refused: Refused) -> Json:
        """Return `{type, code, detail, attr}`."""
        return {"type": "validation_error", "code": refused.code, "detail": refused.detail, "attr": None}

    def query(self, call: Call) -> Response:
        """POST a HogQL query; its values stand in braces and are bound."""
        asked = json.loads(call.body)["query"]
        if asked.get("kind") != "HogQLQuery":
            raise self.invalid("Only HogQLQuery is played here")
        text = re.sub(r"\{(\w+)\}", r"$\1", asked["query"])
        limit = re.search(r"LIMIT (\d+)\s*$", text)
        if limit and int(limit[1]) > ROWS_MAX:
            text = text[: limit.start()] + f"LIMIT {ROWS_MAX}"
        with duckdb.connect() as engine:
            engine.sql("SET TimeZone = 'UTC'")
            engine.sql("CREATE MACRO toDateTime64(t, digits, zone) AS CAST(t AS TIMESTAMPTZ)")
            engine.sql("CREATE MACRO toString(v) AS CAST(v AS VARCHAR)")
            engine.register("events", pa.Table.from_pylist(self.events, _SCHEMA))
            try:
                found = engine.execute(text if limit else f"{text} LIMIT {ROWS}", asked.get("values") or None)
                columns = [one[0] for one in found.description or []]
                rows = [list(row) for row in found.fetchall()]
            except duckdb.Error:
                raise self.invalid("Error in query") from None
        return self.json({"columns": columns, "results": rows, "hasMore": False})

    def list_persons(self, call: Call) -> Response:
        """GET some persons, and the link to the next page."""
        limit = whole_number(call.query("limit", "100"), least=1, most=1000) or 100
        offset = whole_number(call.query("offset", "0"), least=0, most=10**9) or 0
        following = None
        if offset + limit < len(self.persons):
            here = offset if call.repeats_cursor() and offset else offset + limit
            following = str(call.request.url.include_query_params(limit=limit, offset=here))
            if self.next_host:
                following = f"{self.next_host}{call.request.url.path}?limit={limit}&offset={here}"
        found = self.persons[offset : offset + limit]
        return self.json({"next": following, "previous": None, "count": len(self.persons), "results": found})
