"""Which version is in use: a challenger takes over only when it is better by more than chance explains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a new version takes over, and why."""

    promoted: bool
    reason: str


def first() -> Verdict:
    """Return the verdict on a version that has none before it."""
    return Verdict(True, "It is the first version.")


def changed() -> Verdict:
    """Return the verdict on a version that learns something else than the one in use."""
    return Verdict(True, "The definition changed, so that the version in use no longer does what the file says.")


def compared(champion: float, challenger: float, *, spread: float, version: int) -> Verdict:
    """Compare two versions by ROC-AUC on the same people; spread: of the challenger's folds."""
    gap = challenger - champion
    numbers = f"ROC-AUC {challenger:.4f} against {champion:.4f} of version {version} on the same people"
    if gap > spread:
        return Verdict(True, f"{numbers}: better by more than the spread of {spread:.4f}.")
    return Verdict(False, f"{numbers}: not better by more than the spread of {spread:.4f}.")


def doubted(verdict: Verdict, suspects: Sequence[str]) -> Verdict:
    """Keep a version out of use whose features seem to know the outcome, until a person has looked."""
    if not suspects:
        return verdict
    listed = ", ".join(suspects)
    sentence = (
        f"{listed} alone nearly foretells the outcome, so that it may know it. Promote the version if that is right."
    )
    return Verdict(False, sentence)
