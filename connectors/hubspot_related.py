"""Read what HubSpot keeps beside its records: associations, merges, and what people subscribed to.

Associations and subscription statuses have no modified date, so that they are read whole each time, alongside
the list of the records they belong to. Merges are searched like changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from consentry.connectors.base import Page, State
from consentry.connectors.http import HttpClient
from consentry.connectors.hubspot_read import (
    LIST_MAX,
    MERGED_IDS,
    VERSION,
    ObjectType,
    Read,
    Wanted,
    body_of,
    merged_into,
    results,
)
from consentry.connectors.paging import repeated

ASSOCIATION_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("from_id", "to_id", "type_id", "category", "label")],
)
MERGE_SCHEMA = pa.schema([(name, pa.string()) for name in ("id", "merged_id", "updatedAt")])
PREFERENCE_SCHEMA = pa.schema(
    [
        (name, pa.string())
        for name in (
            "event_id", "contact_id", "identifier_type", "email", "purpose", "subscription_name", "state", "channel",
            "legal_basis", "source", "effective_at",
        )
    ]
)  # fmt: skip
# The consent ledger's word for all purposes; only a refusal may use it.
ALL_PURPOSES = "*"


def merges(http: HttpClient, found: ObjectType, state: State, *, now_ms: int, overlap_ms: int) -> Iterator[Page]:
    """Yield one row for each record that was merged into another: id (the one that stands), merged_id."""
    wanted = Wanted(found, (found.modified,), archived=False, having=MERGED_IDS)
    for records, left_off in Read(http, wanted, state, now_ms=now_ms, overlap_ms=overlap_ms).records():
        rows = [row for record in records for row in merged_into(record)]
        yield Page(pa.RecordBatch.from_pylist(rows, MERGE_SCHEMA), left_off)


def associations(http: HttpClient, first: str, second: str, state: State) -> Iterator[Page]:
    """Yield one row for each type of tie between a record of kind `first` and one of kind `second`."""
    for ids, left_off in _listed(http, first, "hs_object_id", state):
        rows: list[dict[str, Any]] = []
        inputs = [{"id": record["id"]} for record in ids]
        while inputs:
            path = f"/crm/associations/{VERSION}/{first}/{second}/batch/read"
            answer = http.request("POST", path, body={"inputs": inputs}, repeatable=True)
            asked, inputs = inputs, []
            for result in results(answer):
                rows += _ties(result)
                following = (result.get("paging") or {}).get("next", {}).get("after")
                if following is not None:
                    inputs.append({"id": result["from"]["id"], "after": following})
            if inputs == asked:
                raise repeated("HubSpot")
        yield Page(pa.RecordBatch.from_pylist(rows, ASSOCIATION_SCHEMA), left_off)


def preferences(http: HttpClient, state: State) -> Iterator[Page]:
    """Yield what each contact's e-mail address is subscribed to; a type without any statement is left out.

    event_id names the statement and holds no address. purpose: the subscription type's id, `*` for all of them.
    """
    for records, left_off in _listed(http, "contacts", "email", state):
        owners = {
            str(email).lower(): record["id"] for record in records if (email := record["properties"].get("email"))
        }
        rows: list[dict[str, Any]] = []
        if owners:
            for found in _asked(http, "read", list(owners)):
                rows += [_subscription(one, owners) for one in found.get("statuses", ())]
            for found in _asked(http, "unsubscribe-all/read", list(owners)):
                rows += [_opt_out(one, owners) for one in found.get("wideStatuses", ())]
        said = [row for row in rows if row["state"] != "NOT_SPECIFIED"]
        yield Page(pa.RecordBatch.from_pylist(said, PREFERENCE_SCHEMA), left_off)


def _listed(http: HttpClient, kind: str, named: str, state: State) -> Iterator[tuple[list[dict[str, Any]], State]]:
    """List the live records with one property, a page at a time, each with the state behind it."""
    after = state.get("after")
    while True:
        params = {"limit": str(LIST_MAX), "archived": "false", "properties": named}
        path = f"/crm/objects/{VERSION}/{kind}"
        answer = http.request("GET", path, params=params | ({"after": after} if after else {}))
        following = (body_of(answer).get("paging") or {}).get("next", {}).get("after")
        if following is not None and following == after:
            raise repeated("HubSpot")
        yield results(answer), {"after": following} if following is not None else {}
        if following is None:
            return
        after = following


def _asked(http: HttpClient, what: str, emails: list[str]) -> list[dict[str, Any]]:
    path = f"/communication-preferences/{VERSION}/statuses/batch/{what}"
    return results(http.request("POST", path, params={"channel": "EMAIL"}, body={"inputs": emails}, repeatable=True))


def _ties(result: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for to in result.get("to", ()):
        for kind in to.get("associationTypes", ()):
            yield {
                "from_id": str(result["from"]["id"]),
                "to_id": str(to["toObjectId"]),
                "type_id": str(kind.get("typeId")),
                "category": kind.get("category"),
                "label": kind.get("label"),
            }


def _subscription(status: Mapping[str, Any], owners: Mapping[str, str]) -> dict[str, Any]:
    return _statement(status, owners, str(status.get("subscriptionId"))) | {
        "subscription_name": status.get("subscriptionName"),
        "legal_basis": status.get("legalBasis"),
        "source": status.get("source"),
    }


def _opt_out(status: Mapping[str, Any], owners: Mapping[str, str]) -> dict[str, Any]:
    # Only a refusal speaks for all types; being subscribed "to all" is said type by type.
    row = _statement(status, owners, ALL_PURPOSES)
    return row if row["state"] == "UNSUBSCRIBED" else row | {"state": "NOT_SPECIFIED"}


def _statement(status: Mapping[str, Any], owners: Mapping[str, str], purpose: str) -> dict[str, Any]:
    email = str(status.get("subscriberIdString") or "").lower()
    contact, state, at = owners.get(email), status.get("status") or "NOT_SPECIFIED", status.get("timestamp")
    # Without its own time a statement is told apart by what it says.
    return {
        "event_id": f"{contact}:{purpose}:{at or ''}:{state}",
        "contact_id": contact,
        "identifier_type": "email",
        "email": email or None,
        "purpose": purpose,
        "state": state,
        "channel": status.get("channel"),
        "effective_at": at,
    }
