"""What a stream does when its source changes shape: evolve, freeze, discard, or set aside.

The shape that counts is the one of the stream's table: columns and types of the first landing. Columns of ours
(`_malformed`, `_deleted`, `_merged_into`) belong to every stream.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Literal

import pyarrow as pa

from consentry.errors import SourceFailed

# evolve: new columns are added. freeze: anything new or gone stops the stream. discard_value: new columns are left
# out. discard_row: records that have a value in a new column are left out. quarantine: such records come as malformed
# ones, whole, for validation to set aside.
Drift = Literal["evolve", "freeze", "discard_row", "discard_value", "quarantine"]
_OURS = ("_malformed", "_deleted", "_merged_into")


class Guard:
    """Holds the pages of one stream to its known columns.

    known: the columns of the table, empty before the first landing. dropped: counts records left out so far.
    """

    def __init__(self, stream: str, drift: Drift, known: Iterable[str]) -> None:
        self._stream, self._drift = stream, drift
        self._known = {name.casefold() for name in known}
        self.dropped = 0

    def hold(self, page: pa.Table) -> pa.Table:
        """Return the page as the stream's rule lets it pass; raises SourceFailed when it does not."""
        if self._drift == "evolve" or not self._known or not page.num_columns:
            return page
        new = [name for name in page.schema.names if name.casefold() not in self._known and name not in _OURS]
        if self._drift == "freeze":
            self._refuse(page, new)
        if not new:
            return page
        rest = page.drop_columns(new)
        if self._drift == "discard_value":
            return rest
        odd = _has_any(page, new)
        if not any(odd):
            return rest
        self.dropped += sum(odd)
        kept = rest.filter(pa.array([not one for one in odd]))
        if self._drift == "discard_row":
            return kept
        lines = [json.dumps(row, ensure_ascii=False, default=str) for row in page.filter(pa.array(odd)).to_pylist()]
        aside = pa.table({"_malformed": pa.array(lines, pa.string())})
        return pa.concat_tables([kept, aside], promote_options="permissive")

    def _refuse(self, page: pa.Table, new: list[str]) -> None:
        there = {name.casefold() for name in page.schema.names}
        gone = sorted(
            name for name in self._known if name not in there and name not in _OURS and not name.startswith("_")
        )
        if new or (gone and page.num_rows):
            told = [f"new: {', '.join(new)}"] if new else []
            told += [f"gone: {', '.join(gone)}"] if gone else []
            raise SourceFailed(
                f"The columns of stream {self._stream!r} changed ({'; '.join(told)}), and its drift is 'freeze'. "
                "Mend the source, or choose evolve, discard_value, discard_row or quarantine.",
                code="schema_drift",
            )


def _has_any(page: pa.Table, names: list[str]) -> list[bool]:
    columns: Mapping[str, list[object]] = page.select(names).to_pydict()
    return [any(value is not None for value in values) for values in zip(*columns.values(), strict=True)]
