"""Who is not where they should be: everybody a sync concerns, compared with what was acknowledged.

Millions are compared, and hardly anybody differs. So everybody is looked at by two numbers only, the id and the
fingerprint of what would be sent, and whoever differs (`delivery.moved`) is looked at in full.
"""

from __future__ import annotations

from consentry.consent.gate import Gate
from consentry.delivery.config import Sync
from consentry.delivery.payloads import fingerprints, version
from consentry.warehouse import Warehouse
from consentry.warehouse.people import PERSON

# Who is in the audience, or perhaps is.
_HELD = (
    "SELECT coalesce(a.person_id, u.person_id) AS person_id, a.payload_hash,"
    " coalesce(a.remote_id, u.remote_id) AS remote_id, u.person_id IS NOT NULL AS unsure"
    " FROM (SELECT person_id, payload_hash, remote_id FROM delivery.ack WHERE sync = $sync) a"
    " FULL JOIN (SELECT person_id, remote_id FROM delivery.unsure WHERE sync = $sync) u ON u.person_id = a.person_id"
)


def stage(warehouse: Warehouse, gate: Gate, sync: Sync) -> None:
    """Write who should be in the audience, and who of all is to be looked at.

    delivery.member(person_id): the segment. delivery.desired(person_id, fingerprint): of these, allowed and not held
    out. delivery.moved(person_id, desired): who comes, goes, or is not known to be there with the same content; and
    who stays under the name by which the destination also knows somebody who goes. delivery.held(person_id,
    payload_hash, remote_id, unsure): of these, who is in the audience or perhaps is.
    """
    _stage_desired(warehouse, gate, sync)
    _stage_moved(warehouse, sync)
    warehouse.sql(
        f"CREATE OR REPLACE TABLE delivery.held AS SELECT h.* FROM ({_HELD}) h"
        " SEMI JOIN delivery.moved v ON v.person_id = h.person_id",
        sync=sync.name,
    )


def _stage_desired(warehouse: Warehouse, gate: Gate, sync: Sync) -> None:
    warehouse.sql(
        f"CREATE OR REPLACE TABLE delivery.member AS SELECT CAST(m.person_id AS {PERSON}) AS person_id"
        " FROM segment.membership m WHERE m.segment = $segment",
        segment=sync.segment,
    )
    signals = bool(gate.policy.destinations[sync.destination].signals)
    warehouse.sql(
        "CREATE OR REPLACE TABLE delivery.desired AS SELECT f.person_id, f.fingerprint"
        f" FROM ({fingerprints(warehouse, signals=signals)}) f JOIN delivery.member m ON m.person_id = f.person_id"
        " ANTI JOIN (SELECT person_id FROM segment.holdout WHERE segment = $segment) h ON h.person_id = m.person_id",
        segment=sync.segment,
        target=sync.name,
        version=version(gate, sync.target()),
    )


def _stage_moved(warehouse: Warehouse, sync: Sync) -> None:
    warehouse.sql(
        "CREATE OR REPLACE TABLE delivery.moved AS"
        " SELECT coalesce(d.person_id, h.person_id) AS person_id, d.person_id IS NOT NULL AS desired"
        " FROM delivery.desired d FULL JOIN (SELECT h.person_id,"
        "   CASE WHEN NOT h.unsure AND p.payload_hash = h.payload_hash THEN p.fingerprint END AS fingerprint"
        f"  FROM ({_HELD}) h LEFT JOIN"
        "   (SELECT person_id, payload_hash, fingerprint FROM identity.payload WHERE target = $sync) p"
        "   ON p.person_id = h.person_id) h ON h.person_id = d.person_id"
        " WHERE h.person_id IS NULL OR d.person_id IS NULL OR h.fingerprint IS DISTINCT FROM d.fingerprint",
        sync=sync.name,
    )
    # Whoever is held and does not stay has moved: who is left stays, and is desired.
    warehouse.sql(
        "INSERT INTO delivery.moved SELECT a.person_id, true FROM delivery.ack a WHERE a.sync = $sync"
        f" AND a.remote_id IN (SELECT h.remote_id FROM ({_HELD}) h"
        "   JOIN delivery.moved v ON v.person_id = h.person_id AND NOT v.desired)"
        " AND a.person_id NOT IN (SELECT v.person_id FROM delivery.moved v)",
        sync=sync.name,
    )
