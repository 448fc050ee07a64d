"""Which purposes the events of the audit log serve: those of the policy, or a duty that no purpose of ours is.

What a source is read for stands in the job (`purposes` of the source). Where it does not, it follows: from the purposes
for which its records may be linked, or else from everything that the job serves.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from consentry.audit import Json
from consentry.audit.log import Serves
from consentry.pipeline.load import Loaded

Purposes = tuple[str, ...]
# What nobody chose to do with data: what the law asks for (GDPR Art. 6(1)(c)), and keeping it safe (Art. 32).
LEGAL_DUTY: Final = "legal_duty"
SECURITY: Final = "security"
_DUTIES: Final[Mapping[str, str]] = {
    "access.": LEGAL_DUTY,
    "erased.": LEGAL_DUTY,
    "erasure.": LEGAL_DUTY,
    "evidence.": LEGAL_DUTY,
    "hold.": LEGAL_DUTY,
    "identity.eras": LEGAL_DUTY,
    "quarantine.erased": LEGAL_DUTY,
    "request.": LEGAL_DUTY,
    "key.": SECURITY,
    "log.": SECURITY,
    "token.": SECURITY,
}
# Merging, profiles, segments and what is learnt of them are for profiling.
_PROFILING: Final = ("identity.", "profile.", "segment.", "model.", "experiment.")


def profiling(loaded: Loaded) -> Purposes:
    """Return the purpose of profiling, none where nobody is profiled."""
    told = loaded.policy.file.profiling
    return (told.purpose,) if told else ()


def uses(loaded: Loaded) -> Iterator[Purposes]:
    """Yield the purposes of profiling, and those that each sync and each enrichment serves together."""
    yield profiling(loaded)
    job = loaded.job
    named = [sync.destination for sync in job.syncs.values()]
    named += [block.target(name).destination for name, block in job.enrichments.items()]
    yield from (loaded.policy.purposes_at(name) for name in named)


def of_source(loaded: Loaded, name: str) -> Purposes:
    """Return the purposes for which a source is read, stated or derived."""
    return loaded.job.sources[name].purposes or loaded.job.identity.linking.purposes.get(name) or _each(*uses(loaded))


def serving(loaded: Loaded) -> Serves:
    """Return what the audit log of a job adds to each event: the purposes that it serves."""

    def serves(action: str, facts: Mapping[str, Json]) -> dict[str, Json]:
        told: dict[str, Json] = {"purposes": list(_purposes(loaded, action, facts))}
        sources = _sources(loaded, action, facts)
        if any(loaded.job.sources[name].purposes is None for name in sources):
            told["purposes_derived"] = True
        return told

    return serves


def _purposes(loaded: Loaded, action: str, facts: Mapping[str, Json]) -> Purposes:
    duty = next((duty for prefix, duty in _DUTIES.items() if action.startswith(prefix)), None)
    if duty:
        return (duty,)
    if destination := _destination(loaded, facts):
        return loaded.policy.purposes_at(destination)
    if sources := _sources(loaded, action, facts):
        return _each(*(of_source(loaded, name) for name in sources))
    if model := next((model for model in loaded.models if model.name == facts.get("model")), None):
        return (model.purpose,)
    everything = _each(*uses(loaded), *(block.purposes or () for block in loaded.job.sources.values()))
    return (action.startswith(_PROFILING) and profiling(loaded)) or everything


def _destination(loaded: Loaded, facts: Mapping[str, Json]) -> str | None:
    """Return the destination of the policy that an event is about, by its own name, its sync or its enrichment."""
    sync, enrichment = loaded.job.syncs.get(str(facts.get("sync"))), str(facts.get("enrichment"))
    if sync:
        return sync.destination
    if block := loaded.job.enrichments.get(enrichment):
        return block.target(enrichment).destination
    named = str(facts.get("destination"))
    return named if named in loaded.policy.destinations else None


def _sources(loaded: Loaded, action: str, facts: Mapping[str, Json]) -> list[str]:
    """Return the sources that an event is about."""
    sources = loaded.job.sources
    if action == "consent.recorded":
        return [name for name, one in sources.items() if any(s.entity == "consent" for s in one.streams.values())]
    named = str(facts.get("source") or facts.get("stream")).partition(".")[0]
    return [named] if named in sources else []


def _each(*purposes: Iterable[str]) -> Purposes:
    """Return every purpose once, in order of the alphabet."""
    return tuple(sorted({name for names in purposes for name in names}))
