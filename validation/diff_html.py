"""Write what two snapshots differ in as one HTML page: numbers and names of columns, no key and no value."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any

from consentry.validation.report_page import html_table, page
from consentry.validation.snapshot_diff import ASIDE, CELLS


# A diff is plain JSON.
def diff_html(found: dict[str, Any]) -> str:
    """Return the page for what `compare_snapshots` found."""
    return page(f"{found['old']['label']} and {found['new']['label']}", _parts(found))


def _parts(found: dict[str, Any]) -> Iterator[str]:
    old, new = found["old"], found["new"]
    yield f"<h1>{escape(old['label'])} and {escape(new['label'])}</h1>"
    read = f"as the contract {escape(found['contract'])} reads them" if found["contract"] else "as they are written"
    by = ", ".join(f"<code>{escape(name)}</code>" for name in found["key"])
    yield f'<p class="soft">Compared by {by}; cells {read}. Numbers only, no key and no value.</p>'
    yield f'<div class="tiles">{"".join(_tiles(found))}</div>'
    yield "<h2>Rows</h2>"
    rows = [("all", f"{old['rows']:,}", f"{new['rows']:,}")]
    rows += [(words, f"{old[k]:,}", f"{new[k]:,}") for k, words in ASIDE.items() if old[k] or new[k]]
    yield html_table(["", f"#{old['label']}", f"#{new['label']}"], rows)
    yield from _columns(found)


def _tiles(found: dict[str, Any]) -> Iterator[str]:
    for name in ("added", "removed", "changed", "same"):
        tone = "good" if name == "same" else "soft" if not found[name] else "fair"
        yield f'<div class="tile">{name}<div class="number {tone}">{found[name]:,}</div></div>'


def _columns(found: dict[str, Any]) -> Iterator[str]:
    yield "<h2>Cells of rows in both</h2>"
    rows = [
        (
            f"<code>{escape(it['column'])}</code>",
            *(f"{it[name]:,}" if it[name] else "" for name in CELLS),
            " &rarr; ".join(f"{n:,}" for n in it["unreadable"]) if any(it["unreadable"]) else "",
            " &rarr; ".join(escape(kind) for kind in it["types"] or ()),
        )
        for it in found["columns"]
    ]
    yield html_table(["column", *(f"#{words}" for words in CELLS.values()), "#unreadable", "type"], rows)
    for verb, names in (("came", found["columns_added"]), ("went", found["columns_removed"])):
        if names:
            listed = ", ".join(f"<code>{escape(name)}</code>" for name in names)
            yield f"<p>Columns that {verb}: {listed}.</p>"
