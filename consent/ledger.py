"""Keep what people said about the use of their data: append-only, hash-chained, without their identifiers.

An identifier stands in the ledger only as an HMAC of its normal form. Importing the same events again changes
nothing, and the order in which events arrive does not matter. The database itself refuses to change or remove a row.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice

import pyarrow as pa
import sqlalchemy as sa

from consentry.consent.evidence import Evidence
from consentry.consent.instants import written
from consentry.consent.intake import Reported, read_row
from consentry.consent.keys import Keyring
from consentry.consent.normal import normal_forms, why_nobody
from consentry.consent.policy import Policy
from consentry.consent.rules import ANY
from consentry.consent.tokens import LEDGER, SUPPRESSION, Hmac, identifier_hmacs
from consentry.errors import ConfigError
from consentry.model.ids import uuid7s
from consentry.store import Store
from consentry.store.tables import consent_event, suppression

GENESIS = "0" * 64
_CHUNK = 500
Row = Mapping[str, object]
_CHAINED = tuple(column.name for column in consent_event.c if column.name not in ("seq", "hash"))


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of the rows of an import.

    refused: rows that are not in the ledger, by code. noted: rows that are, but not as they came: a state or purpose
    that is not known, a date that could not be read.
    """

    new: int = 0
    duplicate: int = 0
    refused: Mapping[str, int] = field(default_factory=dict)
    noted: Mapping[str, int] = field(default_factory=dict)


class Ledger:
    """The consent events and the suppression list of one store."""

    def __init__(self, store: Store, keyring: Keyring) -> None:
        self.store = store
        self.keyring = keyring
        self.evidence = Evidence(store, keyring)
        self._macs: dict[str, Hmac] = {}

    def record(self, rows: Iterable[pa.RecordBatch | Row], *, policy: Policy) -> Imported:
        """Append rows shaped like clean.consent; those that stand already are left as they are.

        Each row is kept in the same transaction as the rows before it in its chunk, so that an import that is cut
        off is continued by importing again.
        """
        counts: Counter[str] = Counter()
        refused: Counter[str] = Counter()
        noted: Counter[str] = Counter()
        for chunk in _chunks(_plain(rows), _CHUNK):
            now = datetime.now(UTC)
            read = [read_row(row, policy, now=now) for row in chunk]
            refused.update(one for one in read if isinstance(one, str))
            reported = [one for one in read if not isinstance(one, str)]
            # Before the events themselves: the keys of people are written in transactions of their own.
            self.evidence.seal(reported, self._place)
            self._append(reported, now, counts, refused, noted)
        return Imported(counts["new"], counts["duplicate"], dict(refused), dict(noted))

    def _append(
        self,
        reported: Sequence[Reported],
        now: datetime,
        counts: Counter[str],
        refused: Counter[str],
        noted: Counter[str],
    ) -> None:
        with self.store.begin() as connection:
            _lock(connection)
            erased = _suppressed_here(connection, reported, self.keyring)
            known = _known(connection, reported)
            _, previous = _head(connection)
            rows: list[dict[str, object]] = []
            for one in reported:
                if one.state == "granted" and one.method not in ("explicit", "guardian") and one.value in erased:
                    refused["suppressed"] += 1
                    continue
                kept = _place(one, known)
                if isinstance(kept, str):
                    (refused if kept == "reused_event_id" else counts)[kept] += 1
                    continue
                known[kept.source_system, kept.source_event_id] = _content(kept)
                row = self._row(kept, previous, now)
                previous = str(row["hash"])
                rows.append(row)
                noted.update(kept.noted)
            counts["new"] += len(rows)
            if rows:
                connection.execute(sa.insert(consent_event), rows)

    def _row(self, one: Reported, previous: str, now: datetime) -> dict[str, object]:
        mac = self._place(one)
        row: dict[str, object] = {
            "event_id": uuid7s(1)[0],
            "identifier_type": one.kind,
            "identifier_hmac": mac,
            "purpose": one.purpose,
            "state": one.state,
            "regime": one.regime,
            "lawful_basis": None,
            "method": one.method,
            "mechanism": one.mechanism,
            "source_system": one.source_system,
            "source_event_id": one.source_event_id,
            "notice_id": one.notice_id,
            "notice_version": one.notice_version,
            "notice_sha256": None,
            "jurisdiction": one.jurisdiction,
            "effective_at": written(one.effective_at),
            "recorded_at": written(now),
            "expires_at": written(one.expires_at) if one.expires_at else None,
            "evidence_uri": self.evidence.name(mac, one.evidence) if one.evidence else None,
            "prev_hash": previous,
        }
        row["hash"] = row_hash(row)
        return row

    def _place(self, one: Reported) -> str:
        return self._mac(one.kind).digest(one.value.encode()).hex()

    def _mac(self, kind: str) -> Hmac:
        if kind not in self._macs:
            self._macs[kind] = Hmac(self.keyring.key(LEDGER, kind, "match"))
        return self._macs[kind]

    def suppress(
        self,
        identifier_type: str,
        value: str,
        *,
        reason: str,
        region: str | None = None,
        scope: str = ANY,
        since: datetime | None = None,
    ) -> int:
        """Put an identifier on the suppression list under every normal form; return the number of new entries.

        scope: a purpose, or `*` for all. reason: erasure, objection, withdrawal, hard_bounce or legal. What is kept
        is a keyed hash, scope, reason and date, and nothing else; it survives erasure. An erasure destroys the key of
        what was kept as evidence for the identifier.
        Raises ConfigError when the value can identify nobody.
        """
        if reason not in ("erasure", "objection", "withdrawal", "hard_bounce", "legal"):
            raise ConfigError(
                f"A suppression has no reason {reason!r}: use erasure, objection, withdrawal, hard_bounce or legal."
            )
        forms = normal_forms(identifier_type, value, region)
        if not forms:
            raise ConfigError(
                f"This {identifier_type} cannot be suppressed: it identifies nobody. {why_nobody(identifier_type)}"
            )
        version = self.keyring.active
        at = written(since or datetime.now(UTC))
        with self.store.begin() as connection:
            _lock(connection)
            added = 0
            for mac in identifier_hmacs(self.keyring, identifier_type, forms, domain=SUPPRESSION)[version]:
                here = sa.select(suppression.c.since).where(
                    suppression.c.identifier_hmac == mac, suppression.c.scope_purpose == scope
                )
                if connection.execute(here).first() is None:
                    entry = {"identifier_hmac": mac, "scope_purpose": scope, "key_version": version}
                    connection.execute(sa.insert(suppression), {**entry, "reason": reason, "since": at})
                    added += 1
        if reason == "erasure":
            for macs in identifier_hmacs(self.keyring, identifier_type, forms).values():
                self.evidence.destroy(macs)
        return added

    def unsuppress(self, identifier_type: str, value: str, *, region: str | None = None, scope: str = ANY) -> int:
        """Take an identifier off the suppression list for one scope; return the number of entries removed.

        An erasure stays: who was erased comes back by a word of their own, never by taking them off a list.
        """
        forms = normal_forms(identifier_type, value, region)
        macs = identifier_hmacs(self.keyring, identifier_type, forms, domain=SUPPRESSION)
        c = suppression.c
        with self.store.begin() as connection:
            _lock(connection)
            removed = connection.execute(
                sa.delete(suppression).where(
                    c.identifier_hmac.in_([mac for listed in macs.values() for mac in listed]),
                    c.scope_purpose == scope,
                    c.reason != "erasure",
                )
            )
        return removed.rowcount

    def suppressed(self) -> list[dict[str, object]]:
        """Count the suppression list by scope, reason, day and key version."""
        c = suppression.c
        day = sa.func.substr(c.since, 1, 10).label("day")
        query = sa.select(c.scope_purpose, c.reason, day, c.key_version, sa.func.count().label("entries")).group_by(
            c.scope_purpose, c.reason, day, c.key_version
        )
        with self.store.begin() as connection:
            return [dict(row) for row in connection.execute(query.order_by(day)).mappings()]

    def history(self, identifier_type: str, value: str, *, region: str | None = None) -> list[dict[str, object]]:
        """Return every event of one identifier as it stands in the ledger, oldest first; no identifier is in it."""
        forms = normal_forms(identifier_type, value, region)[:1]
        macs = identifier_hmacs(self.keyring, identifier_type, forms)
        query = sa.select(consent_event).where(
            consent_event.c.identifier_hmac.in_([mac for listed in macs.values() for mac in listed])
        )
        with self.store.begin() as connection:
            return [dict(row) for row in connection.execute(query.order_by(consent_event.c.effective_at)).mappings()]

    def knows(self, source_system: str, source_event_id: str) -> bool:
        """Tell whether an event of a source stands in the ledger."""
        c = consent_event.c
        query = sa.select(c.seq).where(c.source_system == source_system, c.source_event_id == source_event_id)
        with self.store.begin() as connection:
            return connection.execute(query).first() is not None

    def everything(self) -> Iterator[dict[str, object]]:
        """Yield every event in the order of the chain."""
        with self.store.begin() as connection:
            found = connection.execution_options(yield_per=10_000).execute(
                sa.select(consent_event).order_by(consent_event.c.seq)
            )
            for row in found.mappings():
                yield dict(row)

    def head(self) -> tuple[int, str]:
        """Return the number of events and the hash of the last one."""
        with self.store.begin() as connection:
            return _head(connection)

    def verify(self) -> int | None:
        """Check the chain from its first event; return the number of the first one that does not fit, if any."""
        previous = GENESIS
        with self.store.begin() as connection:
            found = connection.execution_options(yield_per=10_000).execute(
                sa.select(consent_event).order_by(consent_event.c.seq)
            )
            for row in found.mappings():
                if row["prev_hash"] != previous or row_hash(dict(row)) != row["hash"]:
                    return int(row["seq"])
                previous = str(row["hash"])
        return None


def row_hash(row: Mapping[str, object]) -> str:
    """Return the hash of an event: SHA-256 over everything in it, the hash of the event before it included."""
    body = {name: row[name] for name in _CHAINED}
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _lock(connection: sa.Connection) -> None:
    """Let one writer at a time take the head of the chain."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("LOCK TABLE consent_event, suppression IN EXCLUSIVE MODE"))
    else:
        # Any write takes SQLite's one write lock, before the head is read; this one changes no row.
        connection.execute(sa.update(suppression).where(sa.false()).values(since=""))


def _head(connection: sa.Connection) -> tuple[int, str]:
    last = connection.execute(
        sa.select(consent_event.c.seq, consent_event.c.hash).order_by(consent_event.c.seq.desc()).limit(1)
    ).first()
    return (int(last.seq), str(last.hash)) if last else (0, GENESIS)


def _plain(rows: Iterable[pa.RecordBatch | Row]) -> Iterator[Row]:
    for row in rows:
        if isinstance(row, Mapping):
            yield row
        else:
            yield from row.to_pylist()


def _chunks(rows: Iterator[Row], size: int) -> Iterator[list[Row]]:
    while chunk := list(islice(rows, size)):
        yield chunk


_Id = tuple[str, str]
_Content = tuple[str, str, str]


def _content(one: Reported) -> _Content:
    return one.purpose, one.state, written(one.effective_at)


def _known(connection: sa.Connection, reported: Sequence[Reported]) -> dict[_Id, _Content]:
    """Read what stands in the ledger under the ids of these rows, and under those they would have as a later word."""
    found: dict[_Id, _Content] = {}
    ids: dict[str, set[str]] = {}
    for one in reported:
        ids.setdefault(one.source_system, set()).update((one.source_event_id, one.as_later_word().source_event_id))
    c = consent_event.c
    for source, wanted in ids.items():
        query = sa.select(c.source_event_id, c.purpose, c.state, c.effective_at).where(
            c.source_system == source, c.source_event_id.in_(wanted)
        )
        for row in connection.execute(query):
            found[source, row.source_event_id] = (row.purpose, row.state, row.effective_at)
    return found


def _place(one: Reported, known: Mapping[_Id, _Content]) -> Reported | str:
    """Return the row as it is to be kept, or the code of why it is not.

    A source that gives the id of an earlier event to a later one may refuse with it, and never grant: a replayed id
    must not turn a withdrawal into a grant.
    """
    standing = known.get((one.source_system, one.source_event_id))
    if standing is None:
        return one
    if one.same_as(*standing):
        return "duplicate"
    if one.state == "granted":
        return "reused_event_id"
    later = one.as_later_word()
    return "duplicate" if (later.source_system, later.source_event_id) in known else later


def _suppressed_here(connection: sa.Connection, reported: Sequence[Reported], keyring: Keyring) -> frozenset[str]:
    """Return the values among these rows that belong to someone who was erased."""
    erased = sa.select(suppression.c.identifier_hmac).where(suppression.c.reason == "erasure")
    if connection.execute(erased.limit(1)).first() is None:
        return frozenset()
    listed: dict[str, str] = {}
    for one in reported:
        if one.state == "granted":
            for macs in identifier_hmacs(
                keyring, one.kind, normal_forms(one.kind, one.value), domain=SUPPRESSION
            ).values():
                listed.update(dict.fromkeys(macs, one.value))
    if not listed:
        return frozenset()
    found = connection.execute(erased.where(suppression.c.identifier_hmac.in_(listed))).scalars()
    return frozenset(listed[mac] for mac in found)
