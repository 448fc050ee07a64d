"""Tell whether a sync may know one person as a member: as segments were last published, and as consent stands now.

Of the warehouse only those are read whom the last run would let a sync have, and they are kept in memory until the
file changes: one process can have the file at a time, so that reading it for each question would stop runs. What people
say is read from the ledger with each question.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from threading import Lock
from typing import Any

import numpy as np
import pyarrow as pa

from consentry.consent.gate import Gate, Target
from consentry.consent.keys import Keyring
from consentry.consent.ledger import Ledger
from consentry.consent.present import FACT_ROWS, SUBJECT_ROWS, Register
from consentry.consent.rules import Facts
from consentry.consent.same_keys import accept_keys
from consentry.delivery.config import Sync
from consentry.delivery.golden import golden_of
from consentry.errors import Blocked, ConfigError, StopRun
from consentry.model.names import quoted
from consentry.pipeline.keyrings import keys_of
from consentry.pipeline.left import check_has_run, left_warehouse
from consentry.pipeline.load import Loaded, load_job
from consentry.segments.state import read_state
from consentry.store import Store
from consentry.warehouse import Warehouse

_PERSON_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class Membership:
    """What a sync may know of a person. since: when they entered; None for whoever is no member, for whatever cause."""

    sync: str
    segment: str
    member: bool
    since: datetime | None
    evaluated_at: datetime


class _ByPerson:
    """The rows of a table, found by their person_id."""

    def __init__(self, found: pa.Table) -> None:
        rows = found.sort_by("person_id")
        self._ids = np.array(rows["person_id"].to_pylist(), dtype="S36")
        self._rows = rows.drop_columns(["person_id"]).combine_chunks()

    # Rows as the warehouse returns them.
    def __getitem__(self, person: str) -> list[dict[str, Any]]:
        first, end = (int(np.searchsorted(self._ids, person.encode(), side)) for side in ("left", "right"))
        found: list[dict[str, Any]] = self._rows.slice(first, end - first).to_pylist()
        return found


@dataclass(frozen=True, slots=True)
class _Published:
    """What the last run left: by sync the members who may be told, with their golden records; and who they are.

    mark: of the file that it was read from. subjects, facts: what the register of the gate says of them.
    """

    mark: tuple[tuple[int, ...], ...]
    loaded: Loaded
    keyring: Keyring
    evaluated_at: datetime
    members: dict[str, _ByPerson]
    subjects: _ByPerson
    facts: _ByPerson

    def register(self, person: str) -> Register:
        """Return the register of one person."""
        facts = self.facts[person]
        known = {person: Facts(facts[0]["regime"], facts[0]["minor"])} if facts else {}
        return Register({person: self.subjects[person]}, known)


class Lookup:
    """Answers about one person after another, from any thread, until it is closed.

    Raises ConfigError when the job has not run.
    """

    def __init__(self, loaded: Loaded) -> None:
        check_has_run(loaded, "nobody can be looked up")
        self._loaded = loaded
        self._store = Store.in_file(loaded.state / "control.db")
        self._published: _Published | None = None
        self._reading = Lock()

    def close(self) -> None:
        """Let go of the store."""
        self._store.close()

    def answer(self, person: str, sync: str) -> Membership:
        """Return what a sync may know of a person: nothing of whoever is unknown, refused, held out or waits.

        Raises ConfigError (`unknown_sync`) for no sync of the job; Blocked (`small_change`) for one whose destination
        must not see single people come and go; StopRun (`warehouse_locked`) while a run holds the warehouse.
        """
        published = self.published()
        asked = published.loaded.job.syncs.get(sync)
        if asked is None:
            raise ConfigError("There is no sync of that name.", code="unknown_sync")
        if published.loaded.policy.destinations[asked.destination].min_change:
            message = "The policy keeps single changes from this destination (min_change): nobody is looked up for it."
            raise Blocked(message, code="small_change")
        since = self._since(published, asked.target(), person)
        return Membership(sync, asked.segment, since is not None, since, published.evaluated_at)

    def published(self) -> _Published:
        """Return what the last run left, read anew when that or the keys are no longer what was read."""
        with self._reading:
            found = self._published
            if found is None or found.mark != _mark(found.loaded) or not self._knows(found.keyring):
                # What was read before is out of date, and no answer while it cannot be read again.
                self._published = None
                self._published = found = _read(load_job(self._loaded.path), self._store)
            return found

    def _knows(self, keyring: Keyring) -> bool:
        """Tell whether these are all keys that words are recorded under: a rotation hides new ones from the old."""
        try:
            accept_keys(self._store, keyring)
        except StopRun as refused:
            if refused.code == "wrong_key":
                return False
            raise
        return True

    def _since(self, published: _Published, target: Target, person: str) -> datetime | None:
        rows = published.members[target.name][person] if _PERSON_ID.fullmatch(person) else []
        if not rows:
            return None
        ledger = Ledger(self._store, published.keyring)
        gate = Gate(published.loaded.policy, ledger, published.keyring, as_of=published.loaded.job.as_of)
        since: datetime = rows[0].pop("since")
        answers = gate.answers(published.register(person), target, [{"person_id": person, **rows[0]}])
        return since if answers[person].allow else None


def _mark(loaded: Loaded) -> tuple[tuple[int, ...], ...]:
    """Name the state of the warehouse's file, and of the log beside it that is written first."""
    return tuple(
        (found.st_ino, found.st_size, found.st_mtime_ns)
        for name in ("warehouse.duckdb", "warehouse.duckdb.wal")
        if (path := loaded.state / name).exists()
        for found in (path.stat(),)
    )


def _read(loaded: Loaded, store: Store) -> _Published:
    keyring = keys_of(loaded, store)
    gate = Gate(loaded.policy, Ledger(store, keyring), keyring, as_of=loaded.job.as_of)
    segments = sorted({sync.segment for sync in loaded.job.syncs.values()})
    with left_warehouse(loaded) as warehouse:
        mark = _mark(loaded)
        state = read_state(warehouse)
        if state is None:
            raise ConfigError(f"The job {loaded.job.job} has not evaluated its segments yet. Run it.")
        members = {name: _members(warehouse, gate, sync) for name, sync in loaded.job.syncs.items()}
        subjects = warehouse.sql(f"{SUBJECT_ROWS} {_IN_SEGMENTS}", segments=segments)
        facts = warehouse.sql(f"{FACT_ROWS} {_IN_SEGMENTS}", segments=segments)
    # Put in order once the file is closed: meanwhile no run could begin.
    by_person = {name: _ByPerson(found) for name, found in members.items()}
    return _Published(mark, loaded, keyring, state.at, by_person, _ByPerson(subjects), _ByPerson(facts))


_IN_SEGMENTS = (
    "SEMI JOIN (SELECT m.person_id FROM segment.membership m WHERE m.segment IN (SELECT unnest($segments))) s"
    " USING (person_id)"
)


def _members(warehouse: Warehouse, gate: Gate, sync: Sync) -> pa.Table:
    """Return whom the last run let a sync have: person_id, since, and the identifiers that it sends.

    Nobody while the segment is on hold, or when so few are left that being one of them says something of each.
    """
    held = warehouse.sql("SELECT code FROM segment.hold WHERE segment = $segment", segment=sync.segment)
    columns = warehouse.columns("identity.golden")
    sent = "".join(f", g.{quoted(kind)}" for kind in sync.identifiers if kind in columns)
    found = warehouse.sql(
        f"SELECT m.person_id, m.entered_at AS since{sent} FROM segment.membership m"
        f" JOIN {golden_of(warehouse, gate, sync.target()).relation} g ON g.person_id = m.person_id"
        " SEMI JOIN (SELECT person_id FROM ops.decision WHERE target = $sync AND allow) d"
        " ON d.person_id = m.person_id"
        " ANTI JOIN (SELECT person_id FROM segment.holdout WHERE segment = $segment) h ON h.person_id = m.person_id"
        " WHERE m.segment = $segment",
        segment=sync.segment,
        sync=sync.name,
    )
    few = found.num_rows < sync.min_size or gate.withholds(sync.target(), size=found.num_rows, moving=0)
    return found.slice(0, 0) if held.num_rows or few else found
