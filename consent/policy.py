"""Read the policy: which purposes there are, and what each destination may receive for them.

The policy denies by default and says so; what it does not name does not leave. Every list is explicit, a wildcard
is no name, and a key that is not known is a fault with its line.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from consentry.config import Document, Faults, bind, read_document
from consentry.consent.fides import DATA_USES, is_misspelt_use
from consentry.consent.policy_file import Basis, Destination, PolicyFile, Profiling, Purpose, Residence, States
from consentry.consent.transforms import DIRECT_IDENTIFIERS, Pass, rules_fault
from consentry.model.names import did_you_mean

_NEEDS_REF: Mapping[Basis, str] = {
    "contract": "contract_ref",
    "legal_obligation": "law_ref",
    "public_task": "law_ref",
    "legitimate_interests": "lia_ref",
}


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy in force: the file, the hash of its bytes, and what its purposes are called elsewhere.

    document: tells the lines of the file.
    """

    path: Path
    sha256: str
    file: PolicyFile
    document: Document = field(repr=False, compare=False)
    aliases: Mapping[str, str] = field(repr=False)

    @property
    def policy_id(self) -> str:
        """Return the name the policy gives itself."""
        return self.file.policy_id

    @property
    def purposes(self) -> Mapping[str, Purpose]:
        """Return the purposes by name."""
        return self.file.purposes

    @property
    def destinations(self) -> Mapping[str, Destination]:
        """Return the destinations by name."""
        return self.file.destinations

    def purposes_at(self, destination: str) -> tuple[str, ...]:
        """Return the purposes that all have to hold at a destination, none for one that the policy does not name."""
        known = self.destinations.get(destination)
        return tuple(known.purposes_all_of) if known else ()

    def trust(self, source_system: str) -> int:
        """Return how far a source is believed; one that the policy does not name, least."""
        source = self.file.sources.get(source_system)
        return source.trust if source else 0

    def purpose_of(self, word: str) -> str | None:
        """Return the purpose that a source's word stands for, if it is one."""
        return word if word in self.purposes else self.aliases.get(word)

    def state_of(self, source_system: str, word: str) -> States | None:
        """Return the state that a source's word stands for: its own vocabulary first, then ours; never guessed."""
        source = self.file.sources.get(source_system)
        if source and source.states:
            return source.states.get(word)
        return _STATES.get(word)


_STATES: Mapping[str, States] = {
    "granted": "granted",
    "denied": "denied",
    "withdrawn": "withdrawn",
    "expired": "expired",
    "objected": "objected",
}


def read_policy(path: Path, faults: Faults) -> Policy | None:
    """Read a policy file, or return None with every fault noted under its file and line."""
    known = len(faults.found)
    document = read_document(path, faults)
    if document is None:
        return None
    file = bind(document, PolicyFile, faults)
    if file is None:
        return None
    aliases = _aliases(file, document, faults)
    for where, sentence in _contradictions(file):
        faults.add(path, document.line(where), sentence)
    if len(faults.found) > known:
        return None
    return Policy(path, hashlib.sha256(path.read_bytes()).hexdigest(), file, document, aliases)


def _aliases(file: PolicyFile, document: Document, faults: Faults) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, purpose in file.purposes.items():
        for number, alias in enumerate(purpose.alias):
            if not isinstance(alias, str):
                continue
            if is_misspelt_use(alias):
                hint = did_you_mean(alias, DATA_USES) or "."
                sentence = f"fideslang has no data use {alias!r}{hint}"
                faults.add(document.path, document.line(("purposes", name, "alias", number)), sentence)
            if found.get(alias, name) != name or (alias in file.purposes and alias != name):
                sentence = f"The alias {alias!r} stands for another purpose too. Keep it with one purpose."
                faults.add(document.path, document.line(("purposes", name, "alias", number)), sentence)
            found[alias] = name
    return found


Finding = tuple[tuple[str | int, ...], str]


def _contradictions(file: PolicyFile) -> Iterator[Finding]:
    for name, purpose in file.purposes.items():
        yield from _unfounded(name, purpose)
    for name, destination in file.destinations.items():
        yield from _undeclared(file, name, destination)
        yield from _untransferable(name, destination)
        yield from _exposed(file, name, destination)
        yield from _untold(file, name, destination)
    if file.residence:
        yield from _misplaced(file.residence)
    if file.profiling:
        yield from _uncovered(file, file.profiling)


def _untold(file: PolicyFile, name: str, destination: Destination) -> Iterator[Finding]:
    for signal, purposes in destination.signals.items():
        where = ("destinations", name, "signals", signal)
        for purpose in purposes:
            if purpose not in file.purposes:
                yield where, _unknown_purpose(file, purpose)
            elif signal == "ad_user_data" and purpose not in destination.purposes_all_of:
                # A platform goes on using whom it has: only a removal ends that, and only a purpose brings one.
                yield where, f"The signal 'ad_user_data' needs {purpose!r}: add it to 'purposes_all_of' of {name!r}."


def _misplaced(residence: Residence) -> Iterator[Finding]:
    seen: dict[str, str] = {}
    for regime, countries in residence.regimes.items():
        for number, country in enumerate(countries):
            if country in seen:
                sentence = f"The country {country!r} stands under {seen[country]!r} too. Keep it under one regime."
                yield ("residence", "regimes", regime, number), sentence
            seen[country] = regime


def _unknown_purpose(file: PolicyFile, name: str) -> str:
    hint = did_you_mean(name, file.purposes) or "."
    return f"The purpose {name!r} is not declared under 'purposes'{hint}"


def _unfounded(name: str, purpose: Purpose) -> Iterator[Finding]:
    for regime, basis in purpose.basis.items():
        needed = _NEEDS_REF.get(basis)
        if needed and getattr(purpose, needed) is None:
            sentence = f"The basis {basis} of purpose {name!r} needs {needed!r}: where its assessment is filed."
            yield ("purposes", name, "basis", regime), sentence


def _undeclared(file: PolicyFile, name: str, destination: Destination) -> Iterator[Finding]:
    for number, purpose in enumerate(destination.purposes_all_of):
        where = ("destinations", name, "purposes_all_of", number)
        if purpose not in file.purposes:
            yield where, _unknown_purpose(file, purpose)
        if purpose in destination.purposes_all_of[:number]:
            yield where, f"The purpose {purpose!r} stands here twice. Keep it once."


def _untransferable(name: str, destination: Destination) -> Iterator[Finding]:
    where = ("destinations", name)
    if destination.role == "processor" and destination.dpa_ref is None:
        yield (*where, "role"), f"The processor {name!r} needs 'dpa_ref': where its contract is filed (GDPR Art. 28)."
    if destination.transfer.mechanism != "none" and destination.transfer.ref is None:
        yield (
            (*where, "transfer"),
            f"The transfer to {name!r} needs 'ref': where its {destination.transfer.mechanism} is filed.",
        )
    for kind, rule in destination.identifiers.items():
        fault = rules_fault(kind, rule)
        if fault:
            yield (*where, "identifiers", kind), fault


def _uncovered(file: PolicyFile, profiling: Profiling) -> Iterator[Finding]:
    if profiling.purpose not in file.purposes:
        yield ("profiling", "purpose"), _unknown_purpose(file, profiling.purpose)
    for (kind, name), special in profiling.named().items():
        where, purpose = ("profiling", "special", f"{kind}s", name), profiling.admits(special)
        if purpose not in file.purposes:
            yield (*where, "purpose"), _unknown_purpose(file, purpose)
        elif not file.purposes[purpose].covers(special.category):
            yield where, uncovered(purpose, special.category, f"the {kind} {name!r}")


def uncovered(purpose: str, category: str, what: str) -> str:
    """Say that something of a special category may not be used for a purpose, and what would let it."""
    return (
        f"The purpose {purpose!r} does not cover {what}, which is of the special category {category!r} (GDPR Art. 9):"
        " its 'special_categories' have to name it, and its basis has to be consent under every regime."
    )


def _exposed(file: PolicyFile, name: str, destination: Destination) -> Iterator[Finding]:
    for column, rule in destination.fields.items():
        where = ("destinations", name, "fields", column)
        if column in DIRECT_IDENTIFIERS and isinstance(rule, Pass):
            yield where, f"The field {column!r} is a direct identifier. Name it under 'identifiers', or transform it."
        category = rule.special_category
        if category is None:
            continue
        for purpose in destination.purposes_all_of:
            if purpose in file.purposes and not file.purposes[purpose].covers(category):
                yield where, uncovered(purpose, category, f"the field {column!r}")
