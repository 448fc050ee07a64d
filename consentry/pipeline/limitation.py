"""Is what a source gives used only for the purposes for which the source is read? (GDPR Art. 5(1)(b))

A source that states no `purposes` is read for all that the job serves, and limits nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from consentry.config import Document, Faults
from consentry.config.document import Where
from consentry.consent.policy import Policy
from consentry.model.names import did_you_mean
from consentry.pipeline.canonical import streams_of
from consentry.pipeline.freshness import inputs_from
from consentry.pipeline.job import Job, SourceBlock
from consentry.segments.catalog import Catalog
from consentry.segments.models.definition import Definition
from consentry.segments.reads import Input, inputs_of
from consentry.segments.segment import Segment
from consentry.validation.contract import Contract


@dataclass(frozen=True, slots=True)
class _Use:
    """A use of data: who uses it, for what, and what it takes in. place: where the job says so."""

    who: str
    purposes: tuple[str, ...]
    reads: frozenset[Input]
    place: Where


@dataclass(frozen=True, slots=True)
class Rules:
    """What reads attributes and events: the profile, segments and models of a job."""

    profile: Contract
    segments: tuple[Segment, ...]
    models: tuple[Definition, ...]
    catalog: Catalog


def check_purposes(document: Document, job: Job, policy: Policy, rules: Rules, faults: Faults) -> None:
    """Note every purpose that the policy does not know, and every use that a source does not state."""
    found = list(_misstated(job, policy))
    if not found and any(block.purposes is not None for block in job.sources.values()):
        found = [*_beyond(job, policy, rules), *_unidentified(job, policy)]
    for place, sentence in found:
        faults.add(document.path, document.line(place), sentence)


_Finding = tuple[Where, str]


def _misstated(job: Job, policy: Policy) -> Iterator[_Finding]:
    for source, block in job.sources.items():
        for number, purpose in enumerate(block.purposes or ()):
            if purpose not in policy.purposes:
                hint = did_you_mean(purpose, policy.purposes) or "."
                yield ("sources", source, "purposes", number), f"The policy has no purpose {purpose!r}{hint}"
        linked = job.identity.linking.purposes.get(source, ())
        further = sorted(set(linked) - set(block.purposes or linked))
        if further:
            told = " and ".join(further)
            sentence = f"The source {source} is not read for {told}. Add it to its 'purposes', or take it out here."
            yield ("identity", "linking", "purposes", source), sentence


def _beyond(job: Job, policy: Policy, rules: Rules) -> Iterator[_Finding]:
    """Yield each use of what a source gives that the source is not read for."""
    sources = _sources(job)
    for use in _uses(job, policy, rules):
        for kind, name in sorted(use.reads):
            for source in sorted(sources.get((kind, name), ())):
                lacking = _lacking(job, source, use.purposes)
                if lacking:
                    yield (
                        use.place,
                        f"{use.who} uses the {kind} {name!r} for {lacking}, and {source}, which gives it, is not read "
                        f"for that. Add it to the 'purposes' of {source}, or leave {name!r} out.",
                    )


def _uses(job: Job, policy: Policy, rules: Rules) -> Iterator[_Use]:
    profiling = policy.file.profiling
    if profiling:
        attributes = frozenset(("attribute", column.name) for column in rules.profile.columns)
        events = frozenset(("event", event) for event in job.events)
        yield _Use("The profile", (profiling.purpose,), attributes | events, ("profile", "contract"))
        for what, special in profiling.named().items():
            yield _Use("The profile", (profiling.admits(special),), frozenset({what}), ("profile", "contract"))
    for model in rules.models:
        yield _Use(f"The model {model.name}", (model.purpose,), frozenset(model.reads()), ("segments",))
    read = inputs_of(rules.segments, rules.catalog)
    for name, sync in job.syncs.items():
        fields = {("attribute", column) for column in sync.fields.values()}
        reads = frozenset(fields | read.get(sync.segment, frozenset()))
        yield _Use(f"Sync {name}", policy.purposes_at(sync.destination), reads, ("syncs", name))


def _unidentified(job: Job, policy: Policy) -> Iterator[_Finding]:
    """Yield each identifier that is sent and that no source is read for: one is enough.

    Identifiers tie the records of all sources together, and a grant hangs on the identifier, whatever source has it.
    """
    sent = [(f"Sync {name}", ("syncs", name), sync.target()) for name, sync in job.syncs.items()]
    sent += [(f"Enrichment {name}", ("enrichments", name), one.target(name)) for name, one in job.enrichments.items()]
    for who, place, target in sent:
        purposes = policy.purposes_at(target.destination)
        for kind in target.identifiers:
            having = [source for source, block in job.sources.items() if _has(block, kind)]
            lacking = [_lacking(job, source, purposes) for source in having]
            if having and all(lacking):
                yield (
                    (*place, "identifiers"),
                    f"{who} sends {kind!r} for {lacking[0]}, and no source that has it is read for that. Add it to the "
                    f"'purposes' of {' or '.join(having)}.",
                )


def _has(block: SourceBlock, kind: str) -> bool:
    return any(kind in stream.identifiers for stream in block.streams.values())


def _lacking(job: Job, source: str, purposes: Iterable[str]) -> str:
    stated = job.sources[source].purposes
    return " and ".join(purpose for purpose in purposes if stated is not None and purpose not in stated)


def _sources(job: Job) -> Mapping[Input, set[str]]:
    found: dict[Input, set[str]] = {}
    for (source, _), stream in streams_of(job, "customer", "event").items():
        for brought in inputs_from(job, stream):
            found.setdefault(brought, set()).add(source)
    return found
