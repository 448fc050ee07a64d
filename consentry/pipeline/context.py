"""What every stage of a run works with, opened once and closed again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from consentry.audit import AuditLog
from consentry.consent.gate import Gate
from consentry.consent.keys import Keyring
from consentry.consent.ledger import Ledger
from consentry.consent.linking import LINK_REFUSED, refuse_linking
from consentry.consent.revision import accept_policy
from consentry.identity.decisions import Decisions
from consentry.pipeline.keyrings import keys_of
from consentry.pipeline.load import Loaded
from consentry.pipeline.progress import Progress
from consentry.pipeline.purposes import serving
from consentry.store import Store
from consentry.warehouse import DuckDBWarehouse


@dataclass(frozen=True, slots=True)
class Context:
    """The opened stores of a job, and the clock of its rules.

    allow: guards and alarms that whoever started the run has waived, by name.
    """

    loaded: Loaded
    warehouse: DuckDBWarehouse
    store: Store
    audit: AuditLog
    keyring: Keyring
    ledger: Ledger
    gate: Gate
    as_of: datetime
    progress: Progress
    run_id: str = ""
    allow: frozenset[str] = frozenset()


@contextmanager
def opened(loaded: Loaded, progress: Progress, *, allow: frozenset[str] = frozenset()) -> Iterator[Context]:
    """Open everything a run of the job needs, and close it whatever happens.

    Raises StopRun when another run holds the job's state, when a key is missing or bad, or a store unreadable.
    """
    state = loaded.state
    state.mkdir(parents=True, exist_ok=True)
    with ExitStack() as closing:
        audit = AuditLog(state / "audit", serves=serving(loaded))
        closing.callback(audit.close)
        store = Store.in_file(state / "control.db")
        closing.callback(store.close)
        keyring = keys_of(loaded, store)
        accept_policy(store, loaded.policy, keyring)
        warehouse = DuckDBWarehouse(state / "warehouse.duckdb", memory_limit=loaded.job.memory_limit)
        closing.callback(warehouse.close)
        ledger = Ledger(store, keyring)
        yield Context(
            loaded=loaded,
            warehouse=warehouse,
            store=store,
            audit=audit,
            keyring=keyring,
            ledger=ledger,
            gate=Gate(loaded.policy, ledger, keyring, as_of=loaded.job.as_of),
            as_of=loaded.job.as_of or datetime.now(UTC),
            progress=progress,
            allow=allow,
        )


def decisions_of(context: Context) -> Decisions:
    """Return what stewards decided about the people of the job."""
    ring = context.keyring
    keys = [ring.key("identity", "record", "decision", version=version) for version in ring.versions]
    return Decisions(context.store, keys)


def refused_table(context: Context) -> str | None:
    """Write who refused to have their records linked, and return the table; None when the job asks nobody."""
    purpose = context.loaded.job.identity.linking.consent
    if purpose is None:
        return None
    refuse_linking(context.warehouse, context.ledger, purpose=purpose, as_of=context.as_of)
    return LINK_REFUSED
