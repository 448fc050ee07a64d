"""The queue of a steward: what is in doubt, page by page, with what it takes to decide and the command that does."""

from __future__ import annotations

import hashlib
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from consentry.errors import ConfigError
from consentry.identity.comparing import Compared, Pair, compared
from consentry.identity.config import IdentityConfig
from consentry.identity.decisions import Seat
from consentry.identity.doubts import CODES, Doubt, doubts
from consentry.identity.explain import Link, explain
from consentry.identity.verdicts import Verdicts
from consentry.model.names import did_you_mean
from consentry.warehouse import Warehouse

PAGE = 20
_SAID = "--by NAME --why REASON"


@dataclass(frozen=True, slots=True)
class Case:
    """One entry of the queue.

    key: stays the same while the entry is open. code: shared_value (too many people share it), contradictory_value
    (its people contradict each other), large_person, names_differ (one person whose names are hardly alike),
    close_call (two records whose likeness lies between the thresholds), merge_unheeded (a merge that unique
    identifiers forbid). people, records: whom it is about, up to two ids each. size: records or people concerned.
    evidence: how the two records compare. weakest: of one person the link whose loss would break it. next: the
    commands to choose from, by what they say.
    """

    key: str
    code: str
    sentence: str
    people: tuple[str, ...]
    records: tuple[str, ...]
    size: int
    evidence: tuple[Compared, ...]
    weakest: Link | None
    next: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Page:
    """Some entries of the queue, how many there are of each code, and the place to go on; None at the end."""

    cases: tuple[Case, ...]
    counts: Mapping[str, int]
    next: str | None


def review(
    warehouse: Warehouse,
    config: IdentityConfig,
    *,
    seats: Iterable[Seat] = (),
    code: str | None = None,
    after: str | None = None,
    limit: int = PAGE,
    job: str = "JOB",
) -> Page:
    """Return a page of the queue, the gravest kind first and within it the gravest entry.

    seats: what stewards decided; what they decided is in the queue no more. code: of this kind alone. after: `next` of
    the page before; it holds its place while entries come and go. job: as the commands are to name it.
    Raises ConfigError for a code or place that there is none of.
    """
    if code is not None and code not in CODES:
        raise ConfigError(
            f"The queue has no kind {code!r}{did_you_mean(code, CODES) or '.'} It has: {', '.join(CODES)}."
        )
    place = _read_place(after)
    verdicts = Verdicts(warehouse, seats)
    found = list(doubts(warehouse, config, verdicts))
    counts = Counter(doubt.code for doubt in found)
    wanted = [doubt for doubt in found if code in (None, doubt.code)]
    waiting = sorted(wanted, key=_place)
    rest = [doubt for doubt in waiting if place is None or _place(doubt) > place]
    page = rest[:limit]
    pairs = [pair for doubt in page if (pair := _pair(doubt))]
    evidence = compared(warehouse, config, pairs)
    cases = tuple(_case(warehouse, doubt, evidence, verdicts, job) for doubt in page)
    ordered = {name: counts[name] for name in CODES if counts[name]}
    return Page(cases, ordered, _written(_place(page[-1])) if len(rest) > limit else None)


_Place = tuple[int, float, str]


def _place(doubt: Doubt) -> _Place:
    return CODES.index(doubt.code), round(doubt.rank, 6), _key(doubt)


def _key(doubt: Doubt) -> str:
    told = "\0".join((doubt.code, doubt.about, *sorted(doubt.records or doubt.people)))
    return hashlib.sha256(told.encode()).hexdigest()[:12]


def _written(place: _Place) -> str:
    code, rank, key = place
    return f"{CODES[code]}:{rank!r}:{key}"


def _read_place(text: str | None) -> _Place | None:
    if text is None:
        return None
    code, _, rest = text.partition(":")
    rank, _, key = rest.partition(":")
    try:
        return CODES.index(code), float(rank), key
    except ValueError:
        raise ConfigError(f"{text!r} is no place in the queue. Take the one that the page before gave.") from None


def _pair(doubt: Doubt) -> Pair | None:
    return (doubt.records[0], doubt.records[1]) if len(doubt.records) == 2 else None


def _case(
    warehouse: Warehouse, doubt: Doubt, evidence: Mapping[Pair, tuple[Compared, ...]], verdicts: Verdicts, job: str
) -> Case:
    pair = _pair(doubt)
    weakest = None
    if len(doubt.people) == 1:
        explained = explain(warehouse, doubt.people[0], decided=verdicts.merges.values())
        weakest = explained.weakest if explained else None
    return Case(
        key=_key(doubt),
        code=doubt.code,
        sentence=doubt.sentence,
        people=doubt.people,
        records=doubt.records,
        size=doubt.size,
        evidence=evidence.get(pair, ()) if pair else (),
        weakest=weakest,
        next=_next(doubt, job),
    )


def _next(doubt: Doubt, job: str) -> dict[str, str]:
    """Write the commands to choose from; a value that too many share is settled in the job file."""
    if doubt.code == "merge_unheeded":
        return {
            "take it back": _command("revert", job, doubt.about),
            "one person all the same, after taking it back": _command("merge", job, *doubt.people, "--force"),
        }
    if doubt.code == "large_person":
        return {
            "look closer": f"consentry identity explain {shlex.join((job, *doubt.people))}",
            "one person": _command("merge", job, *doubt.people),
            "not all of them": _command("split", job, *doubt.people, "--record", "RECORD"),
        }
    sides = doubt.people if len(doubt.people) == 2 else doubt.records
    if not sides:
        return {}
    return {"one person": _command("merge", job, *sides), "two people": _command("not-same", job, *sides)}


def _command(name: str, *words: str) -> str:
    return f"consentry identity {name} {shlex.join(words)} {_SAID}"
