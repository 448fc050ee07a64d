"""Take back what people told a destination itself: unsubscribed, complained, bounced, before anything is pushed there.

Thousands were subscribed again by tools that did not look first (mc-woocommerce #1264).
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

from consentry.connectors.base import OptOut, PullsSuppressions
from consentry.consent.keys import Keyring
from consentry.consent.ledger import Row
from consentry.errors import ConsentryError, DestinationFailed
from consentry.pipeline.context import Context

# What was written late, or by a clock that is slow, is read once more; the ledger keeps each word once.
OVERLAP = timedelta(days=1)
_STATES = {"unsubscribed": "withdrawn", "suppressed": "withdrawn", "complained": "objected", "bounced": "denied"}


def pull(context: Context, syncs: Sequence[str]) -> dict[str, ConsentryError]:
    """Read what people told the destinations of some syncs into the ledger, and decide again if that is news.

    Returns the destinations that could not be read, with the error: nothing may be pushed there.
    """
    failed: dict[str, ConsentryError] = {}
    news = 0
    for destination in dict.fromkeys(context.loaded.job.syncs[name].destination for name in syncs):
        connector = context.loaded.destination(destination)
        if not isinstance(connector, PullsSuppressions):
            continue
        new, error = _pull(context, destination, connector)
        news += new
        if error:
            failed[destination] = error
    if news:
        context.gate.decide(context.warehouse, [context.loaded.target(name) for name in syncs])
    return failed


def _pull(context: Context, destination: str, connector: PullsSuppressions) -> tuple[int, ConsentryError | None]:
    """Return how many refusals are new, and the error that ended the reading; what came before it is kept."""
    warehouse, began = context.warehouse, datetime.now(UTC)
    warehouse.sql("CREATE TABLE IF NOT EXISTS ops.pulled (destination TEXT, pulled_at TIMESTAMPTZ)")
    last = warehouse.sql("SELECT max(pulled_at) AS at FROM ops.pulled WHERE destination = $d", d=destination)
    since: datetime | None = last["at"][0].as_py()
    broken: list[ConsentryError] = []
    mine = [sync for sync in context.loaded.job.syncs.values() if sync.destination == destination]
    audiences = frozenset(sync.audience for sync in mine)
    told = _until_it_breaks(connector, since - OVERLAP if since else None, audiences, destination, broken)
    rows = _rows(destination, sorted({sync.purpose for sync in mine}), told, context.keyring)
    found = context.ledger.record(rows, policy=context.loaded.policy)
    size, head = context.ledger.head()
    context.audit.append(
        "suppression.pulled",
        run=context.run_id,
        destination=destination,
        counts={"new": found.new, "duplicate": found.duplicate},
        refused=dict(found.refused),
        ledger_head={"size": size, "hash": head},
        result=broken[0].code if broken else "read",
    )
    if broken:
        return found.new, broken[0]
    with warehouse.transaction():
        warehouse.sql("DELETE FROM ops.pulled WHERE destination = $d", d=destination)
        warehouse.sql("INSERT INTO ops.pulled VALUES ($d, $at)", d=destination, at=began)
    return found.new, None


def _until_it_breaks(
    connector: PullsSuppressions,
    since: datetime | None,
    audiences: Collection[str],
    destination: str,
    broken: list[ConsentryError],
) -> Iterator[OptOut]:
    try:
        yield from connector.opt_outs(since, audiences)
    except ConsentryError as error:
        broken.append(error)
    except Exception as error:  # the border: a connector is foreign code, and its words may quote people
        message = f"Destination {destination!r} broke off with {type(error).__name__} while opt-outs were read."
        broken.append(DestinationFailed(message, code="opt_outs_unread"))


def _rows(destination: str, purposes: Sequence[str], told: Iterable[OptOut], keyring: Keyring) -> Iterator[Row]:
    """Write opt-outs as rows of clean.consent: one a purpose that the destination is used for."""
    for one in told:
        # A vendor may know a word by nothing but whose it is: the ledger tells them apart by a keyed hash.
        whose = f"{one.identifier_type}|{one.value.lower()}".encode()
        name = hmac.new(keyring.key("internal", "opt-out", "event"), whose, hashlib.sha256).hexdigest()[:20]
        for purpose in purposes:
            yield {
                "source_system": destination,
                "source_event_id": f"{one.event_id}:{name}:{purpose}",
                "identifier_type": one.identifier_type,
                "identifier_value": one.value,
                "purpose": purpose,
                "state": _STATES[one.reason],
                "method": "explicit",
                "mechanism": f"{destination}:{one.reason}",
                "effective_at": one.at,
            }
