"""Names that become part of a query or a path: what may stand there."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

_IDENTIFIER = re.compile(r"[a-z][a-z0-9_]{0,62}")


def is_name(text: str) -> bool:
    """Tell whether `text` is a plain lower-case name: a letter, then letters, digits and `_`, 63 at most."""
    return _IDENTIFIER.fullmatch(text) is not None


def quoted(column: str) -> str:
    """Quote a column name for SQL, whatever stands in it."""
    return '"' + column.replace('"', '""') + '"'


def quoted_table(table: str) -> str:
    """Quote a table's name, `zone.table`, for SQL."""
    zone, _, name = table.partition(".")
    return f"{quoted(zone)}.{quoted(name)}"


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that `word` was most likely meant to be, if any is near."""
    return next(iter(difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)), None)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` for an unknown word, or nothing when no known word is near."""
    near = nearest(word, known)
    return f"; did you mean {near!r}?" if near else ""
