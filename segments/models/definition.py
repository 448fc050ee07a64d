"""What a model is once its file is read: what it looks at, what it foretells, how it is made and how often."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, Self

from pydantic import Field, model_validator

from consentry.config import Model, Name
from consentry.model.names import quoted
from consentry.segments import ast
from consentry.segments.ast import Type
from consentry.segments.catalog import Catalog
from consentry.segments.limits import Seconds, Share
from consentry.segments.reads import Input, read_by
from consentry.segments.served import Served
from consentry.segments.spell import spell, spell_value

Kind = Literal["classify", "cluster", "clv"]
Algorithm = Literal["logistic", "random_forest", "gradient_boosting"]
MANY_CLUSTERS = 50


class Classify(Model):
    """`classify:` of a model. test_share: people kept aside for the final judgement. folds: of cross-validation."""

    algorithms: list[Algorithm] = Field(default=["logistic", "random_forest", "gradient_boosting"], min_length=1)
    folds: int = Field(default=5, ge=2, le=20)
    test_share: Share = 0.25
    calibration: Literal["sigmoid", "isotonic"] = "sigmoid"


class Cluster(Model):
    """`cluster:` of a model.

    k: how many clusters, by default chosen between 2 and k_max. log: features taken as log(1 + x). components: cluster
    on so many principal components. min_share: of the smallest cluster. eps: of DBSCAN, by default from the distances
    of neighbours.
    """

    method: Literal["kmeans", "hdbscan", "dbscan", "agglomerative"] = "kmeans"
    k: int | None = Field(default=None, ge=2, le=MANY_CLUSTERS)
    k_max: int = Field(default=8, ge=2, le=MANY_CLUSTERS)
    scale: Literal["zscore", "minmax", "robust"] = "zscore"
    log: list[Name] = Field(default_factory=list)
    components: int | None = Field(default=None, ge=1, le=20)
    min_share: Share = 0.01
    eps: float | None = Field(default=None, gt=0)


class Clv(Model):
    """`clv:` of a model. event, value: what an order is and its worth. horizon: how far ahead; discount: a year."""

    event: Name
    value: Name
    horizon: Seconds = 365 * 86_400
    discount: Share = 0.0


class Prune(Model):
    """`prune:` of a model: of two features that are more alike than `above`, the later one is dropped."""

    method: Literal["pearson", "spearman"] = "spearman"
    above: Share = 0.95


class Schedule(Model):
    """`schedule:` of a model: how old its training and its scores may get."""

    train: Seconds = 30 * 86_400
    score: Seconds = 86_400

    @model_validator(mode="after")
    def _often_enough(self) -> Self:
        if self.score > self.train:
            raise ValueError("people are scored at least as often as the model is trained")
        return self


@dataclass(frozen=True, slots=True)
class Feature:
    """What a model knows of a person, by a name; type: that of the value."""

    name: str
    value: ast.Value
    type: Type


@dataclass(frozen=True, slots=True)
class Target:
    """What is foretold: whether a rule holds over what happens in so many seconds after the cut-off."""

    rule: ast.Rule
    within: int


@dataclass(frozen=True, slots=True)
class Definition:
    """A model as its file says it. population: whom it is about; None is everyone that its features know of."""

    name: str
    description: str
    purpose: str
    kind: Kind
    features: tuple[Feature, ...]
    population: ast.Rule | None
    target: Target | None
    classify: Classify
    cluster: Cluster
    clv: Clv | None
    prune: Prune | None
    schedule: Schedule
    seed: int

    def fingerprint(self) -> str:
        """Name what is learnt: another name, another meaning. Descriptions and schedules do not count."""
        settings = {"classify": self.classify, "cluster": self.cluster, "clv": self.clv}[self.kind]
        whole = {
            "kind": self.kind,
            "features": {feature.name: spell_value(feature.value) for feature in self.features},
            "population": self.population and spell(self.population),
            "target": self.target and [spell(self.target.rule), self.target.within],
            "settings": settings and settings.model_dump(),
            "prune": self.prune and self.prune.model_dump(),
        }
        return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()

    def outputs(self) -> dict[str, Type]:
        """Return what the model says of a person; the first is meant when a rule names the model alone."""
        match self.kind:
            case "classify":
                return {"score": "number", "decile": "integer"}
            case "cluster":
                parts: dict[str, Type] = {f"pc{n}": "number" for n in range(1, (self.cluster.components or 0) + 1)}
                return {"label": "text", **parts}
            case "clv":
                return {"value": "number", "purchases": "number", "alive": "number"}

    def reads(self) -> tuple[Input, ...]:
        """Return the attributes and events that the model learns from."""
        nodes: list[ast.Node | None] = [*(feature.value for feature in self.features), self.population]
        nodes.append(self.target.rule if self.target else None)
        orders = {("event", self.clv.event)} if self.clv else set()
        return tuple(sorted({found for node in nodes if node for found in read_by(node)} | orders))

    @property
    def table(self) -> str:
        """Return where the model's last scoring stands."""
        return f"segment.model__{self.name}"

    def served(self) -> Mapping[str, Served]:
        """Return the outputs as rules name them."""
        kinds, reads = self.outputs(), self.reads()
        return {
            name: Served(
                kinds[output], f"SELECT person_id, {quoted(output)} AS value FROM {self.table}", self.table, reads=reads
            )
            for name, output in self.columns().items()
        }

    def columns(self) -> dict[str, str]:
        """Return the column of each output, by the names that rules use."""
        outputs = list(self.outputs())
        return {f"model.{self.name}": outputs[0], **{f"model.{self.name}.{output}": output for output in outputs}}


def serving(catalog: Catalog, definitions: tuple[Definition, ...]) -> Catalog:
    """Return the catalogue with what the models say."""
    served = {name: entry for definition in definitions for name, entry in definition.served().items()}
    return replace(catalog, served={**catalog.served, **served})
