"""Work out a frozen plan for a job; `explain` prints it, `plan` tries it without sending, `run` carries it out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from consentry.pipeline.job import StreamBlock
from consentry.pipeline.load import Loaded
from consentry.pipeline.purposes import of_source
from consentry.pipeline.stages import STAGES, Stage
from consentry.pipeline.uses import imputed_fields
from consentry.segments.spell import spell


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run will do: the stages in their order, then the syncs in theirs.

    sha256: a name of the job and every file it names; two plans of one name do the same.
    """

    loaded: Loaded = field(repr=False)
    stages: tuple[Stage, ...]
    syncs: tuple[str, ...]
    sha256: str


def make_plan(loaded: Loaded) -> Plan:
    """Work out the plan of a job. Nothing is opened and nobody is called."""
    return Plan(loaded=loaded, stages=STAGES, syncs=tuple(loaded.job.syncs), sha256=loaded.sha256)


def sentences(plan: Plan) -> Iterator[str]:
    """Say the plan in words, line by line."""
    loaded, job = plan.loaded, plan.loaded.job
    yield f"Job {job.job}: {job.description}" if job.description else f"Job {job.job}"
    yield f"Plan {plan.sha256[:16]}, policy {loaded.policy.policy_id} {loaded.policy.sha256[:16]}"
    yield f"Rules are evaluated as of {job.as_of.isoformat() if job.as_of else 'the moment of the run'}."
    for number, stage in enumerate(plan.stages, 1):
        yield f"{number}. {stage.name}: {stage.sentence}"
        yield from (f"   {line}" for line in _details(plan, stage.name))
    for number, name in enumerate(plan.syncs, len(plan.stages) + 1):
        yield f"{number}. sync {name}:"
        yield from (f"   {line}" for line in _sync_details(plan, name))


def _details(plan: Plan, stage: str) -> Iterator[str]:
    job = plan.loaded.job
    match stage:
        case "extract":
            for source, block in job.sources.items():
                yield f"{source} for {', '.join(of_source(plan.loaded, source)) or 'no purpose'}"
                for name, stream in block.streams.items():
                    yield f"{source}.{name} from {block.type}: {_reading(stream)}"
        case "check":
            for key, contract in plan.loaded.contracts.items():
                size = f"{len(contract.columns)} columns, {len(contract.rules)} rules"
                yield f"{key.replace('__', '.')}: contract {contract.name}, {size}"
        case "merge":
            for of, names in plan.loaded.unified.conversions.items():
                told = ", ".join(f"{name} into {plan.loaded.unified.units[name]}" for name in names)
                yield f"{of.replace('__', '.')}: converts {told}"
        case "profile":
            yield f"contract {plan.loaded.profile.name}: {', '.join(c.name for c in plan.loaded.profile.columns)}"
            if units := plan.loaded.unified.units:
                yield f"measured in: {', '.join(f'{name} {unit}' for name, unit in units.items())}"
        case "segment":
            for segment in plan.loaded.segments:
                rule = spell(segment.rule) if segment.rule else f"everybody else of group {segment.fallback_of}"
                yield f"{segment.name}: {rule}"
        case _:
            return


def _reading(stream: StreamBlock) -> str:
    how = "everything, each time it changed" if stream.mode == "snapshot" else "what is new"
    return f"{stream.entity} records, {how}, key {', '.join(stream.primary_key)}"


def _sync_details(plan: Plan, name: str) -> Iterator[str]:
    sync = plan.loaded.job.syncs[name]
    guards = sync.guards
    yield f"segment {sync.segment} to audience {sync.audience!r} of {sync.destination}, mode {sync.mode}"
    yield f"purpose {sync.purpose}"
    yield f"identifiers {', '.join(sync.identifiers)}; fields {', '.join(sync.fields) or 'none'}"
    if guessed := imputed_fields(plan.loaded, name):
        yield f"imputed where nothing was observed: {', '.join(guessed)}"
    limits = {"max_creates": guards.max_creates, "max_deletes": guards.max_deletes}
    listed = [f"{key} {value:,}" for key, value in limits.items() if value is not None]
    yield "guards: " + ", ".join([*listed, f"max_delete_pct {guards.max_delete_pct:g}"])
