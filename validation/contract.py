"""Read the contract of a stream, from YAML or from a Pandera class, into one frozen value.

The YAML is Pandera's own with consentry's keys beside Pandera's (docs/validation.md lists all of them).
Pandera's `coerce`, parsers, `unique` and `drop_invalid_rows` are never left to Pandera: on some of its backends
they lose rows or do nothing (each is a test in tests/validation/test_traps.py).
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import polars as pl

from consentry.config import Document, Faults, bind, read_document
from consentry.validation.compile import Compiler
from consentry.validation.model_class import document_of
from consentry.validation.plugins import load_checks
from consentry.validation.rules import Expectation, Rule
from consentry.validation.spec import ColumnSpec, ContractSpec, ExampleSpec, ImputeSettings, Step, WatchSpec

_CLASS = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its type in clean, how its text is read, and what its numbers are measured in."""

    name: str
    dtype: pl.DataType
    nullable: bool
    required: bool
    parse: tuple[Step, ...] = ()
    impute: ImputeSettings | None = None
    serve: Literal["observed", "imputed"] = "observed"
    unit: str | None = None


@dataclass(frozen=True, slots=True)
class Contract:
    """What every row of a stream must be.

    strict: False carries columns that the contract does not name, True stops the run on them, "filter" leaves
    them out. survivor: the column whose largest value decides which of several rows with one key stays, before
    the order of arrival. digest: a name of the content; rows are checked again when it changes.
    """

    name: str
    columns: tuple[Column, ...]
    rules: tuple[Rule, ...]
    strict: bool | Literal["filter"]
    survivor: str | None
    digest: str
    expectations: tuple[Expectation, ...] = ()
    watch: WatchSpec = field(default_factory=WatchSpec)
    tests: tuple[ExampleSpec, ...] = ()
    # Checks of a Python class that have no name to write down.
    unwritten: tuple[str, ...] = ()
    # Columns that hold what points at a person: their values are never kept in profiles of loads.
    private: frozenset[str] = frozenset()
    # The file's content, for writing the contract out again. Any: plain YAML data.
    source: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def column(self, name: str) -> Column | None:
        """Return the column of that name, if the contract has it."""
        return next((column for column in self.columns if column.name == name), None)

    def refers_to(self) -> list[str]:
        """Return the streams (`source__stream`) whose rows this contract's rules ask for."""
        named = (rule.refers[0].removeprefix("clean.") for rule in self.rules if rule.refers is not None)
        return list(dict.fromkeys(named))


def read_contract(path: Path | str, faults: Faults) -> Contract | None:
    """Read a contract file, or the Pandera class that `module:Class` names.

    Every fault is noted with its file and line, and None is returned when there is one. A class is taken from
    installed packages only: a job must not run code that lies beside it.
    """
    load_checks()
    before = len(faults.found)
    text = str(path)
    if _CLASS.fullmatch(text):
        document, checks = document_of(text, faults)
    else:
        document, checks = read_document(Path(path), faults), {}
    if document is None:
        return None
    spec = bind(document, ContractSpec, faults)
    if spec is None or len(faults.found) > before:
        return None
    compiler = Compiler(document, spec, faults)
    rules = compiler.rules(checks)
    expectations = compiler.expectations() if compiler.dtypes else ()
    compiler.watched()
    if len(faults.found) > before:
        return None
    columns = tuple(_column(name, compiler, spec) for name in spec.columns)
    name = spec.name or document.path.stem
    return Contract(
        name,
        columns,
        rules,
        spec.strict,
        spec.survivor,
        _digest(document, checks),
        expectations,
        spec.watch,
        tuple(spec.tests),
        tuple(f"{column or 'row'}.{check.name}" for column, made in checks.items() for check in made),
        frozenset(name for name, column in spec.columns.items() if column.holds or _is_address(column)),
        document.data,
    )


def _column(name: str, compiler: Compiler, spec: ContractSpec) -> Column:
    it = spec.columns[name]
    return Column(name, compiler.dtypes[name], it.nullable, it.required, tuple(it.parse), it.impute, it.serve, it.unit)


def _is_address(column: ColumnSpec) -> bool:
    return any(step.email or step.phone is not None for step in column.parse)


# What changes no verdict about a row: rows are not judged again for it.
_BESIDE = ("name", "version", "title", "description", "tests", "watch", "expect")


def _digest(document: Document, checks: dict[str, list[Any]]) -> str:
    given = {name: [f"{check} {check.statistics}" for check in made] for name, made in checks.items()}
    data = {key: value for key, value in document.data.items() if key not in _BESIDE}
    body = json.dumps([data, given], sort_keys=True, default=str)
    return hashlib.sha256(body.encode()).hexdigest()[:16]


def served_columns(contract: Contract) -> dict[str, Literal["observed", "imputed"]]:
    """Say for each column that is imputed which value rules read: the observed one, or the filled one."""
    return {column.name: column.serve for column in contract.columns if column.impute is not None}
