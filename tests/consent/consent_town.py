"""A small town for the consent tests: a policy, a store, a warehouse with identities, and a gate over them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import pyarrow as pa

from consentry.config import Faults
from consentry.consent.gate import Decided, Gate, Sealed, Target
from consentry.consent.keys import Keyring
from consentry.consent.ledger import Imported, Ledger
from consentry.consent.policy import Policy, read_policy
from consentry.model.batch import Operation, Value
from consentry.store import Store
from consentry.warehouse import DuckDBWarehouse

POLICY = """\
version: 1
policy_id: town
default: deny
purposes:
  newsletter:
    alias: ["segment:Newsletter"]
    basis: {gdpr: consent, us: opt_out}
    ttl: P13M
    min_notice_version: 2
  ads:
    basis: {gdpr: consent}
    ttl: P6M
  service:
    basis: {gdpr: legitimate_interests}
    lia_ref: LIA-1
  contract_mail:
    basis: {gdpr: contract}
    contract_ref: T&C-3
  personalisation:
    basis: {gdpr: consent}
destinations:
  mailer:
    connector: klaviyo
    role: processor
    dpa_ref: DPA-1
    transfer: {mechanism: none}
    purposes_all_of: [newsletter]
    identifiers: {email: {transform: pass}, phone: {transform: pass}}
    fields:
      given_name: {transform: pass}
      age: {transform: band, width: 10, top: 80}
      customer_number: {transform: token}
      registered_on: {transform: generalise_date, to: month}
      postcode: {transform: truncate, length: 2}
      notes: {transform: drop}
  ad_platform:
    connector: files
    role: controller
    transfer: {mechanism: scc, ref: DPA-2026-014}
    purposes_all_of: [newsletter, ads]
    identifiers:
      email: {transform: match_sha256, rules: meta@2026-08}
      phone: {transform: match_sha256, rules: meta@2026-08}
    fields: {customer_number: {transform: token}}
  helpdesk:
    connector: files
    role: processor
    dpa_ref: DPA-2
    transfer: {mechanism: none}
    purposes_all_of: [service]
    identifiers: {email: {transform: token}}
merge: {identifier_scope: strict, shared_by: 2, skew: PT5M}
sources: {crm_import: {trust: 1}, web: {trust: 3}, app: {trust: 3}, preference_centre: {trust: 4}}
profiling: {purpose: personalisation}
"""
NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
GOLDEN = pa.schema(
    [
        (name, pa.int64() if name == "age" else pa.string())
        for name in (
            "person_id", "email", "phone", "given_name", "age", "customer_number", "registered_on", "postcode", "notes"
        )
    ]
)  # fmt: skip


def policy(folder: Path, text: str = POLICY) -> Policy:
    """Read a policy that is known to be good."""
    path = folder / "policy.yaml"
    path.write_text(text)
    faults = Faults()
    found = read_policy(path, faults)
    faults.check()
    assert found is not None
    return found


def keyring(*versions: int) -> Keyring:
    """Make a keyring of fixed keys, one a version; the last is active."""
    numbers = versions or (1,)
    return Keyring({n: bytes(range(n, n + 32)) for n in numbers}, active=numbers[-1])


@dataclass
class Town:
    """People with identifiers, a ledger, and the gate."""

    folder: Path
    text: str = POLICY
    ring: Keyring = field(default_factory=keyring)
    as_of: datetime | None = NOW
    url: str = "sqlite://"

    def __post_init__(self) -> None:
        self.policy = policy(self.folder, self.text)
        self.store = Store(self.url)
        self.ledger = Ledger(self.store, self.ring)
        self.gate = Gate(self.policy, self.ledger, self.ring, as_of=self.as_of)
        self.warehouse = DuckDBWarehouse()
        self.people: dict[str, dict[str, Value]] = {}
        self.identifiers: list[tuple[str, str, str]] = []
        self._numbers = count(1)

    def close(self) -> None:
        """Let go of the databases."""
        self.warehouse.close()
        self.store.close()

    def person(self, name: str, **golden: Value) -> None:
        """Settle someone: the golden record, and an identifier for its e-mail, phone and customer number."""
        self.people[name] = {"person_id": name, **golden}
        for kind in ("email", "phone", "customer_number"):
            if golden.get(kind):
                self.identifiers.append((name, kind, str(golden[kind])))

    def also(self, name: str, kind: str, value: str) -> None:
        """Give someone a further identifier that the golden record does not hold."""
        self.identifiers.append((name, kind, value))

    def tell(self, value: str, state: str = "granted", **facts: object) -> Imported:
        """Report one consent event."""
        return self.ledger.record([self.row(value, state, **facts)], policy=self.policy)

    def row(self, value: str, state: str = "granted", **facts: object) -> dict[str, object]:
        """Return one consent event as clean.consent holds it."""
        return {
            "source_system": "web",
            "source_event_id": f"e{next(self._numbers)}",
            "identifier_type": "phone" if value.startswith("+") else "email",
            "identifier_value": value,
            "region": None,
            "purpose": "newsletter",
            "state": state,
            "method": "explicit",
            "mechanism": "signup_form",
            "notice_id": "privacy",
            "notice_version": 3,
            "regime": "gdpr",
            "jurisdiction": "DE",
            "effective_at": datetime(2026, 1, 1, tzinfo=UTC),
            "expires_at": None,
            **facts,
        }

    def settle(self) -> None:
        """Write the identities into the warehouse and key them."""
        records = {name: f"crm:{name}" for name in self.people}
        _write(
            self.warehouse,
            "identity.identifier",
            ("record_id", "source", "type", "value", "status", "reason"),
            [(records[name], "crm", kind, value, "ok", None) for name, kind, value in self.identifiers],
        )
        _write(
            self.warehouse,
            "identity.membership",
            ("record_id", "person_id", "valid_from_run", "valid_to_run"),
            [(record, name, "r1", None) for name, record in records.items()],
        )
        batch = pa.RecordBatch.from_pylist([dict(one) for one in self.people.values()], schema=GOLDEN)
        self.warehouse.write("identity.golden", [batch], schema=GOLDEN)
        self.gate.subjects(self.warehouse)

    def decide(self, target: Target) -> Decided:
        """Settle and decide for one target."""
        self.settle()
        return self.gate.decide(self.warehouse, [target])[target.name]

    def reason(self, name: str, target: Target | None = None) -> str:
        """Return the reason code of one person, which plan and seal must agree on."""
        asked = target or EMAIL
        self.decide(asked)
        found = self.warehouse.sql(
            "SELECT reason FROM ops.decision WHERE person_id = $person AND target = $target",
            person=name,
            target=asked.name,
        )
        planned = str(found["reason"][0].as_py())
        sealed = self.seal(asked, [name])
        sent = dict(sealed.refused).get(name, "allow")
        assert sent == planned
        return planned

    def seal(self, target: Target, names: Sequence[str], operation: Operation = "add") -> Sealed:
        """Seal a batch for some people."""
        rows: list[Mapping[str, Value]] = [self.people[name] for name in names]
        return self.gate.seal(self.warehouse, target, operation, rows, batch_id="b1")


EMAIL = Target("news", "mailer", "newsletter", "list-1", ("email",), {"first_name": "given_name"})
PHONE = Target("sms", "mailer", "newsletter", "list-2", ("phone",))
ADS = Target("ads", "ad_platform", "ads", "audience-1", ("email", "phone"), {"id": "customer_number"})
HELP = Target("help", "helpdesk", "service", "all", ("email",))


def _write(warehouse: DuckDBWarehouse, table: str, names: Sequence[str], rows: Sequence[tuple[object, ...]]) -> None:
    schema = pa.schema([(name, pa.string()) for name in names])
    batch = pa.RecordBatch.from_pylist([dict(zip(names, row, strict=True)) for row in rows], schema=schema)
    warehouse.write(table, [batch], schema=schema)


def towns(folder: Path, **options: object) -> Iterator[Town]:
    """Yield a town and close it after."""
    town = Town(folder, **options)  # type: ignore[arg-type]
    try:
        yield town
    finally:
        town.close()
