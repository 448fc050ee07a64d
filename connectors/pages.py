"""A page for each connector, made from its own settings: `python -m consentry.connectors.pages [FOLDER] [--check]`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from inspect import cleandoc
from pathlib import Path
from typing import Any

from consentry.connectors.base import Capabilities, Connector
from consentry.connectors.registry import connectors

# References for tests and for authors, no systems that anybody runs.
REFERENCES = ("failing", "memory", "memory_source")
FOLDER = Path("docs/connectors")
_MADE = "<!-- Made by `python -m consentry.connectors.pages`; change the connector, not this page. -->"


def described(name: str, kind: type[Connector]) -> dict[str, Any]:
    """Return what there is to say about a connector, as plain JSON."""
    options = getattr(kind, "StreamOptions", None)
    found: dict[str, Any] = {
        "type": name,
        "description": cleandoc(kind.__doc__ or ""),
        "roles": roles(kind),
        "connection": kind.Config.model_json_schema(),
        "options": options.model_json_schema() if options else None,
    }
    capabilities = getattr(kind, "capabilities", None)
    if isinstance(capabilities, Capabilities):
        found["capabilities"] = {
            "rows in a call": capabilities.batch_max,
            "knows people by": list(capabilities.key_fields),
            "operations": sorted(capabilities.operations),
            "idempotent": capabilities.idempotent,
            "asynchronous": capabilities.asynchronous,
        }
    return found


def roles(kind: type[Connector]) -> list[str]:
    """Return what a job can use a connector as: source, destination, enrichment."""
    marks = {"source": "read", "destination": "write", "enrichment": "enrich"}
    return [role for role, mark in marks.items() if callable(getattr(kind, mark, None))]


def page(name: str, kind: type[Connector]) -> str:
    """Return the page of a connector, as Markdown."""
    about = described(name, kind)
    part = " and ".join(about["roles"])
    parts = [
        _MADE,
        f"# {name}",
        about["description"],
        f"Type `{name}`, {'an' if part.startswith('e') else 'a'} {part}.",
    ]
    parts += ["## Connection", *_tables(about["connection"])]
    if about["options"] and about["options"].get("properties"):
        parts += ["## Options of a stream", *_tables(about["options"])]
    if "capabilities" in about:
        rows = [(what, _shown(value)) for what, value in about["capabilities"].items()]
        parts += ["## Capabilities", _table(("", ""), rows)]
    return "\n\n".join(parts) + "\n"


def write_pages(folder: Path, *, check: bool = False) -> list[str]:
    """Write every connector's page; return the names of those that were missing or not as they should be.

    check: only look.
    """
    odd = []
    for name, kind in connectors().items():
        if name in REFERENCES or not kind.__module__.startswith("consentry."):
            continue
        file, text = folder / f"{name}.md", page(name, kind)
        if not file.is_file() or file.read_text(encoding="utf-8") != text:
            odd.append(name)
            if not check:
                file.write_text(text, encoding="utf-8")
    return odd


# JSON schemas and their parts are of any shape.
def _tables(schema: Mapping[str, Any]) -> Iterator[str]:
    yield _fields(schema)
    for name, part in sorted(schema.get("$defs", {}).items()):
        if part.get("properties"):
            said = " ".join(str(part.get("description", "")).split())
            yield f"### {name}\n\n{said}\n\n{_fields(part)}"


def _fields(schema: Mapping[str, Any]) -> str:
    needed = schema.get("required", ())
    rows = [
        (
            f"`{name}`",
            _type(part),
            "needed" if name in needed else _shown(part.get("default")),
            " ".join(str(part.get("description", "")).split()),
        )
        for name, part in schema.get("properties", {}).items()
    ]
    return _table(("key", "type", "default", "what"), rows) if rows else "Nothing needs to be said."


def _type(part: Mapping[str, Any]) -> str:
    if "$ref" in part:
        return str(part["$ref"]).rpartition("/")[2]
    for either in ("anyOf", "oneOf"):
        if either in part:
            return " or ".join(_type(one) for one in part[either] if one.get("type") != "null")
    if "const" in part:
        return _shown(part["const"])
    if "enum" in part:
        return ", ".join(_shown(value) for value in part["enum"])
    if part.get("format") == "password":
        return "secret"
    if part.get("type") == "array":
        return f"list of {_type(part.get('items', {}))}"
    if part.get("type") == "object" and isinstance(part.get("additionalProperties"), Mapping):
        return f"names with {_type(part['additionalProperties'])}"
    return str(part.get("type", "any"))


def _shown(value: object) -> str:
    if value is None or value in ([], {}):
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(_shown(one) for one in value)
    return f"`{value}`"


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


if __name__ == "__main__":
    arguments = [word for word in sys.argv[1:] if word != "--check"]
    stale = write_pages(Path(arguments[0]) if arguments else FOLDER, check="--check" in sys.argv)
    print("\n".join(stale) or "Every page is as it should be.")
    sys.exit(1 if stale and "--check" in sys.argv else 0)
