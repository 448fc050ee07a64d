"""Learn to foretell whether something will happen: several methods, judged on people they have not seen.

A quarter of the people is set aside first. On the rest each method is tuned by grid search over stratified folds; the
simplest method within one standard error of the best is taken, calibrated, and judged once on those set aside.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from consentry.errors import StopRun
from consentry.segments.bits import Column, Mask
from consentry.segments.models.asof import Observed
from consentry.segments.models.coding import Coding, Matrix, code
from consentry.segments.models.definition import Algorithm, Classify, Definition
from consentry.segments.models.impact import impacts, told
from consentry.segments.models.learners import GRIDS, SIMPLEST_FIRST, learner
from consentry.segments.models.measure import measured, roc_auc
from consentry.segments.models.pruning import prune

FEWEST = 20
# A spread of the folds above it means that the result depends on who happened to be in which fold.
WIDE = 0.05
# A single feature that ranks people this well alone usually knows the outcome.
SUSPICIOUS = 0.99
_REPEATS = 5
_MOST_PERMUTED = 5_000


@dataclass(frozen=True, slots=True, eq=False)
class Foreteller:
    """A fitted model. cuts: the scores at which the tenths of people begin, from those it was learnt from."""

    coding: Coding
    estimator: Any  # of scikit-learn, which has no types
    cuts: Column

    def score(self, observed: Observed) -> Column:
        """Return the probability for each person."""
        if len(observed) == 0:
            return np.empty(0)
        return np.asarray(self.estimator.predict_proba(self.coding.matrix(observed))[:, 1], dtype=np.float64)

    def decile(self, score: Column) -> Column:
        """Return the tenth of each score, 10 is the highest; equal scores stay together."""
        return np.asarray(1.0 + np.searchsorted(self.cuts, score, side="left"), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Tried:
    """One method with its best settings. mean, spread: ROC-AUC over the folds and its standard deviation."""

    algorithm: Algorithm
    mean: float
    spread: float
    settings: dict[str, Any]
    grid: list[dict[str, Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Foretold:
    """A model that was learnt, what a card tells of it, and the people it was judged on."""

    model: Foreteller
    report: dict[str, Any]
    test: Observed
    happened: Mask


def learn(observed: Observed, happened: Mask, definition: Definition) -> Foretold:
    """Learn from people and what became of them. Raises StopRun when it happened, or did not, for too few."""
    _refuse_too_few(definition.name, happened)
    wanted, seed = definition.classify, definition.seed
    train, test = _parted(happened, wanted.test_share, seed)
    dropped = prune(observed.some(train), definition.prune)
    coding = code(observed.some(train), without=[item.feature for item in dropped])
    matrix = coding.matrix(observed)
    tried = [
        _tune(name, matrix[train], happened[train], wanted, seed)
        for name in SIMPLEST_FIRST
        if name in wanted.algorithms
    ]
    best = simplest(tried, wanted.folds)
    estimator = _calibrated(best, matrix[train], happened[train], wanted, seed)
    known = np.asarray(estimator.predict_proba(matrix[train])[:, 1])
    model = Foreteller(coding, estimator, np.unique(np.quantile(known, np.arange(1, 10) / 10)))
    score = np.asarray(estimator.predict_proba(matrix[test])[:, 1])
    cut = float(np.quantile(known, 1 - happened[train].mean()))
    report = {
        "people": len(observed),
        "happened": int(happened.sum()),
        "learnt_from": len(train),
        "algorithm": best.algorithm,
        "settings": best.settings,
        "folds": wanted.folds,
        "calibrated_by": wanted.calibration,
        "cross_validation": [asdict(each) for each in tried],
        "spread": best.spread,
        "test": measured(happened[test], score, cut=cut),
        "importance": importance(model, matrix[test], happened[test], seed=seed),
        "impact": told(impacts(observed.some(train), happened[train].tolist())),
        "dropped": [asdict(item) for item in dropped],
        "suspects": suspects(coding, matrix[train], happened[train]),
    }
    return Foretold(model, report, observed.some(test), happened[test])


def simplest(tried: Sequence[Tried], folds: int) -> Tried:
    """Return the simplest method that is within one standard error of the best (Breiman et al. 1984)."""
    best = max(tried, key=lambda each: each.mean)
    error = best.spread / np.sqrt(folds)
    return next(each for each in tried if each.mean >= best.mean - error)


def importance(model: Foreteller, matrix: Matrix, happened: Mask, *, seed: int) -> list[dict[str, Any]]:
    """Return how much ROC-AUC falls when a feature is shuffled, the most important first.

    The columns of one feature are shuffled together, so that words count as the one feature they are.
    """
    rng = np.random.default_rng(seed)
    some = rng.permutation(len(matrix))[:_MOST_PERMUTED]
    matrix, happened = matrix[some], happened[some]
    base = roc_auc(happened, model.estimator.predict_proba(matrix)[:, 1])
    found = []
    for feature, columns in _columns(model.coding):
        falls = []
        for _ in range(_REPEATS):
            shuffled = matrix.copy()
            shuffled[:, columns] = matrix[rng.permutation(len(matrix))][:, columns]
            falls.append(base - roc_auc(happened, model.estimator.predict_proba(shuffled)[:, 1]))
        found.append(
            {"feature": feature, "fall": round(float(np.mean(falls)), 4), "spread": round(float(np.std(falls)), 4)}
        )
    return sorted(found, key=lambda entry: (-entry["fall"], entry["feature"]))


def suspects(coding: Coding, matrix: Matrix, happened: Mask) -> list[str]:
    """Name the features that alone foretell nearly everything: they usually know the outcome."""
    found = []
    for feature, columns in _columns(coding):
        for n in columns:
            column = matrix[:, n]
            known = ~np.isnan(column)
            alone = [roc_auc(happened[known], column[known]), roc_auc(happened, known.astype(np.float64))]
            if any(max(value, 1 - value) >= SUSPICIOUS for value in alone if not np.isnan(value)):
                found.append(feature)
                break
    return found


def _columns(coding: Coding) -> list[tuple[str, list[int]]]:
    start, found = 0, []
    for column in coding.columns:
        found.append((column.feature, list(range(start, start + len(column.names)))))
        start += len(column.names)
    return found


def _refuse_too_few(name: str, happened: Mask) -> None:
    yes, no = int(happened.sum()), int((~happened).sum())
    if min(yes, no) < FEWEST:
        message = (
            f"The target of the model {name!r} holds for {yes:,} of {len(happened):,} people. To learn from, at least"
            f" {FEWEST} are needed for whom it holds, and as many for whom it does not."
        )
        raise StopRun(message, code="too_few_people")


def _parted(happened: Mask, share: float, seed: int) -> tuple[Any, Any]:
    from sklearn.model_selection import train_test_split

    places = np.arange(len(happened))
    train, test = train_test_split(places, test_size=share, stratify=happened, random_state=seed)
    return np.sort(train), np.sort(test)


def _folds(wanted: Classify, seed: int) -> Any:
    from sklearn.model_selection import StratifiedKFold

    return StratifiedKFold(wanted.folds, shuffle=True, random_state=seed)


def _tune(algorithm: Algorithm, matrix: Matrix, happened: Mask, wanted: Classify, seed: int) -> Tried:
    from sklearn.model_selection import GridSearchCV

    search = GridSearchCV(
        learner(algorithm, seed=seed), dict(GRIDS[algorithm]), scoring="roc_auc", cv=_folds(wanted, seed), refit=False
    ).fit(matrix, happened)
    means, spreads = search.cv_results_["mean_test_score"], search.cv_results_["std_test_score"]
    grid: list[dict[str, Any]] = [
        {"settings": _plain(settings), "mean": round(float(mean), 4), "spread": round(float(spread), 4)}
        for settings, mean, spread in zip(search.cv_results_["params"], means, spreads, strict=True)
    ]
    best = int(search.best_index_)
    return Tried(algorithm, round(float(means[best]), 4), round(float(spreads[best]), 4), grid[best]["settings"], grid)


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    return {name.removeprefix("fit__"): value for name, value in settings.items()}


def _calibrated(best: Tried, matrix: Matrix, happened: Mask, wanted: Classify, seed: int) -> Any:
    from sklearn.calibration import CalibratedClassifierCV

    settings = {f"fit__{name}": value for name, value in best.settings.items()}
    made = learner(best.algorithm, seed=seed).set_params(**settings)
    # One model of everybody, calibrated by what it says of folds it has not seen; a model a fold would be as many times
    # as large.
    calibrated: Any = CalibratedClassifierCV  # its annotations know the one word of `ensemble`, not its truth
    return calibrated(made, method=wanted.calibration, cv=_folds(wanted, seed), ensemble=False).fit(matrix, happened)
