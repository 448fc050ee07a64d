"""Salesforce's ingest jobs: made, given CSV once, closed, worked off after some looks, told of in two files."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, field

from consentry.testing.sandbox.salesforce_writes import Org, write_one
from consentry.testing.sandbox.vendor import Json, Refused

STATES = ("UploadComplete", "InProgress", "JobComplete")
EMPTIES = "#N/A"
MAX_BYTES = 150_000_000


@dataclass
class IngestJob:
    """One job. looks: how often it is looked at before it is done."""

    id: str
    object: str
    operation: str
    key: str | None
    looks: int
    state: str = "Open"
    lines: list[dict[str, str]] = field(default_factory=list)
    failing: frozenset[int] = frozenset()
    successful: list[dict[str, str]] = field(default_factory=list)
    failed: list[dict[str, str]] = field(default_factory=list)

    def take(self, body: bytes, failing: frozenset[int]) -> None:
        """Take the records of a job, once."""
        if self.state != "Open" or self.lines:
            raise Refused(400, "INVALIDJOBSTATE", "The job has its data already")
        if len(body) > MAX_BYTES:
            raise Refused(413, "REQUEST_ENTITY_TOO_LARGE", "At most 150 MB")
        self.lines = list(csv.DictReader(io.StringIO(body.decode(), newline="")))
        self.failing = failing

    def close(self) -> None:
        """Let a job be worked off."""
        if self.state not in ("Open", "UploadComplete"):
            raise Refused(400, "INVALIDJOBSTATE", "The job is not open")
        self.state = "UploadComplete"

    def look(self, org: Org) -> str:
        """Return the job's state; looking at it lets its time pass."""
        seen = self.state
        if self.state != "Open" and self.state != "JobComplete":
            self.looks -= 1
            self.state = "InProgress"
            if self.looks <= 0:
                self._work(org)
        return seen

    def _work(self, org: Org) -> None:
        kinds = org.objects.fields(self.object)
        for place, line in enumerate(self.lines):
            # What is empty stays as it is; `#N/A` empties it.
            record: dict[str, Json] = {
                name: _value(value, kinds.get(name, "")) for name, value in line.items() if value
            }
            key = self.key if self.operation == "upsert" else None
            if key is None:
                record["id"] = record.pop("Id", None)
            try:
                if place in self.failing:
                    raise Refused(400, "FIELD_CUSTOM_VALIDATION_EXCEPTION", "A rule of the org refuses it.", at="Email")
                made = write_one(org, {"attributes": {"type": self.object}, **record}, key)
                self.successful.append({"sf__Id": str(made["id"]), "sf__Created": str(made["created"]).lower(), **line})
            except Refused as no:
                error = f"{no.code}:{no.detail}:{no.at or ''} --"
                self.failed.append({"sf__Id": "", "sf__Error": error, **line})
        self.state = "JobComplete"


def _value(text: str, kind: str) -> Json:
    if text == EMPTIES:
        return None
    return text == "true" if kind == "boolean" else text


def as_csv(lines: list[dict[str, str]]) -> str:
    """Write the lines of a result."""
    if not lines:
        return '"sf__Id","sf__Created"\n'
    written = io.StringIO()
    writer = csv.DictWriter(written, list(lines[0]), quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return written.getvalue()
