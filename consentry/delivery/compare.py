"""Who is not where they should be: everybody a sync concerns, compared with what was acknowledged.

Millions are compared, and hardly anybody differs. So everybody is looked at by two numbers only, the id and the
fingerprint of what would be sent, and whoever differs (`delivery.moved`) is looked at in full.
"""

from __future__ import annotations

from consentry.consent.gate import Gate
from consentry.delivery.config import Sync
from consentry.delivery.golden import golden_of
from consentry.delivery.payloads import fingerprints, version
from consentry.warehouse import Warehouse
from consentry.warehouse.people import PERSON

_ACK = "(SELECT person_id, payload_hash, remote_id FROM delivery.ack WHERE sync = $sync)"
_UNSURE = "(SELECT person_id, remote_id FROM delivery.unsure WHERE sync = $sync)"
_PAYLOAD = "(SELECT person_id, payload_hash, fingerprint FROM identity.payload WHERE target = $sync)"
# From what record each acknowledged payload was made; of others than the one remembered nobody knows.
_MADE_FROM = (
    "(SELECT a.person_id, CASE WHEN p.payload_hash = a.payload_hash THEN p.fingerprint END AS fingerprint"
    f" FROM {_ACK} a LEFT JOIN {_PAYLOAD} p ON p.person_id = a.person_id)"
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
    _stage_namesakes(warehouse, sync)
    of_these = "SEMI JOIN delivery.moved v ON v.person_id = x.person_id"
    warehouse.sql(
        "CREATE OR REPLACE TABLE delivery.held AS SELECT coalesce(a.person_id, u.person_id) AS person_id,"
        " a.payload_hash, coalesce(a.remote_id, u.remote_id) AS remote_id, u.person_id IS NOT NULL AS unsure"
        f" FROM (SELECT x.* FROM {_ACK} x {of_these}) a"
        f" FULL JOIN (SELECT x.* FROM {_UNSURE} x {of_these}) u ON u.person_id = a.person_id",
        sync=sync.name,
    )


def _stage_desired(warehouse: Warehouse, gate: Gate, sync: Sync) -> None:
    # Neither ids nor hashes can be compressed: to try takes longer than to write them.
    person, fingerprint = (
        f"{name} USING COMPRESSION uncompressed" for name in (f"person_id {PERSON}", "fingerprint UBIGINT")
    )
    warehouse.sql(f"CREATE OR REPLACE TABLE delivery.member ({person})")
    warehouse.sql(f"CREATE OR REPLACE TABLE delivery.desired ({person}, {fingerprint})")
    warehouse.sql(
        f"INSERT INTO delivery.member SELECT CAST(m.person_id AS {PERSON}) FROM segment.membership m"
        " WHERE m.segment = $segment",
        segment=sync.segment,
    )
    signals = bool(gate.policy.destinations[sync.destination].signals)
    found = fingerprints(golden_of(warehouse, gate, sync.target()), signals=signals)
    warehouse.sql(
        "INSERT INTO delivery.desired SELECT f.person_id, f.fingerprint"
        f" FROM ({found}) f JOIN delivery.member m ON m.person_id = f.person_id"
        # As numbers: otherwise everybody's id is written out to be compared.
        f" ANTI JOIN (SELECT CAST(person_id AS {PERSON}) AS person_id FROM segment.holdout WHERE segment = $segment) h"
        " ON h.person_id = m.person_id",
        segment=sync.segment,
        target=sync.name,
        version=version(gate, sync.target()),
    )


def _stage_moved(warehouse: Warehouse, sync: Sync) -> None:
    """Find whose record is not the one that the acknowledged payload was made from, and look at the others open."""
    warehouse.sql(
        f"CREATE OR REPLACE TABLE delivery.open AS SELECT CAST(person_id AS {PERSON}) AS person_id FROM delivery.letter"
        f" UNION SELECT person_id FROM {_UNSURE}",
        sync=sync.name,
    )
    not_open = "ANTI JOIN delivery.open o ON o.person_id = x.person_id"
    made_from = _PAYLOAD if _remembers_all(warehouse, sync, not_open) else _MADE_FROM
    warehouse.sql(
        "CREATE OR REPLACE TABLE delivery.moved AS"
        " SELECT coalesce(d.person_id, h.person_id) AS person_id, d.person_id IS NOT NULL AS desired"
        f" FROM (SELECT x.* FROM delivery.desired x {not_open}) d"
        f" FULL JOIN (SELECT x.* FROM {made_from} x {not_open}) h ON h.person_id = d.person_id"
        " WHERE d.fingerprint IS DISTINCT FROM h.fingerprint OR h.person_id IS NULL OR d.person_id IS NULL",
        sync=sync.name,
    )
    warehouse.sql(
        "INSERT INTO delivery.moved SELECT o.person_id, d.person_id IS NOT NULL"
        " FROM delivery.open o LEFT JOIN delivery.desired d ON d.person_id = o.person_id"
    )


def _remembers_all(warehouse: Warehouse, sync: Sync, not_open: str) -> bool:
    """Tell whether exactly the acknowledged payloads are remembered, which spares joining millions to find out.

    Sets are compared by their size and by the exclusive or of their hashes, of 64 bits.
    """
    names = "SELECT count(*) AS n, bit_xor(hash(x.person_id, x.payload_hash)) AS content FROM"
    found = warehouse.sql(f"{names} {_ACK} x {not_open} UNION {names} {_PAYLOAD} x {not_open}", sync=sync.name)
    return len(found) == 1


def _stage_namesakes(warehouse: Warehouse, sync: Sync) -> None:
    # Whoever is held and does not stay has moved: who is left stays, and is desired.
    go = "SEMI JOIN delivery.moved v ON v.person_id = x.person_id AND NOT v.desired"
    warehouse.sql(
        f"INSERT INTO delivery.moved SELECT a.person_id, true FROM {_ACK} a WHERE a.remote_id IN"
        f" (SELECT x.remote_id FROM {_ACK} x {go} UNION SELECT x.remote_id FROM {_UNSURE} x {go})"
        " AND a.person_id NOT IN (SELECT v.person_id FROM delivery.moved v)",
        sync=sync.name,
    )
