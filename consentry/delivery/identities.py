"""Under what does a destination know each person: kept sealed, for the day on which it must be taken out again.

Meta and Google give people no name of their own: who changes an address is found there only under the old one. What
was sent is therefore kept with the acknowledgement (`delivery.known`), each value sealed with AES-SIV under a key of
that destination (docs/decisions/003-the-ledger-keeps-what-was-sent-sealed.md). Equal values have equal seals, so that
two people who share one are noticed without opening either.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from consentry.consent.keys import Keyring
from consentry.consent.sealed import open_value, seal_value
from consentry.errors import SkipRecord
from consentry.warehouse import Warehouse
from consentry.warehouse.people import PERSON

_FIELD = "sent-"


@dataclass(frozen=True, slots=True)
class Seals:
    """Seals and opens what one destination was sent."""

    keyring: Keyring
    destination: str

    def seal(self, values: Mapping[str, str]) -> str:
        """Return identifiers as they stand in the journal: JSON, kind -> sealed value."""
        made = {
            kind: seal_value(self.keyring, self.destination, _FIELD + kind, value) for kind, value in values.items()
        }
        return json.dumps(made, sort_keys=True)

    def opened(self, sealed: Mapping[str, str]) -> dict[str, str]:
        """Return the identifiers of kind -> sealed value; one whose key is gone is left out."""
        found: dict[str, str] = {}
        for kind, token in sealed.items():
            try:
                found[kind] = open_value(self.keyring, self.destination, _FIELD + kind, token)
            except SkipRecord:
                continue
        return found


def sealed_in(journalled: str | None) -> dict[str, str]:
    """Return kind -> sealed value of a line of the journal."""
    return dict(json.loads(journalled)) if journalled else {}


def known(warehouse: Warehouse, sync: str, people: Sequence[str], seals: Seals) -> dict[str, dict[str, str]]:
    """Return under which identifiers a destination has people; who has none kept is left out."""
    query = (
        "SELECT person_id, kind, sealed FROM delivery.known"
        f" WHERE sync = $sync AND person_id IN (SELECT unnest($p::{PERSON}[]))"
    )
    tokens: dict[str, dict[str, str]] = {}
    for line in warehouse.sql(query, sync=sync, p=list(people)).to_pylist():
        tokens.setdefault(line["person_id"], {})[line["kind"]] = line["sealed"]
    opened = {person: seals.opened(sealed) for person, sealed in tokens.items()}
    return {person: values for person, values in opened.items() if values}


def shared(warehouse: Warehouse, sync: str, people: Sequence[str]) -> set[tuple[str, str, str]]:
    """Return whose identifiers somebody else has who stays in the audience: person, kind, the other person."""
    query = (
        "SELECT DISTINCT k.person_id, k.kind, o.person_id AS other FROM delivery.known k JOIN delivery.known o"
        " ON o.sync = k.sync AND o.kind = k.kind AND o.sealed = k.sealed AND o.person_id <> k.person_id"
        " JOIN delivery.desired d ON d.person_id = o.person_id"
        f" WHERE k.sync = $sync AND k.person_id IN (SELECT unnest($p::{PERSON}[]))"
    )
    found = warehouse.sql(query, sync=sync, p=list(people)).to_pylist()
    return {(line["person_id"], line["kind"], line["other"]) for line in found}


def changed(before: Mapping[str, str], now: Mapping[str, str]) -> bool:
    """Tell whether somebody was known under a value that is theirs no more; one that is new takes nobody out."""
    return any(now.get(kind) != value for kind, value in before.items())


def tokens(lines: Iterable[Mapping[str, str | None]]) -> list[dict[str, str]]:
    """Return a line of `delivery.known` for each sealed value of some lines of the journal."""
    return [
        {"person_id": str(line["person_id"]), "kind": kind, "sealed": token}
        for line in lines
        for kind, token in sealed_in(line["identity"]).items()
    ]
