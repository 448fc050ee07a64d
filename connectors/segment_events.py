"""Lay a Segment-style event out in columns."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

COLUMNS = (
    "message_id",
    "type",
    "event",
    "user_id",
    "anonymous_id",
    "timestamp",
    "properties",
    "traits",
    "email",
    "consent",
)


def flatten(event: Mapping[str, Any]) -> dict[str, str | None]:
    """Return the columns of one event: ids and names as text, properties, traits and consent as JSON text.

    Traits stand at the top level (identify) or in context.traits (all other calls); where both do, the top level
    wins. The event of a page or screen call is its name. Source: Segment, "Spec: Common fields" and "Spec: Identify".
    """
    context = _mapping(event.get("context"))
    traits = {**_mapping(context.get("traits")), **_mapping(event.get("traits"))}
    return {
        "message_id": _text(event.get("messageId")),
        "type": _text(event.get("type")),
        "event": _text(event.get("event") or event.get("name")),
        "user_id": _text(event.get("userId")),
        "anonymous_id": _text(event.get("anonymousId")),
        "timestamp": _text(event.get("timestamp")),
        "properties": _json(event.get("properties")),
        "traits": _json(traits or None),
        "email": _text(traits.get("email")),
        "consent": _json(context.get("consent")),
    }


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: object) -> str | None:
    return value if value is None or isinstance(value, str) else _json(value)


def _json(value: object) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
