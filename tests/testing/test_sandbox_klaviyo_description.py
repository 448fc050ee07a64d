"""The Klaviyo simulator's answers and limits fit the vendor's published description, where it is at hand."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from consentry.testing.sandbox import Sandbox

jsonschema = pytest.importorskip("jsonschema", reason="Install the dependency group `reference`.")

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(os.environ.get("CONSENTRY_SPECS", str(ROOT.parent / "shared" / "specs"))) / "klaviyo"
pytestmark = pytest.mark.skipif(
    not FOLDER.is_dir(), reason="Klaviyo's description is not here; set CONSENTRY_SPECS to the folder that holds it."
)


def described() -> dict[tuple[str, str], dict[str, Any]]:
    """Every described operation by method and path, with the components of its file."""
    out = {}
    for file in sorted(FOLDER.glob("*.json")):
        document = json.loads(file.read_text())
        for path, methods in document["paths"].items():
            for method, operation in methods.items():
                if isinstance(operation, dict) and "operationId" in operation:
                    key = method.upper(), re.sub(r"{\w+}", "{id}", path)
                    out[key] = operation | {"components": document["components"]}
    return out


def as_json_schema(node: Any) -> Any:
    """OpenAPI 3.0 says `nullable` where JSON Schema says that null is one of the types."""
    if isinstance(node, list):
        return [as_json_schema(one) for one in node]
    if not isinstance(node, dict):
        return node
    plain = {key: as_json_schema(value) for key, value in node.items()}
    if plain.pop("nullable", False) is True and "type" in plain:
        plain = {"anyOf": [{"type": "null"}, plain]}
    return plain


def check(answer: httpx.Response, template: str) -> None:
    """Check the body of an answer against the schema of its operation and status."""
    operation = described()[answer.request.method, template]
    responses = operation["responses"]
    status = str(answer.status_code)
    response = responses.get(status) or responses[f"{status[0]}XX"]
    if "$ref" in response:
        response = operation["components"]["responses"][response["$ref"].rsplit("/", 1)[-1]]
    content = response.get("content")
    if content is None:
        assert answer.content == b""
        return
    assert answer.headers["Content-Type"] in content
    schema = as_json_schema(content[answer.headers["Content-Type"]]["schema"])
    whole = schema | {"components": as_json_schema(operation["components"])}
    jsonschema.Draft4Validator(whole).validate(answer.json())


def profile(number: int, **attributes: Any) -> dict[str, Any]:
    return {"type": "profile", "attributes": {"email": f"person{number}@example.com", **attributes}}


def test_every_answer_fits_its_schema(sandbox: Sandbox, klaviyo: httpx.Client) -> None:
    """klaviyo/openapi @f0a30ba4, revision 2026-07-15."""
    listed = klaviyo.post("/api/lists", json={"data": {"type": "list", "attributes": {"name": "Newsletter"}}})
    check(listed, "/api/lists")
    list_id = listed.json()["data"]["id"]
    bad = profile(2, phone_number="0123")
    data: dict[str, Any] = {
        "type": "profile-bulk-import-job",
        "attributes": {"profiles": {"data": [profile(1, first_name="Ada"), bad]}},
        "relationships": {"lists": {"data": [{"type": "list", "id": list_id}]}},
    }
    job = klaviyo.post("/api/profile-bulk-import-jobs", json={"data": data})
    check(job, "/api/profile-bulk-import-jobs")
    sandbox.klaviyo.finish_jobs()
    job_path = f"/api/profile-bulk-import-jobs/{job.json()['data']['id']}"
    for tail in ("/import-errors", "/profiles"):
        check(klaviyo.get(job_path + tail), "/api/profile-bulk-import-jobs/{id}" + tail)
    check(klaviyo.get(job_path), "/api/profile-bulk-import-jobs/{id}")
    subscriptions = {"additional-fields[profile]": "subscriptions", "page[size]": 1}
    members = klaviyo.get(f"/api/lists/{list_id}/profiles", params=subscriptions)
    check(members, "/api/lists/{id}/profiles")
    profile_id = members.json()["data"][0]["id"]
    check(klaviyo.get("/api/profiles", params=subscriptions), "/api/profiles")
    check(klaviyo.get(f"/api/profiles/{profile_id}"), "/api/profiles/{id}")
    check(klaviyo.post("/api/profile-import", json={"data": profile(3)}), "/api/profile-import")
    check(klaviyo.get("/api/lists"), "/api/lists")
    check(klaviyo.get(f"/api/lists/{list_id}"), "/api/lists/{id}")
    relationship = f"/api/lists/{list_id}/relationships/profiles"
    check(klaviyo.get(relationship), "/api/lists/{id}/relationships/profiles")
    ids = {"data": [{"type": "profile", "id": profile_id}]}
    for method in ("POST", "DELETE"):
        check(klaviyo.request(method, relationship, json=ids), "/api/lists/{id}/relationships/profiles")
    suppression: dict[str, Any] = {
        "type": "profile-suppression-bulk-create-job",
        "attributes": {"profiles": {"data": [profile(1)]}},
    }
    answer = klaviyo.post("/api/profile-suppression-bulk-create-jobs", json={"data": suppression})
    check(answer, "/api/profile-suppression-bulk-create-jobs")


@pytest.mark.parametrize("kind", ["rate_limited", "server_error", "expired_token", "refused_batch"])
def test_every_refusal_fits_the_schema_of_errors(sandbox: Sandbox, klaviyo: httpx.Client, kind: str) -> None:
    """profiles.json, components: ClientError and ServerError."""
    sandbox.fault(kind)
    check(klaviyo.get("/api/profiles"), "/api/profiles")


def test_the_limits_of_every_operation_are_the_described_ones(sandbox: Sandbox) -> None:
    """`x-klaviyo-ratelimit` {burst, steady, daily}."""
    known = described()
    seconds = {"s": 1, "m": 60, "d": 86_400}
    checked = 0
    for operation in sandbox.klaviyo.operations():
        if limits := known.get((operation.method, operation.path), {}).get("x-klaviyo-ratelimit"):
            wanted = {(name, *text.split("/")) for name, text in limits.items()}
            assert {(one.name, one.requests, one.seconds) for one in operation.limits} == {
                (name, int(number), seconds[unit]) for name, number, unit in wanted
            }, operation.path
            checked += 1
    assert checked >= 18
