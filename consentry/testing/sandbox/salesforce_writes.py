"""Salesforce's composite writes: up to 200 records, each on its own, one result each in their order."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Protocol

from consentry.testing.sandbox.salesforce_data import Objects
from consentry.testing.sandbox.vendor import Call, Json, Refused

MAX = 200


class Org(Protocol):
    """What of an org is written to."""

    objects: Objects

    def next_id(self) -> int: ...


def write(org: Org, call: Call, *, key: str | None) -> list[Json]:
    """Carry out a composite update (by id) or, with `key`, an upsert by that field."""
    try:
        body = json.loads(call.body)
        records = body["records"]
    except (ValueError, KeyError, TypeError):
        raise Refused(400, "JSON_PARSER_ERROR", "Unexpected character") from None
    if not isinstance(records, list) or not 1 <= len(records) <= MAX or body.get("allOrNone") is not False:
        raise Refused(400, "INVALID_INPUT", "The collection must hold 1 to 200 records.")
    results: list[Json] = []
    for place, one in enumerate(records):
        try:
            if place in call.failing_rows():
                raise Refused(400, "FIELD_CUSTOM_VALIDATION_EXCEPTION", "A rule of the org refuses it.", at="Email")
            results.append(write_one(org, dict(one), key))
        except Refused as refused:
            error = {
                "statusCode": refused.code,
                "message": refused.detail,
                "fields": [refused.at] if refused.at else [],
            }
            results.append({"success": False, "errors": [error]})
    return results


def write_one(org: Org, record: dict[str, Any], key: str | None) -> dict[str, Json]:
    """Carry out one update by `id` or, with `key`, one upsert by that field."""
    name = record.pop("attributes")["type"]
    kinds = org.objects.fields(name)
    id = record.pop("id", None)
    for field in record:
        if field not in kinds:
            raise Refused(400, "INVALID_FIELD", f"No such column '{field}' on sobject of type {name}", at=field)
    column, value = ("Id", id) if key is None else (key, record.get(key))
    held = _held(org, name, kinds, column, str(value))
    if held is None and key is None:
        raise Refused(400, "ENTITY_IS_DELETED", "entity is deleted")
    if held is None and not record.get("LastName"):
        raise Refused(400, "REQUIRED_FIELD_MISSING", "Required fields are missing: [LastName]", at="LastName")
    made = str(held["Id"]) if held else f"003SANDBOX{org.next_id():08d}"
    org.objects.put(name, [{**(held or {}), **record, "Id": made}])
    return {"id": made, "success": True, "errors": [], "created": held is None}


def _held(org: Org, name: str, kinds: Mapping[str, str], column: str, value: str) -> dict[str, Json] | None:
    text = value.replace("'", "''")
    _, _, found = org.objects.select(f"SELECT {', '.join(kinds)} FROM {name} WHERE {column} = '{text}'", deleted=False)
    return found[0] if found else None
