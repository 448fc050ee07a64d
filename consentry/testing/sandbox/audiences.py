"""What the simulators of destinations have in common: audiences with members, and the refusals of everyday."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from starlette.responses import Response

from consentry.testing.sandbox.limits import Limit
from consentry.testing.sandbox.plain import PlainVendor
from consentry.testing.sandbox.vendor import Call, Handler, Json, Operation, Refused, whole_number

Table = Sequence[tuple[str, str, Handler]]


class AudienceVendor(PlainVendor):
    """Base of a simulator whose state is who is in which audience, and what is known of each person.

    audiences: the audience's id -> its members' keys -> what they were added with. people: key -> what is known.
    opted_out: e-mail -> what its owner said, and when (ISO 8601).
    """

    def reset(self) -> None:
        """Forget everything: the state of a new account."""
        self.audiences: dict[str, dict[str, Json]] = {}
        self.people: dict[str, dict[str, Json]] = {}
        self.opted_out: dict[str, tuple[str, str]] = {}

    def make(self, *audiences: str) -> None:
        """Make empty audiences, as somebody would in the vendor's own pages."""
        with self.lock:
            for audience in audiences:
                self.audiences.setdefault(audience, {})

    def members(self) -> dict[str, list[str]]:
        """Return the members of every audience."""
        with self.lock:
            return {name: sorted(members) for name, members in self.audiences.items()}

    def audience(self, name: str) -> dict[str, Json]:
        """Return the members of an audience; raises the vendor's 404 when there is none."""
        if name not in self.audiences:
            raise Refused(404, "not_found", "There is no such audience.")
        return self.audiences[name]

    def body(self, call: Call) -> dict[str, Json]:
        """Return the JSON object in the body; raises the vendor's 400 for anything else."""
        try:
            body = json.loads(call.body)
        except ValueError:
            body = None
        if not isinstance(body, dict):
            raise self.invalid("The body must be a JSON object.")
        return body

    def said(self, *words: str) -> list[tuple[str, str]]:
        """Return who said one of some words, and when."""
        return [(email, at) for email, (word, at) in self.opted_out.items() if word in words]

    def paged(self, call: Call, found: Sequence[Json], most: int) -> list[Json]:
        """Return the page that `limit` and `offset` ask for."""
        limit = whole_number(call.query("limit", str(most)), least=1, most=most)
        offset = whole_number(call.query("offset", "0"), least=0, most=10**9)
        if limit is None or offset is None:
            raise self.invalid("limit and offset must be numbers.")
        return list(found[offset : offset + limit])

    def listed(self, body: dict[str, Json], name: str, most: int, check: Callable[[Json], bool]) -> list[Json]:
        """Return a list of the body: at least one item, at most so many, each as it should be."""
        items = body.get(name)
        if not isinstance(items, list) or not items or len(items) > most or not all(check(item) for item in items):
            raise self.invalid(f"{name} must hold 1 to {most} items of the right type.")
        return items


def operations(table: Table, limits: tuple[Limit, ...] = ()) -> list[Operation]:
    """Make operations that share one quota."""
    return [Operation(method, path, handler, limits, "account") for method, path, handler in table]


EMPTY = Response(status_code=204)
