"""The frame that all pages about segments share: light and dark, no script, no network."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

# Colours that people with a colour weakness tell apart (Okabe and Ito 2008).
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a6a00", "#444444")
_STYLE = """
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#5b6470;--line:#d5dae0;--ground:#fff;--card:#f6f8fa;--alarm:#b3261e}
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ed;--soft:#9aa4b0;--line:#3a424c;--ground:#14181d;--card:#1d232a;
--alarm:#ff8a80}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--ground);max-width:820px;margin:2rem auto;
padding:0 1rem}h1{font-size:1.5rem}h2{font-size:1.1rem;margin:2rem 0 .4rem}h3{font-size:1rem;margin:1.4rem 0 .3rem}
p{color:var(--soft);margin:.2rem 0 .8rem}code{font-size:.9em}
svg{width:100%;height:auto;background:var(--card);border-radius:8px}text{fill:var(--ink);font:12px system-ui,sans-serif}
.soft{fill:var(--soft)}.grid{stroke:var(--line)}.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%}
td,th{text-align:left;padding:.3rem .6rem;border-bottom:1px solid var(--line)}td.n,
th.n{text-align:right;white-space:nowrap}
.alarm{color:var(--alarm);font-weight:600}.tiles{display:flex;flex-wrap:wrap;gap:.6rem;margin:.6rem 0}
.tile{background:var(--card);border-radius:8px;padding:.5rem .9rem;min-width:6rem}
.tile b{display:block;font-size:1.25rem}.tile span{color:var(--soft);font-size:.85rem}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(300px,1fr));gap:.8rem}
section{border-top:2px solid var(--line);margin-top:2.4rem;padding-top:.4rem}
"""


def document(title: str, body: Iterable[str]) -> str:
    """Return a whole page."""
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style>"
    )
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(body)}</body></html>\n'


def tile(name: str, value: object) -> str:
    """Return one figure with its name."""
    return f'<div class="tile"><b>{escape(str(value))}</b><span>{escape(name)}</span></div>'


def table(columns: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Return a table that scrolls by itself where it is too wide; a column whose name begins with '#' holds numbers."""
    named = list(columns)
    kinds = [' class="n"' if name.startswith("#") else "" for name in named]
    head = "".join(f"<th{kind}>{escape(n.removeprefix('#'))}</th>" for n, kind in zip(named, kinds, strict=True))
    lines = ("".join(f"<td{kind}>{_cell(value)}</td>" for value, kind in zip(row, kinds, strict=True)) for row in rows)
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div>'


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else escape(str(value))
