"""Read the payloads of a consent stream, whatever platform sent them, into rows of the ledger."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

import pyarrow as pa

from consentry.consent.policy import Policy
from consentry.consent.signals import iab, platforms
from consentry.consent.signals.rows import MAX_PAYLOAD, Kind, Row, Sent, SignalBlock

_READERS: Mapping[Kind, Callable[[Sent], Iterator[Row]]] = {
    "onetrust": platforms.onetrust,
    "cookiebot": platforms.cookiebot,
    "segment": platforms.segment,
    "rudderstack": platforms.rudderstack,
    "mparticle": platforms.mparticle,
    "hubspot": platforms.hubspot,
    "klaviyo": platforms.klaviyo,
    "tcf": iab.tcf,
    "gpp": iab.gpp,
    "gpc": iab.gpc,
}

# The kinds that need no setting of their own.
KINDS = tuple(kind for kind in _READERS if kind != "tcf")


def read_signal(row: Mapping[str, object], block: SignalBlock, policy: Policy) -> Iterator[Row]:
    """Yield the rows of the ledger that one payload comes to; row: canonical consent columns and `payload`.

    What cannot be read yields one row that denies no purpose and is counted; it never raises and never grants.
    """
    payload = row.get("payload")
    sent = Sent(row, payload if isinstance(payload, str) else "", block, policy)
    if not sent.payload or len(sent.payload) > MAX_PAYLOAD:
        yield from sent.unreadable()
        return
    yield from _READERS[block.type](sent)


def read_signals(batches: Iterable[pa.RecordBatch], block: SignalBlock, policy: Policy) -> Iterator[Row]:
    """Yield the rows of many payloads."""
    for batch in batches:
        for row in batch.to_pylist():
            yield from read_signal(row, block, policy)
