"""Which shared values hold a person together: what would fall apart without each of them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

Value = TypeVar("Value", bound=Hashable)


def pieces_without(holders: Mapping[Value, Sequence[str]]) -> dict[Value, int]:
    """Return for each value into how many pieces the records that hang together by it fall when it is gone.

    holders: the records of each value; 1 when other values hold all of them together as well. One walk over all edges
    (Tarjan, Depth-first search and linear graph algorithms, 1972), so that a person of very many records is no trouble.
    """
    values = list(holders)
    nodes: dict[str, int] = {}
    beside: list[list[int]] = [[nodes.setdefault(r, len(nodes)) for r in holders[value]] for value in values]
    start = len(values)
    edges: list[list[int]] = [[start + n for n in set(own)] for own in beside] + [[] for _ in nodes]
    for value in range(start):
        for node in edges[value]:
            edges[node].append(value)
    pieces = _pieces(edges)
    return {value: pieces[n] for n, value in enumerate(values)}


def _pieces(edges: Sequence[Sequence[int]]) -> list[int]:
    """Count for every node the parts into which its part falls without it."""
    seen, low = [-1] * len(edges), [0] * len(edges)
    below, clock = [0] * len(edges), 0
    roots = set[int]()
    for root in range(len(edges)):
        if seen[root] >= 0:
            continue
        roots.add(root)
        seen[root] = low[root] = clock
        clock += 1
        path = [(root, -1, iter(edges[root]))]
        while path:
            node, parent, rest = path[-1]
            step = next((other for other in rest if other != parent), None)
            if step is None:
                path.pop()
                if path:
                    low[parent] = min(low[parent], low[node])
                    below[parent] += low[node] >= seen[parent]
            elif seen[step] >= 0:
                low[node] = min(low[node], seen[step])
            else:
                seen[step] = low[step] = clock
                clock += 1
                path.append((step, node, iter(edges[step])))
    return [max(cut, 1) if node in roots else cut + 1 for node, cut in enumerate(below)]
