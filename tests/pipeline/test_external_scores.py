"""Scores of models that are hosted elsewhere come in as a source does, and rules read them with their version."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
import yaml

from consentry.pipeline.load import load_job
from consentry.pipeline.plan import make_plan
from consentry.pipeline.progress import Silent
from consentry.pipeline.run import run
from consentry.testing.memory import Audiences
from tests.conftest import PEOPLE, TinyJob, email

VERSION = "churn-2026-01"
LIKELY = range(0, PEOPLE, 4)


def scores() -> list[dict[str, Any]]:
    return [
        {"email": email(n), "score": 0.9 if n in LIKELY else 0.2, "version": VERSION, "at": "2026-01-31T00:00:00Z"}
        for n in range(PEOPLE)
    ]


class Hosted(BaseHTTPRequestHandler):
    """An endpoint that gives scores for a token."""

    def do_GET(self) -> None:
        allowed = self.headers["Authorization"] == "Bearer hosted-token"
        body = json.dumps({"predictions": scores()} if allowed else {}).encode()
        self.send_response(200 if allowed else 401)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the output of tests clean."""


@pytest.fixture
def endpoint() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hosted)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def column(kind: str) -> dict[str, Any]:
    return {"dtype": kind, "nullable": True}


def scored(job: TinyJob, kind: str, connection: dict[str, Any], options: dict[str, Any]) -> TinyJob:
    """Give a job the scores as a source, and a segment of who is likely to leave."""
    contract = {
        "email": column("String"),
        "score": {"dtype": "Float64", "checks": {"in_range": {"min_value": 0, "max_value": 1}}},
        "version": column("String"),
        "at": {"dtype": "Datetime"},
    }
    profile = {"churn_score": column("Float64"), "churn_version": column("String")}
    for name, columns in {"predictions": contract, "profile": profile}.items():
        path = job.folder / "contracts" / f"{name}.yaml"
        path.write_text(yaml.safe_dump({"name": name, "version": 1, "columns": columns}))
    job.spec["sources"]["hosted"] = {
        "type": kind,
        "connection": connection,
        "streams": {
            "predictions": {
                "entity": "customer",
                "contract": "contracts/predictions.yaml",
                "primary_key": "email",
                "mode": "snapshot",
                "options": options,
                "updated_at": "at",
                "identifiers": {"email": "email"},
                "map": {"churn_score": "score", "churn_version": "version"},
            }
        },
    }
    rule = f"churn_score > 0.8 and churn_version == '{VERSION}'"
    segment = {"segment": "adults", "description": "Likely to leave", "purpose": "news", "rule": rule}
    (job.folder / "segments" / "adults.yaml").write_text(yaml.safe_dump(segment))
    job.write()
    return job


def members(job: TinyJob) -> set[str]:
    run(make_plan(load_job(job.path)), Silent())
    return Audiences.read(job.members_file).values("adults", "email")


def test_scores_of_an_http_endpoint_are_attributes_that_rules_read(
    tiny: TinyJob, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOSTED_TOKEN", "hosted-token")
    connection = {"base_url": endpoint, "auth": {"kind": "bearer", "token": "${HOSTED_TOKEN}"}}
    options = {"path": "/predictions", "records": "predictions", "key": ["email"]}
    assert members(scored(tiny, "rest", connection, options)) == {email(n) for n in LIKELY}


def test_scores_that_a_batch_job_wrote_as_json_lines_are_attributes_that_rules_read(tiny: TinyJob) -> None:
    text = "".join(json.dumps(line) + "\n" for line in scores())
    (tiny.folder / "predictions.jsonl.out").write_text(text)
    options = {"path": "predictions.jsonl.out", "format": "jsonl"}
    assert members(scored(tiny, "files", {"folder": "."}, options)) == {email(n) for n in LIKELY}
