"""The drawings of a model's page: calibration, lift and bars, as SVG."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from consentry.segments.html import COLOURS

_WIDTH, _HEIGHT = 380, 260
_WIDE = 480
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 16, 26, 38
Rows = Sequence[Mapping[str, Any]]  # plain JSON


def calibration(rows: Rows) -> str:
    """Draw how often it happened against what was foretold; a calibrated model lies on the diagonal."""
    most = max((max(row["score"], row["rate"]) for row in rows), default=1.0) or 1.0
    points = [(row["score"] / most, row["rate"] / most) for row in rows]
    body = [_line([(0.0, 0.0), (1.0, 1.0)], "var(--soft)", dashed=True), _line(points, COLOURS[0]), *_dots(points)]
    return _plot("Calibration", body, x="foretold", y="happened", most_x=most, most_y=most)


def lift(rows: Rows) -> str:
    """Draw which share of those it happens to is among the best share of people; the diagonal is chance."""
    points = [(0.0, 0.0), *((row["share"], row["captured"]) for row in rows)]
    body = [_line([(0.0, 0.0), (1.0, 1.0)], "var(--soft)", dashed=True), _line(points, COLOURS[2]), *_dots(points[1:])]
    return _plot("Gain", body, x="best share of people", y="of those it happens to", most_x=1.0, most_y=1.0)


def bars(title: str, rows: Sequence[tuple[str, float]]) -> str:
    """Draw values as bars with their names, greatest first as given."""
    most = max((abs(value) for _, value in rows), default=0.0) or 1.0
    height = 30 + 24 * len(rows)
    body = [f'<text x="12" y="18">{escape(title)}</text>']
    for n, (name, value) in enumerate(rows):
        y, width = 28 + 24 * n, max(1.0, 230 * abs(value) / most)
        colour = COLOURS[0] if value >= 0 else COLOURS[1]
        body.append(f'<text x="158" y="{y + 13}" text-anchor="end">{escape(name[:22])}</text>')
        body.append(f'<rect x="166" y="{y}" width="{width:.1f}" height="17" rx="3" fill="{colour}"/>')
        body.append(f'<text class="soft" x="{172 + width:.1f}" y="{y + 13}">{value:.4g}</text>')
    return f'<svg viewBox="0 0 {_WIDE} {height}" role="img" aria-label="{escape(title)}">{"".join(body)}</svg>'


def _plot(title: str, body: Sequence[str], *, x: str, y: str, most_x: float, most_y: float) -> str:
    frame = [f'<text x="{_LEFT}" y="17">{escape(title)}</text>']
    for share in (0.0, 0.5, 1.0):
        left, top = _place(share, share)
        frame.append(f'<line class="grid" x1="{_LEFT}" y1="{top:.1f}" x2="{_WIDTH - _RIGHT}" y2="{top:.1f}"/>')
        frame.append(
            f'<text class="soft" x="{_LEFT - 6}" y="{top + 4:.1f}" text-anchor="end">{share * most_y:.2g}</text>'
        )
        frame.append(
            f'<text class="soft" x="{left:.1f}" y="{_HEIGHT - 22}" text-anchor="middle">{share * most_x:.2g}</text>'
        )
    frame.append(f'<text class="soft" x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 6}" text-anchor="end">{escape(x)}</text>')
    frame.append(f'<text class="soft" x="{_WIDTH - _RIGHT}" y="17" text-anchor="end">{escape(y)}</text>')
    label = f'role="img" aria-label="{escape(title)}"'
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" {label}>{"".join([*frame, *body])}</svg>'


def _place(x: float, y: float) -> tuple[float, float]:
    across, down = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    return _LEFT + across * x, _TOP + down * (1 - y)


def _line(points: Sequence[tuple[float, float]], colour: str, *, dashed: bool = False) -> str:
    placed = " ".join(f"{x:.1f},{y:.1f}" for x, y in (_place(*point) for point in points))
    dash = ' stroke-dasharray="4 4"' if dashed else ""
    return f'<polyline points="{placed}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>'


def _dots(points: Sequence[tuple[float, float]]) -> Iterator[str]:
    for x, y in (_place(*point) for point in points):
        yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{COLOURS[0]}"/>'
