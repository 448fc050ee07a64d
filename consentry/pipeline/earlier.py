"""Keep what the profile said of people before, for as long as the job states; nothing where it states none."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from consentry.identity.golden_for import left_out
from consentry.pipeline.context import Context
from consentry.pipeline.load import Loaded
from consentry.pipeline.purposes import profiling
from consentry.pipeline.special import categories
from consentry.segments.earlier import forget_earlier, names_read, replace_people
from consentry.segments.people import PERSONS

_STAGED = f"{PERSONS}_staged"
# Who lost a record, to another person or because it is gone or erased: what it said must not live on as an earlier
# value of somebody who is still there. A run that is taken up again has an older name than what it does.
_TAKEN = (
    "SELECT person_id, CASE valid_to_run WHEN $run THEN 'infinity'::TIMESTAMPTZ"
    " ELSE uuid_extract_timestamp(TRY_CAST(valid_to_run AS UUID)) END AS at FROM identity.membership"
    " WHERE valid_to_run IS NOT NULL UNION ALL SELECT person_id, uuid_extract_timestamp(TRY_CAST(event_id AS UUID))"
    " FROM identity.identity_event WHERE kind = 'erased'"
)


def publish_people(context: Context, people: str) -> None:
    """Make the rows of a query profile.person, and keep what they replace where the job says so."""
    warehouse, keep, names = context.warehouse, context.loaded.job.profile.keep_earlier, kept_names(context.loaded)
    if keep is None or not names:
        forget_earlier(warehouse)
        warehouse.sql(f"CREATE OR REPLACE TABLE {PERSONS} AS {people}")
        return
    warehouse.sql(f"CREATE OR REPLACE TABLE {_STAGED} AS {people}")
    barred, params = left_out(warehouse, profiling(context.loaded))
    left = (
        "SELECT m.person_id, 'infinity'::TIMESTAMPTZ AS at FROM identity.membership m"
        f" SEMI JOIN ({barred}) l ON l.record_id = m.record_id WHERE m.valid_to_run IS NULL"
    )
    replace_people(
        warehouse,
        _STAGED,
        names,
        unsettled=f"{_TAKEN} UNION ALL {left}",
        now=datetime.now(UTC),
        keep=timedelta(seconds=keep),
        run=context.run_id,
        **params,
    )


def kept_names(loaded: Loaded) -> frozenset[str]:
    """Return the attributes and served values of which a job keeps the replaced ones.

    None that tells of a special category: who takes the grant back would stay known by it.
    """
    if loaded.job.profile.keep_earlier is None:
        return frozenset()
    special, served = categories(loaded.policy).keys(), loaded.catalog.served
    read = {name: served[name].reads if name in served else (("attribute", name),) for name in names_of(loaded)}
    return frozenset(name for name, inputs in read.items() if special.isdisjoint(inputs))


def names_of(loaded: Loaded) -> frozenset[str]:
    """Return the attributes and served values that the segments of a job look at."""
    rules = [segment.rule for segment in loaded.segments if segment.rule is not None]
    scores = [segment.group.score for segment in loaded.segments if segment.group and segment.group.score]
    return names_read([*rules, *scores], loaded.catalog)
