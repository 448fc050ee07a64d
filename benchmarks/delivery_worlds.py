"""What bench_delivery runs in processes of their own: a delivery, the comparison with the ledger, and drt."""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pyroaring import BitMap

from consentry.audit import AuditLog
from consentry.config import Faults
from consentry.connectors.base import Destination
from consentry.connectors.registry import connect, connector
from consentry.consent.gate import Gate
from consentry.consent.keys import Keyring
from consentry.consent.ledger import Ledger
from consentry.consent.policy import read_policy
from consentry.delivery import Sync, compare, deadletters, deliver
from consentry.delivery.diff import difference
from consentry.delivery.tables import make_tables
from consentry.segments import membership
from consentry.store import Store
from consentry.warehouse import DuckDBWarehouse
from consentry.warehouse.people import PERSON

POLICY = """
version: 1
policy_id: bench
default: deny
purposes:
  news:
    basis: {gdpr: consent}
destinations:
  there:
    connector: bench
    role: controller
    transfer: {mechanism: none}
    purposes_all_of: [news]
    identifiers: {email: {transform: pass}}
    fields: {plan: {transform: pass}}
sources:
  form: {trust: 1}
"""
# As ids of one second are: alike at their beginning, and in no order.
_PERSON = (
    "CAST('01a0b1c2-d3e4-7' || substr(md5(i::TEXT), 1, 3) || '-8' || substr(md5(i::TEXT), 4, 3) || '-'"
    " || substr(md5(i::TEXT), 7, 12) AS UUID)"
)


class World:
    """A warehouse, a ledger and a gate with so many people, of whom all said yes."""

    def __init__(self, folder: Path, people: int, audience: str) -> None:
        self.people = people
        self.members = BitMap()
        self.warehouse = DuckDBWarehouse(folder / "warehouse.duckdb", memory_limit="1500MB")
        self.store = Store.in_file(folder / "store.db")
        self.audit = AuditLog(folder / "audit")
        (folder / "policy.yaml").write_text(POLICY)
        faults = Faults()
        policy = read_policy(folder / "policy.yaml", faults)
        faults.check()
        assert policy is not None
        keyring = Keyring.from_file(folder / "keys.json", create=True)
        self.gate = Gate(policy, Ledger(self.store, keyring), keyring)
        self.sync = Sync(
            name="bench",
            segment="all",
            destination="there",
            audience=audience,
            purpose="news",
            identifiers=("email",),
            fields={"given_name": "plan"},
        )
        make_tables(self.warehouse)
        if people:
            self._populate()

    def _populate(self) -> None:
        """Make the people: golden records, and the numbers by which segments know them."""
        membership.make_tables(self.warehouse)
        for table in (
            "identity.identifier(record_id TEXT, source TEXT, type TEXT, value TEXT, status TEXT, reason TEXT)",
            f"identity.membership(record_id TEXT, person_id {PERSON}, valid_from_run TEXT, valid_to_run TEXT)",
        ):
            self.warehouse.sql(f"CREATE TABLE {table}")
        self.warehouse.sql(
            f"CREATE TABLE identity.golden AS SELECT {_PERSON} AS person_id, 'person' || i || '@example.com' AS email,"
            " 'Given' || i % 1000 AS given_name, 'Family' || i % 5000 AS family_name, 'GB' AS country, 'lead' AS plan"
            " FROM range($people) r(i)",
            people=self.people,
        )
        self.warehouse.sql(
            f"INSERT INTO segment.person_ordinal SELECT {_PERSON}, i FROM range($people) r(i)", people=self.people
        )

    def say_yes(self) -> None:
        """Give everybody an identifier and a grant."""
        self.warehouse.sql(
            "INSERT INTO identity.identifier SELECT CAST(person_id AS TEXT), 'crm', 'email', email, 'ok', NULL"
            " FROM identity.golden"
        )
        self.warehouse.sql(
            "INSERT INTO identity.membership SELECT CAST(person_id AS TEXT), person_id, 'r', NULL FROM identity.golden"
        )
        self.gate.ledger.record(self._grants(), policy=self.gate.policy)
        self.gate.subjects(self.warehouse)

    def _grants(self) -> Iterator[dict[str, object]]:
        at = datetime.now(UTC) - timedelta(days=30)
        about = {"source_system": "form", "identifier_type": "email", "purpose": "news", "state": "granted"}
        notice = {"method": "explicit", "mechanism": "box", "notice_id": "n", "notice_version": 1, "regime": "gdpr"}
        for number in range(self.people):
            own = {"source_event_id": str(number), "identifier_value": f"person{number}@example.com"}
            yield {**about, **notice, **own, "effective_at": at}

    def join(self, first: int, last: int) -> None:
        """Let people enter the segment."""
        self._publish(self.members | BitMap(range(first, last)))

    def leave(self, first: int, last: int) -> None:
        """Let people leave the segment."""
        self._publish(self.members - BitMap(range(first, last)))

    def _publish(self, members: BitMap) -> None:
        self.members = members
        with self.warehouse.transaction():
            membership.publish(self.warehouse, {"all": members}, now=datetime.now(UTC), run_id="bench")

    def close(self) -> None:
        """Let go of every file."""
        self.warehouse.close()
        self.store.close()
        self.audit.close()

    def change(self, first: int, last: int) -> None:
        """Give people another plan."""
        self.warehouse.sql(
            "UPDATE identity.golden SET plan = 'customer' WHERE person_id IN"
            f" (SELECT {_PERSON} FROM range($first, $last) r(i))",
            first=first,
            last=last,
        )

    def send(self, destination: Destination) -> dict[str, Any]:
        """Decide and deliver; return the result with its seconds."""
        self.gate.decide(self.warehouse, [self.sync.target()])
        started = time.monotonic()
        result = deliver(
            self.warehouse, self.store, self.gate, self.audit, destination, self.sync, run_id="bench", patience=600
        )
        return {**asdict(result), "seconds": time.monotonic() - started}


def delivery(kind: str, connection: str, audience: str, members: str, changed: str) -> dict[str, Any]:
    """Sync so many members first, then so many changed ones, then nothing."""
    size, some = int(members), int(changed)
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder), size + some // 4, audience)
        world.say_yes()
        world.join(0, size)
        config = connector(kind).Config.model_validate(json.loads(connection))
        made = connect(kind, config, account="bench", base=Path(folder))
        assert isinstance(made, Destination)
        first = world.send(made)
        world.leave(0, some // 4)
        world.join(size, size + some // 4)
        world.change(some, some + some // 2)
        second = world.send(made)
        return {"first": first, "second": second, "third": world.send(made)}


def ledger(folder: str, memberships: str) -> dict[str, Any]:
    """Make a warehouse with so many memberships, all acknowledged, of which 1 per cent changed after that."""
    people = int(memberships)
    world = World(Path(folder), people, "all")
    warehouse, target = world.warehouse, world.sync.target()
    world.gate.subjects(warehouse)
    world.gate.decide(warehouse, [target])
    warehouse.sql("DELETE FROM ops.decision")
    warehouse.sql(
        "INSERT INTO ops.decision BY NAME SELECT person_id, 'bench' AS target, true AS allow, 'allow' AS reason,"
        " 'email' AS identifiers FROM identity.golden"
    )
    world.join(0, people)
    deadletters.stage(warehouse, world.store, world.sync.name)
    compare.stage(warehouse, world.gate, world.sync)
    warehouse.sql(
        "INSERT INTO identity.payload SELECT 'bench', person_id, fingerprint, md5(CAST(person_id AS TEXT))"
        " FROM delivery.desired"
    )
    warehouse.sql(
        "INSERT INTO delivery.ack SELECT target, person_id, payload_hash, CAST(person_id AS TEXT), 'b', now()"
        " FROM identity.payload"
    )
    world.leave(0, people // 400)
    world.change(people // 100, people // 100 + people // 200)
    for table in ("delivery.ack", "identity.payload"):
        warehouse.sql(
            f"DELETE FROM {table} WHERE person_id IN (SELECT {_PERSON} FROM range($first, $last) r(i))",
            first=people // 400,
            last=people // 200,
        )
    world.close()
    return {}


def comparison(folder: str) -> dict[str, Any]:
    """Compare what `ledger` made; return the CPU seconds, without those of loading modules."""
    with tempfile.TemporaryDirectory() as small:
        ledger(small, "10")
        _compared(small)
    return _compared(folder)


def _compared(folder: str) -> dict[str, Any]:
    world = World(Path(folder), 0, "all")
    before = _cpu()
    found = difference(world.warehouse, world.store, world.gate, world.sync)
    used = _cpu() - before
    world.close()
    return {"cpu_s": used, "found": asdict(found)}


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


WORKERS: dict[str, Callable[..., dict[str, Any]]] = {"delivery": delivery, "ledger": ledger, "comparison": comparison}

if __name__ == "__main__":
    print(json.dumps(WORKERS[sys.argv[1]](*sys.argv[2:])))
