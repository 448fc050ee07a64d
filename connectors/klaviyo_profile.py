"""Turn a row into a Klaviyo profile."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from consentry.model.batch import Row

# By what Klaviyo knows a person, best first (profiles.json, ProfileUpsertQueryResourceObject).
IDENTIFIERS = ("email", "phone_number", "external_id")
# The name of an identifier, and its value without case.
Key = tuple[str, str]
_ALSO_CALLED = {"phone": "phone_number"}
_ATTRIBUTES = frozenset({"first_name", "last_name", "organization", "locale", "title", "image"})
_LOCATION = frozenset(
    {"address1", "address2", "city", "country", "latitude", "longitude", "region", "zip", "timezone", "ip"}
)
_SAME = {"given_name": "first_name", "family_name": "last_name", "postal_code": "zip"}


def profile(row: Row) -> dict[str, Any]:
    """Return the JSON:API resource of a row.

    Fields that Klaviyo has an attribute for go there, all others among its custom properties; None clears a field.
    """
    attributes: dict[str, Any] = {}
    for name, identifier in row.identifiers.items():
        named = _ALSO_CALLED.get(name, name)
        target = attributes if named in IDENTIFIERS else attributes.setdefault("properties", {})
        target[named] = identifier
    for name, value in row.fields.items():
        _place(attributes, name)[_SAME.get(name, name)] = value
    made: dict[str, Any] = {"type": "profile", "attributes": attributes}
    return made | ({"id": row.remote_id} if row.remote_id else {})


def identity(attributes: Mapping[str, Any]) -> Key | None:
    """Return by what Klaviyo would know a profile."""
    for name in IDENTIFIERS:
        value = attributes.get(name)
        if isinstance(value, str) and value:
            return name, value if name == "external_id" else value.lower()
    return None


def _place(attributes: dict[str, Any], name: str) -> dict[str, Any]:
    named = _SAME.get(name, name)
    if named in _ATTRIBUTES:
        return attributes
    inner: dict[str, Any] = attributes.setdefault("location" if named in _LOCATION else "properties", {})
    return inner
