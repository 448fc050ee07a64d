"""What must change so that an audience is what the job decided: compared with what was acknowledged, in SQL.

Nothing here calls a destination. A first run into an audience that is not empty adds to it and, later, removes
only whom consentry added itself: whoever else is in there is in no ledger of ours.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from consentry.consent.gate import Gate
from consentry.delivery import deadletters, journal
from consentry.delivery.compare import stage
from consentry.delivery.config import Sync
from consentry.delivery.denied import stage_denied
from consentry.delivery.payloads import refresh
from consentry.delivery.tables import make_tables
from consentry.store import Store
from consentry.warehouse import Warehouse


@dataclass(frozen=True, slots=True)
class Difference:
    """How many people a sync concerns, and what would be done for them.

    members: in the segment. desired: of these, allowed and not held out. held: in the audience as far as
    acknowledged, or perhaps. removes_consent: to be taken out because they refused, were erased or their consent ended;
    removes_left: for any other cause, which the guards count. waiting: held back by a dead letter.
    refused: members that the policy refuses, by reason. withheld: why nothing is sent but what withdrawals ask for:
    `suppressed_small`, `small_change` or `below_platform_minimum`; empty when nothing is held back.
    holds: why the segment's syncs wait, by code, as its limits say (stale, small, anomaly).
    """

    members: int
    desired: int
    held: int
    adds: int
    changes: int
    removes_left: int
    removes_consent: int
    waiting: int
    refused: dict[str, int] = field(default_factory=dict)
    withheld: str = ""
    holds: dict[str, str] = field(default_factory=dict)

    @property
    def removes(self) -> int:
        """Return how many people would be taken out, whatever the cause."""
        return self.removes_left + self.removes_consent

    @property
    def is_empty(self) -> bool:
        """Tell whether the destination holds already what was decided."""
        return not (self.adds or self.changes or self.removes)


def difference(warehouse: Warehouse, store: Store, gate: Gate, sync: Sync, *, audience_min: int = 0) -> Difference:
    """Write what a sync has to do to `delivery.todo`, and return it counted.

    audience_min: people below which the platform makes no use of an audience.
    Reads segment.membership, segment.holdout, ops.decision, identity.golden and the ledger; what the journal
    knows and the ledger does not is folded in first. A person without a decision is not allowed.
    """
    make_tables(warehouse)
    journal.fold(warehouse, store, sync.name)
    deadletters.stage(warehouse, store, sync.name)
    stage(warehouse, gate, sync)
    stage_denied(warehouse, sync)
    _stage_compared(warehouse)
    refresh(warehouse, gate, sync.target(), people="delivery.compared")
    with warehouse.transaction():
        warehouse.sql("DELETE FROM delivery.todo WHERE sync = $sync", sync=sync.name)
        _write_sends(warehouse, sync)
        _write_removes(warehouse, sync)
        withheld = _withhold(warehouse, gate, sync, audience_min)
    return replace(_counted(warehouse, sync), withheld=withheld or "")


_JOINS_OR_LEAVES = (
    "operation IN ('add', 'release') OR (operation = 'remove' AND cause = 'left'"
    " AND person_id NOT IN (SELECT n.person_id FROM delivery.denied n))"
)


def _withhold(warehouse: Warehouse, gate: Gate, sync: Sync, audience_min: int) -> str | None:
    """Hold back what would show too few people: an audience that is too small, or a change that names somebody.

    Nothing is added or changed then, and nobody is taken out but for want of consent.
    """
    found = warehouse.sql(
        f"SELECT count(*) AS n FROM delivery.todo WHERE sync = $sync AND ({_JOINS_OR_LEAVES})", sync=sync.name
    )
    size, moving = warehouse.count("delivery.desired"), int(found["n"][0].as_py())
    code = gate.withholds(sync.target(), size=size, moving=moving)
    if code is None and 0 < size < audience_min:
        code = "below_platform_minimum"
    if code:
        held = f"({_JOINS_OR_LEAVES})" + (" OR operation = 'change'" if code != "small_change" else "")
        warehouse.sql(f"DELETE FROM delivery.todo WHERE sync = $sync AND ({held})", sync=sync.name)
    return code


def _stage_compared(warehouse: Warehouse) -> None:
    """Stage whose payloads must be known to compare them."""
    warehouse.sql(
        "CREATE OR REPLACE TABLE delivery.compared AS SELECT d.person_id, d.fingerprint FROM delivery.desired d"
        " SEMI JOIN (SELECT v.person_id FROM delivery.moved v LEFT JOIN delivery.held h ON h.person_id = v.person_id"
        " LEFT JOIN delivery.letter l ON l.person_id = v.person_id"
        " WHERE v.desired AND (h.person_id IS NOT NULL OR l.person_id IS NOT NULL)) v ON v.person_id = d.person_id"
    )


# A row that was rejected waits until its payload is another one; one whose outcome nobody knows, until replay.
_WAITS = "(l.person_id IS NOT NULL AND (l.code = 'unknown' OR (l.payload_hash = p.payload_hash AND NOT {unsure})))"


def _write_sends(warehouse: Warehouse, sync: Sync) -> None:
    unsure = "coalesce(h.unsure, false)"
    waits = _WAITS.format(unsure=unsure)
    new = "false" if sync.mode == "update_only" else "h.person_id IS NULL"
    warehouse.sql(
        "INSERT INTO delivery.todo SELECT $sync, v.person_id,"
        f" CASE WHEN {waits} THEN 'wait' WHEN h.person_id IS NULL OR {unsure} OR x.remote_id IS NOT NULL"
        " THEN 'add' ELSE 'change' END,"
        " p.payload_hash, h.remote_id, 'decided', h.person_id IS NOT NULL FROM delivery.moved v"
        " LEFT JOIN delivery.held h ON h.person_id = v.person_id"
        " LEFT JOIN delivery.letter l ON l.person_id = v.person_id"
        " LEFT JOIN identity.payload p ON p.target = $sync AND p.person_id = v.person_id"
        " LEFT JOIN (SELECT DISTINCT n.remote_id FROM delivery.denied n) x ON x.remote_id = h.remote_id"
        f" WHERE v.desired AND ({new} OR {unsure} OR h.payload_hash <> p.payload_hash OR x.remote_id IS NOT NULL)",
        sync=sync.name,
    )


def _write_removes(warehouse: Warehouse, sync: Sync) -> None:
    """Note who goes; of two people the destination knows as one, the one who stays keeps the place.

    After a merge the destination's one profile stands in the ledger under two persons of ours. Taking out the
    one that is gone would take out the one who stays, so its line is only let go of. Withdrawn consent is no
    such case: then the profile is taken out, and whoever may stay is added again.
    """
    left = "true" if sync.mode == "mirror" else "false"
    warehouse.sql(
        "INSERT INTO delivery.todo SELECT $sync, h.person_id,"
        " CASE WHEN k.remote_id IS NOT NULL AND n.person_id IS NULL THEN 'release' ELSE 'remove' END,"
        " h.payload_hash, h.remote_id, CASE WHEN coalesce(n.refused, false) THEN 'consent' ELSE 'left' END, true"
        " FROM delivery.held h"
        " LEFT JOIN delivery.denied n ON n.person_id = h.person_id"
        " LEFT JOIN (SELECT DISTINCT h.remote_id FROM delivery.held h"
        "   JOIN delivery.moved v ON v.person_id = h.person_id AND v.desired WHERE h.remote_id IS NOT NULL) k"
        "   ON k.remote_id = h.remote_id"
        " WHERE h.person_id NOT IN (SELECT v.person_id FROM delivery.moved v WHERE v.desired)"
        f" AND (n.person_id IS NOT NULL OR {left})",
        sync=sync.name,
    )


def _counted(warehouse: Warehouse, sync: Sync) -> Difference:
    found = warehouse.sql(
        "SELECT operation, cause, count(*) AS n FROM delivery.todo WHERE sync = $sync GROUP BY ALL", sync=sync.name
    )
    todo = {(row["operation"], row["cause"]): int(row["n"]) for row in found.to_pylist()}
    members, desired = warehouse.count("delivery.member"), warehouse.count("delivery.desired")
    return Difference(
        members=members,
        desired=desired,
        held=_held(warehouse, sync),
        adds=todo.get(("add", "decided"), 0),
        changes=todo.get(("change", "decided"), 0),
        removes_left=todo.get(("remove", "left"), 0),
        removes_consent=todo.get(("remove", "consent"), 0),
        waiting=todo.get(("wait", "decided"), 0),
        refused=_refused(warehouse, sync, rest=members - desired),
        holds=_holds(warehouse, sync),
    )


def _holds(warehouse: Warehouse, sync: Sync) -> dict[str, str]:
    query = "SELECT code, sentence FROM segment.hold WHERE segment = $segment ORDER BY 1"
    found = warehouse.sql(query, segment=sync.segment)
    return {row["code"]: row["sentence"] for row in found.to_pylist()}


def _held(warehouse: Warehouse, sync: Sync) -> int:
    found = warehouse.sql(
        "SELECT count(*) + (SELECT count(*) FROM delivery.unsure u WHERE u.sync = $sync AND NOT EXISTS"
        " (SELECT 1 FROM delivery.ack a WHERE a.sync = $sync AND a.person_id = u.person_id)) AS n"
        " FROM delivery.ack WHERE sync = $sync",
        sync=sync.name,
    )
    return int(found["n"][0].as_py())


def _refused(warehouse: Warehouse, sync: Sync, *, rest: int) -> dict[str, int]:
    """Count the members whom the policy refuses, by reason. rest: how many members are not desired."""
    found = warehouse.sql(
        "SELECT d.reason, count(*) AS n FROM delivery.member m"
        " JOIN ops.decision d ON d.person_id = m.person_id AND d.target = $sync AND NOT d.allow GROUP BY 1",
        sync=sync.name,
    )
    refused = {row["reason"]: int(row["n"]) for row in found.to_pylist()}
    if rest > sum(refused.values()):
        undecided = warehouse.sql(
            "SELECT count(*) AS n FROM delivery.member m"
            " ANTI JOIN (SELECT person_id FROM ops.decision WHERE target = $sync) d ON d.person_id = m.person_id",
            sync=sync.name,
        )
        refused["no_decision"] = int(undecided["n"][0].as_py())
    return {reason: refused[reason] for reason in sorted(refused) if refused[reason]}
