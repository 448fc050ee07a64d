"""Read YAML strictly: what other readers let pass is a fault here, with its line.

Refused, because each has silently changed a policy somewhere: duplicate keys (the last one wins in PyYAML),
words that YAML 1.1 reads as booleans (`off`, `no`, `yes`, `on`), anchors and merges, invisible characters in
keys, tabs, and files beyond 1 MB.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from consentry.config.faults import Faults
from consentry.config.interpolate import has_secret_default, interpolate

Where = tuple[str | int, ...]
MAX_BYTES = 1_000_000
MAX_DEPTH = 40
_TAGS = frozenset(
    f"tag:yaml.org,2002:{kind}"
    for kind in ("str", "int", "float", "bool", "null", "timestamp", "binary", "value", "map", "seq", "merge")
)
_WORDS_READ_AS_BOOLEAN = re.compile(r"(?i:yes|no|on|off|y|n)")


@dataclass(frozen=True, slots=True)
class Document:
    """One YAML file, or a part of it, as plain data, and the line on which each of its values stands.

    base: where in the file the part begins; lines and literals are those of the file.
    """

    path: Path
    data: Any  # whatever the YAML holds, until a model gives it a type
    lines: Mapping[Where, int] = field(repr=False)
    # Values written out in the file (not ${VAR}): where a secret is meant they are literal secrets.
    literal: frozenset[Where] = field(default=frozenset(), repr=False)
    base: Where = ()

    def line(self, where: Where) -> int:
        """Return the line of the value at `where`, or of the nearest value around it."""
        whole = self.base + where
        while whole and whole not in self.lines:
            whole = whole[:-1]
        return self.lines.get(whole, 1)

    def has(self, where: Where) -> bool:
        """Tell whether there is a value at `where`."""
        return self.base + where in self.lines

    def literals(self) -> Iterator[Where]:
        """Yield where values of this part are written out."""
        waiting: list[tuple[Where, Any]] = [((), self.data)]
        while waiting:
            where, value = waiting.pop()
            if self.base + where in self.literal:
                yield where
            inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
            waiting.extend(((*where, step), part) for step, part in inner)

    def at(self, *where: str | int) -> Document:
        """Return the part of the document at `where`."""
        data = self.data
        for step in where:
            data = data[step]
        return replace(self, data=data, base=self.base + where)


def read_document(path: Path, faults: Faults, *, env: dict[str, str] | None = None) -> Document | None:
    """Read a YAML file, with `${VAR}` and `${VAR:-default}` filled from the environment.

    Returns None when nothing can be made of the file. Every fault is added to `faults`, with file and line.
    """
    text = _read_text(path, faults)
    if text is None:
        return None
    try:
        _refuse_aliases(path, text, faults)
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        faults.add(path, _line_of(error), f"This is not valid YAML: {_problem_of(error)}.")
        return None
    except RecursionError:
        faults.add(path, 1, f"This is nested deeper than {MAX_DEPTH} levels.")
        return None
    if root is None:
        faults.add(path, 1, "The file is empty.")
        return None
    reader = _Reader(path, faults, env)
    data = reader.value(root, ())
    return Document(path, data, reader.lines, frozenset(reader.literal))


def _read_text(path: Path, faults: Faults) -> str | None:
    try:
        raw = path.read_bytes()
    except OSError as error:
        faults.add(path, 0, f"The file cannot be read ({error.strerror}). Check the path.")
        return None
    if len(raw) > MAX_BYTES:
        faults.add(path, 0, f"The file has {len(raw):,} bytes; {MAX_BYTES:,} are the most a job file may have.")
        return None
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        faults.add(path, line, "This is not UTF-8 text. Save the file as UTF-8.")
        return None
    for number, content in enumerate(text.splitlines(), 1):
        if "\t" in content[: len(content) - len(content.lstrip())]:
            faults.add(path, number, "The line is indented with a tab. Use spaces.")
            return None
    return text


def _refuse_aliases(path: Path, text: str, faults: Faults) -> None:
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            faults.add(
                path,
                event.start_mark.line + 1 if event.start_mark else 1,
                "Anchors and aliases are not read here. Write the value out.",
            )


def _line_of(error: yaml.YAMLError) -> int:
    mark = getattr(error, "problem_mark", None)
    return mark.line + 1 if mark else 1


def _problem_of(error: yaml.YAMLError) -> str:
    return getattr(error, "problem", None) or getattr(error, "reason", None) or "the text cannot be parsed"


class _Reader:
    """Turn a composed YAML tree into plain data, noting lines and faults on the way."""

    def __init__(self, path: Path, faults: Faults, env: dict[str, str] | None) -> None:
        self.path, self.faults, self.env = path, faults, env
        self.lines: dict[Where, int] = {}
        self.literal: set[Where] = set()
        self._scalars = yaml.SafeLoader("")

    def value(self, node: yaml.Node, where: Where) -> Any:
        line = node.start_mark.line + 1
        self.lines[where] = line
        if node.tag not in _TAGS:
            self.faults.add(self.path, line, "A tag is not read here. Write the plain value.")
            return None
        if len(where) > MAX_DEPTH:
            self.faults.add(self.path, line, f"This is nested deeper than {MAX_DEPTH} levels.")
            return None
        if isinstance(node, yaml.MappingNode):
            return dict(self._entries(node, where))
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*where, n)) for n, item in enumerate(node.value)]
        return self._scalar(node, where)

    def _entries(self, node: yaml.MappingNode, where: Where) -> Iterator[tuple[str, Any]]:
        first: dict[str, int] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            key = key_node.value
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag == "tag:yaml.org,2002:merge":
                self.faults.add(self.path, line, "Only plain words can be keys here.")
                continue
            if any(unicodedata.category(c) in ("Cf", "Zs", "Cc") and c != " " for c in key):
                self.faults.add(self.path, line, f"The key {key!r} has an invisible character in it. Retype it.")
                continue
            if key in first:
                message = f"The key {key!r} stands here and on line {first[key]}. Keep one of them."
                self.faults.add(self.path, line, message)
                continue
            first[key] = line
            value = self.value(value_node, (*where, key))
            # A block begins on the line after its key; who looks for it looks for the key.
            self.lines[(*where, key)] = line
            yield key, value

    def _scalar(self, node: yaml.Node, where: Where) -> Any:
        line = node.start_mark.line + 1
        plain = getattr(node, "style", None) is None
        if plain and _WORDS_READ_AS_BOOLEAN.fullmatch(node.value):
            message = (
                f"YAML reads the bare word {node.value} as true or false. "
                f'Write "{node.value}" if the word is meant, else true or false.'
            )
            self.faults.add(self.path, line, message)
            return None
        if "${" not in node.value:
            self.literal.add(where)
            return self._typed(node, line)
        if has_secret_default(node.value):
            self.literal.add(where)
        text, problem = interpolate(node.value, self.env)
        if problem:
            self.faults.add(self.path, line, problem)
            return None
        return text

    def _typed(self, node: yaml.Node, line: int) -> Any:
        if node.tag.endswith((":timestamp", ":binary")):
            return node.value
        try:
            return self._scalars.construct_object(node, deep=True)
        except (yaml.YAMLError, ValueError, OverflowError):
            self.faults.add(self.path, line, "The value cannot be read. Put it in quotes if text is meant.")
            return None
