"""Write a warehouse file anew: what was deleted is gone from the disk, too, not from its tables alone."""

from __future__ import annotations

import os
from pathlib import Path

import duckdb

from consentry.errors import StopRun


def rewrite(path: Path, *, memory_limit: str | None = None) -> None:
    """Copy everything that a closed warehouse file holds into a new file, and put it in place in one step.

    DuckDB marks deleted rows, and gives back pages with their content in them. This needs the room for a second file
    for a while. Raises StopRun, with the file as it was, when another process uses it or the disk is full.
    """
    fresh = path.with_name(f"{path.name}.fresh")
    fresh.unlink(missing_ok=True)
    connection = duckdb.connect(config={"memory_limit": memory_limit} if memory_limit else {})
    try:
        # Held open until the new file stands in its place, so that nobody writes to the old one in between.
        connection.execute(f"ATTACH {_literal(path)} AS old (READ_ONLY)")
        connection.execute(f"ATTACH {_literal(fresh)} AS fresh")
        connection.execute("COPY FROM DATABASE old TO fresh")
        connection.execute("DETACH fresh")
        os.replace(fresh, path)
        path.with_name(f"{path.name}.wal").unlink(missing_ok=True)
    except (duckdb.Error, OSError) as error:
        kind = type(error).__name__
    else:
        return
    finally:
        connection.close()
        fresh.unlink(missing_ok=True)
    raise StopRun(
        f"The warehouse {path} could not be written anew ({kind}): what was deleted is in none of its tables, but its"
        " pages may hold it until they are used again. Close what uses the file, see that the disk has room, and erase"
        " again.",
        code="not_rewritten",
    )


def _literal(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"
