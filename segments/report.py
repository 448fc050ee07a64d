"""One HTML page about segments: sizes over time, an overlap heat map, moves between stages. No script, no network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from pathlib import Path

from consentry.segments.html import COLOURS, document

_WIDTH = 760


@dataclass(frozen=True, slots=True)
class Size:
    """How many members a segment had at one time."""

    segment: str
    at: datetime
    members: int


@dataclass(frozen=True, slots=True)
class Move:
    """How many people went from one segment of a group to another; None is nowhere."""

    group: str
    before: str | None
    after: str | None
    people: int


@dataclass(frozen=True, slots=True)
class Page:
    """What the page shows. jaccard: by the pair of names, in order. Counts below `shown_from` are shown as `<k`."""

    title: str
    made_at: datetime
    sizes: Sequence[Size]
    jaccard: Mapping[tuple[str, str], float]
    moves: Sequence[Move]
    notes: Sequence[str]
    shown_from: int


def write_report(page: Page, path: Path) -> None:
    """Write the page to a file of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render(page), encoding="utf-8")


def render(page: Page) -> str:
    """Return the page as HTML."""
    body = [f"<h1>{escape(page.title)}</h1>", f"<p>As of {page.made_at:%Y-%m-%d %H:%M} UTC.</p>"]
    body += [f"<p>{escape(note)}</p>" for note in page.notes]
    body += ["<h2>Sizes over time</h2>", *_sizes(page)]
    body += ["<h2>Overlap</h2>", "<p>Jaccard index: people in both, of people in either.</p>", *_heat_map(page)]
    body += ["<h2>Moves between stages</h2>", "<p>All runs together; width is the number of people.</p>"]
    groups = sorted({move.group for move in page.moves})
    body += [part for group in groups for part in _sankey(page, group)] or ["<p>Nobody moved yet.</p>"]
    return document(page.title, body)


def _number(count: int, page: Page) -> str:
    return f"&lt;{page.shown_from}" if 0 < count < page.shown_from else f"{count:,}"


def _names(page: Page) -> list[str]:
    return sorted({size.segment for size in page.sizes})


def _colour(name: str, names: Sequence[str]) -> str:
    return COLOURS[names.index(name) % len(COLOURS)] if name in names else COLOURS[-1]


# --- sizes


def _sizes(page: Page) -> Iterator[str]:
    times = sorted({size.at for size in page.sizes})
    most = max((size.members for size in page.sizes), default=0) or 1
    names = _names(page)
    if len(times) > 1:
        yield f'<svg viewBox="0 0 {_WIDTH} 280" role="img" aria-label="Sizes of segments over time">'
        yield from _grid(most, times, page)
        for name in names:
            points = {size.at: size.members for size in page.sizes if size.segment == name}
            yield _line(points, times, most, _colour(name, names), name)
        yield "</svg>"
    yield '<table><tr><th>segment</th><th class="n">members</th><th class="n">at first</th></tr>'
    for name in names:
        own = sorted((size for size in page.sizes if size.segment == name), key=lambda size: size.at)
        mark = f'<span style="color:{_colour(name, names)}">&#9632;</span> {escape(name)}'
        first, last = _number(own[0].members, page), _number(own[-1].members, page)
        yield f'<tr><td>{mark}</td><td class="n">{last}</td><td class="n">{first}</td></tr>'
    yield "</table>"


def _grid(most: int, times: Sequence[datetime], page: Page) -> Iterator[str]:
    for share in (0.0, 0.5, 1.0):
        y = 240 - 210 * share
        yield f'<line class="grid" x1="60" y1="{y}" x2="{_WIDTH - 20}" y2="{y}"/>'
        yield f'<text class="soft" x="52" y="{y + 4}" text-anchor="end">{_number(round(most * share), page)}</text>'
    for at, x, anchor in ((times[0], 60, "start"), (times[-1], _WIDTH - 20, "end")):
        yield f'<text class="soft" x="{x}" y="264" text-anchor="{anchor}">{at:%Y-%m-%d %H:%M}</text>'


def _line(points: Mapping[datetime, int], times: Sequence[datetime], most: int, colour: str, name: str) -> str:
    begin, length = times[0], (times[-1] - times[0]).total_seconds() or 1
    placed = [
        (60 + (_WIDTH - 80) * (at - begin).total_seconds() / length, 240 - 210 * members / most)
        for at, members in sorted(points.items())
    ]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in placed)
    line = f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'
    return f"<g><title>{escape(name)}</title>{line}{dots}</g>"


# --- overlap


def _heat_map(page: Page) -> Iterator[str]:
    names = sorted({name for pair in page.jaccard for name in pair})
    if len(names) < 2:
        yield "<p>There is one segment or none.</p>"
        return
    left, top = 180, 130
    cell = min(44.0, (_WIDTH - left - 10) / len(names))
    height = top + cell * len(names) + 10
    yield f'<svg viewBox="0 0 {_WIDTH} {height:.0f}" role="img" aria-label="Overlap of segments">'
    for n, name in enumerate(names):
        middle = (n + 0.5) * cell
        yield f'<text x="{left - 8}" y="{top + middle + 4:.1f}" text-anchor="end">{escape(name[:26])}</text>'
        yield f'<text transform="translate({left + middle + 4:.1f},{top - 8}) rotate(-45)">{escape(name[:20])}</text>'
        for m, other in enumerate(names):
            share = 1.0 if n == m else page.jaccard.get((min(name, other), max(name, other)), 0.0)
            yield from _cell(left + m * cell, top + n * cell, cell, share, f"{name} and {other}")
    yield "</svg>"


def _cell(x: float, y: float, size: float, share: float, title: str) -> Iterator[str]:
    box = f'x="{x:.1f}" y="{y:.1f}" width="{size - 2:.1f}" height="{size - 2:.1f}"'
    fill = f'fill="#0072b2" fill-opacity="{0.06 + 0.9 * share:.2f}"'
    yield f"<g><title>{escape(title)}: {share:.2f}</title><rect {box} {fill}/>"
    if size >= 30:
        ink = ' style="fill:#fff"' if share > 0.5 else ""
        place = f'x="{x + size / 2 - 1:.1f}" y="{y + size / 2 + 4:.1f}" text-anchor="middle"'
        yield f"<text {place}{ink}>{share:.2f}</text>"
    yield "</g>"


# --- moves


def _sankey(page: Page, group: str) -> Iterator[str]:
    moves = [move for move in page.moves if move.group == group and move.before != move.after]
    if not moves:
        return
    names = _names(page)
    left = _stacked(moves, "before")
    right = _stacked(moves, "after")
    height = 40 + max(_height(left), _height(right))
    yield f"<h3>{escape(group)}</h3>"
    yield f'<svg viewBox="0 0 {_WIDTH} {height:.0f}" role="img" aria-label="Moves in {escape(group)}">'
    scale = _scale(moves)
    reached = {("before", name): y for name, (y, _) in left.items()}
    reached |= {("after", name): y for name, (y, _) in right.items()}
    for move in sorted(moves, key=lambda move: (str(move.before), str(move.after))):
        width = max(2.0, move.people * scale)
        begin, end = reached["before", move.before], reached["after", move.after]
        reached["before", move.before] += width
        reached["after", move.after] += width
        colour = _colour(move.before or move.after or "", names)
        yield _band(begin + width / 2, end + width / 2, width, colour, f"{_said(move, page)}")
    for column, x, anchor, where in ((left, 205, "end", "nowhere"), (right, _WIDTH - 205, "start", "nowhere")):
        for name, (y, size) in column.items():
            shift = -8 if anchor == "end" else 16
            yield f'<rect x="{x}" y="{y:.1f}" width="8" height="{size:.1f}" fill="{_colour(name or "", names)}"/>'
            text = escape((name or where)[:28])
            yield f'<text x="{x + shift}" y="{y + size / 2 + 4:.1f}" text-anchor="{anchor}">{text}</text>'
    yield "</svg>"


def _said(move: Move, page: Page) -> str:
    return f"{escape(move.before or 'nowhere')} to {escape(move.after or 'nowhere')}: {_number(move.people, page)}"


def _scale(moves: Sequence[Move]) -> float:
    return 240 / (sum(move.people for move in moves) or 1)


def _stacked(moves: Sequence[Move], side: str) -> dict[str | None, tuple[float, float]]:
    """Return the place and height of each name on one side, with room between them for the text."""
    scale, y = _scale(moves), 20.0
    placed: dict[str | None, tuple[float, float]] = {}
    for name in sorted({getattr(move, side) for move in moves}, key=str):
        size = sum(max(2.0, move.people * scale) for move in moves if getattr(move, side) == name)
        placed[name] = (y, size)
        y += max(size, 8.0) + 14
    return placed


def _height(column: Mapping[str | None, tuple[float, float]]) -> float:
    return max((y + size for y, size in column.values()), default=0.0)


def _band(begin: float, end: float, width: float, colour: str, title: str) -> str:
    x1, x2, middle = 213, _WIDTH - 205, _WIDTH / 2
    path = f"M{x1},{begin:.1f} C{middle:.0f},{begin:.1f} {middle:.0f},{end:.1f} {x2},{end:.1f}"
    stroke = f'fill="none" stroke="{colour}" stroke-opacity="0.45" stroke-width="{width:.1f}"'
    return f'<path d="{path}" {stroke}><title>{title}</title></path>'
