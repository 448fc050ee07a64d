"""A destination in memory: the reference for tests, and for your own destination.

Given a `path` it notes every effect in a file as it happens, one JSON line each, so that a process that is
killed leaves behind what it did: `Audiences.read(path)` tells who is in, and what was done twice.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from consentry.connectors.base import Capabilities, Check, ConnectorConfig, Ok, OptOut, Outcome, Rejected
from consentry.errors import DestinationFailed
from consentry.model.batch import Batch, Row, Value

KEYS = ("email", "phone", "customer_number")


@dataclass(frozen=True, slots=True)
class Effect:
    """One thing that happened in the destination: a call (without member), or a member that came, changed or went."""

    kind: Literal["add", "change", "remove", "call"]
    audience: str
    member: str = ""
    identifiers: Mapping[str, str] = field(default_factory=dict, repr=False)
    fields: Mapping[str, Value] = field(default_factory=dict, repr=False)


class Audiences:
    """Everything a destination holds: the effects in order, and who is in which audience after them."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self.effects: list[Effect] = []
        self._members: dict[str, dict[str, Effect]] = {}
        for effect in _read(path) if path and path.exists() else ():
            self._keep(effect)

    @classmethod
    def read(cls, path: Path) -> Audiences:
        """Return what was noted in a file; a line that a killed process left half written is passed over."""
        return cls(path)

    @property
    def calls(self) -> int:
        """How many calls the destination has seen."""
        return sum(effect.kind == "call" for effect in self.effects)

    def note(self, *effects: Effect) -> None:
        """Let effects happen, one after the other."""
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8") as file:
                for effect in effects:
                    file.write(json.dumps(asdict(effect)) + "\n")
                    file.flush()  # a kill between two rows must leave exactly the first
        for effect in effects:
            self._keep(effect)

    def members(self, audience: str) -> frozenset[str]:
        """Return who is in an audience now."""
        return frozenset(self._members.get(audience, {}))

    def values(self, audience: str, identifier: str) -> set[str]:
        """Return what the members of an audience have as an identifier."""
        members = self._members.get(audience, {}).values()
        return {one.identifiers[identifier] for one in members if identifier in one.identifiers}

    def repeated(self) -> list[Effect]:
        """Return the adds of somebody who was in the audience already, and the removals of one who was not."""
        inside: set[tuple[str, str]] = set()
        odd = []
        for effect in self.effects:
            who = (effect.audience, effect.member)
            if (effect.kind == "add" and who in inside) or (effect.kind == "remove" and who not in inside):
                odd.append(effect)
            if effect.kind == "remove":
                inside.discard(who)
            elif effect.kind != "call":
                inside.add(who)
        return odd

    def _keep(self, effect: Effect) -> None:
        self.effects.append(effect)
        members = self._members.setdefault(effect.audience, {})
        if effect.kind == "remove":
            members.pop(effect.member, None)
        elif effect.kind != "call":
            members[effect.member] = effect


def _read(path: Path) -> Iterator[Effect]:
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            yield Effect(**json.loads(line))
        except ValueError:
            continue


class MemoryConfig(ConnectorConfig):
    """Settings of the destination in memory."""

    path: Path | None = Field(default=None, description="File that the effects are noted in; memory only when absent.")
    opt_outs: Path | None = Field(default=None, description="JSONL file of opt-outs that people told it.")
    batch_max: int = Field(default=100, gt=0, description="Rows in one call.")
    key_fields: tuple[str, ...] = Field(default=KEYS, description="Identifiers that name a member, best first.")


class Memory:
    """A destination that keeps its audiences in memory; `audiences` shows them."""

    Config: ClassVar[type[ConnectorConfig]] = MemoryConfig

    def __init__(
        self, config: MemoryConfig, *, streams: Mapping[str, Mapping[str, Any]] | None = None, account: str = ""
    ) -> None:
        self._keys = config.key_fields
        self._opt_outs = config.opt_outs
        self.audiences = Audiences(config.path)
        self.api_calls = 0
        self.capabilities = Capabilities(config.batch_max, config.key_fields, frozenset({"add", "change", "remove"}))

    def check(self) -> Check:
        """Say that it can always be written."""
        return Check(True, "Audiences are kept in memory.")

    def write(self, batch: Batch) -> Iterator[Outcome]:
        """Add or change the people of a batch."""
        self.begin(batch)
        for row in batch.rows:
            yield self.put(batch, row)

    def remove(self, batch: Batch) -> Iterator[Outcome]:
        """Take the people of a batch out; one who is not in is Ok."""
        self.begin(batch)
        for row in batch.rows:
            yield self.take_out(batch, row)

    def replace(self, batch: Batch) -> Iterator[Outcome]:
        """Make the people of a batch the whole audience."""
        self.api_calls += 1
        stay = {member for row in batch.rows if (member := member_id(row, self._keys))}
        gone = sorted(self.audiences.members(batch.audience) - stay)
        self.audiences.note(Effect("call", batch.audience), *(Effect("remove", batch.audience, one) for one in gone))
        for row in batch.rows:
            member = member_id(row, self._keys)
            known = member in self.audiences.members(batch.audience)
            yield Ok(member) if known else self.put(batch, row)

    def delete_audience(self, audience: str) -> None:
        """Take everybody out."""
        self.api_calls += 1
        gone = sorted(self.audiences.members(audience))
        self.audiences.note(*(Effect("remove", audience, one) for one in gone))

    def opt_outs(self, since: datetime | None, audiences: Collection[str]) -> Iterator[OptOut]:
        """Yield the lines of the file of opt-outs; raises DestinationFailed when a line is none."""
        path = self._opt_outs
        if path is None or not path.exists():
            return
        self.api_calls += 1
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                said = json.loads(line)
                one = OptOut(**{**said, "at": datetime.fromisoformat(said["at"])})
            except (ValueError, TypeError, KeyError):
                raise DestinationFailed("A line of the opt-outs cannot be read. Mend it.", code="garbage") from None
            if since is None or one.at >= since:
                yield one

    def lookup(self, audience: str, remote_ids: Iterable[str]) -> frozenset[str]:
        """Return those of the ids that are in the audience."""
        self.api_calls += 1
        return self.audiences.members(audience) & frozenset(remote_ids)

    def begin(self, batch: Batch) -> None:
        """Count one call; raises DestinationFailed when the batch is larger than announced."""
        if len(batch.rows) > self.capabilities.batch_max:
            message = f"The batch has {len(batch.rows)} rows; this destination takes {self.capabilities.batch_max}."
            raise DestinationFailed(message, code="batch_too_large")
        self.api_calls += 1
        self.audiences.note(Effect("call", batch.audience))

    def put(self, batch: Batch, row: Row) -> Outcome:
        """Add or change one person."""
        member = member_id(row, self._keys)
        if member is None:
            return Rejected("no_identifier")
        self.audiences.note(Effect(batch.operation, batch.audience, member, row.identifiers, row.fields))
        return Ok(member)

    def take_out(self, batch: Batch, row: Row) -> Outcome:
        """Take one person out."""
        member = member_id(row, self._keys)
        if member is None:
            return Rejected("no_identifier")
        if member in self.audiences.members(batch.audience):
            self.audiences.note(Effect("remove", batch.audience, member))
        return Ok(member)


def member_id(row: Row, keys: tuple[str, ...]) -> str | None:
    """Return the destination's own name for a person: the one it gave before, else made from the best identifier."""
    if row.remote_id:
        return row.remote_id
    best = next((f"{key}:{row.identifiers[key]}" for key in keys if row.identifiers.get(key)), None)
    return None if best is None else "m-" + hashlib.sha256(best.encode()).hexdigest()[:20]
