"""What is checked, by what, and the tables that stand while it is: the frame of one check of one table."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from consentry.model.names import quoted
from consentry.validation.contract import Contract
from consentry.validation.mend import mended_source
from consentry.validation.rules import MALFORMED, Rule, key_rules
from consentry.warehouse import Warehouse

# True on a raw row that only says that the record of its key is gone.
TOMBSTONE = "_deleted"


@dataclass(frozen=True, slots=True)
class Task:
    """One table to check: where its rows are, where they go, and what they are judged by.

    raw: the rows as they were landed; source: the same with what people mended, without what they discarded.
    chosen: a table with the numbers of the rows to judge, when not all of them are. tombstones: whether the source
    may have sent rows that only say that a record is gone; they are no records, and no contract judges them.
    """

    warehouse: Warehouse
    contract: Contract
    name: str
    raw: str
    source: str
    clean: str
    key: tuple[str, ...]
    run_id: str
    rules: tuple[Rule, ...]
    chosen: str | None = None
    watched: bool = False
    accept: bool = False
    now: datetime | None = None
    tombstones: bool = False

    @property
    def rows(self) -> str:
        """The condition on the rows to judge, with the bounds as parameters."""
        among = f" AND _rid IN (SELECT _rid FROM {self.chosen})" if self.chosen else ""
        living = f" AND NOT coalesce(TRY_CAST({TOMBSTONE} AS BOOLEAN), false)" if self.tombstones else ""
        return f"_rid > $after AND _rid <= $last{among}{living}"

    @property
    def stopping(self) -> str:
        """The numbers of the rules that keep a row from clean, as SQL lists them."""
        return ", ".join(str(number) for number, rule in enumerate(self.rules) if rule.severity != "warn")

    @property
    def sound(self) -> str:
        """The rows that broke no rule; it stands in the zone of clean, and becomes clean where all is replaced."""
        return f'{self.clean.removesuffix(chr(34))}__sound"'

    @property
    def broken(self) -> str:
        """The rows that broke a rule, typed, with the numbers of their rules."""
        return self._aside("broken")

    @property
    def checked(self) -> str:
        """All rows as they were judged: a view of the sound and the broken ones."""
        return self._aside("checked")

    @property
    def duplicates(self) -> str:
        """The rows that are there twice."""
        return self._aside("duplicates")

    @property
    def staged(self) -> str:
        """The rows for the quarantine, before they are published."""
        return self._aside("staged")

    @property
    def quarantine(self) -> str:
        """The table that keeps the rows that did not pass."""
        return f"quarantine.{quoted(self.name)}"

    def _aside(self, what: str) -> str:
        return f"quarantine.{quoted(f'{self.name}__{what}')}"

    def drop(self) -> None:
        """Drop the tables that stood for the time of the check."""
        self.warehouse.sql(f"DROP VIEW IF EXISTS {self.checked}")
        for table in (self.sound, self.broken, self.duplicates, self.staged):
            self.warehouse.sql(f"DROP TABLE IF EXISTS {table}")


def stream_task(
    warehouse: Warehouse,
    contract: Contract,
    *,
    stream: str,
    primary_key: tuple[str, ...],
    run_id: str,
    chosen: str | None = None,
) -> Task:
    """Return the check of a landed stream."""
    return Task(
        warehouse,
        contract,
        stream,
        raw=f"raw.{quoted(stream)}",
        source=mended_source(warehouse, stream),
        clean=f"clean.{quoted(stream)}",
        key=primary_key,
        run_id=run_id,
        rules=(MALFORMED, *key_rules(primary_key), *contract.rules),
        chosen=chosen,
        tombstones=TOMBSTONE in warehouse.columns(f"raw.{stream}"),
    )


def bare(table: str) -> str:
    """Return the name of a table without the quotes that SQL wants."""
    return table.replace('"', "")
