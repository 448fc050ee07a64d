"""Turn a JSON Schema of flat records into a contract, so that events are judged as their makers described them.

What a contract cannot say the same way is a fault, never left out (JSON Schema 2020-12, Validation vocabulary,
json-schema.org/draft/2020-12/json-schema-validation, 2022-06-16).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from consentry.config import Faults
from consentry.model.names import is_name

_TYPES: Final = {"string": "String", "integer": "Int64", "number": "Float64", "boolean": "Boolean"}
_LIMITS: Final = {"minimum": "ge", "maximum": "le", "exclusiveMinimum": "gt", "exclusiveMaximum": "lt"}
_LENGTHS: Final = {"minLength": "min_value", "maxLength": "max_value"}
_FORMATS: Final[Mapping[str, Mapping[str, Any]]] = {
    "date-time": {"dtype": "Datetime"},
    "date": {"dtype": "Date"},
    "email": {"holds": "email", "parse": ["email"]},
    "uuid": {"checks": {"str_matches": r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"}},
}
# What says nothing about a value.
_REMARKS: Final = frozenset(
    ("$schema", "$id", "$comment", "title", "description", "examples", "default", "deprecated", "readOnly", "writeOnly")
)
_OF_RECORD: Final = _REMARKS | {"type", "properties", "required", "additionalProperties"}
_OF_VALUE: Final = _REMARKS | {"type", "enum", "const", "pattern", "format", *_LIMITS, *_LENGTHS}


def from_json_schema(path: Path, faults: Faults, *, name: str) -> dict[str, Any] | None:
    """Return the content of a contract file for the records that a JSON Schema file describes.

    Properties that are not listed are let pass, as JSON Schema does. Every keyword that cannot be said by a contract
    is noted in `faults` with its JSON Pointer, and None is returned.
    """
    schema = _read(path, faults)
    if schema is None:
        return None
    before = len(faults.found)
    for key in sorted(schema.keys() - _OF_RECORD):
        faults.add(path, 0, f"/{key} cannot be said by a contract. Take it out of the schema, or check it by a rule.")
    if schema.get("type") != "object" or not isinstance(schema.get("properties"), dict):
        faults.add(path, 0, "The schema has to describe an object with 'properties': one record of a stream.")
        return None
    required = schema.get("required", [])
    columns = {
        column: _column(path, column, inner, faults, required=column in required)
        for column, inner in schema["properties"].items()
    }
    for column in sorted(set(required) - columns.keys()):
        faults.add(path, 0, f"/required names {column!r}, which /properties does not describe. Add it there.")
    if len(faults.found) > before:
        return None
    return {"name": name, "version": 1, "description": f"From {path.name}", "columns": columns}


# A schema is whatever JSON holds.
def _read(path: Path, faults: Faults) -> dict[str, Any] | None:
    try:
        schema = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        faults.add(path, 0, f"The file cannot be read ({error.strerror}). Check the path.")
    except (ValueError, RecursionError) as error:
        faults.add(path, getattr(error, "lineno", 1), "This is not a JSON file. Check it with the tool that made it.")
    else:
        if isinstance(schema, dict):
            return schema
        faults.add(path, 1, "A JSON Schema is an object. Check that it is the right file.")
    return None


def _column(path: Path, name: str, schema: Any, faults: Faults, *, required: bool) -> dict[str, Any]:
    place = f"/properties/{name.replace('~', '~0').replace('/', '~1')}"
    if not is_name(name):
        faults.add(path, 0, f"{place} is not a plain lower-case name: the stream has it under another. Rename it.")
    if not isinstance(schema, dict):
        faults.add(path, 0, f"{place} is no object. Describe the property by its 'type'.")
        return {}
    for problem in _not_said(schema):
        faults.add(path, 0, f"{place}/{problem}")
    types = schema.get("type")
    kinds = [types] if isinstance(types, str) else list(types or [])
    known = [_TYPES[kind] for kind in kinds if kind in _TYPES]
    if len(known) != 1 or set(kinds) - {*_TYPES, "null"}:
        told = (
            "has to be one of string, integer, number or boolean, with null beside it at most. Flatten what is nested."
        )
        faults.add(path, 0, f"{place}/type {told}")
        return {}
    column: dict[str, Any] = {"dtype": known[0]}
    if not required or "null" in kinds:
        column["nullable"] = True
    if not required:
        column["required"] = False
    column |= _FORMATS.get(str(schema.get("format")), {})
    checks = {**column.get("checks", {}), **dict(_checks(schema))}
    return column | ({"checks": checks} if checks else {})


def _not_said(schema: Mapping[str, Any]) -> Iterator[str]:
    for key in sorted(schema.keys() - _OF_VALUE):
        yield f"{key} cannot be said by a contract. Take it out of the schema, or check it by a rule."
    if "format" in schema and schema["format"] not in _FORMATS:
        yield f"format is none of {', '.join(_FORMATS)}. Write it as a pattern."


def _checks(schema: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    if "enum" in schema or "const" in schema:
        listed = schema.get("enum", [schema.get("const")])
        yield "isin", [value for value in listed if value is not None]
    for key, check in _LIMITS.items():
        if key in schema:
            yield check, schema[key]
    if "pattern" in schema:
        yield "str_contains", schema["pattern"]
    lengths = {ours: schema[key] for key, ours in _LENGTHS.items() if key in schema}
    if lengths:
        yield "str_length", lengths
