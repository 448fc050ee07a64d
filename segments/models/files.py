"""Read the models of segment files: `models:`, each feature and target in the language of rules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import Field

from consentry.config import Document, Faults, Model, Name, bind, read_document
from consentry.model.names import did_you_mean
from consentry.segments import ast
from consentry.segments.catalog import Catalog
from consentry.segments.check import check, check_value
from consentry.segments.faults import RuleFault
from consentry.segments.files import segment_files
from consentry.segments.limits import Seconds
from consentry.segments.models.definition import (
    Classify,
    Cluster,
    Clv,
    Definition,
    Feature,
    Kind,
    Prune,
    Schedule,
    Target,
)
from consentry.segments.models.leakage import leaks_of_feature, leaks_of_rule, target_faults
from consentry.segments.parse import RuleError, parse, parse_value

Where = tuple[str | int, ...]
_SETTINGS = ("classify", "cluster", "clv")


class TargetBlock(Model):
    """`target: {rule: count(order) == 0, within: 90 days}`."""

    rule: str
    within: Seconds


class ModelBlock(Model):
    """One entry of `models:`.

    stable: attributes that do not change with what people do, so that a model that foretells may look at them.
    population: a rule about whom the model is. seed: of everything that is drawn by chance.
    """

    model: Name
    description: str = Field(min_length=1)
    purpose: Name
    kind: Kind
    features: dict[Name, str] = Field(default_factory=dict)
    stable: list[Name] = Field(default_factory=list)
    population: str | None = None
    target: TargetBlock | None = None
    classify: Classify = Classify()
    cluster: Cluster = Cluster()
    clv: Clv | None = None
    prune: Prune | None = None
    schedule: Schedule = Schedule()
    seed: int = Field(default=1, ge=0, le=2**32 - 1)


def read_models(
    paths: Path | Iterable[Path], catalog: Catalog, faults: Faults, *, purposes: Iterable[str] | None = None
) -> tuple[Definition, ...]:
    """Return the models that segment files declare, by name; every fault is added to `faults`.

    purposes: those of the policy; a model for another one is a fault. None leaves them to the caller.
    """
    known = None if purposes is None else sorted(purposes)
    found: dict[str, Definition] = {}
    for path in segment_files(paths):
        document = read_document(path, Faults())  # what is wrong with the file itself, read_segments tells
        for part in _parts(document):
            made = _Reader(part, catalog, faults, known).model()
            if made is not None and made.name in found:
                faults.add(path, part.line(("model",)), f"The model {made.name!r} is declared twice. Rename one.")
            elif made is not None:
                found[made.name] = made
    return tuple(found[name] for name in sorted(found))


def _parts(document: Document | None) -> Iterator[Document]:
    if document is not None and isinstance(document.data, dict):
        entries = document.data.get("models")
        for n in range(len(entries) if isinstance(entries, list) else 0):
            yield document.at("models", n)


class _Reader:
    """Turn what is written into a model, noting faults on the way."""

    def __init__(self, document: Document, catalog: Catalog, faults: Faults, purposes: list[str] | None) -> None:
        self.document, self.catalog, self.faults, self.purposes = document, catalog, faults, purposes

    def model(self) -> Definition | None:
        block = bind(self.document, ModelBlock, self.faults)
        if block is None:
            return None
        before = len(self.faults.found)
        self._check_shape(block)
        features = tuple(f for f in (self._feature(name, text, block) for name, text in block.features.items()) if f)
        population = None if block.population is None else self._rule(("population",), block.population, block)
        target = self._target(block)
        if len(self.faults.found) > before:
            return None
        return Definition(
            name=block.model,
            description=block.description,
            purpose=block.purpose,
            kind=block.kind,
            features=features,
            population=population,
            target=target,
            classify=block.classify,
            cluster=block.cluster,
            clv=block.clv,
            prune=block.prune,
            schedule=block.schedule,
            seed=block.seed,
        )

    def _check_shape(self, block: ModelBlock) -> None:
        """Note what a kind of model needs and does not have, or has and does not need."""
        if self.purposes is not None and block.purpose not in self.purposes:
            hint = did_you_mean(block.purpose, self.purposes) or "."
            self.note(("purpose",), f"The policy has no purpose {block.purpose!r}{hint}")
        for key in _SETTINGS:
            if key != block.kind and key in self.document.data:
                self.note((key,), f"A model of the kind {block.kind!r} has no {key!r}. Take it out.")
        if (block.target is None) == (block.kind == "classify"):
            said = "needs a 'target'" if block.kind == "classify" else "has no 'target'"
            self.note(("target",), f"A model of the kind {block.kind!r} {said}.")
        if bool(block.features) == (block.kind == "clv"):
            said = "has no 'features'; it reads orders" if block.kind == "clv" else "needs 'features'"
            self.note(("features",), f"A model of the kind {block.kind!r} {said}.")
        for name in block.stable:
            if name not in self.catalog.attributes:
                hint = did_you_mean(name, self.catalog.attributes) or "."
                self.note(("stable",), f"{name!r} is no attribute of the profile{hint}")
        for name in block.cluster.log:
            if name not in block.features:
                hint = did_you_mean(name, block.features) or "."
                self.note(("cluster", "log"), f"{name!r} is no feature of the model{hint}")
        self._check_orders(block)

    def _check_orders(self, block: ModelBlock) -> None:
        if block.kind != "clv":
            return
        if block.clv is None:
            self.note(("clv",), "A model of the kind 'clv' needs 'clv' with 'event' and 'value'.")
        elif block.clv.event not in self.catalog.events:
            hint = did_you_mean(block.clv.event, self.catalog.events) or "."
            self.note(("clv", "event"), f"Unknown event {block.clv.event!r}{hint}")
        elif self.catalog.events[block.clv.event].get(block.clv.value) not in ("number", "integer"):
            sentence = f"{block.clv.value!r} is no property of {block.clv.event!r} that is a number."
            self.note(("clv", "value"), sentence)

    def _feature(self, name: str, text: str, block: ModelBlock) -> Feature | None:
        where = ("features", name)
        try:
            value = parse_value(text)
        except RuleError as error:
            self._mistakes(where, text, error.mistakes)
            return None
        kind, mistakes = check_value(value, self.catalog)
        mistakes += leaks_of_feature(value, block.stable, foretells=block.target is not None)
        if not mistakes and kind is not None:
            return Feature(name, value, kind)
        self._mistakes(where, text, mistakes)
        return None

    def _target(self, block: ModelBlock) -> Target | None:
        if block.target is None:
            return None
        rule = self._rule(("target", "rule"), block.target.rule, None)
        return None if rule is None else Target(rule, block.target.within)

    def _rule(self, where: Where, text: str, about: ModelBlock | None) -> ast.Rule | None:
        """Read a rule; about: the model whose population it is, None for a target."""
        try:
            rule = parse(text)
        except RuleError as error:
            self._mistakes(where, text, error.mistakes)
            return None
        mistakes = check(rule, self.catalog)
        if about is None:
            mistakes += target_faults(rule)
        else:
            mistakes += leaks_of_rule(rule, about.stable, foretells=about.target is not None)
        self._mistakes(where, text, mistakes)
        return None if mistakes else rule

    def _mistakes(self, where: Where, text: str, mistakes: Iterable[RuleFault]) -> None:
        for mistake in mistakes:
            shown = mistake.shown(text)
            self.note(where, shown.replace("The rule", "The value", 1) if where[0] == "features" else shown)

    def note(self, where: Where, sentence: str) -> None:
        self.faults.add(self.document.path, self.document.line(where), sentence)
