"""Answer for the dead letters of a job: list them, let them go out again, or let them rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from consentry.delivery import deadletters
from consentry.errors import ConfigError
from consentry.model.names import did_you_mean
from consentry.pipeline.left import held_log, left_store
from consentry.pipeline.load import Loaded
from consentry.store import Store

# What the codes of delivery itself mean; every other code is the destination's own.
_MEANINGS = {
    "unknown": "Nobody knows whether the destination took it, and it would notice a repetition.",
    "cannot_remove": "The destination cannot take anybody out; somebody must do it there.",
    "no_identifier": "Nothing that may leave identifies this person there.",
}
_STATES = {
    "open": "It is held back until it is replayed, or until its payload changes.",
    "replay": "The next run sends it again, decided anew.",
    "discarded": "It is left unsent, and listed no more.",
}


# Letters are plain JSON from here on.
def list_letters(loaded: Loaded, *, sync: str | None = None, discarded: bool = False) -> list[dict[str, Any]]:
    """Return the letters of one sync or of all, oldest first; those discarded only when asked for."""
    _known(loaded, sync)
    with left_store(loaded) as store:
        return [asdict(letter) for letter in deadletters.letters(store, sync, discarded=discarded)] if store else []


def show_letter(loaded: Loaded, sync: str, person: str) -> dict[str, Any]:
    """Return one letter with sentences that say what it means. Raises ConfigError when there is none."""
    _known(loaded, sync)
    with left_store(loaded) as store:
        letter = deadletters.show(store, sync, person) if store else None
    if letter is None:
        raise ConfigError(f"Sync {sync!r} has no dead letter of person {person!r}. See: consentry dlq list.")
    said = _MEANINGS.get(letter.code, f"The destination refused it with {letter.code}.")
    held = _STATES[letter.state]
    if letter.operation == "remove" and letter.state != "replay":
        held = "A removal is owed: it is tried again in every run."
    return {**asdict(letter), "sentences": [said, held]}


def replay_letters(loaded: Loaded, sync: str, people: Sequence[str]) -> int:
    """Let the next run send rows again, decided anew by the gate; all of the sync when no people are named."""
    return _mark(loaded, sync, people, deadletters.replay, "dead_letters.replayed")


def discard_letters(loaded: Loaded, sync: str, people: Sequence[str]) -> int:
    """Leave rows unsent; all of the sync when no people are named. What is still owed is tried all the same."""
    return _mark(loaded, sync, people, deadletters.discard, "dead_letters.discarded")


def _mark(
    loaded: Loaded,
    sync: str,
    people: Sequence[str],
    change: Callable[[Store, str, Sequence[str] | None], int],
    action: str,
) -> int:
    _known(loaded, sync)
    with left_store(loaded) as store:
        if store is None:
            return 0
        with held_log(loaded) as audit:
            changed = change(store, sync, people or None)
            audit.append(action, sync=sync, counts={"letters": changed}, result="marked")
    return changed


def _known(loaded: Loaded, sync: str | None) -> None:
    if sync is not None and sync not in loaded.job.syncs:
        hint = did_you_mean(sync, loaded.job.syncs) or "."
        raise ConfigError(f"{loaded.path}: The job has no sync {sync!r}{hint}")
