"""Layered layout of a directed acyclic graph: boxes in rows, edges downwards, few crossings.

The classical three steps: rows by longest path, order in the rows by the mean place of the neighbours, and places that
are as near to the neighbours' mean as the order allows (least squares under order, by pooling adjacent violators).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

GAP_X, GAP_Y, SWEEPS = 18.0, 26.0, 12
Point = tuple[float, float]


@dataclass(frozen=True)
class Drawing:
    """centres: of the boxes. routes: of the edges, from the foot of a box over bends to the head of another."""

    centres: list[Point]
    routes: list[list[Point]]
    width: float
    height: float


def lay_out(sizes: Sequence[tuple[float, float]], edges: Sequence[tuple[int, int]]) -> Drawing:
    """Places for boxes of the given (width, height); an edge (a, b) leads from box a to box b, and a < b."""
    rows_of = _rows(len(sizes), edges)
    widths = [w for w, _ in sizes]
    chains = _split_long_edges(edges, rows_of, widths)
    links = [pair for chain in chains for pair in pairwise(chain)]
    above, below = _neighbours(len(widths), links)
    rows = _order(rows_of, above, below)
    x = _places(rows, widths, above, below)
    heights = [max((sizes[i][1] for i in row if i < len(sizes)), default=0.0) for row in rows]
    tops = [sum(heights[:r]) + r * GAP_Y + GAP_Y / 2 for r in range(len(rows))]
    centres = [(x[i], tops[rows_of[i]] + heights[rows_of[i]] / 2) for i in range(len(sizes))]

    def route(chain: list[int]) -> list[Point]:
        """Straight through the rows, so that no box is met there; curves lie between rows."""
        points = [(x[i], y) for i in chain for y in (tops[rows_of[i]], tops[rows_of[i]] + heights[rows_of[i]])]
        (ax, ay), (bx, by) = centres[chain[0]], centres[chain[-1]]
        return [(ax, ay + sizes[chain[0]][1] / 2), *points[1:-1], (bx, by - sizes[chain[-1]][1] / 2)]

    width = max((x[i] + widths[i] / 2 for i in range(len(widths))), default=0.0) + GAP_X
    return Drawing(centres, [route(c) for c in chains], width, sum(heights) + GAP_Y * (len(rows) + 1))


def _rows(n: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    """Row of each box: below all that lead to it; a source stands right above the first box that it leads to."""
    rows = [0] * n
    followers: dict[int, list[int]] = {}
    sinks = set()
    for a, b in sorted(edges, key=lambda e: e[1]):
        rows[b] = max(rows[b], rows[a] + 1)
        followers.setdefault(a, []).append(b)
        sinks.add(b)
    for a, to in followers.items():
        if a not in sinks:
            rows[a] = min(rows[b] for b in to) - 1
    return rows


def _split_long_edges(edges: Sequence[tuple[int, int]], rows: list[int], widths: list[float]) -> list[list[int]]:
    """Each edge as a chain with one box a row; bends are new boxes without width, appended to ``rows``, ``widths``."""
    chains = []
    for a, b in edges:
        chain = [a]
        for row in range(rows[a] + 1, rows[b]):
            chain.append(len(rows))
            rows.append(row)
            widths.append(0.0)
        chains.append([*chain, b])
    return chains


def _neighbours(n: int, links: Sequence[tuple[int, int]]) -> tuple[list[list[int]], list[list[int]]]:
    above: list[list[int]] = [[] for _ in range(n)]
    below: list[list[int]] = [[] for _ in range(n)]
    for a, b in links:
        above[b].append(a)
        below[a].append(b)
    return above, below


def _order(rows_of: list[int], above: list[list[int]], below: list[list[int]]) -> list[list[int]]:
    """The boxes of each row from left to right."""
    rows: list[list[int]] = [[] for _ in range(max(rows_of, default=-1) + 1)]
    for i, r in enumerate(rows_of):
        rows[r].append(i)
    place = {i: k for row in rows for k, i in enumerate(row)}
    for sweep in range(SWEEPS):
        near = above if sweep % 2 == 0 else below
        for row in rows[:: 1 if sweep % 2 == 0 else -1]:
            row.sort(key=lambda i: sum(place[j] for j in near[i]) / len(near[i]) if near[i] else place[i])
            place.update((i, k) for k, i in enumerate(row))
    return rows


def _places(rows: list[list[int]], widths: list[float], above: list[list[int]], below: list[list[int]]) -> list[float]:
    """Horizontal centres, the leftmost box at the left margin."""
    x = [0.0] * len(widths)
    for row in rows:
        for k, i in enumerate(row):
            x[i] = k * GAP_X
    for sweep in range(SWEEPS):
        for row in rows[:: 1 if sweep % 2 == 0 else -1]:
            near = [above[i] + below[i] if sweep > 1 else above[i] for i in row]
            wanted = [sum(x[j] for j in js) / len(js) if js else x[i] for i, js in zip(row, near)]
            for i, place in zip(row, _apart(wanted, [widths[i] for i in row])):
                x[i] = place
    left = min((x[i] - widths[i] / 2 for row in rows for i in row), default=0.0) - GAP_X
    return [v - left for v in x]


def _apart(wanted: list[float], widths: list[float]) -> list[float]:
    """The places nearest to the wanted ones, by least squares, in the same order and without overlap."""
    offset, offsets = 0.0, []
    for k, w in enumerate(widths):
        offset += (widths[k - 1] + w) / 2 + GAP_X if k else 0.0
        offsets.append(offset)
    pools: list[tuple[float, int]] = []
    for target, off in zip(wanted, offsets):
        total, n = target - off, 1
        while pools and pools[-1][0] / pools[-1][1] > total / n:
            more, m = pools.pop()
            total, n = total + more, n + m
        pools.append((total, n))
    means = [total / n for total, n in pools for _ in range(n)]
    return [mean + off for mean, off in zip(means, offsets)]
