"""Judge the rows of a task batch by batch: sound rows go to one table, those that broke a rule to another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as arrow

from consentry.validation.check import BAD, FAILED_RULES, Judge, coalesced
from consentry.validation.task import Task, bare


def sift(task: Task, carried: Sequence[str], *, after: int, last: int) -> None:
    """Write the tables `sound` and `broken` of a task, and `checked`, the view of both.

    The sound rows, nearly all of them, are written once: where clean is replaced, their table becomes it.
    """
    judge = Judge(task.contract, task.rules, key=task.key, carried=carried)
    schema = judge.empty(task.warehouse.sql(f"SELECT * FROM {task.source} LIMIT 0").schema)
    plain = arrow.schema([field for field in schema if field.name not in (FAILED_RULES, BAD)])
    task.warehouse.write(bare(task.broken), (), schema=schema)
    task.warehouse.write(bare(task.sound), _sound(task, judge, schema, plain, (after, last)), schema=plain)
    marks = f"CAST(NULL AS INTEGER[]) AS {FAILED_RULES}, false AS {BAD}"
    both = f"SELECT *, {marks} FROM {task.sound} UNION ALL SELECT * FROM {task.broken}"
    task.warehouse.sql(f"CREATE OR REPLACE VIEW {task.checked} AS {both}")


def _sound(
    task: Task, judge: Judge, schema: arrow.Schema, plain: arrow.Schema, bounds: tuple[int, int]
) -> Iterator[arrow.RecordBatch]:
    """Yield the rows that broke nothing; the others are written to their table on the way."""
    query = f"SELECT * FROM {task.source} WHERE {task.rows}"
    rows = task.warehouse.stream(query, batch_rows=1_000_000, after=bounds[0], last=bounds[1])
    for table in coalesced(rows):
        sound, broken = judge.parted(table)
        if broken.num_rows:
            task.warehouse.write(bare(task.broken), broken.cast(schema).to_batches(), schema=schema, mode="append")
        yield from sound.select(plain.names).cast(plain).to_batches()
