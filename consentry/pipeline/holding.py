"""Legal holds of a job: place, end and list them, and keep erasures back; the audit log keeps each act."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from consentry.consent.holds import Holds
from consentry.errors import Blocked
from consentry.pipeline.context import Context
from consentry.pipeline.left import held_log
from consentry.pipeline.load import Loaded
from consentry.pipeline.privacy import ledger_of


def refuse_held(context: Context, identifiers: Iterable[tuple[str, str, str | None]]) -> None:
    """Raise Blocked when a hold stands on one of the identifiers (type, value, region) of what is to be erased."""
    held = Holds(context.store, context.keyring).of(identifiers)
    if held:
        context.audit.append("erasure.held", run=context.run_id, holds=[hold.hold_id for hold in held])
        named = "; ".join(f"{hold.hold_id} ({hold.reason})" for hold in held)
        raise Blocked(
            f"A legal hold keeps this data: {named}. End it with `consentry hold end`; until then"
            " `consentry suppress add` keeps the person from being sent.",
            code="legal_hold",
        )


# Everything below returns plain JSON.
def place_hold(loaded: Loaded, who: tuple[str, str, str | None], *, reason: str, by: str) -> dict[str, Any]:
    """Keep the data of somebody from being erased."""
    kind, value, region = who
    with held_log(loaded) as audit, ledger_of(loaded) as ledger:
        made = Holds(ledger.store, ledger.keyring).place(kind, value, region=region, reason=reason, by=by)
        audit.append("hold.placed", hold=made.hold_id, by=by)
    return asdict(made)


def end_hold(loaded: Loaded, hold_id: str, *, by: str) -> dict[str, Any]:
    """Let what was held be erased again."""
    with held_log(loaded) as audit, ledger_of(loaded) as ledger:
        ended = Holds(ledger.store, ledger.keyring).end(hold_id, by=by)
        audit.append("hold.ended", hold=hold_id, by=by)
    return asdict(ended)


def list_holds(loaded: Loaded, *, ended: bool = False) -> list[dict[str, Any]]:
    """Return the holds, the oldest first."""
    with ledger_of(loaded) as ledger:
        return [asdict(one) for one in Holds(ledger.store, ledger.keyring).listed(ended=ended)]
