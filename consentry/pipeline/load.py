"""Read a job and everything it names; show every fault of all of it at once."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

from consentry.config import Document, Faults, bind, read_document
from consentry.config.document import Where
from consentry.connectors.base import Connector, ConnectorConfig, Destination, Enriches, NoOptions, Source
from consentry.connectors.registry import connect, connector
from consentry.consent.gate import Target, refusals
from consentry.consent.policy import Policy, read_policy
from consentry.errors import ConfigError
from consentry.model.names import did_you_mean
from consentry.pipeline.accounts import account_of
from consentry.pipeline.job import Job, StreamBlock
from consentry.pipeline.limitation import Rules, check_purposes
from consentry.pipeline.special import check_special
from consentry.pipeline.unified import Unified, rule_type, unify
from consentry.segments.ast import Type
from consentry.segments.catalog import Catalog
from consentry.segments.experiments.definition import Experiment, with_arms
from consentry.segments.experiments.files import Kpi, check_segments, read_experiments, read_kpis
from consentry.segments.files import Segment, read_segments, segment_files
from consentry.segments.limits import crowded
from consentry.segments.models.definition import Definition, serving
from consentry.segments.models.files import read_models
from consentry.segments.score_files import read_scores
from consentry.validation.contract import Contract, read_contract

# What a profile never holds: the names and addresses by which anybody can tell who a person is.
DIRECT_IDENTIFIERS = frozenset(
    {"email", "phone", "given_name", "family_name", "full_name", "name", "street", "address", "date_of_birth"}
)


class _Account(TypedDict):
    account: str
    keep: Path


@dataclass(frozen=True, slots=True)
class Loaded:
    """A job that was read without a fault.

    contracts: by `source__stream`. sha256: over every file that was read, so that a run can tell whether the job
    it resumes is still the same. unified: what its names are measured in.
    """

    path: Path
    job: Job
    policy: Policy
    contracts: Mapping[str, Contract]
    profile: Contract
    catalog: Catalog
    segments: tuple[Segment, ...]
    settings: Mapping[str, ConnectorConfig] = field(repr=False)
    sha256: str = ""
    models: tuple[Definition, ...] = ()
    experiments: tuple[Experiment, ...] = ()
    kpis: tuple[Kpi, ...] = ()
    unified: Unified = field(default_factory=Unified)

    @property
    def state(self) -> Path:
        """Return the folder that holds everything the job remembers."""
        return self.job.state

    def target(self, name: str) -> Target:
        """Return a sync as the consent gate sees it."""
        return self.job.syncs[name].target()

    def source(self, name: str) -> Source:
        """Make the connector of a source; its relative paths start from the job file."""
        block = self.job.sources[name]
        made = connect(
            block.type,
            self.settings[f"sources.{name}"],
            streams={stream: self.settings[f"sources.{name}.{stream}"] for stream in block.streams},
            base=self.path.parent.resolve(),
            **self._account(f"sources.{name}"),
        )
        if not isinstance(made, Source):
            raise ConfigError(f"{self.path}: source {name} has type {block.type!r}, which can only be written to.")
        return made

    def enricher(self, name: str) -> Enriches:
        """Make the connector of an enrichment."""
        block = self.job.enrichments[name]
        made = connect(block.type, self.settings[f"enrichments.{name}"], account=name)
        if not isinstance(made, Enriches):
            raise ConfigError(f"{self.path}: enrichment {name} has type {block.type!r}, which looks nobody up.")
        return made

    def destination(self, name: str) -> Destination:
        """Make the connector of a destination; its relative paths start from the state folder."""
        block = self.job.destinations[name]
        made = connect(
            block.type,
            self.settings[f"destinations.{name}"],
            base=self.state.resolve(),
            **self._account(f"destinations.{name}"),
        )
        if not isinstance(made, Destination):
            raise ConfigError(f"{self.path}: destination {name} has type {block.type!r}, which can only be read.")
        return made

    def _account(self, key: str) -> _Account:
        account = account_of(self.job, self.settings, key)
        return {"account": account, "keep": self.state.resolve() / "connectors" / account}


def load_job(path: Path) -> Loaded:
    """Read a job file and the contracts, policy and segments it names.

    Raises ConfigError with every fault of every file.
    """
    faults = Faults()
    document = read_document(path, faults)
    job = bind(document, Job, faults) if document else None
    if document is None or job is None:
        faults.check()
        raise ConfigError(f"{path}: The job cannot be read.")
    base = path.parent
    settings = bind_connectors(document, job, faults)
    policy = read_policy(base / job.policy, faults)
    contracts = {
        f"{source}__{name}": contract
        for source, block in job.sources.items()
        for name, stream in block.streams.items()
        if (contract := _contract(base, stream.contract, faults)) is not None
    }
    profile = _contract(base, job.profile.contract, faults)
    rules = _rules(base / job.segments, profile, job, policy, faults) if profile else _Rules()
    _check_profile(document, job, profile, faults)
    _check_streams(document, job, contracts, faults)
    unified = unify(document, job, contracts, profile, faults)
    if profile:
        _check_syncs(document, job, rules.segments, faults)
    if policy:
        _check_policy(document, job, policy, profile, rules, faults)
    faults.check()
    assert policy is not None and profile is not None
    return Loaded(
        path=path,
        job=job,
        policy=policy,
        contracts=contracts,
        profile=profile,
        catalog=rules.catalog,
        segments=rules.segments,
        settings=settings,
        sha256=_fingerprint(path, job),
        models=rules.models,
        experiments=rules.experiments,
        kpis=rules.kpis,
        unified=unified,
    )


@dataclass(frozen=True, slots=True)
class _Rules:
    """What the files of the segments folder say."""

    catalog: Catalog = field(default_factory=lambda: Catalog(attributes={}, events={}))
    segments: tuple[Segment, ...] = ()
    models: tuple[Definition, ...] = ()
    experiments: tuple[Experiment, ...] = ()
    kpis: tuple[Kpi, ...] = ()


def _rules(folder: Path, profile: Contract, job: Job, policy: Policy | None, faults: Faults) -> _Rules:
    """Read the segments folder: a rule may name what a score, a model or an experiment of the folder gives."""
    catalog = Catalog(attributes=_attributes(profile), events=job.events)
    catalog = read_scores(folder, catalog, faults)
    models = read_models(folder, catalog, faults, purposes=policy.purposes if policy else None)
    catalog = serving(catalog, models)
    experiments = read_experiments(folder, catalog, faults)
    catalog = with_arms(catalog, experiments)
    segments = tuple(read_segments(folder, catalog, faults))
    kpis = read_kpis(folder, catalog, faults)
    check_segments(experiments, segments, faults)
    return _Rules(catalog, segments, models, experiments, kpis)


def _attributes(profile: Contract) -> dict[str, Type]:
    """Return what rules may name: the columns of the profile contract, in the types of the rule language."""
    return {column.name: rule_type(column.dtype) for column in profile.columns if column.name != "person_id"}


def _contract(base: Path, name: str, faults: Faults) -> Contract | None:
    return read_contract(base / name if name.endswith((".yaml", ".yml")) else name, faults)


def bind_connectors(document: Document, job: Job, faults: Faults) -> dict[str, ConnectorConfig]:
    """Bind each connection and each stream's options to the connector's own models."""
    settings: dict[str, ConnectorConfig | None] = {}
    for name, source in job.sources.items():
        found = _connector_class(document, ("sources", name), source.type, faults)
        if found is None:
            continue
        settings[f"sources.{name}"] = _bind(document, ("sources", name, "connection"), found.Config, faults)
        for stream in source.streams:
            where = ("sources", name, "streams", stream, "options")
            options = getattr(found, "StreamOptions", NoOptions)
            settings[f"sources.{name}.{stream}"] = _bind(document, where, options, faults)
    for name, enrichment in job.enrichments.items():
        found = _connector_class(document, ("enrichments", name), enrichment.type, faults)
        if found is not None:
            settings[f"enrichments.{name}"] = _bind(document, ("enrichments", name, "connection"), found.Config, faults)
    for name, destination in job.destinations.items():
        found = _connector_class(document, ("destinations", name), destination.type, faults)
        if found is not None:
            settings[f"destinations.{name}"] = _bind(
                document, ("destinations", name, "connection"), found.Config, faults
            )
    return {name: bound for name, bound in settings.items() if bound is not None}


def _bind(document: Document, where: Where, model: type[ConnectorConfig], faults: Faults) -> ConnectorConfig | None:
    if where in document.lines:
        return bind(document.at(*where), model, faults)
    return bind(Document(document.path, {}, {(): document.line(where)}), model, faults)


def _connector_class(document: Document, where: Where, kind: str, faults: Faults) -> type[Connector] | None:
    try:
        return connector(kind)
    except ConfigError as error:
        faults.add(document.path, document.line((*where, "type")), str(error))
        return None


def _check_profile(document: Document, job: Job, profile: Contract | None, faults: Faults) -> None:
    identifiers = job.identifier_types()
    known = identifiers | {name for block in job.sources.values() for s in block.streams.values() for name in s.map}
    known |= {name for block in job.enrichments.values() for name in block.fields}
    line = document.line(("profile", "contract"))
    for column in (each.name for each in profile.columns) if profile else ():
        if column == "person_id":
            continue
        if column in DIRECT_IDENTIFIERS | identifiers:
            sentence = f"The profile contract names {column!r}, which identifies people; profiles never hold it."
            faults.add(document.path, line, sentence)
        elif column not in known:
            sentence = f"The profile contract names {column!r}, which no 'map' has{did_you_mean(column, known) or '.'}"
            faults.add(document.path, line, sentence)


def _check_streams(document: Document, job: Job, contracts: Mapping[str, Contract], faults: Faults) -> None:
    for source, block in job.sources.items():
        for name, stream in block.streams.items():
            contract = contracts.get(f"{source}__{name}")
            if contract is None:
                continue
            columns = [each.name for each in contract.columns]
            for key, column in _columns_used(stream):
                if column not in columns:
                    place = ("sources", source, "streams", name, key)
                    sentence = f"{column!r} is no column of {stream.contract}{did_you_mean(column, columns) or '.'}"
                    faults.add(document.path, document.line(place), sentence)
            if contract.watch.changes and stream.mode != "snapshot":
                place = ("sources", source, "streams", name, "contract")
                sentence = f"{stream.contract} watches 'changes'; only a stream of 'mode: snapshot' can be held to it."
                faults.add(document.path, document.line(place), sentence)
            for other in contract.refers_to():
                if other not in contracts:
                    place = ("sources", source, "streams", name, "contract")
                    known = [each.replace("__", ".", 1) for each in contracts]
                    wanted = other.replace("__", ".", 1)
                    hint = did_you_mean(wanted, known) or "."
                    sentence = f"{stream.contract} refers to {wanted!r}, which the job does not have{hint}"
                    faults.add(document.path, document.line(place), sentence)


def _columns_used(stream: StreamBlock) -> list[tuple[str, str]]:
    used = [("primary_key", column) for column in stream.primary_key]
    used += [("map", column) for column in stream.map.values()]
    used += [("properties", column) for column in stream.properties.values()]
    for identifier in stream.identifiers.values():
        used += [("identifiers", column) for column in (identifier.column, identifier.region) if column]
    named = {"deleted": stream.deleted, "updated_at": stream.updated_at, "occurred_at": stream.occurred_at}
    named["properties_json"] = stream.properties_json
    named["event"] = stream.event.column if stream.event else None
    return used + [(key, column) for key, column in named.items() if column]


def _check_syncs(document: Document, job: Job, segments: tuple[Segment, ...], faults: Faults) -> None:
    names = {segment.name for segment in segments}
    for name, sync in job.syncs.items():
        if sync.segment not in names:
            line = document.line(("syncs", name, "segment"))
            sentence = (
                f"There is no segment {sync.segment!r} in {job.segments}{did_you_mean(sync.segment, names) or '.'}"
            )
            faults.add(document.path, line, sentence)

    syncs = Counter(sync.destination for sync in job.syncs.values())
    for is_error, sentence in crowded(syncs, job.segment_limits).values():
        if is_error:
            faults.add(document.path, document.line(("syncs",)), sentence)


def _check_policy(
    document: Document, job: Job, policy: Policy, profile: Contract | None, rules: _Rules, faults: Faults
) -> None:
    """Hold what the job does against what the policy lets it do."""
    _check_targets(document, job, policy, faults)
    _check_linking(document, job, policy, faults)
    if profile:
        read = Rules(profile, rules.segments, rules.models, rules.catalog)
        check_special(document, job, policy, read, faults)
        check_purposes(document, job, policy, read, faults)


def _check_linking(document: Document, job: Job, policy: Policy, faults: Faults) -> None:
    """Hold what `identity.linking` names against the job and the policy."""
    linking, where = job.identity.linking, ("identity", "linking")
    named: dict[str, tuple[str, ...]] = {
        name: ("purposes", source) for source, names in linking.purposes.items() for name in names
    }
    if linking.consent:
        named[linking.consent] = ("consent",)
    for name, at in named.items():
        if name not in policy.purposes:
            sentence = f"The policy has no purpose {name!r}{did_you_mean(name, policy.purposes) or '.'}"
            faults.add(document.path, document.line((*where, *at)), sentence)
    for source in linking.purposes:
        if source not in job.sources:
            sentence = f"The job has no source {source!r}{did_you_mean(source, job.sources) or '.'}"
            faults.add(document.path, document.line((*where, "purposes", source)), sentence)


def _check_targets(document: Document, job: Job, policy: Policy, faults: Faults) -> None:
    for name, sync in job.syncs.items():
        for refusal in refusals(policy, sync.target()):
            faults.add(document.path, document.line(("syncs", name)), refusal[:1].upper() + refusal[1:])
    for name, enrichment in job.enrichments.items():
        for refusal in refusals(policy, enrichment.target(name)):
            sentence = refusal.removeprefix("sync ").replace("'", "", 2)
            faults.add(document.path, document.line(("enrichments", name)), sentence[:1].upper() + sentence[1:])
    for name, block in job.destinations.items():
        allowed = policy.destinations.get(name)
        if allowed and allowed.connector != block.type:
            sentence = f"The policy lets destination {name!r} be of type {allowed.connector!r}, not {block.type!r}."
            faults.add(document.path, document.line(("destinations", name, "type")), sentence)


def _fingerprint(path: Path, job: Job) -> str:
    """Hash the job file and every file it names, in the order of their names."""
    base = path.parent
    named = {path, base / job.policy, base / job.profile.contract}
    named |= {base / s.contract for block in job.sources.values() for s in block.streams.values()}
    named |= set(segment_files(base / job.segments))
    if job.identity.similar and job.identity.similar.model:
        named.add(job.identity.similar.model)
    digest = hashlib.sha256()
    for file in sorted(named):
        if file.is_file():
            digest.update(file.name.encode() + b"\0" + hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()
