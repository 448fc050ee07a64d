"""Train a model as of a cut-off, judge it, keep it as a new version, and put it into use if it is better."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from consentry.errors import ConsentryError
from consentry.segments.catalog import Catalog
from consentry.segments.models import champion
from consentry.segments.models.asof import observe, outcome
from consentry.segments.models.card import TEXT, written
from consentry.segments.models.champion import Verdict
from consentry.segments.models.classify import SUSPICIOUS, WIDE, Foretold, learn
from consentry.segments.models.cluster import Clustering
from consentry.segments.models.clv import BgNbd, GammaGamma, fit_bg_nbd, fit_gamma_gamma
from consentry.segments.models.definition import Definition
from consentry.segments.models.drift import baseline
from consentry.segments.models.estimator import dumped, library
from consentry.segments.models.foretelling import ESTIMATOR, kept, read_foreteller
from consentry.segments.models.grouping import group
from consentry.segments.models.measure import roc_auc
from consentry.segments.models.orders import Summed, summed
from consentry.segments.models.registry import MODEL, Card, Registry
from consentry.segments.spell import spell, spell_value
from consentry.warehouse import Warehouse

# Below it threads wait for each other longer than they work.
_FEW = 50_000
# The share of the customers' time that is kept aside to see whether what was expected came true.
_HELD_BACK = 0.25


@dataclass(frozen=True, slots=True)
class Made:
    """What a training made: the files of a version, what its card tells, and whether it should be used."""

    files: Mapping[str, bytes]
    report: dict[str, Any]
    baseline: dict[str, Any]
    verdict: Verdict
    cutoff: datetime
    notes: tuple[str, ...] = ()


def train(warehouse: Warehouse, catalog: Catalog, definition: Definition, registry: Registry, *, now: datetime) -> Card:
    """Train a model from the profile as it stands, keep it as a new version, and return its card.

    now: where the data ends; a model that foretells learns from its outcome window before it. Raises StopRun when there
    are too few people or outcomes to learn from, ConfigError without the extra `ml`.
    """
    library()
    made = _make(warehouse, catalog, definition, registry, now)
    card = _card(definition, made, now)
    version = registry.save(definition.name, card, {**made.files, TEXT: written(card).encode()})
    if made.verdict.promoted:
        registry.promote(definition.name, version)
    return registry.card(definition.name, version)


def due(definition: Definition, registry: Registry, *, now: datetime) -> str | None:
    """Say why a model should be trained again; None when it need not be."""
    versions = registry.versions(definition.name)
    if not versions:
        return "It was never trained."
    card = registry.card(definition.name, versions[-1])
    if card["fingerprint"] != definition.fingerprint():
        return "Its definition changed."
    age = now - datetime.fromisoformat(card["as_of"])
    if age.total_seconds() >= definition.schedule.train:
        return f"It was trained {age.days} days ago; its schedule says {definition.schedule.train // 86_400}."
    return None


def _make(warehouse: Warehouse, catalog: Catalog, definition: Definition, registry: Registry, now: datetime) -> Made:
    match definition.kind:
        case "classify":
            return _foretell(warehouse, catalog, definition, registry, now)
        case "cluster":
            return _group(warehouse, catalog, definition, registry, now)
        case "clv":
            return _value(warehouse, catalog, definition, registry, now)


def _foretell(
    warehouse: Warehouse, catalog: Catalog, definition: Definition, registry: Registry, now: datetime
) -> Made:
    assert definition.target is not None, "The reader lets no model of this kind through without one."
    cutoff = now - timedelta(seconds=definition.target.within)
    observed = observe(warehouse, catalog, definition, at=cutoff)
    with _threads(len(observed)):
        found = learn(observed, outcome(warehouse, catalog, definition.target, observed), definition)
        verdict = champion.doubted(_challenge(definition, registry, found), found.report["suspects"])
    notes = []
    if found.report["spread"] > WIDE:
        notes.append(
            f"The folds differ by {found.report['spread']:.3f} (standard deviation of ROC-AUC): learn from more."
        )
    notes += [f"{name} alone ranks {SUSPICIOUS:.0%} of the pairs right." for name in found.report["suspects"]]
    files = {MODEL: kept(found.model), ESTIMATOR: dumped(found.model.estimator)}
    distribution = baseline(observed, found.model.score(observed))
    return Made(files, found.report, distribution, verdict, cutoff, tuple(notes))


def _challenge(definition: Definition, registry: Registry, found: Foretold) -> Verdict:
    """Judge the version in use on the people that the new one was judged on."""
    version = registry.champion(definition.name)
    if version is None:
        return champion.first()
    if registry.card(definition.name, version)["fingerprint"] != definition.fingerprint():
        return champion.changed()
    try:
        before = read_foreteller(registry.load(definition.name, version))
    except ConsentryError as error:
        return Verdict(True, f"Version {version} cannot be used any more. {error}")
    theirs, ours = (roc_auc(found.happened, model.score(found.test)) for model in (before, found.model))
    return champion.compared(theirs, ours, spread=found.report["spread"], version=version)


def _group(warehouse: Warehouse, catalog: Catalog, definition: Definition, registry: Registry, now: datetime) -> Made:
    observed = observe(warehouse, catalog, definition, at=now)
    version = registry.champion(definition.name)
    before = None
    if version and registry.card(definition.name, version)["fingerprint"] == definition.fingerprint():
        before = Clustering.read(json.loads(registry.load(definition.name, version)[MODEL]))
    with _threads(len(observed)):
        found = group(observed, definition, before=before)
    files = {MODEL: json.dumps(found.clustering.plain(), allow_nan=False).encode()}
    said = "It is the newest; clusters keep their names." if version else "It is the first version."
    return Made(files, found.report, baseline(observed), Verdict(True, said), now)


def _value(warehouse: Warehouse, catalog: Catalog, definition: Definition, registry: Registry, now: datetime) -> Made:
    whole = summed(warehouse, catalog, definition, at=now)
    counting, paying = fit_bg_nbd(whole.customers), fit_gamma_gamma(whole.customers)
    report = {
        "people": len(whole.people),
        "came_back": int((whole.customers.x > 0).sum()),
        "parameters": {
            **{name: round(getattr(counting, name), 6) for name in ("r", "alpha", "a", "b")},
            **{name: round(getattr(paying, name), 6) for name in ("p", "q", "v")},
        },
        "held_back": _came_true(warehouse, catalog, definition, whole, now),
    }
    files = {MODEL: json.dumps({"counting": _plain(counting), "paying": _plain(paying)}).encode()}
    said = (
        "It is the newest; it has the orders up to now."
        if registry.champion(definition.name)
        else "It is the first version."
    )
    return Made(files, report, {}, Verdict(True, said), now)


def _came_true(
    warehouse: Warehouse, catalog: Catalog, definition: Definition, whole: Summed, now: datetime
) -> dict[str, Any]:
    """Fit on the first three quarters of the time, and compare what is expected of the last with what came."""
    days = float(int(whole.days * _HELD_BACK))
    past = summed(warehouse, catalog, definition, at=now - timedelta(days=days))
    try:
        expected = fit_bg_nbd(past.customers).purchases(past.customers, days)
    except ConsentryError as error:
        return {"days": days, "sentence": str(error)}
    _, now_at, then_at = np.intersect1d(whole.people, past.people, return_indices=True)
    expected, x, age = expected[then_at], past.customers.x[then_at], past.customers.age[then_at]
    came = whole.customers.x[now_at] - x
    # The naive forecast: everybody goes on as before.
    before = x / np.maximum(age, 1) * days
    return {
        "days": days,
        "people": len(came),
        "expected": round(float(expected.sum()), 1),
        "came": int(came.sum()),
        "error": round(float(np.abs(expected - came).mean()), 4),
        "error_of_going_on_as_before": round(float(np.abs(before - came).mean()), 4),
    }


def _plain(model: BgNbd | GammaGamma) -> dict[str, float]:
    return {name: getattr(model, name) for name in model.__slots__}


def _threads(people: int) -> AbstractContextManager[Any]:
    from threadpoolctl import threadpool_limits

    return threadpool_limits(1) if people < _FEW else nullcontext()


def _card(definition: Definition, made: Made, now: datetime) -> Card:
    return {
        "model": definition.name,
        "kind": definition.kind,
        "description": definition.description,
        "purpose": definition.purpose,
        "fingerprint": definition.fingerprint(),
        "features": {feature.name: spell_value(feature.value) for feature in definition.features},
        "population": definition.population and spell(definition.population),
        "target": definition.target and {"rule": spell(definition.target.rule), "within_s": definition.target.within},
        "outputs": list(definition.outputs()),
        "seed": definition.seed,
        "as_of": now.isoformat(),
        "cutoff": made.cutoff.isoformat(),
        "trained_at": datetime.now(UTC).isoformat(),
        "library": library(),
        "promoted": made.verdict.promoted,
        "reason": made.verdict.reason,
        "notes": list(made.notes),
        "report": made.report,
        "baseline": made.baseline,
    }
