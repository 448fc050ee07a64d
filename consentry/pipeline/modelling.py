"""Train, judge, list and use the models of a job; everything is read from the profile that the last run left."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from consentry.errors import ConfigError, ConsentryError, StopRun
from consentry.model.ids import new_run_id
from consentry.model.names import did_you_mean
from consentry.pipeline.context import Context, opened
from consentry.pipeline.earlier import kept_names
from consentry.pipeline.left import check_has_run
from consentry.pipeline.load import Loaded
from consentry.pipeline.progress import Progress, Silent
from consentry.segments.models.definition import Definition
from consentry.segments.models.registry import Card, Registry
from consentry.segments.models.scoring import DRIFT, score, scored_at
from consentry.segments.models.seal import Seals
from consentry.segments.models.training import due, train

Told = dict[str, Any]


def train_models(loaded: Loaded, progress: Progress, *, only: str | None = None, only_due: bool = False) -> list[Told]:
    """Train the models of a job, or those that are due, and tell of each what came of it.

    A model that cannot be trained stands in the result with its sentence, and the others are trained all the same.
    """
    with _profiled(loaded, progress) as context:
        registry = registry_of(context)
        return [
            _trained(context, registry, definition)
            for definition in _named(loaded, only)
            if not only_due or due(definition, registry, now=context.as_of)
        ]


def _trained(context: Context, registry: Registry, definition: Definition) -> Told:
    context.progress.begin(definition.name, f"Train {definition.name}")
    told: Told = {"model": definition.name, "kind": definition.kind, "version": None, "promoted": False}
    try:
        card = train(context.warehouse, context.loaded.catalog, definition, registry, now=context.as_of)
    except StopRun as error:
        told |= {"sentence": str(error), "code": error.code}
    else:
        told |= {"version": card["version"], "promoted": card["promoted"], "sentence": card["reason"], **_figures(card)}
        context.audit.append(
            "model.trained",
            model=definition.name,
            version=card["version"],
            promoted=card["promoted"],
            fingerprint=card["fingerprint"],
            purpose=definition.purpose,
            people=card["report"]["people"],
        )
    context.progress.end(definition.name, told["sentence"])
    return told


def _figures(card: Card) -> Told:
    """Return the figures by which a person judges a card at a glance."""
    report = card["report"]
    match card["kind"]:
        case "classify":
            test = report["test"]
            return {"people": report["people"], "roc_auc": test["roc_auc"], "spread": report["spread"]}
        case "cluster":
            return {"people": report["people"], "clusters": report["k"]}
        case _:
            return {"people": report["people"], "came_back": report["came_back"]}


def score_people(loaded: Loaded, progress: Progress, *, only: str | None = None, only_due: bool = False) -> list[Told]:
    """Score everybody with the models in use, or with those whose scores are older than their schedule."""
    with _profiled(loaded, progress) as context:
        return [_scored(context, definition) for definition in _to_score(context, only, only_due=only_due)]


def score_due(context: Context) -> list[str]:
    """Score with every model in use whose scores are due, as part of a run; return what somebody should know.

    A model that cannot be used stops nothing: rules keep to what it said last.
    """
    found = [_scored(context, definition) for definition in _to_score(context, None, only_due=True)]
    return [told["sentence"] for told in found if told["sentence"]]


def _to_score(context: Context, only: str | None, *, only_due: bool) -> Iterator[Definition]:
    for definition in _named(context.loaded, only):
        at = scored_at(context.warehouse, definition.name)
        rested = at is None or context.as_of - at[0] >= timedelta(seconds=definition.schedule.score)
        if not only_due or (rested and registry_of(context).versions(definition.name)):
            yield definition


def _scored(context: Context, definition: Definition) -> Told:
    context.progress.begin(definition.name, f"Score with {definition.name}")
    told: Told = {"model": definition.name, "version": None, "people": None, "drift": [], "sentence": ""}
    try:
        found = score(
            context.warehouse,
            context.loaded.catalog,
            definition,
            registry_of(context),
            now=context.as_of,
            run_id=context.run_id or new_run_id(),
            kept=kept_names(context.loaded),
        )
    except ConsentryError as error:
        told |= {"sentence": str(error), "code": error.code}
    else:
        told |= {"version": found.version, "people": found.people, "drift": [asdict(item) for item in found.drift]}
        if found.alarms:
            listed = ", ".join(item.feature for item in found.alarms)
            told["sentence"] = f"People are unlike those that {definition.name} was learnt from ({listed})."
        context.audit.append(
            "model.scored",
            model=definition.name,
            version=found.version,
            people=found.people,
            drifted=[item.feature for item in found.alarms],
        )
    context.progress.end(definition.name, told["sentence"] or f"{told['people']:,} people")
    return told


def list_models(loaded: Loaded) -> list[Told]:
    """Return for each model which versions there are, which is in use, what is due and what moved."""
    with _profiled(loaded, Silent()) as context:
        registry = registry_of(context)
        return [_listed(context, registry, definition) for definition in loaded.models]


def _listed(context: Context, registry: Registry, definition: Definition) -> Told:
    at = scored_at(context.warehouse, definition.name)
    return {
        "model": definition.name,
        "kind": definition.kind,
        "versions": len(registry.versions(definition.name)),
        "in_use": registry.champion(definition.name),
        "training_due": due(definition, registry, now=context.as_of),
        "scored_at": at and at[0].isoformat(),
        "outputs": [f"model.{definition.name}.{output}" for output in definition.outputs()],
        "moved": [row["feature"] for row in _drift(context, definition.name, at) if row["alarm"]],
    }


def promote_model(loaded: Loaded, model: str, version: int) -> Told:
    """Put a version of a model into use, a newer or an older one; people are scored with it the next time."""
    with opened(loaded, Silent()) as context:
        (definition,) = _named(loaded, model)
        registry = registry_of(context)
        registry.promote(definition.name, version)
        context.audit.append("model.promoted", model=definition.name, version=version)
        return {"model": definition.name, "in_use": version}


def cards_of(loaded: Loaded, only: str | None = None) -> list[Card]:
    """Return the card of the version in use of each model, else of its newest, with all versions and the last drift."""
    with _profiled(loaded, Silent()) as context:
        registry = registry_of(context)
        found = []
        for definition in _named(loaded, only):
            versions = registry.versions(definition.name)
            if not versions:
                continue
            in_use = registry.champion(definition.name)
            card = registry.card(definition.name, in_use or versions[-1])
            history = [registry.card(definition.name, version) for version in versions]
            card["in_use"] = in_use
            card["history"] = [
                {"version": c["version"], "as_of": c["as_of"], "reason": c["reason"], **_figures(c)} for c in history
            ]
            card["drift"] = _drift(context, definition.name, scored_at(context.warehouse, definition.name))
            found.append(card)
    if not found:
        raise ConfigError(f"No model of the job {loaded.job.job} was trained yet. Run `consentry model train` first.")
    return found


def _drift(context: Context, model: str, at: tuple[datetime, int] | None) -> list[Told]:
    if at is None:
        return []
    query = f'SELECT feature, d, psi, alarm FROM {DRIFT} WHERE model = $model AND "at" = $at AND version = $version'
    return list(context.warehouse.sql(f"{query} ORDER BY psi DESC", model=model, at=at[0], version=at[1]).to_pylist())


def registry_of(context: Context) -> Registry:
    """Return where the models of a job are kept, sealed with a key of their own."""
    ring = context.keyring
    keys = {version: ring.key("models", "artefact", "seal", version=version) for version in ring.accepted}
    return Registry(context.loaded.state / "models", Seals(keys, ring.active))


def _named(loaded: Loaded, only: str | None) -> tuple[Definition, ...]:
    names = [definition.name for definition in loaded.models]
    if not names:
        raise ConfigError(f"The job {loaded.job.job} has no model. Declare one under 'models:' of a segment file.")
    if only is not None and only not in names:
        raise ConfigError(f"There is no model {only!r} in {loaded.job.segments}{did_you_mean(only, names) or '.'}")
    return tuple(definition for definition in loaded.models if only in (None, definition.name))


@contextmanager
def _profiled(loaded: Loaded, progress: Progress) -> Iterator[Context]:
    """Open a job whose profile was built."""
    check_has_run(loaded, "there is nobody to learn from")
    with opened(loaded, progress) as context:
        if not context.warehouse.has("profile.person"):
            raise ConfigError(f"The job {loaded.job.job} has no profile yet. Run it first.")
        yield context
