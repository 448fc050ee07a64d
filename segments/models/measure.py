"""Judge probabilities against what happened: ranking, precision and recall, calibration, lift."""

from __future__ import annotations

from typing import Any

import numpy as np

from consentry.segments.bits import Column, Mask

_BINS = 10


def roc_auc(happened: Mask, score: Column) -> float:
    """Return the area under the ROC curve: how often somebody for whom it happened is ranked above somebody else.

    By the ranks of Mann and Whitney, ties counting one half.
    """
    positives = int(happened.sum())
    negatives = len(happened) - positives
    if positives == 0 or negatives == 0:
        return float("nan")
    from scipy.stats import rankdata

    ranks = rankdata(score)
    return float((ranks[happened].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def precision_recall(happened: Mask, chosen: Mask) -> tuple[float, float]:
    """Return which share of the chosen it happened for, and which share of those it happened for was chosen."""
    both = int((happened & chosen).sum())
    return both / max(int(chosen.sum()), 1), both / max(int(happened.sum()), 1)


# Measures are plain JSON.
def measured(happened: Mask, score: Column, *, cut: float) -> dict[str, Any]:
    """Return every measure of one test; cut: the score from which it is said to happen."""
    precision, recall = precision_recall(happened, score >= cut)
    at_half = precision_recall(happened, score >= 0.5)
    return {
        "people": len(happened),
        "rate": round(float(happened.mean()), 4),
        "roc_auc": round(roc_auc(happened, score), 4),
        "cut": round(cut, 4),
        "precision": round(precision, 4),
        "recall": round(recall, 4),
        "precision_at_half": round(at_half[0], 4),
        "recall_at_half": round(at_half[1], 4),
        "brier": round(float(np.mean((score - happened) ** 2)), 4),
        "calibration_error": round(_calibration_error(happened, score), 4),
        "calibration": calibration(happened, score),
        "lift": lift(happened, score),
    }


def calibration(happened: Mask, score: Column) -> list[dict[str, float]]:
    """Return, for tenths of the people by score, the mean score, how often it happened, and how many there are."""
    return [
        {
            "score": round(float(score[part].mean()), 4),
            "rate": round(float(happened[part].mean()), 4),
            "people": len(part),
        }
        for part in np.array_split(np.argsort(score, kind="stable"), _BINS)
        if len(part)
    ]


def _calibration_error(happened: Mask, score: Column) -> float:
    """Return the mean distance between score and rate over the tenths, weighted by people."""
    rows = calibration(happened, score)
    return sum(row["people"] * abs(row["score"] - row["rate"]) for row in rows) / max(len(score), 1)


def lift(happened: Mask, score: Column) -> list[dict[str, float]]:
    """Return how much more often it happens in the best tenth, the best two tenths, ... than for everybody."""
    ranked = happened[np.argsort(-score, kind="stable")]
    rate = float(happened.mean()) or 1.0
    found = []
    for tenth in range(1, _BINS + 1):
        best = ranked[: max(1, round(len(ranked) * tenth / _BINS))]
        captured = float(best.sum()) / max(float(happened.sum()), 1.0)
        found.append(
            {"share": tenth / _BINS, "lift": round(float(best.mean()) / rate, 3), "captured": round(captured, 4)}
        )
    return found
