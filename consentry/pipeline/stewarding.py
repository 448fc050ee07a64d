"""What stewards do with the people of a job: look at why they are one, decide otherwise, and take that back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from consentry.errors import ConfigError
from consentry.identity.aliases import resolve_alias
from consentry.identity.changes import changes_since
from consentry.identity.decisions import Decision, Kind, sides_of
from consentry.identity.explain import explain
from consentry.identity.overrides import end_override, override, overrides
from consentry.identity.review import PAGE, review
from consentry.identity.tables import create
from consentry.identity.waterfall import waterfall
from consentry.pipeline.context import Context, decisions_of, opened
from consentry.pipeline.left import check_has_run
from consentry.pipeline.load import Loaded
from consentry.pipeline.progress import Silent

_MEMBERSHIP = "identity.membership"


@contextmanager
def stewarding(loaded: Loaded) -> Iterator[Context]:
    """Open a job that has run. Raises ConfigError when it has not."""
    check_has_run(loaded, "it knows nobody")
    with opened(loaded, Silent()) as context:
        if not context.warehouse.has(_MEMBERSHIP):
            raise ConfigError(f"The job {loaded.job.job} has not merged any records yet. Run it first.")
        create(context.warehouse)
        yield context


# Everything below returns plain JSON.
def explained(loaded: Loaded, person: str) -> dict[str, Any]:
    """Return how a person came together, step by step, and the link whose loss would break it."""
    with stewarding(loaded) as context:
        seats = decisions_of(context).seats(context.warehouse, _MEMBERSHIP)
        merged = sides_of([seat for seat in seats if seat.kind == "merge"])
        decided = (side for sides in merged.values() for side in sides)
        found = explain(context.warehouse, _known(context, person), decided=decided)
        if found is None:
            raise _nobody(person)
        steps = waterfall(context.warehouse, loaded.job.identity, found.person_id, seats=seats)
        mine = {seat.decision_id for seat in seats if seat.record_id in set(found.records)}
        held = [one for one in decisions_of(context).holding() if one.decision_id in mine]
        parts = context.warehouse.sql(
            "SELECT purpose, max(part) AS parts FROM identity.linked_for WHERE person_id = $person"
            " GROUP BY purpose ORDER BY purpose",
            person=found.person_id,
        ).to_pylist()
    return {
        "person_id": found.person_id,
        "records": list(found.records),
        "steps": [asdict(step) for step in steps],
        "weakest": asdict(found.weakest) if found.weakest else None,
        "parts": {row["purpose"]: row["parts"] for row in parts},
        "unused": [{"type": kind, "reason": reason, "records": n} for kind, reason, n in found.unused],
        "decisions": [_told(decision) for decision in held],
        "events": [asdict(event) for event in found.events],
    }


def merge(loaded: Loaded, people: Sequence[str], *, by: str, why: str, force: bool) -> dict[str, Any]:
    """Declare people, or single records, to be one person, and to stay so if they are; a single person: all it has.

    Raises ConfigError when their unique identifiers differ, unless it is forced.
    """
    with stewarding(loaded) as context:
        records = list(dict.fromkeys(record for person in people for record in _records(context, person)))
        if len(records) < 2:
            raise ConfigError("This is a single record, which is one person already. Name two people or records.")
        clash = _clash(context, records)
        if clash and not force:
            raise ConfigError(
                f"They hold different values of {clash}, which is unique, so that they are two people. If you know "
                "better, merge them with --force; it holds until somebody takes it back.",
                code="unique_differs",
            )
        return _decide(context, "merge", [records], by=by, why=why, forced=bool(clash))


def split(loaded: Loaded, person: str, records: Sequence[str], *, by: str, why: str) -> dict[str, Any]:
    """Declare some records of a person to be somebody else."""
    with stewarding(loaded) as context:
        theirs = _all_records(context, _known(context, person))
        strangers = [record for record in records if record not in theirs]
        if strangers or not set(theirs) - set(records):
            hint = f"{person} has no record {strangers[0]!r}" if strangers else "Some record must stay"
            raise ConfigError(f"{hint}. See its records: consentry identity explain JOB {person}")
        rest = [record for record in _records(context, person) if record not in records]
        stay = rest or [record for record in theirs if record not in records]
        return _decide(context, "split", [list(records), stay], by=by, why=why)


def not_same(loaded: Loaded, one: str, other: str, *, by: str, why: str) -> dict[str, Any]:
    """Declare two people, or two records, not to be the same."""
    with stewarding(loaded) as context:
        sides = [_records(context, name) for name in (one, other)]
        if set(sides[0]) & set(sides[1]):
            raise ConfigError("These are one person now. To take records out of it, use: consentry identity split")
        return _decide(context, "not-same", sides, by=by, why=why)


def revert(loaded: Loaded, decision: str, *, by: str, why: str) -> dict[str, Any]:
    """Take a decision back; the next run judges its records by their identifiers again."""
    with stewarding(loaded) as context:
        made = decisions_of(context).revert(decision, by=by, why=why)
        context.audit.append("identity.decided", decision=made.decision_id, kind=made.kind, by=by, reverts=decision)
        return _told(made)


def decided(loaded: Loaded) -> dict[str, Any]:
    """Return every decision ever made, oldest first."""
    with stewarding(loaded) as context:
        ledger = decisions_of(context)
        holding = {one.decision_id for one in ledger.holding()}
        return {"decisions": [{**_told(one), "holds": one.decision_id in holding} for one in ledger.listed()]}


def set_field(loaded: Loaded, person: str, field: str, value: str | None, *, by: str, why: str) -> dict[str, Any]:
    """Set a field of a golden record by hand, or with no value let the records decide again."""
    with stewarding(loaded) as context:
        warehouse, today = context.warehouse, _known(context, person)
        if value is None:
            ended = end_override(warehouse, today, field)
            context.audit.append("identity.override_ended", person=today, field=field, by=by, counts={"ended": ended})
            return {"person_id": today, "field": field, "ended": ended}
        made = override(warehouse, loaded.job.identity, today, field, value, by=by, why=why)
        context.audit.append("identity.overridden", override=made, person=today, field=field, by=by)
        return {"person_id": today, "field": field, "override_id": made}


def fields_set(loaded: Loaded) -> dict[str, Any]:
    """Return the fields that stewards set by hand, without their values."""
    with stewarding(loaded) as context:
        return {"overrides": overrides(context.warehouse)}


def queue(
    loaded: Loaded, job: str, *, code: str | None = None, after: str | None = None, limit: int = PAGE
) -> dict[str, Any]:
    """Return a page of what a steward should look at, the gravest first, with the commands that decide.

    job: as the commands are to name it.
    """
    with stewarding(loaded) as context:
        seats = decisions_of(context).seats(context.warehouse, _MEMBERSHIP)
        page = review(context.warehouse, loaded.job.identity, seats=seats, code=code, after=after, limit=limit, job=job)
    return {"review": [asdict(case) for case in page.cases], "counts": dict(page.counts), "next": page.next}


def changes(loaded: Loaded, since: str | None, limit: int) -> dict[str, Any]:
    """Return what happened to people after an event or a run, oldest first, and where to go on."""
    with stewarding(loaded) as context:
        found = changes_since(context.warehouse, since, limit=limit)
    return {"changes": found, "next": found[-1]["event_id"] if found else since}


def resolved(loaded: Loaded, person: str) -> dict[str, Any]:
    """Return under which id a person is kept today."""
    with stewarding(loaded) as context:
        return {"asked": person, "person_id": _known(context, person)}


def _decide(
    context: Context, kind: Kind, sides: list[list[str]], *, by: str, why: str, forced: bool = False
) -> dict[str, Any]:
    made = decisions_of(context).decide(context.warehouse, kind, sides, by=by, why=why, forced=forced)
    counts = [len(side) for side in sides]
    context.audit.append(
        "identity.decided", decision=made.decision_id, kind=kind, by=by, forced=forced, records=list(counts)
    )
    return _told(made)


def _told(decision: Decision) -> dict[str, Any]:
    told = asdict(decision)
    del told["sides"]
    return {**told, "records": [len(side) for side in decision.sides]}


def _records(context: Context, name: str) -> list[str]:
    """Return the records a decision about a person is about: the customer's own, or all when there are only events.

    name: a person id, old ones too, or the id of a single record.
    """
    if _person_of(context, name) is not None:
        return [name]
    everything = _all_records(context, _known(context, name))
    if not context.warehouse.has("clean.customer"):
        return everything
    found = context.warehouse.sql(
        "SELECT record_id FROM clean.customer WHERE record_id IN (SELECT unnest($records)) ORDER BY 1",
        records=everything,
    )
    return found["record_id"].to_pylist() or everything


def _all_records(context: Context, person: str) -> list[str]:
    query = f"SELECT record_id FROM {_MEMBERSHIP} WHERE person_id = $person AND valid_to_run IS NULL ORDER BY 1"
    return list(context.warehouse.sql(query, person=person)["record_id"].to_pylist())


def _person_of(context: Context, record: str) -> str | None:
    query = f"SELECT person_id FROM {_MEMBERSHIP} WHERE record_id = $record AND valid_to_run IS NULL"
    found = context.warehouse.sql(query, record=record)
    return found["person_id"][0].as_py() if found.num_rows else None


def _known(context: Context, person: str) -> str:
    """Return the id of today of a person, named by any id they had or by one of their records."""
    today = _person_of(context, person) or resolve_alias(context.warehouse, person)
    if today is None:
        raise _nobody(person)
    return today


def _nobody(person: str) -> ConfigError:
    return ConfigError(
        f"There is no person and no record {person!r}. Look one up: consentry explain JOB --by email --value ADDRESS",
        code="no_person",
    )


def _clash(context: Context, records: Sequence[str]) -> str | None:
    """Return the unique type of which these records hold several values."""
    rows = context.warehouse.sql(
        "SELECT type FROM identity.identifier WHERE status = 'ok' AND record_id IN (SELECT unnest($records))"
        " GROUP BY type HAVING count(DISTINCT value) > 1 ORDER BY type",
        records=list(records),
    )
    rules = context.loaded.job.identity
    return next((name for name in rows["type"].to_pylist() if rules.rule(name).unique), None)
