"""Read segment files: every fault with its file, line and, inside a rule, its column.

A file holds one segment (`segment:`), one group (`group:` with a fallback), or lists of both (`segments:`, `groups:`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from consentry.config import Document, Faults, Model, Name, bind, read_document
from consentry.config.faults import shown
from consentry.model.names import did_you_mean
from consentry.segments import ast
from consentry.segments.catalog import Catalog
from consentry.segments.check import check, check_number
from consentry.segments.examples import read_examples, seconds_of
from consentry.segments.limits import share_of
from consentry.segments.parse import RuleError, parse, parse_value
from consentry.segments.segment import Cycle, Holdout, Lint, Place, Segment, Severity, steps
from consentry.segments.spell import spell
from consentry.segments.tree import TreeError, from_tree

__all__ = ["Segment", "read_segments", "segment_files"]
# Lists of a segment file that other readers take: score_files, models.files, experiments.files.
_ELSEWHERE = ("scores", "rfm", "models", "experiments", "kpis")


class GroupPlace(Model):
    """`group: {name: lifecycle, priority: 30}`: the lowest number wins, then the highest score."""

    name: Name
    priority: int
    score: str | None = None


class HoldoutBlock(Model):
    """`holdout: {share: 10%, salt: q4}`."""

    share: str | float
    salt: str = Field(min_length=1)


class SegmentBlock(Model):
    """One segment as it is written."""

    segment: Name
    description: str = Field(min_length=1)
    purpose: Name
    rule: str | dict[str, Any] | None = None
    refresh: str | None = None
    min_share: str | float | None = None
    min_size: int | None = Field(default=None, ge=0)
    group: GroupPlace | None = None
    holdout: HoldoutBlock | None = None
    tests: list[Any] = Field(default_factory=list)
    static: bool = False
    lint: dict[Lint, Severity | Literal["ignore"]] = Field(default_factory=dict)


class GroupBlock(Model):
    """One entry of `groups:`."""

    name: Name
    fallback: Name | None = None
    description: str | None = None


class GroupFile(Model):
    """A file that declares one group."""

    group: Name
    fallback: Name | None = None
    description: str | None = None


@dataclass(frozen=True, slots=True)
class _Written:
    """A segment as it is written, and the place it was read from."""

    block: SegmentBlock
    document: Document


@dataclass(frozen=True, slots=True)
class _Group:
    name: str
    fallback: str | None
    document: Document


def read_segments(paths: Path | Iterable[Path], catalog: Catalog, faults: Faults) -> tuple[Segment, ...]:
    """Read the segments of a folder (every .yaml and .yml below it), of one file or of a list of files.

    Adds every fault to `faults` and leaves out the segments that have one. The order is that of the names.
    """
    written, groups = _read_files(_files(paths, faults), faults)
    written = _once(written, faults)
    groups = _groups_once(groups, faults)
    reader = _Reader(catalog, faults, [entry.block.segment for entry in written], groups)
    segments = [segment for segment in map(reader.segment, written) if segment is not None]
    reader.check_fallbacks(written)
    _refuse_cycle(segments, written, faults)
    return tuple(sorted(segments, key=lambda segment: segment.name))


def _files(paths: Path | Iterable[Path], faults: Faults) -> list[Path]:
    found = segment_files(paths)
    if not found and isinstance(paths, Path):
        faults.add(paths, 0, "There is no segment file (.yaml) in this folder.")
    return found


def segment_files(paths: Path | Iterable[Path]) -> list[Path]:
    """Return the files of a folder and all below it that may hold segments, scores, models and experiments."""
    if not isinstance(paths, Path):
        return sorted(paths)
    if not paths.is_dir():
        return [paths]
    return sorted(path for path in paths.rglob("*") if path.suffix in (".yaml", ".yml") and path.is_file())


def _read_files(paths: Iterable[Path], faults: Faults) -> tuple[list[_Written], list[_Group]]:
    written: list[_Written] = []
    groups: list[_Group] = []
    for path in paths:
        document = read_document(path, faults)
        if document is None:
            continue
        for part in _parts(document, faults):
            match part.data:
                case {"segment": _}:
                    block = bind(part, SegmentBlock, faults)
                    written += [_Written(block, part)] if block else []
                case {"group": _}:
                    file = bind(part, GroupFile, faults)
                    groups += [_Group(file.group, file.fallback, part)] if file else []
                case _:
                    entry = bind(part, GroupBlock, faults)
                    groups += [_Group(entry.name, entry.fallback, part)] if entry else []
    return written, groups


def _parts(document: Document, faults: Faults) -> Iterator[Document]:
    """Cut a file into its segments and groups."""
    data = document.data
    if not isinstance(data, dict):
        faults.add(document.path, 1, "A segment file begins with 'segment:', 'group:', 'segments:' or 'groups:'.")
    elif "segment" in data or "group" in data:
        yield document
    else:
        for key, entries in data.items():
            if key in _ELSEWHERE:
                continue
            if key not in ("segments", "groups"):
                hint = did_you_mean(key, ("segment", "segments", "group", "groups", *_ELSEWHERE)) or "."
                faults.add(document.path, document.line((key,)), f"The key {key!r} is not known here{hint}")
            elif not isinstance(entries, list):
                faults.add(document.path, document.line((key,)), f"{key!r} is a list; begin each entry with '-'.")
            else:
                yield from _entries(document, key, entries, faults)


def _entries(document: Document, key: str, entries: list[Any], faults: Faults) -> Iterator[Document]:
    first = "segment" if key == "segments" else "name"
    for n, entry in enumerate(entries):
        if isinstance(entry, dict) and first in entry:
            yield document.at(key, n)
        else:
            faults.add(document.path, document.line((key, n)), f"This entry of {key!r} has no {first!r}. Add it.")


def _once(written: list[_Written], faults: Faults) -> list[_Written]:
    first: dict[str, Document] = {}
    for entry in written:
        name = entry.block.segment
        if name in first:
            _repeated(f"segment {name!r}", entry.document, first[name], faults)
        first.setdefault(name, entry.document)
    return [entry for entry in written if first[entry.block.segment] is entry.document]


def _groups_once(groups: list[_Group], faults: Faults) -> list[_Group]:
    first: dict[str, Document] = {}
    for group in groups:
        if group.name in first:
            _repeated(f"group {group.name!r}", group.document, first[group.name], faults)
        first.setdefault(group.name, group.document)
    return [group for group in groups if first[group.name] is group.document]


def _repeated(what: str, again: Document, first: Document, faults: Faults) -> None:
    place = f"{shown(first.path)}:{first.line(())}"
    faults.add(again.path, again.line(()), f"The {what} is declared here and at {place}. Rename one of them.")


def _refuse_cycle(segments: list[Segment], written: list[_Written], faults: Faults) -> None:
    names = {segment.name for segment in segments}
    try:
        steps(segments)
    except Cycle as cycle:
        entry = next(entry for entry in written if entry.block.segment in cycle.path and entry.block.segment in names)
        where = f"These segments need each other: {cycle}. Take one 'in segment' out of the circle."
        faults.add(entry.document.path, entry.document.line(("rule",)), where)


class _Reader:
    """Turn what is written into segments, noting faults on the way."""

    def __init__(self, catalog: Catalog, faults: Faults, names: Collection[str], groups: Iterable[_Group]) -> None:
        self.catalog, self.faults, self.names = catalog, faults, names
        self.groups: Mapping[str, _Group] = {group.name: group for group in groups}
        self.fallbacks = {group.fallback: group.name for group in self.groups.values() if group.fallback}

    def segment(self, entry: _Written) -> Segment | None:
        block, document = entry.block, entry.document
        before = len(self.faults.found)
        rule = self._rule(block.rule, document)
        fallback_of = self.fallbacks.get(block.segment)
        self._check_kind(block, fallback_of, document)
        made = Segment(
            name=block.segment,
            description=block.description,
            purpose=block.purpose,
            rule=rule,
            refresh=self._refresh(block.refresh, document),
            min_share=self._share(block.min_share, document, "min_share"),
            min_size=block.min_size,
            group=self._place(block.group, document),
            fallback_of=fallback_of,
            holdout=self._holdout(block.holdout, document),
            examples=read_examples(document.at("tests"), self.catalog, self._noting(document)) if block.tests else (),
            static=block.static,
            lint=block.lint,
        )
        if made.examples and rule is not None and _has_percentile(rule):
            self._add(document, "tests", "A percentile needs a population: a rule with one cannot have examples.")
        return made if len(self.faults.found) == before else None

    def check_fallbacks(self, written: Iterable[_Written]) -> None:
        """Note the groups whose fallback is no segment."""
        by_name = {entry.block.segment for entry in written}
        for group in self.groups.values():
            if group.fallback and group.fallback not in by_name:
                hint = did_you_mean(group.fallback, by_name) or ";"
                sentence = (
                    f"The fallback {group.fallback!r} of the group {group.name!r} is not declared{hint} declare a"
                    " segment of this name with description and purpose, and without a rule."
                )
                self._add(group.document, "fallback", sentence)

    def _check_kind(self, block: SegmentBlock, fallback_of: str | None, document: Document) -> None:
        if block.rule is None and fallback_of is None:
            self._add(document, "segment", f"The segment {block.segment!r} has no 'rule'. Add it.")
        if fallback_of is not None and (block.rule is not None or block.group is not None):
            sentence = f"The segment {block.segment!r} is the fallback of the group {fallback_of!r}:"
            self._add(document, "segment", f"{sentence} it takes whoever is left and has neither 'rule' nor 'group'.")
        if block.static and (block.group is not None or fallback_of is not None):
            sentence = "A static segment cannot be in a group: everybody's place there changes with the others'."
            self._add(document, "static", sentence)

    def _rule(self, written: str | dict[str, Any] | None, document: Document) -> ast.Rule | None:
        if written is None:
            return None
        try:
            text = written if isinstance(written, str) else spell(from_tree(written))
        except (TreeError, RuleError) as error:
            self._add(document, "rule", str(error))
            return None
        try:
            rule = parse(text)
        except RuleError as error:
            mistakes = error.mistakes
        else:
            mistakes = tuple(check(rule, self.catalog, segments=self.names))
            if not mistakes:
                return rule
        for mistake in mistakes:
            self._add(document, "rule", mistake.shown(text))
        return None

    def _place(self, group: GroupPlace | None, document: Document) -> Place | None:
        if group is None:
            return None
        if group.name not in self.groups:
            hint = did_you_mean(group.name, self.groups) or "; declare it under 'groups:'."
            self._add(document, "group", f"The group {group.name!r} is not declared{hint}")
        return Place(group.name, group.priority, self._score(group.score, document))

    def _score(self, text: str | None, document: Document) -> ast.Value | None:
        if text is None:
            return None
        try:
            value = parse_value(text)
        except RuleError as error:
            mistakes = error.mistakes
        else:
            mistakes = tuple(check_number(value, self.catalog))
            if not mistakes:
                return value
        for mistake in mistakes:
            self._add(document, "group", mistake.shown(text).replace("The rule", "The score", 1))
        return None

    def _holdout(self, holdout: HoldoutBlock | None, document: Document) -> Holdout | None:
        if holdout is None:
            return None
        return Holdout(self._share(holdout.share, document, "holdout", "share") or 0.0, holdout.salt)

    def _refresh(self, text: str | None, document: Document) -> int | None:
        if text is None:
            return None
        seconds = seconds_of(text)
        if not seconds:
            self._add(document, "refresh", "'refresh' is a length of time such as '15 minutes', '1 hour' or '1 day'.")
        return seconds

    def _share(self, written: str | float | None, document: Document, *where: str) -> float | None:
        if written is None:
            return None
        share = share_of(written)
        if not isinstance(share, int | float) or not 0 <= share <= 1:
            self.faults.add(document.path, document.line(where), f"{where[-1]!r} is a share such as 1% or 0.01.")
            return None
        return share

    def _add(self, document: Document, key: str, sentence: str) -> None:
        self.faults.add(document.path, document.line((key,)), sentence)

    def _noting(self, document: Document) -> Any:
        def note(where: tuple[str | int, ...], sentence: str) -> None:
            self.faults.add(document.path, document.line(("tests", *where)), sentence)

        return note


def _has_percentile(rule: ast.Rule) -> bool:
    return any(isinstance(node, ast.Percentile) for node, _ in ast.walk(rule))
