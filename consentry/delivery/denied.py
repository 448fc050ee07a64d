"""Who is held that may not be there any more: refused by the policy, erased, or merged into somebody who is."""

from __future__ import annotations

from consentry.delivery.config import Sync
from consentry.warehouse import Warehouse

# Refusals that no person uttered and no date brought: consent cannot be proven, as after a lost key or a mistake
# in the policy. They take people out in every mode, but within the guards: one slip must not empty an audience.
UNPROVEN = ("no_record", "no_identifier", "purpose_not_covered", "unmapped", "identifier_scope", "regime_mismatch")
_MERGES = 100

# Who each person that is held has become: itself, and whoever its records went to, however often that happened.
_BECAME = f"""
WITH RECURSIVE became(person_id, now, merges) AS (
    SELECT person_id, person_id, 0 FROM delivery.held
    UNION ALL
    SELECT b.person_id, p.merged_into, b.merges + 1 FROM became b JOIN identity.person p ON p.person_id = b.now
    WHERE p.status IN ('merged', 'split') AND p.merged_into IS NOT NULL AND b.merges < {_MERGES}
)
"""
_REFUSED = (
    "SELECT b.person_id, d.reason NOT IN (SELECT unnest($unproven)) AS refused FROM became b"
    " JOIN ops.decision d ON d.person_id = b.now AND d.target = $sync AND NOT d.allow"
)
_ERASED = "SELECT b.person_id, true FROM became b JOIN identity.person p ON p.person_id = b.now AND p.status = 'erased'"


def stage_denied(warehouse: Warehouse, sync: Sync) -> None:
    """Write delivery.denied(person_id, remote_id, refused): of delivery.held, who goes in every mode.

    refused: whether they said no or had themselves erased, so that no guard holds the removal back. What somebody
    refuses holds for the people that were merged into them, too: a destination may still know them under that name.
    """
    # Until identities have been resolved nobody was merged or erased.
    resolved = warehouse.has("identity.person")
    became = _BECAME if resolved else "WITH became AS (SELECT person_id, person_id AS now FROM delivery.held)"
    warehouse.sql(
        "CREATE OR REPLACE TABLE delivery.denied AS SELECT h.person_id, h.remote_id, bool_or(n.refused) AS refused"
        f" FROM delivery.held h JOIN ({became} {_REFUSED}{f' UNION ALL {_ERASED}' if resolved else ''}) n"
        " ON n.person_id = h.person_id GROUP BY h.person_id, h.remote_id",
        sync=sync.name,
        unproven=list(UNPROVEN),
    )
