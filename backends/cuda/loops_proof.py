"""The proof that turns of a loop do not depend on each other, from its source: what of it threads may share out.

A loop is a row of stages: a loop that stores into arrays, or a statement that does. The statements between them, which
every thread may run for itself, compute numbers. Turns of a stage's loop are independent if

- each place that a turn stores into tells by itself, through the same division and remainder for all accesses to that
  array, which turn it belongs to (``loops_terms.extractions``), and
- no name carries a value from one turn to another, unless it grows by the same number in each.

Where places tell an element of an array of integers that belongs to the turn, a key (``y[ids[i]] += x[i]``), turns of
different keys are independent, and one thread runs those of a key, in order. Where the outer loop of a nest fails, an
inner one may hold: then a thread runs the outer loop's turns in order.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, product

from graphc.backends.cuda.loops_expressions import Size, Split, Touch, Undecided
from graphc.backends.cuda.loops_flat import Flat, Refusal, fixed_arrays, stores_in
from graphc.backends.cuda.loops_known import Atom, Known
from graphc.backends.cuda.loops_replay import replay_of
from graphc.backends.cuda.loops_rewrite import Body
from graphc.backends.cuda.loops_scan import around, contains, exposed, has_effect, leaves, nest_of, way_to
from graphc.backends.cuda.loops_split import split
from graphc.backends.cuda.loops_terms import ZERO, Extraction, Poly, at_least, extractions
from graphc.backends.cuda.loops_walk import Walk, assigned, is_error, is_zero

CASES = 200
"""So many combinations of tests are tried."""
CASES_OF_SIZES = 32
"""So many where sizes, which decide most tests, are known."""


@dataclass
class Stage:
    """What one launch does. node: a loop, or a statement that one thread runs.

    levels: the loops of the nest, the outermost first. shared: which of them threads share out. growing: names that
    grow by the same number in each turn of the outermost, and the number. fails: it may end in an error. covers: arrays
    of which each turn of all levels stores one element that no other does. arrays: that it touches.
    picked: those of which elements choose the elements.
    before: arrays of which each thread reads elements one after another before it begins. replay: what a thread runs of
    each turn of the outermost loop before its own. key: the array whose elements are keys of that loop's turns.
    """

    node: ast.stmt
    levels: list[ast.For] = field(default_factory=list)
    shared: tuple[int, ...] = ()
    growing: dict[str, ast.expr] = field(default_factory=dict)
    fails: bool = False
    covers: set[str] = field(default_factory=set)
    arrays: set[str] = field(default_factory=set)
    picked: set[str] = field(default_factory=set)
    before: set[str] = field(default_factory=set)
    replay: Body = field(default_factory=list)
    key: str = ""

    @property
    def text(self) -> str:
        """What threads share out, for people."""
        heads = [f"for {ast.unparse(s.target)} in {ast.unparse(s.iter)}" for s in self.levels]
        if not self.shared:
            return f"one thread: {ast.unparse(self.node).splitlines()[0]}"
        ordered = [h for k, h in enumerate(heads) if k not in self.shared]
        each = f"each key in {self.key} and " if self.key else "each turn of "
        text = f"a thread for {each}" + ", ".join(heads[k] for k in self.shared)
        return text + (f"; in each, in order: {', '.join(ordered)}" if ordered else "")


def prove(
    flat: Flat,
    numbers: Mapping[str, bool],
    keys: Collection[str] = (),
    sizes: Mapping[str, Size] | None = None,
    positive: Collection[str] = (),
) -> list[Stage]:
    """The stages of a loop, in order. numbers: its parameters that are no arrays -> they are integers.

    keys: the arrays of integers, whose elements may be keys. sizes: shapes of arrays and numbers for which the proof is
    to hold; none: for all. positive: of the other parameters those numbers that are 1 or more, and those arrays that
    have elements; of the rest it holds for any.

    Raises ``Refusal`` with the reason why threads cannot share out the loop.
    """
    stages = _stages(flat.body)
    stages += _ends(flat.body, [s.node for s in stages])
    if not stages:
        raise Refusal("it stores nothing")
    k = 0
    while k < len(stages):
        try:
            _prove_stage(_Given(flat, numbers, keys, sizes or {}, positive), stages[:k], stages[k])
            k += 1
        except Refusal:
            node = stages[k].node
            parts = split(node) if isinstance(node, ast.For) else []
            if len(parts) < 2:
                raise
            body, at = way_to(flat.body, node)[-1]
            assert isinstance(body, list)
            body[at : at + 1] = parts
            stages[k : k + 1] = [Stage(part, nest_of(part)) for part in parts]
    return stages


def _stages(body: Sequence[ast.stmt]) -> list[Stage]:
    found: list[Stage] = []
    for k, s in enumerate(body):
        if isinstance(s, ast.For) and has_effect(s) and not _only_looks(s, body[k + 1 :]):
            found.append(Stage(s) if _short(s) else Stage(s, nest_of(s)))
        elif isinstance(s, ast.While) and has_effect(s):
            raise Refusal(f"'while {ast.unparse(s.test)}' stores")
        elif isinstance(s, ast.If):
            found += _stages(s.body) + _stages(s.orelse)
        elif stores_in(s):
            found.append(Stage(s))
    return found


def _ends(body: Body, nodes: Sequence[ast.stmt]) -> list[Stage]:
    """A stage of what stands after the last one, if it may return the number of an error; put together, in place."""
    last = max((k for k, s in enumerate(body) if any(contains(s, n) for n in nodes)), default=-1)
    found: list[Stage] = []
    if last >= 0 and isinstance(body[last], ast.If):
        for part in ("body", "orelse"):
            found += _ends(getattr(body[last], part), nodes)
    rest = body[last + 1 :]
    returns = [n for s in rest for n in ast.walk(s) if isinstance(n, ast.Return)]
    if any(n.value is not None and not is_zero(n.value) for n in returns):
        body[last + 1 :] = [ast.If(ast.Constant(True), rest, [])]
        found.append(Stage(body[-1]))
    return found


def _only_looks(loop: ast.For, rest: Sequence[ast.stmt]) -> bool:
    """A loop that stores nothing, but carries or leaves numbers: each thread runs it for itself."""
    names = set(assigned([loop]))
    carried = exposed(loop.body) & names - {ast.unparse(loop.target)}
    return not stores_in(loop) and bool(carried or exposed(rest) & names)


def _short(loop: ast.For) -> bool:
    """A loop over dimensions: so few turns that one thread may run them."""
    loops = [n for n in ast.walk(loop) if isinstance(n, (ast.For, ast.While))]
    return all(isinstance(n, ast.For) and _of_rank(n.iter) for n in loops)


def _of_rank(node: ast.expr) -> bool:
    assert isinstance(node, ast.Call)
    names = {n.id for a in node.args for n in ast.walk(a) if isinstance(n, ast.Name)}
    calls = [n for a in node.args for n in ast.walk(a) if isinstance(n, ast.Call)]
    of_shape = [n for n in calls if ast.unparse(n.func) == "len" and "shape" in ast.unparse(n.args[0])]
    return bool(of_shape) and len(calls) == len(of_shape) and len(names) == 1 + len({ast.unparse(n) for n in of_shape})


# ---- a stage --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Given:
    """The arguments of ``prove``."""

    flat: Flat
    numbers: Mapping[str, bool]
    keys: Collection[str]
    sizes: Mapping[str, Size]
    positive: Collection[str]


def _prove_stage(given: _Given, before: Sequence[Stage], stage: Stage) -> None:
    flat = given.flat
    stage.fails = any(isinstance(n, ast.Return) for n in ast.walk(stage.node))
    trial = _Trial(given, before, stage)
    if isinstance(stage.node, ast.For):
        _check_returns(stage)
    if not stage.levels:
        trial.hold(())
        _refuse_live(flat, stage.node, assigned([stage.node]))
        return
    reason = ""
    for size in range(len(stage.levels), 0, -1):
        for shared, keyed in product(combinations(range(len(stage.levels)), size), (False, True)):
            try:
                stage.growing = _check_names(flat, stage, shared)
                trial.hold(shared, keyed)
            except Refusal as refusal:
                reason = str(refusal) if shared == (0,) and not keyed else reason
                continue
            stage.shared = shared
            return
    raise Refusal(reason)


def _check_names(flat: Flat, stage: Stage, shared: Sequence[int]) -> dict[str, ast.expr]:
    """The growing names, where nothing else is carried between the turns that are shared out; else ``Refusal``."""
    growing: dict[str, ast.expr] = {}
    stage.replay = []
    for level in shared:
        loop = stage.levels[level]
        head = f"for {ast.unparse(loop.target)} in {ast.unparse(loop.iter)}"
        if leaves(loop, ast.Break):
            raise Refusal(f"a break ends '{head}'")
        names = set(assigned([loop]))
        carried = exposed(loop.body) & (names - {ast.unparse(loop.target)})
        steps = {name: _step_of(name, loop, stage) if level == 0 else None for name in sorted(carried)}
        growing |= {name: step for name, step in steps.items() if step is not None}
        others = [name for name, step in steps.items() if step is None]
        replay = replay_of(loop, others, [*growing]) if others and level == 0 else None
        if others and replay is None:
            name = others[0].rpartition("_")[0] or others[0]
            raise Refusal(f"'{name}' carries a value from turn to turn of '{head}'")
        stage.replay += replay or []
        for outer in stage.levels[:level]:
            rest = around(outer, stage.levels[stage.levels.index(outer) + 1])
            for name in sorted(exposed(rest) & names):
                raise Refusal(f"'{name.rpartition('_')[0] or name}' leaves '{head}'")
        _refuse_live(flat, stage.node, sorted(names))
    return growing


def _check_returns(stage: Stage) -> None:
    for node in ast.walk(stage.node):
        if isinstance(node, ast.Return) and not is_error(node):
            raise Refusal("it returns from the midst of a loop")


def _step_of(name: str, loop: ast.For, stage: Stage) -> ast.expr | None:
    """By what a name grows in each turn; None where it does something else."""
    changes = [s for s in loop.body if isinstance(s, ast.AugAssign) and ast.unparse(s.target) == name]
    stores = [n for n in ast.walk(loop) if isinstance(n, ast.Name) and n.id == name and isinstance(n.ctx, ast.Store)]
    if len(changes) != 1 or len(stores) != 1 or not isinstance(changes[0].op, ast.Add) or leaves(loop, ast.Continue):
        return None
    step, changed = changes[0].value, set(assigned([stage.node]))
    fixed = all(
        isinstance(n, (ast.Name, ast.Constant, ast.expr_context, ast.BinOp, ast.operator)) for n in ast.walk(step)
    )
    return step if fixed and not changed & {n.id for n in ast.walk(step) if isinstance(n, ast.Name)} else None


def _refuse_live(flat: Flat, node: ast.stmt, names: Sequence[str]) -> None:
    """Names of a stage may not be read by what follows."""
    for body, k in way_to(flat.body, node):
        for name in sorted(exposed(body[k + 1 :]) & set(names)):
            raise Refusal(f"'{name.rpartition('_')[0] or name}' leaves a loop that threads share out")


@dataclass
class _Trial:
    """Evaluations of a stage, after what comes before it, for all combinations of tests that matter."""

    given: _Given
    before: Sequence[Stage]
    stage: Stage
    covers: set[str] | None = None
    keyed: bool = False

    @property
    def flat(self) -> Flat:
        """The loop."""
        return self.given.flat

    @property
    def keys(self) -> frozenset[str]:
        """Arrays whose elements may be keys."""
        return frozenset(self.given.keys) & fixed_arrays(self.flat)

    def hold(self, shared: tuple[int, ...], keyed: bool = False) -> None:
        """Raise ``Refusal`` unless the turns of these levels are independent, those of the outermost by their keys."""
        self.covers, self.keyed, self.stage.key = None, keyed, ""
        if keyed and not (self.keys and 0 in shared and not self.stage.growing and not self.stage.replay):
            raise Refusal("its turns have no keys")
        try:
            self._case(shared, {}, careful=False)
        except Refusal:
            self.covers, self.stage.key = None, ""
            self._cases(shared, {}, [0])
        self.stage.covers = (self.covers or set()) if self._certain() else set()

    def _certain(self) -> bool:
        """The stage runs whenever the loop does not fail."""
        (body, k), *inner = way_to(self.flat.body, self.stage.node)
        returns = [n for s in body[:k] for n in ast.walk(s) if isinstance(n, ast.Return)]
        return not inner and all(map(is_error, returns))

    def _cases(self, shared: tuple[int, ...], decided: dict[str, bool], count: list[int]) -> None:
        count[0] += 1
        if count[0] > (CASES_OF_SIZES if self.given.sizes else CASES):
            raise Refusal("too many conditions decide where it stores")
        try:
            self._case(shared, decided, careful=True)
        except Undecided as test:
            for choice in (False, True):
                self._cases(shared, {**decided, str(test): choice}, count)

    def _case(self, shared: tuple[int, ...], decided: dict[str, bool], careful: bool) -> None:
        chains: dict[str, list[Poly]] = {}
        atoms: dict[str, Atom] = {}
        given = self.given
        for _ in range(12):
            walk = Walk(
                self.flat,
                given.numbers,
                decided,
                chains,
                careful,
                atoms,
                fixed=fixed_arrays(self.flat),
                sizes=given.sizes,
                positive=given.positive,
                integers=given.keys,
            )
            try:
                if self._lead(walk, self.flat.body):
                    self._check(walk, self._turns(walk, shared))
                return
            except Split as split:
                _refine(chains, *split.args)
        raise Refusal("its turns are numbered in too many ways")

    def _lead(self, walk: Walk, body: Sequence[ast.stmt]) -> bool:
        """Evaluate what comes before the stage; False where it is not reached."""
        others = [s.node for s in self.before]
        for s in body:
            if s is self.stage.node:
                return True
            if contains(s, self.stage.node):
                assert isinstance(s, ast.If)
                test = walk.number(s.test)
                known = walk.known(test)
                inside = any(contains(t, self.stage.node) for t in s.body)
                if known is not None and known is not inside:
                    return False
                walk.learn(test, inside)
                return self._lead(walk, s.body if inside else s.orelse)
            self._uniform(walk, s, others)
            if not walk.reached:
                return False
        return False

    def _uniform(self, walk: Walk, s: ast.stmt, others: Sequence[ast.stmt]) -> None:
        """Evaluate a statement that all threads run; stages in it only change what is known."""
        if any(contains(s, other) for other in others):
            self._refuse_stale(walk, s)
            if isinstance(s, ast.If):
                known = walk.known(walk.number(s.test))
                for body, holds in ((s.body, True), (s.orelse, False)):
                    if known in (None, holds):
                        self._branch(walk, body, others, known is None)
                if known is not None:
                    return
            walk.forget([s])
            return
        at = len(walk.touches)
        walk.reached = walk.run([s]) and walk.reached
        for touch in walk.touches[at:]:
            if isinstance(s, ast.While):
                raise Refusal(f"'while {ast.unparse(s.test)}' runs before anything is shared out")
            if touch.loops or touch.part is None:
                self.stage.before.add(touch.array)

    def _branch(self, walk: Walk, body: Sequence[ast.stmt], others: Sequence[ast.stmt], maybe: bool) -> None:
        """Evaluate the statements of a branch that all threads may run."""
        reached = walk.reached
        with walk.may_skip(maybe):
            for s in body:
                self._uniform(walk, s, others)
        walk.reached = walk.reached or (maybe and reached)

    def _refuse_stale(self, walk: Walk, s: ast.stmt) -> None:
        """What was read before must not be stored: the kernels of later stages read it again."""
        read = {t.array for t in walk.touches}
        for n in ast.walk(s):
            if isinstance(n, ast.Subscript) and isinstance(n.ctx, ast.Store):
                base = walk.array_of(n)
                if base in read:
                    raise Refusal(f"{base} is read before a stage stores into it")

    def _turns(self, walk: Walk, shared: Sequence[int]) -> list[str]:
        """Evaluate one turn of all levels; the variables of the shared ones."""
        self._refuse_stale(walk, self.stage.node)
        walk.touches.clear()
        walk.turning = True
        if not self.stage.levels:
            walk.run([self.stage.node])
            for touch in walk.touches:
                if touch.part is None:
                    self.stage.before.add(touch.array)
            return []
        starts = {n: walk.names.get(n) for n in self.stage.growing}
        walk.forget([self.stage.node])
        variables: list[str] = []
        self._level(walk, 0, shared, variables, starts)
        return variables

    def _level(
        self, walk: Walk, k: int, shared: Sequence[int], variables: list[str], starts: Mapping[str, object]
    ) -> None:
        loop = self.stage.levels[k]
        assert isinstance(loop.target, ast.Name)
        first, count = walk.bounds_of(loop)
        step = walk.step_of(loop)
        if k in shared and step.value is None:
            raise Refusal(f"'for {loop.target.id} in {ast.unparse(loop.iter)}' has a step that varies")
        for p in (step, count if count is not None else first):
            if k in shared and (not walk.is_same(p) or walk.has_data(p)):
                raise Refusal(f"how often 'for {loop.target.id} in {ast.unparse(loop.iter)}' turns depends on elements")
        if count == ZERO:
            walk.turned = False
            return
        variable = f"{loop.target.id}@{k}"
        turn = walk.start(variable, False, count)
        walk.names[loop.target.id] = first + turn * step
        for name, value in starts.items():
            if isinstance(value, Poly):
                walk.names[name] = value + turn * walk.number(self.stage.growing[name])
        if k in shared:
            variables.append(variable)
        with walk.inside(variable):
            if k + 1 == len(self.stage.levels):
                walk.run(loop.body)
                return
            inner = self.stage.levels[k + 1]
            at = loop.body.index(inner)
            with walk.may_skip(not walk.run(loop.body[:at]) or walk.leaving(loop.body[:at])):
                self._level(walk, k + 1, shared, variables, {})
            walk.run(loop.body[at + 1 :])

    def _check(self, walk: Walk, variables: Sequence[str]) -> None:
        wanted = [d for v in variables for d in walk.digits_of(v)] if walk.touches else []
        stored = {t.array for t in walk.touches if t.store}
        for array in sorted(stored):
            if array not in self.flat.params:
                raise Refusal(f"it stores into {array}, which is no array of its own")
            touches = [t for t in walk.touches if t.array == array]
            try:
                _require_apart(walk, touches, wanted)
            except Refusal:
                if not self.keyed or not self._apart_by_key(walk, touches, wanted):
                    raise
        self.stage.arrays |= {t.array for t in walk.touches}
        self.stage.picked |= {t.array for t in walk.touches if t.part and any(map(walk.has_data, t.part.indices))}
        if walk.turned:  # where nothing turns, there is nothing to cover
            self.covers = self._covered(walk) if self.covers is None else self.covers & self._covered(walk)

    def _apart_by_key(self, walk: Walk, touches: Sequence[Touch], wanted: Sequence[str]) -> bool:
        """The touched places tell the key of the turn of the outermost loop, and the turns of the other loops."""
        outermost = [d for d in wanted if d.partition(".")[0].endswith("@0")]
        others = [d for d in wanted if d not in outermost]
        for atom, part in walk.elements.items():
            turn = outermost[0] if len(outermost) == 1 else ""
            mine = part.array in self.keys and part.indices == (Poly.atom(turn),)
            if not mine or self.stage.key not in ("", part.array):
                continue
            try:
                _require_apart(walk, touches, [atom, *others])
            except Refusal:
                continue
            self.stage.key = part.array
            return True
        return False

    def _covered(self, walk: Walk) -> set[str]:
        """Arrays of which each turn of all levels stores another element, always, and reads none."""
        levels = tuple(f"{s.target.id}@{k}" for k, s in enumerate(self.stage.levels) if isinstance(s.target, ast.Name))
        if not all(v in walk.chains for v in levels):
            return set()
        wanted = [d for v in levels for d in walk.digits_of(v)]
        found = set()
        for t in walk.touches:
            if t.store and t.always and t.loops == levels and all(_ways(walk, t, wanted).get(w) for w in wanted):
                found.add(t.array)
        return found - {t.array for t in walk.touches if not t.store}


def _require_apart(walk: Walk, touches: Sequence[Touch], wanted: Sequence[str]) -> None:
    """Raise ``Refusal`` unless the places of accesses to an array tell each of these digits, all in the same way."""
    ways: dict[str, set[tuple[object, ...]]] | None = None
    for touch in touches:
        found = _ways(walk, touch, wanted)
        missing = [w for w in wanted if not found.get(w)]
        if missing:
            raise Refusal(_overlap(touch, missing[0]))
        ways = found if ways is None else {w: ways[w] & found[w] for w in wanted}
        if any(not ways[w] for w in wanted):
            raise Refusal(f"turns may meet at elements of {touch.array}")


def _ways(walk: Walk, touch: Touch, wanted: Sequence[str]) -> dict[str, set[tuple[object, ...]]]:
    """Of each digit the ways in which the place of an access tells it."""
    if touch.part is None:
        return {}
    found: dict[str, set[tuple[object, ...]]] = {}
    known = Known(walk.atoms, touch.facts)
    seen = [(axis, form) for axis, index in enumerate(touch.part.indices) for form in {index, walk.folded(index)}]
    for axis, index in seen:
        flat = touch.part.flat and axis + 1 == len(touch.part.indices)
        if not flat and not at_least(index, 0, known.least):
            continue  # a negative one counts from the end
        digits = {a: walk.atoms[a] for a in index.atoms if not walk.atoms[a].same}
        if any(d.kind == "digit" and known.atom(a) is None for a, d in digits.items()):
            continue  # of a division by what may be negative
        ranges = {a: d.range for a, d in digits.items()}
        ranges = {
            a: r if r is not None and walk.is_same(r) and at_least(r, 1, known.least) else None
            for a, r in ranges.items()
        }
        how: Extraction
        for name, how in extractions(index, ranges, [w for w in wanted if w in digits], known.least).items():
            found.setdefault(name, set()).add((axis, flat, *how))
    return found


def _overlap(touch: Touch, variable: str) -> str:
    name = variable.partition("@")[0].rpartition("_")[0]
    if touch.store:
        return f"turns of '{name}' may store the same element of {touch.array}"
    return f"turns of '{name}' may read of {touch.array} what others store"


def _refine(chains: dict[str, list[Poly]], variable: str, divisor: Poly) -> None:
    """See a variable as digits by one more divisor; ``Refusal`` where the divisors are no multiples of each other."""
    chain = [*chains[variable], divisor]
    ordered: list[Poly] = []
    while chain:
        least = [d for d in chain if all(e.over(d) is not None for e in chain)]
        if not least:
            raise Refusal("it divides the number of a turn by numbers that are no multiples of each other")
        ordered.append(least[0])
        chain.remove(least[0])
    chains[variable] = ordered
