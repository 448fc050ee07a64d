"""Check what went over the wire against a vendor's published description, where that is at hand."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import httpx
import jsonschema
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
FOLDER = Path(os.environ.get("CONSENTRY_SPECS", str(ROOT.parent / "shared" / "specs")))


class Described:
    """One published description (OpenAPI 3). Skips the test when it is not here."""

    def __init__(self, name: str) -> None:
        path = FOLDER / name
        if not path.is_file():
            pytest.skip(f"{name} is not here; set CONSENTRY_SPECS to the folder that holds it.")
        self.document: dict[str, Any] = yaml.safe_load(path.read_text())

    def check(self, request: httpx.Request, answer: httpx.Response, template: str) -> None:
        """Check a request and its answer against the operation at the path `template`."""
        operation = self.document["paths"][template][request.method.lower()]
        self._check_query(request, operation)
        self._check_sent(request, operation)
        described = operation["responses"].get(str(answer.status_code)) or operation["responses"]["default"]
        self._check_body(answer, self._whole(described))

    def _whole(self, node: dict[str, Any]) -> dict[str, Any]:
        if "$ref" not in node:
            return node
        found: Any = self.document
        for part in node["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        return found

    def _check_query(self, request: httpx.Request, operation: dict[str, Any]) -> None:
        declared = {p["name"]: p for p in map(self._whole, operation.get("parameters", [])) if p["in"] == "query"}
        for name, text in request.url.params.multi_items():
            assert name in declared, f"{name} is not described"
            kind = declared[name].get("schema", {})
            if kind.get("type") in ("integer", "number", "boolean"):
                self.validate(json.loads(text), kind)
        missing = [name for name, one in declared.items() if one.get("required") and name not in request.url.params]
        assert missing == []

    def _check_sent(self, request: httpx.Request, operation: dict[str, Any]) -> None:
        if not request.content:
            return
        content = self._whole(operation["requestBody"])["content"]
        media = request.headers["content-type"].split(";")[0]
        schema = self._whole(content[media]["schema"])
        if media == "application/json":
            self.validate(json.loads(request.content), schema)
        else:
            assert set(parse_qs(request.content.decode())) <= set(schema["properties"])

    def _check_body(self, answer: httpx.Response, described: dict[str, Any]) -> None:
        media = answer.headers["content-type"].split(";")[0]
        if "content" in described:
            assert media in described["content"], media
            if media == "application/json":
                self.validate(answer.json(), described["content"][media]["schema"])

    def validate(self, value: Any, schema: dict[str, Any]) -> None:
        """Check a value against a schema of the description."""
        whole = {**_as_json_schema(schema), "components": _as_json_schema(self.document.get("components", {}))}
        jsonschema.Draft4Validator(whole).validate(value)


def _as_json_schema(node: Any) -> Any:
    """OpenAPI 3.0 says `nullable` where JSON Schema says that null is one of the types."""
    if isinstance(node, list):
        return [_as_json_schema(one) for one in node]
    if not isinstance(node, dict):
        return node
    plain = {key: _as_json_schema(value) for key, value in node.items()}
    if plain.pop("nullable", False) is True and "type" in plain:
        plain = {"anyOf": [{"type": "null"}, plain]}
    return plain
