"""What is of a special category (GDPR Art. 9): who may have it in a profile, and where what was made of it may go.

Being in a segment whose rule reads such an attribute tells as much as the attribute itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from consentry.config import Faults
from consentry.config.document import Document
from consentry.consent.gate import special_target
from consentry.consent.policy import Finding, Policy, uncovered
from consentry.consent.transforms import Drop
from consentry.delivery.config import Sync
from consentry.model.names import did_you_mean
from consentry.pipeline.job import Job
from consentry.pipeline.limitation import Rules
from consentry.segments.catalog import Catalog
from consentry.segments.lint import Remark
from consentry.segments.reads import Input, inputs_of
from consentry.segments.segment import Segment
from consentry.segments.sensitive import traits_in


def those_who_granted(policy: Policy, what: Input) -> str | None:
    """Return the query for who let something special into their profile; None for what is not special."""
    profiling = policy.file.profiling
    special = profiling.named().get(what) if profiling else None
    if profiling is None or special is None:
        return None
    # The name of a purpose is a plain word, never a text of somebody's.
    target = special_target(profiling.admits(special))
    return f"SELECT person_id FROM ops.decision WHERE target = '{target}' AND allow"


def check_special(document: Document, job: Job, policy: Policy, rules: Rules, faults: Faults) -> None:
    """Hold what the policy marks as special against the job: its profile, its fields and its syncs."""
    special = categories(policy)
    for where, sentence in (*_unfit(special, rules), *_marked_once(special, policy, rules.catalog)):
        faults.add(policy.path, policy.document.line(where), sentence)
    reads = inputs_of(rules.segments, rules.catalog) if special else {}
    for name, sync in job.syncs.items():
        read = {what: special[what] for what in sorted(reads.get(sync.segment, ())) if what in special}
        for sentence in _telling(policy, sync, read):
            faults.add(document.path, document.line(("syncs", name, "segment")), sentence)


def unmarked(policy: Policy, segments: Sequence[Segment], catalog: Catalog) -> Iterator[Remark]:
    """Remark on segments that read what has a telling name and is not marked as special."""
    known = categories(policy)
    for segment, read in inputs_of(segments, catalog).items():
        for kind, name in sorted(read.difference(known)):
            for word, trait in traits_in(name):
                sentence = (
                    f"It reads the {kind} {name!r}, which tells of {trait} ({word!r}; GDPR Art. 9). If it does, name it"
                    f" under 'profiling.special.{kind}s' of the policy: then only those have it who granted that."
                )
                yield Remark(segment, "sensitive", "warning", sentence)


def categories(policy: Policy) -> dict[Input, str]:
    """Return the category of each attribute and event that the policy marks as special."""
    profiling = policy.file.profiling
    return {what: special.category for what, special in profiling.named().items()} if profiling else {}


def _unfit(special: Mapping[Input, str], rules: Rules) -> Iterator[Finding]:
    """Say what is marked and not there, not allowed to be missing, or guessed."""
    columns = {column.name: column for column in rules.profile.columns}
    for kind, name in special:
        where = ("profiling", "special", f"{kind}s", name)
        known = rules.catalog.events if kind == "event" else rules.catalog.attributes
        if name not in known:
            yield where, f"The job has no {kind} {name!r}{did_you_mean(name, known) or '.'}"
        elif kind == "attribute" and not columns[name].nullable:
            yield where, f"The profile contract has to let {name!r} be missing: only those have it who granted that."
        elif kind == "attribute" and columns[name].impute is not None:
            yield where, f"The profile contract imputes {name!r}: what is of a special category is never guessed."


def _marked_once(special: Mapping[Input, str], policy: Policy, catalog: Catalog) -> Iterator[Finding]:
    """Say which fields are special where they leave and not in the profile, or the other way round."""
    for destination, block in policy.destinations.items():
        for column, rule in block.fields.items():
            here, there = rule.special_category, special.get(("attribute", column))
            if here == there or column not in catalog.attributes or isinstance(rule, Drop):
                continue
            told = f"of the special category {here!r}" if here else "of no special category"
            other = f"of {there!r}" if there else "of none"
            sentence = (
                f"The field {column!r} is {told} here, and {other} as an attribute of the profile. Mark both alike."
            )
            yield ("destinations", destination, "fields", column), sentence


def _telling(policy: Policy, sync: Sync, read: Mapping[Input, str]) -> Iterator[str]:
    """Say for which purposes of its destination a segment may not be used, since it reads what they do not cover."""
    for purpose in policy.purposes_at(sync.destination):
        for (kind, name), category in read.items():
            if purpose in policy.purposes and not policy.purposes[purpose].covers(category):
                told = f"what the segment {sync.segment!r} tells by the {kind} {name!r}"
                yield uncovered(purpose, category, told)
