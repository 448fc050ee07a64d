"""Turn a contract's words into rules, and note every fault with its line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal
from zoneinfo import available_timezones

import polars as pl
from pandera.polars import Check

from consentry.config import Document, Faults
from consentry.model.names import did_you_mean
from consentry.validation.checks import Built, Unusable, bound, build, contradiction
from consentry.validation.dtypes import SPELLINGS, dtype_named, is_number, is_time
from consentry.validation.expect import expectation
from consentry.validation.rows import Unruly, contradicting, read_expression
from consentry.validation.rules import Condition, Expectation, Rule
from consentry.validation.spec import (
    ColumnSpec,
    ContractSpec,
    DependsSettings,
    ReferenceSpec,
    RowSpec,
    Scalar,
    Severity,
    Step,
    TypoSettings,
    When,
)
from consentry.validation.units import unit_fault

Where = tuple[str | int, ...]
# A step that yields a value of another kind than text, the kinds of dtype it can yield, and its reason code.
CONVERTERS: Final[Mapping[str, tuple[str, str]]] = {
    "number": ("number", "not_a_number"),
    "percent": ("number", "not_a_number"),
    "boolean": ("boolean", "not_a_boolean"),
    "date_formats": ("date", "not_a_date"),
    "timestamp": ("instant", "not_a_time"),
    "epoch": ("instant", "not_a_time"),
    "email": ("text", "not_an_email"),
    "phone": ("text", "not_a_phone"),
    "country": ("text", "not_a_country"),
    "currency": ("text", "not_a_currency"),
}
_BY_KIND: Final = {"number": "not_a_number", "boolean": "not_a_boolean", "date": "not_a_date"} | {
    "instant": "not_a_time",
    "text": "not_text",
}
# Imputing these would invent a person's address, name or will.
_NEVER_IMPUTED: Final = ("email", "phone", "consent")
_OPERATORS: Final = {"<": "before or below", "<=": "at most", "==": "equal to", "!=": "other than"} | {
    ">=": "at least",
    ">": "after or above",
}


def kind_of(dtype: pl.DataType) -> str:
    """Name the kind of a type: text, number, boolean, date or instant."""
    if dtype == pl.Date:
        return "date"
    if is_time(dtype):
        return "instant"
    return "number" if is_number(dtype) else "boolean" if dtype == pl.Boolean else "text"


def step_name(step: Step) -> str:
    """Return the one key that is set in a step."""
    return next(name for name in type(step).model_fields if getattr(step, name) is not None)


class Compiler:
    """Work through one contract; faults go to `faults`, types to `dtypes`."""

    def __init__(self, document: Document, spec: ContractSpec, faults: Faults) -> None:
        self.document, self.spec, self.faults = document, spec, faults
        self.dtypes: dict[str, pl.DataType] = {}

    def rules(self, given: Mapping[str, list[Check]]) -> tuple[Rule, ...]:
        """Return every rule of the contract; given: checks of a Python class by column, "" for the whole row."""
        for name, column in self.spec.columns.items():
            self._type(name, column)
        if len(self.dtypes) < len(self.spec.columns):
            return ()
        found = [rule for name, column in self.spec.columns.items() for rule in self._column(name, column, given)]
        found += [rule for n, row in enumerate(self.spec.rules) for rule in self._row(n, row)]
        for pair in contradicting(found):
            self._fault(("rules",), f"No row can satisfy all that is asked of {' and '.join(pair)}.")
        found += list(self._whole(given))
        found += [rule for n, row in enumerate(self.spec.references) for rule in self._reference(n, row)]
        self._survivor()
        return tuple(self._named_once(found))

    def _fault(self, where: Where, sentence: str) -> None:
        self.faults.add(self.document.path, self.document.line(where), sentence)

    def _type(self, name: str, column: ColumnSpec) -> None:
        if name.startswith("_"):
            self._fault(("columns", name), f"The column {name!r} begins with '_', which is kept for consentry's own.")
        dtype = dtype_named(column.dtype)
        if dtype is None:
            hint = did_you_mean(column.dtype, SPELLINGS) or f". The types are: {', '.join(SPELLINGS)}."
            self._fault(("columns", name, "dtype"), f"The type {column.dtype!r} is not known{hint}")
            return
        self.dtypes[name] = dtype

    def _unit(self, name: str, column: ColumnSpec) -> None:
        if column.unit is None:
            return
        if not is_number(self.dtypes[name]):
            self._fault(("columns", name, "unit"), f"{name} has a unit and is no number. Give it a dtype of numbers.")
        elif fault := unit_fault(column.unit):
            self._fault(("columns", name, "unit"), fault)

    def _column(self, name: str, column: ColumnSpec, given: Mapping[str, list[Check]]) -> Iterator[Rule]:
        where: Where = ("columns", name)
        self._impute(name, column)
        self._unit(name, column)
        code = self._parse(name, column)
        yield self._rule(name, "type", "type", code, f"{name} cannot be read as {_article(code)}.")
        if not column.nullable:
            yield self._rule(name, "missing", "missing", "missing", f"{name} is missing.")
        built = {check: made for check, value in column.checks.items() if (made := self._check(name, check, value))}
        for check, made in built.items():
            yield self._rule(name, check, "check", made.code, made.sentence, check=made.check)
        if found := contradiction(built):
            self._fault((*where, "checks", found[0]), f"{name}: {found[1]}")
        for number, own in enumerate(given.get(name, ())):
            sentence = str(own.error or f"{name} does not pass the check {own.name}.")
            yield self._rule(name, own.name or f"check_{number}", "check", "failed_check", sentence, check=own)
        if column.unique:
            sentence = f"Another row has the same {name}."
            yield self._rule(name, "unique", "unique", "duplicate_value", sentence, keep=column.report_duplicates)
        yield from self._other_rows(name, column)
        known = ["type", "missing", "unique", "typos", *column.checks, *map(_dependency, column.depends_on)]
        for label in column.rules:
            if label not in known:
                self._fault(
                    (*where, "rules", label), f"{name} has no rule {label!r}{did_you_mean(label, known) or '.'}"
                )

    def _other_rows(self, name: str, column: ColumnSpec) -> Iterator[Rule]:
        where: Where = ("columns", name)
        for number, settings in enumerate(column.depends_on):
            for other in settings.on:
                self._known(other, (*where, "depends_on", number))
            if name in settings.on:
                self._fault((*where, "depends_on", number), f"{name} cannot depend on itself.")
            sentence = f"Most rows with this {', '.join(settings.on)} have another {name}."
            yield self._rule(name, _dependency(settings), "other_rows", "outvoted", sentence, decided=settings)
        if column.typos is not None:
            if self.dtypes[name] != pl.String:
                self._fault((*where, "typos"), f"{name}: typos needs a column of text.")
            sentence = f"{name} is a rare value that is nearly a frequent one."
            yield self._rule(name, "typos", "other_rows", "near_miss", sentence, decided=column.typos)

    def _check(self, name: str, check: str, value: Any) -> Built | None:
        try:
            return build(check, value, column=name, dtype=self.dtypes[name])
        except Unusable as refusal:
            self._fault(("columns", name, "checks", check), f"{name}: {refusal}")
            return None

    def _rule(
        self,
        name: str,
        label: str,
        kind: Literal["type", "missing", "check", "unique", "other_rows"],
        code: str,
        sentence: str,
        *,
        check: Check | None = None,
        keep: Literal["all", "exclude_first", "exclude_last"] | None = None,
        decided: DependsSettings | TypoSettings | None = None,
    ) -> Rule:
        column = self.spec.columns[name]
        own = column.rules.get(label)
        severity: Severity = (own and own.severity) or column.severity or self.spec.severity
        when = self._when((own and own.when) or column.when, ("columns", name))
        rule_id = (own and own.rule_id) or f"{column.rule_id or name}.{label}"
        return Rule(
            rule_id, kind, code, sentence, severity, name, (name,), when=when, keep=keep, decided=decided, check=check
        )

    def _when(self, when: When, where: Where) -> tuple[Condition, ...]:
        return tuple(found for column, value in when.items() if (found := self._condition(column, value, where)))

    def _condition(self, column: str, value: Scalar | list[Scalar], where: Where) -> Condition | None:
        if not self._known(column, (*where, "when", column)):
            return None
        values = value if isinstance(value, list) else [value]
        try:
            typed = [None if item is None else bound(item, self.dtypes[column]) for item in values]
        except Unusable as refusal:
            self._fault((*where, "when", column), str(refusal))
            return None
        return Condition(column, tuple(typed))

    def _known(self, column: str, where: Where) -> bool:
        if column not in self.spec.columns:
            hint = did_you_mean(column, self.spec.columns) or "."
            self._fault(where, f"The contract has no column {column!r}{hint}")
            return False
        return True

    def _row(self, number: int, row: RowSpec) -> Iterator[Rule]:
        where: Where = ("rules", number)
        if (row.compare is None) == (row.expression is None):
            self._fault(where, "A rule has either 'compare' or 'expression'.")
        elif row.expression is not None:
            yield from self._expression(row, row.expression, where)
        elif row.compare is not None:
            yield from self._compare(row, row.compare, where)

    def _expression(self, row: RowSpec, text: str, where: Where) -> Iterator[Rule]:
        try:
            columns = read_expression(text, self.dtypes)
        except Unruly as refusal:
            self._fault((*where, "expression"), str(refusal))
            return
        sentence = row.sentence or f"The row must be such that {text}."
        rule_id, severity = row.rule_id or f"row({text})", row.severity or self.spec.severity
        when = self._when(row.when, where)
        yield Rule(rule_id, "compare", "inconsistent", sentence, severity, None, columns, expression=text, when=when)

    def _compare(self, row: RowSpec, compare: tuple[str, str, str], where: Where) -> Iterator[Rule]:
        left, sign, right = compare
        known = [self._known(column, (*where, "compare")) for column in (left, right)]
        if not all(known):
            return
        if kind_of(self.dtypes[left]) != kind_of(self.dtypes[right]):
            self._fault((*where, "compare"), f"{left} and {right} are of different kinds and cannot be compared.")
            return
        sentence = row.sentence or f"{left} must be {_OPERATORS[sign]} {right}."
        rule_id, severity = row.rule_id or f"{left}{sign}{right}", row.severity or self.spec.severity
        when = self._when(row.when, where)
        yield Rule(rule_id, "compare", "inconsistent", sentence, severity, None, (left, right), sign, when=when)

    def _whole(self, given: Mapping[str, list[Check]]) -> Iterator[Rule]:
        for number, check in enumerate(given.get("", ())):
            label = check.name or f"check_{number}"
            sentence = str(check.error or f"The row does not pass the check {label}.")
            yield Rule(f"row.{label}", "check", "failed_check", sentence, self.spec.severity, check=check)
        known = [self._known(name, ("unique",)) for name in self.spec.unique or ()]
        if self.spec.unique and all(known):
            shown = ", ".join(self.spec.unique)
            sentence = f"Another row has the same {shown}."
            columns, keep = tuple(self.spec.unique), self.spec.report_duplicates
            code = "duplicate_value"
            yield Rule(f"unique({shown})", "unique", code, sentence, self.spec.severity, None, columns, keep=keep)

    def _reference(self, number: int, row: ReferenceSpec) -> Iterator[Rule]:
        where: Where = ("references", number)
        known = [self._known(name, (*where, "columns")) for name in row.columns]
        theirs = tuple(row.to or row.columns)
        if len(theirs) != len(row.columns):
            self._fault((*where, "to"), "'columns' and 'to' name different numbers of columns.")
        if not all(known):
            return
        shown = ", ".join(row.columns)
        rule_id = row.rule_id or f"{shown}.in.{row.stream}"
        yield Rule(
            rule_id,
            "reference",
            "unknown_reference",
            f"{row.stream} has no row with this {shown}.",
            row.severity or self.spec.severity,
            row.columns[0] if len(row.columns) == 1 else None,
            tuple(row.columns),
            when=self._when(row.when, where),
            refers=(f"clean.{row.stream.replace('.', '__')}", theirs),
        )

    def expectations(self) -> tuple[Expectation, ...]:
        """Return the rules about all rows together."""
        made = [expectation(n, row, self.dtypes, self._fault, self._when) for n, row in enumerate(self.spec.expect)]
        return tuple(found for found in made if found is not None)

    def watched(self) -> None:
        """Note what the contract watches and does not have."""
        if self.spec.watch.freshness is not None:
            column = self.spec.watch.freshness.column
            if self._known(column, ("watch", "freshness", "column")) and not is_time(self.dtypes[column]):
                self._fault(("watch", "freshness", "column"), f"{column} is no date and no instant.")
        for name in self.spec.watch.ignore:
            self._known(name, ("watch", "ignore"))
        for name in self.spec.watch.max_disagree:
            self._known(name, ("watch", "max_disagree", name))
        for number, row in enumerate(self.spec.tests):
            if isinstance(row.expect, dict):
                for name in row.expect:
                    self._known(name, ("tests", number, "expect"))

    def _survivor(self) -> None:
        if self.spec.survivor is not None:
            self._known(self.spec.survivor, ("survivor",))

    def _named_once(self, rules: list[Rule]) -> Iterator[Rule]:
        seen: set[str] = set()
        for rule in rules:
            if rule.rule_id in seen:
                where: Where = ("columns", rule.column) if rule.column else ("rules",)
                self._fault(where, f"The rule id {rule.rule_id!r} is used twice. Give one of them another rule_id.")
            seen.add(rule.rule_id)
            yield rule

    def _parse(self, name: str, column: ColumnSpec) -> str:
        where: Where = ("columns", name, "parse")
        kind, code = kind_of(self.dtypes[name]), _BY_KIND[kind_of(self.dtypes[name])]
        converted = ""
        for number, step in enumerate(column.parse):
            word = step_name(step)
            if converted:
                self._fault((*where, number), f"{name}: {word!r} comes after {converted!r}, which ends the parsing.")
            if word in CONVERTERS:
                converted = word
                if CONVERTERS[word][0] != kind:
                    self._fault((*where, number), f"{name}: {word!r} does not make {_article(code)}.")
                code = CONVERTERS[word][1]
            self._places(name, step, (*where, number))
        return code

    def _places(self, name: str, step: Step, where: Where) -> None:
        if step.timestamp is not None and step.timestamp.zone not in (None, *available_timezones()):
            hint = did_you_mean(step.timestamp.zone or "", available_timezones()) or "."
            self._fault(where, f"{name}: the time zone {step.timestamp.zone!r} is not known{hint}")
        if step.phone is not None and step.phone.region_column is not None:
            self._known(step.phone.region_column, where)
        if step.number is not None and step.number.decimal == step.number.thousands:
            self._fault(where, f"{name}: decimal and thousands are the same sign.")
        for form in [*(step.date_formats or []), *(step.timestamp.formats if step.timestamp else [])]:
            if "%" not in form:
                self._fault(where, f"{name}: the format {form!r} has no field such as %Y.")

    def _impute(self, name: str, column: ColumnSpec) -> None:
        where: Where = ("columns", name, "impute")
        it = column.impute
        if it is None:
            if column.serve == "imputed":
                self._fault(("columns", name, "serve"), f"{name} serves imputed values and has no 'impute'.")
            return
        steps = {step_name(step) for step in column.parse}
        # A count such as email_opens may be imputed; a text or a mark about an address may not.
        told = () if is_number(self.dtypes[name]) and name not in _NEVER_IMPUTED else _NEVER_IMPUTED
        kinds = {column.holds} | steps & set(_NEVER_IMPUTED) | {word for word in told if word in name.lower()}
        if kinds - {None} or column.unique or name == "id" or name.endswith("_id"):
            what = "identifiers, e-mail addresses, phone numbers and consent are never imputed"
            self._fault(where, f"{name}: {what}. Remove 'impute'.")
        if it.method in ("median", "mean") and not is_number(self.dtypes[name]):
            self._fault(where, f"{name}: {it.method} needs a number; use mode or constant.")
        if it.method == "constant":
            self._constant(name, it.value, where)
        if it.method == "forward" and (it.order is None or not self._known(it.order, (*where, "order"))):
            self._fault(where, f"{name}: forward needs the column that tells which value comes before, as 'order'.")
        if it.method in ("knn", "model") and not it.using:
            self._fault(where, f"{name}: {it.method} needs the columns that tell the value, as 'using'.")
        if it.method in ("knn", "model") and kind_of(self.dtypes[name]) in ("date", "instant"):
            self._fault(where, f"{name}: {it.method} fills numbers, texts and booleans, no dates.")
        if name in it.using:
            self._fault((*where, "using"), f"{name} cannot be told from itself.")
        for group in (*it.by, *it.using):
            self._known(group, (*where, "by"))

    def _constant(self, name: str, value: Scalar, where: Where) -> None:
        try:
            bound(value, self.dtypes[name])
        except Unusable as refusal:
            self._fault(where, f"{name}: {refusal}")


def _dependency(settings: DependsSettings) -> str:
    """Name the rule that a column depends on others."""
    return f"by.{','.join(settings.on)}"


def _article(code: str) -> str:
    return {
        "not_text": "UTF-8 text",
        "not_a_time": "an instant with a time zone",
        "not_an_email": "an e-mail address",
        "not_a_phone": "a phone number of its region",
    }.get(code, code.removeprefix("not_").replace("_", " "))
