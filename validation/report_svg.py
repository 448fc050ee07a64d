"""Draw small charts as inline SVG; colours are classes of the page's style sheet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 320, 120
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 8, 8, 20


def trend(
    values: Sequence[float],
    *,
    low: float,
    high: float,
    label: str,
    marks: Sequence[bool] = (),
    ends: tuple[str, str] = ("", ""),
) -> str:
    """Draw a series over time; marks: points to be shown as alarms. ends: what the first and last point are called."""
    xs, ys = _places(len(values)), [_y(value, low, high) for value in values]
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(xs, ys, strict=True))
    dots = "".join(
        f'<circle class="{"alarm" if marked else "dot"}" cx="{x:.1f}" cy="{y:.1f}" r="{3.5 if marked else 2}"/>'
        for x, y, marked in zip(xs, ys, marks or [False] * len(xs), strict=True)
        if marked or len(xs) <= 20 or x == xs[-1]
    )
    return _framed(f'<polyline class="line" points="{points}"/>{dots}', low, high, label, ends)


def bars(values: Sequence[float], *, label: str, below: Sequence[float] = (), ends: tuple[str, str] = ("", "")) -> str:
    """Draw one bar a load; below: the part of each that is drawn in the colour of alarms."""
    high = max([*values, 1])
    room = (WIDTH - _LEFT - _RIGHT) / max(len(values), 1)
    # A lone bar must not fill the chart.
    width = min(room * 0.7, 26)
    drawn = []
    for n, value in enumerate(values):
        x = _LEFT + n * room + (room - width) / 2
        drawn.append(_bar("bar", x, width, value, high))
        if below and below[n]:
            drawn.append(_bar("bad", x, width, below[n], high))
    return _framed("".join(drawn), 0, high, label, ends)


def _bar(kind: str, x: float, width: float, value: float, high: float) -> str:
    y = _y(value, 0, high)
    return f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{HEIGHT - _BOTTOM - y:.1f}"/>'


def cumulative(now: Sequence[float], before: Sequence[float], *, label: str) -> str:
    """Draw the cumulative shares of a column: those of the loads before, and those of the last load over them."""
    low, high = min(now[1], before[1]), max(now[-2], before[-2])
    if low == high:
        high = low + 1
    drawn, room = "", (WIDTH - _LEFT - _RIGHT) / (high - low)
    for quantiles, kind in ((before, "before"), (now, "line")):
        places = [_LEFT + (min(max(q, low), high) - low) * room for q in quantiles]
        points = " ".join(f"{x:.1f},{_y(n / 100, 0, 1):.1f}" for n, x in enumerate(places))
        drawn += f'<polyline class="{kind}" points="{points}"/>'
    return _framed(drawn, 0, 1, label, (_short(low), _short(high)), percent=True)


def shares(now: Mapping[str, float], before: Mapping[str, float], *, label: str, most: int = 8) -> str:
    """Draw the share of each category: a bar for the last load, a tick for the loads before."""
    words = sorted({*now, *before}, key=lambda word: -max(now.get(word, 0), before.get(word, 0)))[:most]
    height = 16 * len(words) + 4
    high = max([*(now.get(w, 0) for w in words), *(before.get(w, 0) for w in words), 0.01])
    room = WIDTH - 96 - 44
    drawn = []
    for n, word in enumerate(words):
        y, ours, theirs = 2 + 16 * n, now.get(word, 0.0), before.get(word, 0.0)
        name = word if len(word) <= 14 else word[:13] + "…"
        drawn.append(f'<text class="axis" x="90" y="{y + 11}" text-anchor="end">{escape(name)}</text>')
        drawn.append(f'<rect class="bar" x="96" y="{y + 2}" width="{max(room * ours / high, 1):.1f}" height="11"/>')
        tick = 96 + room * theirs / high
        drawn.append(f'<line class="tick" x1="{tick:.1f}" x2="{tick:.1f}" y1="{y}" y2="{y + 15}"/>')
        end = 96 + max(room * ours / high, room * theirs / high) + 4
        drawn.append(f'<text class="axis" x="{end:.1f}" y="{y + 11}">{ours:.0%}</text>')
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img"'
        f' aria-label="{escape(label)}"><title>{escape(label)}</title>{"".join(drawn)}</svg>'
    )


def _places(number: int) -> list[float]:
    room = WIDTH - _LEFT - _RIGHT
    return [_LEFT + (room * n / (number - 1) if number > 1 else room / 2) for n in range(number)]


def _y(value: float, low: float, high: float) -> float:
    share = (value - low) / (high - low) if high > low else 0.5
    return _TOP + (1 - min(max(share, 0.0), 1.0)) * (HEIGHT - _TOP - _BOTTOM)


def _framed(
    inner: str, low: float, high: float, label: str, ends: tuple[str, str] = ("", ""), *, percent: bool = False
) -> str:
    lines, middle = "", (low + high) / 2
    for value in (low, middle, high):
        y = _y(value, low, high)
        told = f"{value:.0%}" if percent else _short(value)
        lines += f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        lines += f'<text class="axis" x="{_LEFT - 4}" y="{y + 3.5:.1f}" text-anchor="end">{told}</text>'
    first, last = (escape(end) for end in ends)
    lines += f'<text class="axis" x="{_LEFT}" y="{HEIGHT - 5}">{first}</text>'
    lines += f'<text class="axis" x="{WIDTH - _RIGHT}" y="{HEIGHT - 5}" text-anchor="end">{last}</text>'
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img"'
        f' aria-label="{escape(label)}"><title>{escape(label)}</title>{lines}{inner}</svg>'
    )


def _short(value: float) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if unit == 'k' else size):.3g}{unit}"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
