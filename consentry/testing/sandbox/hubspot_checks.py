"""What HubSpot refuses in a request before it looks at any record."""

from __future__ import annotations

import json

from consentry.testing.sandbox.hubspot_contacts import OPERATORS, Contacts
from consentry.testing.sandbox.vendor import Call, Json, Refused, whole_number

# Caps from HubSpot's documentation; the specification does not state them as maxima.
LIST_MAX, SEARCH_MAX, SEARCH_RESULTS_MAX, BATCH_MAX, GROUPS_MAX, QUERY_MAX = 100, 200, 10_000, 100, 6, 3000
# The vendor names no figure. Airbyte's HubSpot source keeps property lists below 15,000 characters to be let through.
URL_MAX = 16_000
_SEARCH_FIELDS = ("after", "filterGroups", "limit", "properties", "sorts")


def invalid(detail: str, at: str = "") -> Refused:
    """Return HubSpot's 400 for a request that does not hold together."""
    return Refused(400, "VALIDATION_ERROR", detail, at=at)


def body_of(call: Call) -> Json:
    """Return the JSON body of a request."""
    try:
        return json.loads(call.body)
    except ValueError:
        raise invalid("Invalid input JSON on line 1, column 1: Unable to parse request body") from None


def object_of(call: Call, *required: str) -> dict[str, Json]:
    """Return the JSON object in the body, with its required fields."""
    body = body_of(call)
    if not isinstance(body, dict):
        raise invalid("Invalid input JSON on line 1, column 1: Cannot deserialize value of an object")
    missing = [name for name in required if name not in body]
    if missing:
        raise invalid(f"Invalid input JSON: some required fields were not set: [{', '.join(missing)}]", missing[0])
    return body


def check_url(call: Call) -> None:
    """Refuse a request line that is too long: property lists of large portals run into it."""
    if len(str(call.request.url)) > URL_MAX:
        raise Refused(414, "URI_TOO_LONG", "URI Too Long")


def limit_of(call: Call, *, default: int, most: int) -> int:
    """Return the `limit` of a list request."""
    limit = whole_number(call.query("limit", str(default)), least=1, most=most)
    if limit is None:
        raise invalid(f"Invalid limit: it must be a whole number from 1 to {most}", "limit")
    return limit


def names_in(call: Call, parameter: str) -> tuple[str, ...]:
    """Return the names in a parameter that is repeated or holds a comma-separated list."""
    texts = call.request.query_params.getlist(parameter)
    return tuple(name for text in texts for name in text.split(",") if name)


def check_values(properties: Json, contacts: Contacts) -> dict[str, str | None]:
    """Return the properties of a write, which must exist and hold strings.

    Raises Refused when one is a number or a boolean (objects.json 2026-09: all values are strings) or unknown.
    """
    if not isinstance(properties, dict):
        raise invalid("Invalid input JSON: properties must be an object", "properties")
    for name, value in properties.items():
        if value is not None and not isinstance(value, str):
            raise invalid(f"Invalid input JSON: Cannot deserialize value of type `java.lang.String` at {name}", name)
    unknown = [name for name in properties if name not in contacts.properties]
    if unknown:
        each = [{"isValid": False, "error": "PROPERTY_DOESNT_EXIST", "name": name} for name in unknown]
        raise invalid(f"Property values were not valid: {json.dumps(each)}", unknown[0])
    return {name: value or None for name, value in properties.items()}


def inputs_of(call: Call, *also: str) -> list[dict[str, Json]]:
    """Return the inputs of a batch request, which are objects and at most 100."""
    inputs = object_of(call, "inputs", *also)["inputs"]
    if not isinstance(inputs, list) or not all(isinstance(one, dict) for one in inputs):
        raise invalid("Invalid input JSON: inputs must be a list of objects", "inputs")
    if len(inputs) > BATCH_MAX:
        raise invalid(f"Batch size {len(inputs)} exceeds the maximum of {BATCH_MAX}", "inputs")
    if call.fault and call.fault.kind == "refused_batch":
        raise invalid("Duplicate or conflicting values were found in the batch", "inputs")
    return inputs


def search_of(call: Call, contacts: Contacts) -> dict[str, Json]:
    """Return the body of a search that HubSpot would carry out."""
    body = object_of(call, *_SEARCH_FIELDS)
    limit, groups = body["limit"], body["filterGroups"]
    if not isinstance(limit, int) or not 0 < limit <= SEARCH_MAX:
        raise invalid(f"The limit of a search must be from 1 to {SEARCH_MAX}", "limit")
    if not isinstance(groups, list) or len(groups) > GROUPS_MAX:
        raise invalid(f"A search takes at most {GROUPS_MAX} filter groups", "filterGroups")
    if len(body.get("query") or "") > QUERY_MAX:
        raise invalid(f"The query of a search has at most {QUERY_MAX} characters", "query")
    after = body["after"] or "0"
    if whole_number(str(after), least=0, most=10**9) is None:
        raise invalid("Invalid after: it must be the value of paging.next.after", "after")
    if int(after) + limit > SEARCH_RESULTS_MAX:
        raise invalid(f"The search cannot page beyond {SEARCH_RESULTS_MAX} results", "after")
    for group in groups:
        _check_group(group, contacts)
    return body | {"after": int(after), "sorts": _sort(body["sorts"], contacts)}


def _check_group(group: Json, contacts: Contacts) -> None:
    filters = group.get("filters") if isinstance(group, dict) else None
    if not isinstance(filters, list) or not filters:
        raise invalid("Each filter group needs a list of filters", "filterGroups")
    for one in filters:
        name, operator = one.get("propertyName"), one.get("operator")
        _check_known(name, contacts)
        if operator not in OPERATORS:
            raise invalid(f"Invalid input JSON: unknown operator {operator!r}", "operator")
        needed = {"BETWEEN": ("value", "highValue"), "IN": ("values",), "NOT_IN": ("values",)}
        default = () if "HAS_PROPERTY" in operator else ("value",)
        for field in needed.get(operator, default):
            if field not in one:
                raise invalid(f"operator {operator} requires {field}", field)


def _check_known(name: Json, contacts: Contacts) -> None:
    if name not in contacts.properties:
        raise invalid(f"There was a problem with the request: property {name!r} does not exist", "propertyName")


def _sort(sorts: Json, contacts: Contacts) -> tuple[str, bool] | None:
    if not isinstance(sorts, list) or len(sorts) > 1:
        raise invalid("A search takes at most one sort", "sorts")
    if not sorts:
        return None
    # The 2026-09 schema gives strings ("-name" for descending), v3 takes an object as well.
    one = sorts[0]
    if isinstance(one, dict):
        name, descending = one.get("propertyName"), one.get("direction") == "DESCENDING"
    else:
        name, descending = str(one).removeprefix("-"), str(one).startswith("-")
    _check_known(name, contacts)
    return str(name), descending
