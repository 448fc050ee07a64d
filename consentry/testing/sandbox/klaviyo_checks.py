"""What Klaviyo refuses in a body: JSON:API documents of the right type, within their caps."""

from __future__ import annotations

import json
from typing import TypeVar

from consentry.testing.sandbox.vendor import Call, Json, Refused

T = TypeVar("T")
# What the vendor calls its refusals.
TITLES = {
    "not_authenticated": "Authentication credentials were not provided.",
    "authentication_failed": "Incorrect authentication credentials.",
    "throttled": "Request was throttled.",
    "not_found": "Not found.",
    "duplicate_profile": "Conflict.",
    "error": "A server error occurred.",
}


def base(call: Call) -> str:
    """Return the address under which the caller reaches the simulator."""
    return str(call.request.url.replace(path=call.request.scope["root_path"], query=""))


def document(call: Call) -> Json:
    """Return `data` of the JSON:API document in the body."""
    try:
        body = json.loads(call.body)
    except ValueError:
        raise Refused(400, "invalid", "The payload provided in the request is invalid.", at="/data") from None
    if not isinstance(body, dict) or "data" not in body:
        raise Refused(400, "required", "'data' is a required field", at="/data")
    return body["data"]


def resource(call: Call, kind: str) -> dict[str, Json]:
    """Return the one resource of a kind in the body; its attributes are an object."""
    data = document(call)
    check_type(data, kind, "/data")
    if not isinstance(data.get("attributes"), dict):
        raise Refused(400, "required", "'attributes' is a required field", at="/data/attributes")
    return dict(data)


def check_type(data: Json, kind: str, at: str) -> None:
    """Refuse what is no resource of the kind."""
    if not isinstance(data, dict) or data.get("type") != kind:
        raise Refused(400, "invalid", f"The resource must have the type '{kind}'.", at=f"{at}/type")


def resources(container: Json, kind: str, most: int, at: str) -> list[Json]:
    """Return the resources in `{data: [...]}`: at least one, at most so many, all of one kind."""
    data = container.get("data") if isinstance(container, dict) else None
    if not isinstance(data, list) or not data:
        raise Refused(400, "required", "'data' must be a list that is not empty", at=at)
    if len(data) > most:
        raise Refused(400, "invalid", f"At most {most} items are allowed in a request.", at=at)
    for place, one in enumerate(data):
        check_type(one, kind, f"{at}/{place}")
    return data


def ids_of(call: Call, most: int) -> list[str]:
    """Return the profile ids in the body of a relationship request."""
    data = resources({"data": document(call)}, "profile", most, "/data")
    for place, one in enumerate(data):
        if not isinstance(one.get("id"), str):
            raise Refused(400, "required", "'id' is a required field", at=f"/data/{place}/id")
    return [one["id"] for one in data]


def linked(data: Json, name: str) -> list[str]:
    """Return the ids that a resource names under a relationship, one or many."""
    named = ((data.get("relationships") or {}).get(name) or {}).get("data") or []
    at = f"/data/relationships/{name}/data"
    many = named if isinstance(named, list) else [named]
    for one in many:
        check_type(one, "list", at)
    return [str(one.get("id")) for one in many]


def found(item: T | None, kind: str, item_id: str) -> T:
    """Return the item, or refuse with the vendor's 404."""
    if item is None:
        raise Refused(404, "not_found", f"A {kind} with id {item_id} does not exist.", at="/data/")
    return item
