"""Make what leaves for one person at one target: identifiers and fields as the policy transforms them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Protocol

import pyarrow as pa

from consentry.consent.keys import Keyring
from consentry.consent.policy_file import Destination
from consentry.consent.sealed import seal_value
from consentry.consent.transforms import Drop, FieldRule, leave, leave_identifier
from consentry.model.batch import Operation, Row, Value, payload_hash

# Joined beside the golden columns: the types that may leave, with commas.
LEAVING = "consentry_identifiers"
# Beside them too: the consent signals that are granted, with commas.
GRANTED = "consentry_granted"
# Before the name of a column, beside it: what the profile imputes where the observed value is missing.
_IMPUTED = "consentry_imputed_"
HASHED = pa.schema([("person_id", pa.string()), ("payload_hash", pa.string())])


def imputed(column: str) -> str:
    """Name the column that has the imputed values of a column of golden records."""
    return _IMPUTED + column


def without_imputed(one: Mapping[str, Value]) -> Mapping[str, Value]:
    """Return a golden row with its observed values alone."""
    return {name: value for name, value in one.items() if not name.startswith(_IMPUTED)}


class Asked(Protocol):
    """What a target says of its payload."""

    @property
    def destination(self) -> str: ...
    @property
    def purpose(self) -> str: ...
    @property
    def identifiers(self) -> tuple[str, ...]: ...
    @property
    def fields(self) -> Mapping[str, str]: ...


class Payloads:
    """The payloads of one target under one policy."""

    def __init__(self, target: Asked, destination: Destination, keyring: Keyring) -> None:
        self._version = keyring.active
        self._place = (target.destination, target.purpose)
        self._keyring = keyring
        self._kinds = {kind: destination.identifiers[kind] for kind in target.identifiers}
        self._fields: dict[str, tuple[str, FieldRule]] = {
            remote: (column, destination.fields[column])
            for remote, column in sorted(target.fields.items())
            if not isinstance(destination.fields[column], Drop)
        }
        self._hash_key = keyring.key("internal", "payload", "delivery")
        self._signals = tuple(sorted(destination.signals))
        self._mapping = self._mapping_name()

    def _mapping_name(self) -> str:
        """Name everything that shapes a payload besides the person: a change of it changes every row."""
        rules = [{kind: rule.model_dump() for kind, rule in self._kinds.items()}]
        fields = {remote: [column, rule.model_dump()] for remote, (column, rule) in self._fields.items()}
        text = json.dumps([self._place, self._version, rules, fields], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def row(
        self, one: Mapping[str, Value], kinds: Iterable[str], operation: Operation, granted: Iterable[str] = ()
    ) -> Row | None:
        """Return the row of one person, or None when nothing in it could identify anybody there.

        one: a golden row with person_id and, where known, remote_id. kinds: the identifier types that may leave.
        granted: the consent signals that the ledger grants.
        """
        identifiers = self._identifiers(one, frozenset(kinds))
        remote = self.remote_id(one)
        if not identifiers and (operation == "add" or remote is None):
            return None
        fields = {} if operation == "remove" else self._values(one) | self._told(granted)
        return Row(str(one["person_id"]), identifiers, fields, remote)

    def remote_id(self, one: Mapping[str, Value]) -> str | None:
        """Return what the destination called a person, where that is known."""
        remote_id = one.get("remote_id")
        return None if remote_id is None else str(remote_id)

    def imputed(self, one: Mapping[str, Value]) -> frozenset[str]:
        """Return the destination's names of the fields of a golden row whose value is an imputed one."""
        return frozenset(
            remote
            for remote, (column, _) in self._fields.items()
            if one.get(column) is None and one.get(imputed(column)) is not None
        )

    def hash(self, row: Row) -> str:
        """Name the content of a row, for comparison with what was acknowledged."""
        return payload_hash(self._hash_key, row, self._mapping)

    def hashed(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Hash golden rows that have the types that may leave beside them: (person_id, payload_hash)."""
        people: list[str] = []
        hashes: list[str] = []
        for one in batch.to_pylist():
            identifiers = self._identifiers(one, frozenset(one[LEAVING].split(",")))
            people.append(one["person_id"])
            values = self._values(one) | self._told((one.get(GRANTED) or "").split(","))
            hashes.append(self.hash(Row(one["person_id"], identifiers, values)))
        return pa.RecordBatch.from_arrays([pa.array(people, pa.string()), pa.array(hashes, pa.string())], schema=HASHED)

    def _identifiers(self, one: Mapping[str, Value], kinds: frozenset[str]) -> dict[str, str]:
        found: dict[str, str] = {}
        for kind, rule in self._kinds.items():
            value = one.get(kind)
            if kind not in kinds or value is None:
                continue
            left = leave_identifier(rule, kind, str(value), self._key(kind), self._version)
            if left is not None:
                found[kind] = left
        return found

    def _told(self, granted: Iterable[str]) -> dict[str, Value]:
        """Return each signal of the destination; what the ledger does not grant is denied."""
        known = frozenset(granted)
        return {signal: "granted" if signal in known else "denied" for signal in self._signals}

    def _values(self, one: Mapping[str, Value]) -> dict[str, Value]:
        return {
            remote: leave(rule, _value(one, column), self._key(column), self._version, partial(self._sealed, column))
            for remote, (column, rule) in self._fields.items()
        }

    def _sealed(self, column: str, value: str) -> str:
        return seal_value(self._keyring, self._place[0], column, value)

    def _key(self, field: str) -> bytes:
        destination, purpose = self._place
        return self._keyring.key(destination, field, purpose)


def _value(one: Mapping[str, Value], column: str) -> Value:
    observed = one.get(column)
    return one.get(imputed(column)) if observed is None else observed
