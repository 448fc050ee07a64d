"""HubSpot's associations between records, and the subscription statuses of e-mail addresses.

Associations: batch/read answers per record `to[]` with its types, pages of its own, and an error for a record that
has none (crm/associations v4; the dated paths keep its shape). Statuses: `communication-preferences/2026-09`, batch
reads of at most 100 addresses a channel (vendor's reference, read November 2026).
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from starlette.responses import Response

from consentry.testing.sandbox import hubspot_checks as checks
from consentry.testing.sandbox.vendor import Call, Handler, Json, whole_number

if TYPE_CHECKING:
    from consentry.testing.sandbox.hubspot import HubSpot

ASSOCIATIONS = "/crm/associations/2026-09/{first}/{second}/batch/read"
STATUSES = "/communication-preferences/2026-09/statuses/batch"
SUBSCRIBERS_MAX = 100
ASSOCIATED_MAX = 1000
# So many associations of one record come in one answer.
ASSOCIATED_PAGE = 500


class HubSpotRelated:
    """Associations and subscription statuses of one account."""

    def __init__(self, account: HubSpot) -> None:
        self._account = account
        self.clear()

    def clear(self) -> None:
        """Forget all of them."""
        # (first kind, second kind) -> first id -> [(second id, type id, label)]
        self.associations: dict[tuple[str, str], dict[str, list[tuple[str, int, str | None]]]] = {}
        # e-mail -> statuses as the API shows them
        self.statuses: dict[str, list[Json]] = defaultdict(list)
        # e-mail -> when its owner opted out of everything
        self.opted_out: dict[str, str] = {}

    def table(self) -> list[tuple[str, Handler, tuple[str, ...]]]:
        """List the operations, each with its path in the version before."""
        former = ("/crm/v4/associations/{first}/{second}/batch/read",)
        return [
            (ASSOCIATIONS, self.read_associations, former),
            (f"{STATUSES}/read", self.read_statuses, ()),
            (f"{STATUSES}/unsubscribe-all/read", self.read_opt_outs, ()),
        ]

    def associate(self, first: tuple[str, str], second: tuple[str, str], type_id: int, label: str | None) -> None:
        """Tie two records, each given as (kind, id)."""
        kinds = self.associations.setdefault((first[0], second[0]), defaultdict(list))
        kinds[first[1]].append((second[1], type_id, label))

    def read_associations(self, call: Call) -> Response:
        """POST batch/read: at most 1,000 records; 207 when some have no association."""
        inputs = checks.object_of(call, "inputs")["inputs"]
        if len(inputs) > ASSOCIATED_MAX:
            raise checks.invalid(f"Batch size {len(inputs)} exceeds the maximum of {ASSOCIATED_MAX}", "inputs")
        known = self.associations.get((call.path("first"), call.path("second")), {})
        results, lacking = [], []
        for one in inputs:
            held = known.get(str(one["id"]), [])
            if held:
                results.append(_associated(str(one["id"]), held, str(one.get("after") or "0")))
            else:
                lacking.append(str(one["id"]))
        body: dict[str, Json] = {"status": "COMPLETE", "results": results}
        if lacking:
            error = {
                "status": "error",
                "category": "OBJECT_NOT_FOUND",
                "subCategory": "crm.associations.NO_ASSOCIATIONS_FOUND",
            }
            body |= {
                "numErrors": 1,
                "errors": [error | {"message": "No associations found", "context": {"fromObjectId": lacking}}],
            }
        return self._account.json(body, 207 if lacking else 200)

    def read_statuses(self, call: Call) -> Response:
        """POST statuses/batch/read: every subscription type of each address."""
        emails = _subscribers(call)
        results = [{"subscriberIdString": email, "statuses": self.statuses.get(email.lower(), [])} for email in emails]
        return self._account.json({"status": "COMPLETE", "results": results})

    def read_opt_outs(self, call: Call) -> Response:
        """POST statuses/batch/unsubscribe-all/read: whether each address opted out of everything."""
        results = []
        for email in _subscribers(call):
            at = self.opted_out.get(email.lower())
            wide = {
                "channel": "EMAIL",
                "wideStatusType": "PORTAL_WIDE",
                "subscriberIdString": email,
                "status": "UNSUBSCRIBED" if at else "NOT_SPECIFIED",
                "timestamp": at or "1970-01-01T00:00:00Z",
            }
            results.append({"subscriberIdString": email, "wideStatuses": [wide]})
        return self._account.json({"status": "COMPLETE", "results": results})


def _associated(id: str, held: list[tuple[str, int, str | None]], after: str) -> Json:
    begin = whole_number(after, least=0, most=10**9) or 0
    shown = held[begin : begin + ASSOCIATED_PAGE]
    to = [
        {
            "toObjectId": int(other),
            "associationTypes": [{"category": "HUBSPOT_DEFINED", "typeId": kind, "label": label}],
        }
        for other, kind, label in shown
    ]
    result: dict[str, Json] = {"from": {"id": id}, "to": to}
    if begin + ASSOCIATED_PAGE < len(held):
        result["paging"] = {"next": {"after": str(begin + ASSOCIATED_PAGE)}}
    return result


def _subscribers(call: Call) -> list[str]:
    if call.query("channel") != "EMAIL":
        raise checks.invalid("channel is required and must be EMAIL", "channel")
    inputs = checks.object_of(call, "inputs")["inputs"]
    if not isinstance(inputs, list) or not all(isinstance(one, str) for one in inputs):
        raise checks.invalid("Invalid input JSON: inputs must be a list of strings", "inputs")
    if len(inputs) > SUBSCRIBERS_MAX:
        raise checks.invalid(f"Batch size {len(inputs)} exceeds the maximum of {SUBSCRIBERS_MAX}", "inputs")
    return inputs
