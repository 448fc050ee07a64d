"""Hold a snapshot against the one before it, which clean still has: rows that are new, gone or changed."""

from __future__ import annotations

from collections.abc import Iterator

from consentry.model.names import quoted
from consentry.validation.task import Task, bare
from consentry.validation.watch import Finding

_WORDS = {"added": "new", "removed": "gone", "changed": "changed"}


def changes(task: Task) -> Iterator[Finding]:
    """Yield a finding when more of a judged snapshot is other than in clean than its contract lets pass."""
    spec = task.contract.watch.changes
    if spec is None or not task.key or not task.warehouse.count(bare(task.clean)):
        return
    found = _counted(task)
    other = found["added"] + found["removed"] + found["changed"]
    share = other / (other + found["same"])
    if share > spec.max_share:
        told = ", ".join(f"{found[name]:,} {word}" for name, word in _WORDS.items())
        sentence = f"{share:.1%} of the rows are other than before ({told}); {spec.max_share:.1%} may be."
        yield Finding("", "changes", spec.severity, sentence, share, spec.max_share)


def _counted(task: Task) -> dict[str, int]:
    """Return how many rows are added, removed, changed and the same, by the key, over the columns that both have."""
    repeated = f"SELECT _rid FROM {task.duplicates} WHERE rule IN ({task.stopping})"
    before, after = (task.warehouse.columns(bare(table)) for table in (task.clean, task.checked))
    content = [name for name in after if name in before and not name.startswith("_") and name not in task.key]
    differs = " OR ".join(f"held.{quoted(name)} IS DISTINCT FROM fresh.{quoted(name)}" for name in content) or "false"
    same = " AND ".join(f"held.{quoted(name)} = fresh.{quoted(name)}" for name in task.key)
    new, gone = f"held.{quoted(task.key[0])} IS NULL", f"fresh.{quoted(task.key[0])} IS NULL"
    query = (
        f"WITH fresh AS (SELECT * FROM {task.checked} WHERE NOT _bad AND _rid NOT IN ({repeated}))"
        f" SELECT count(*) FILTER ({new}) AS added, count(*) FILTER ({gone}) AS removed,"
        f" count(*) FILTER (NOT ({new}) AND NOT ({gone}) AND ({differs})) AS changed, count(*) AS every"
        f" FROM {task.clean} AS held FULL JOIN fresh ON {same}"
    )
    found: dict[str, int] = task.warehouse.sql(query).to_pylist()[0]
    return found | {"same": found["every"] - found["added"] - found["removed"] - found["changed"]}
