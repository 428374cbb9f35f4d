"""The order of nodes with the lowest peak.

``search`` walks through the sets of nodes that may have run so far, one node more at a time, and keeps for each set the
order with the lowest peak. That is dynamic programming, exact as long as every set is kept. A node through which all
ways lead leaves a single set, so that the parts between such nodes are solved one by one without being looked for.
Where there are too many sets, those with the lowest peak and the fewest live bytes are kept: a beam search.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from graphc.passes.memory.problem import Problem

CHOICES = 200
"""Transitions looked at for each node, which bounds the time: some microseconds each, and linear in the nodes."""
LEAST_CHOICES = 20_000
"""Transitions looked at for all nodes together, however few they are."""
READY = 64
"""Of so many nodes that could run next, the ones that became ready last, one is chosen."""


@dataclass(frozen=True)
class Order:
    """An order of nodes by number. peak: its bytes. exact: no order has a lower peak. method: how it was found."""

    nodes: tuple[int, ...]
    peak: int
    exact: bool
    method: str


def best_order(problem: Problem, choices: int = CHOICES) -> Order:
    """The order with the lowest peak that is found; the given one, if no other is better."""
    given = tuple(range(len(problem.touches)))
    best = Order(given, problem.peak(given), False, "as given")
    if best.peak <= needed(problem):
        return Order(given, best.peak, True, "as given")
    tree = depth_first(problem)
    if (peak := problem.peak(tree)) < best.peak:
        best = Order(tree, peak, False, "depth first, larger operands first")
    found = search(problem, best.peak, max(choices, LEAST_CHOICES // max(1, len(given))))
    return found if found.nodes else Order(best.nodes, best.peak, found.exact, best.method)


def needed(problem: Problem) -> int:
    """Bytes that every order needs at least: those of the largest node by itself."""
    return max((_alone(problem, i) for i in range(len(problem.touches))), default=0)


def _alone(problem: Problem, node: int) -> int:
    saved = max((problem.sizes[b] for _, b in problem.reuse[node]), default=0)
    return sum(problem.sizes[s] for s in problem.touches[node]) + problem.work[node] - saved


def depth_first(problem: Problem) -> tuple[int, ...]:
    """The order of Sethi and Ullman (1970) with sizes: the operand whose computation leaves most behind for its own
    size comes first. The best depth-first order where the graph is a tree."""
    n = len(problem.touches)
    made = _made(problem)
    need = [0] * n
    operands: list[list[int]] = [[] for _ in range(n)]
    for i in range(n):
        operands[i] = sorted(problem.before[i], key=lambda p: made[p] - need[p])
        held = 0
        for p in operands[i]:
            need[i] = max(need[i], held + need[p])
            held += made[p]
        need[i] = max(need[i], _alone(problem, i))
    return _postorder(problem, operands, need)


def _made(problem: Problem) -> list[int]:
    """Bytes that each node leaves behind."""
    seen: set[int] = set()
    made = []
    for touched in problem.touches:
        new = [s for s in touched if s not in seen]
        seen.update(new)
        made.append(sum(problem.sizes[s] for s in new))
    return made


def _postorder(problem: Problem, operands: Sequence[Sequence[int]], need: Sequence[int]) -> tuple[int, ...]:
    """Each node right after its operands; the ends of the graph as they come."""
    n = len(operands)
    read = {p for before in problem.before for p in before}
    order: dict[int, None] = {}
    for end in (i for i in range(n) if i not in read):
        stack = [(end, iter(operands[end]))]
        while stack:
            node, rest = stack[-1]
            following = next((p for p in rest if p not in order), None)
            if following is None:
                order[node] = None
                stack.pop()
            else:
                stack.append((following, iter(operands[following])))
    return tuple(order)


@dataclass(eq=False)
class _State:
    """A set of nodes that have run, and the order with the lowest peak in which they can."""

    done: int
    live: int
    peak: int
    node: int
    parent: _State | None
    ready: tuple[int, ...] = ()
    """The nodes that can run next; known once the state is looked at."""


class _Search:
    """The sets of one problem; sets of nodes are numbers, a bit a node."""

    def __init__(self, problem: Problem, limit: int) -> None:
        self.problem, self.limit = problem, limit
        n = len(problem.touches)
        self.before = [_bits(b) for b in problem.before]
        self.after: list[list[int]] = [[] for _ in range(n)]
        for i, before in enumerate(problem.before):
            for p in before:
                self.after[p].append(i)
        users: list[list[int]] = [[] for _ in problem.sizes]
        for i, touched in enumerate(problem.touches):
            for s in touched:
                users[s].append(i)
        self.users = [_bits(u) for u in users]
        self.whole = True
        """Nothing was left out."""

    def step(self, state: _State, node: int) -> tuple[int, int]:
        """Bytes while a node runs after a state, and afterwards."""
        sizes, done = self.problem.sizes, state.done
        after = done | 1 << node
        live = state.live
        freed = 0
        for s in self.problem.touches[node]:
            users = self.users[s]
            if not users & done:
                live += sizes[s]
            if users & after == users:
                freed += sizes[s]
        saved = 0
        for a, b in self.problem.reuse[node]:
            if self.users[a] & after == self.users[a] and not self.users[b] & done:
                saved = max(saved, sizes[b])
        return live + self.problem.work[node] - saved, live - freed

    def following(self, state: _State) -> list[_State]:
        """The states that come next. A node that neither needs more than the peak so far nor leaves more bytes behind
        runs at once: any order in which it came later can be changed to this one without a higher peak."""
        if state.parent is not None:
            state.ready = self.ready(state, state.parent)
        ready = state.ready
        if len(ready) > READY:
            ready, self.whole = ready[-READY:], False
        found = []
        for node in reversed(ready):
            during, live = self.step(state, node)
            if during >= self.limit:
                continue
            follower = _State(state.done | 1 << node, live, max(state.peak, during), node, state)
            if during <= state.peak and live <= state.live:
                return [follower]
            found.append(follower)
        return found

    def ready(self, state: _State, parent: _State) -> tuple[int, ...]:
        """The nodes that can run after a state, the ones that became ready last at the end."""
        done, node = state.done, state.node
        new = [i for i in self.after[node] if self.before[i] & done == self.before[i]]
        at = parent.ready.index(node)
        return (*parent.ready[:at], *parent.ready[at + 1 :], *new)


def _bits(nodes: Sequence[int]) -> int:
    found = 0
    for i in nodes:
        found |= 1 << i
    return found


def search(problem: Problem, limit: int, choices: int) -> Order:
    """The order with the lowest peak below ``limit``; one of no nodes where none is found, exact where there is none.

    choices: transitions looked at for each node that runs.
    """
    work = _Search(problem, limit)
    n = len(problem.touches)
    first = tuple(i for i in range(n) if not problem.before[i])
    states = [_State(0, 0, needed(problem), -1, None, first)]
    for _ in range(n):
        best: dict[int, _State] = {}
        for state in _kept(states, choices, work):
            for follower in work.following(state):
                known = best.get(follower.done)
                if known is None or follower.peak < known.peak:
                    best[follower.done] = follower
        states = list(best.values())
        if not states:
            return Order((), 0, work.whole, "")
    method = "dynamic programming" if work.whole else "beam search"
    return Order(_path(states[0]), states[0].peak, work.whole, method)


def _kept(states: list[_State], choices: int, work: _Search) -> list[_State]:
    """As many states, the best ones, as the transitions out of them allow."""
    widths = [min(len(s.parent.ready), READY) if s.parent else 1 for s in states]
    if sum(widths) <= choices or len(states) == 1:
        return states
    work.whole = False
    states.sort(key=lambda s: (s.peak, s.live))
    return states[: max(1, choices * len(states) // sum(widths))]


def _path(state: _State) -> tuple[int, ...]:
    nodes = []
    at: _State | None = state
    while at is not None and at.parent is not None:
        nodes.append(at.node)
        at = at.parent
    return tuple(reversed(nodes))
