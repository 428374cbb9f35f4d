"""Which loops threads may share out: proofs, and refusals with the reason."""

from __future__ import annotations

import ast
import textwrap
from dataclasses import dataclass

import pytest

from graphc.backends.cuda.loops_expressions import Size
from graphc.backends.cuda.loops_flat import Refusal, flatten
from graphc.backends.cuda.loops_kernel import DependsOnElements, Outline, turns
from graphc.backends.cuda.loops_known import Atom, Facts, Known
from graphc.backends.cuda.loops_proof import Stage, prove
from graphc.backends.cuda.loops_terms import Poly, extractions


def proved(text: str, numbers: str = "", positive: str = "") -> list[Stage]:
    """The stages of a loop whose parameters of these names are integers; positive: those that are 1 or more."""
    return prove(flatten(textwrap.dedent(text)), dict.fromkeys(numbers.split(), True), positive=positive.split())


def shared(text: str, numbers: str = "", positive: str = "") -> list[list[str]]:
    """Of each stage the variables of the loops that threads share out."""
    return [[s.levels[k].target.id[0] for k in s.shared] for s in proved(text, numbers, positive)]


def test_rows_and_columns() -> None:
    text = """
    def loop(x, y, n):
        for i in range(x.shape[0]):
            for j in range(n):
                y.flat[i * n + j] = x.flat[i * n + j]
    """
    assert shared(text, "n") == [["i", "j"]]
    assert proved(text, "n")[0].covers == {"y"}


def test_an_outer_loop_that_adds_up_runs_in_each_thread() -> None:
    text = """
    def loop(x, y, n):
        for i in range(x.shape[0]):
            for j in range(n):
                y.flat[j] += x.flat[i * n + j]
    """
    assert shared(text, "n") == [["j"]]
    assert proved(text, "n")[0].text == "a thread for each turn of for j_0 in range(n); in each, in order: " + (
        "for i_0 in range(x.shape[0])"
    )


def test_digits_of_a_turn() -> None:
    text = """
    def loop(x, y, n, m):
        for i in range(x.size // n):
            for j in range(n):
                y.flat[i // m * n * m + j * m + i % m] = x.flat[i]
    """
    assert shared(text, "n m", "m") == [["i", "j"]]
    with pytest.raises(Refusal):  # m may be negative, and its rests with it
        proved(text, "n m")


def test_digits_that_overlap_are_refused() -> None:
    text = """
    def loop(x, y, n, m):
        for i in range(x.size):
            y.flat[i // m * n + i % m] = x.flat[i]
    """
    with pytest.raises(Refusal, match="turns of 'i' may store the same element of y"):
        proved(text, "n m")


def test_conditions_on_arguments_are_tried_both_ways() -> None:
    text = """
    def loop(x, y, n, m, last):
        a, b = (n, 1) if last else (1, m)
        for i in range(m):
            for j in range(n):
                y.flat[i * a + j * b] = x.flat[i * a + j * b]
    """
    assert shared(text, "n m last") == [["i", "j"]]


def test_a_name_that_grows_by_the_same_in_each_turn() -> None:
    text = """
    def loop(x, y, width):
        k = 0
        for n in range(x.shape[0]):
            for d in range(width):
                y.flat[2 * k + d] = x.flat[k + d]
                y.flat[2 * k + width + d] = x.flat[k + d]
            k += width
    """
    assert shared(text, "width") == [["n", "d"]]
    assert list(proved(text, "width")[0].growing) == ["k_0"]


def test_a_thread_replays_what_is_carried() -> None:
    text = """
    def loop(lengths, x, y, n):
        total = 0
        for i in range(lengths.shape[0]):
            if lengths[i] < 0:
                return 1
            total += lengths[i]
        if total != x.shape[0]:
            return 2
        k = 0
        for i in range(lengths.shape[0]):
            for j in range(lengths[i]):
                y[i, 0] += x.flat[k]
                k += 1
    """
    (stage,) = proved(text, "n")
    assert [ast.unparse(ast.fix_missing_locations(s)) for s in stage.replay] == [
        "for j_0 in range(lengths[i_0]):\n    k_0 += 1"
    ]
    assert stage.before == {"lengths"}
    assert stage.shared == (0,)


def test_what_returns_an_error_at_the_end_is_a_stage() -> None:
    text = """
    def loop(x, y, n):
        for i in range(x.size):
            y.flat[i] = x.flat[i]
        if y.flat[0] < 0:
            return 1
        return 2 if n > 3 else 0
    """
    stages = proved(text, "n")
    assert len(stages) == 2
    assert stages[1].fails
    assert len(proved(text.replace("return 1", "return 0").replace("2 if n > 3 else 0", "0"), "n")) == 1


def test_indices_that_were_checked() -> None:
    text = """
    def loop(x, ids, y, rows):
        for b in range(x.shape[0]):
            for i in range(ids.size):
                at = ids.flat[i]
                if at < 0 or at >= rows:
                    return 1
                y.flat[b * rows + at] = 1
    """
    (stage,) = proved(text, "rows")
    assert [stage.levels[k].target.id for k in stage.shared] == ["b_0"]
    assert stage.fails


def test_functions_that_store_are_written_out() -> None:
    text = """
    def copy(y, x, back):
        for i in range(x.size):
            if back:
                x.flat[0] = y.flat[i]
            else:
                y.flat[i] = x.flat[i]

    def half(v):
        return v / 2

    def loop(x, y, z):
        copy(y, x, 0)
        for i in range(y.size):
            z.flat[i] = half(y.flat[i])
    """
    assert shared(text) == [["i"], ["i"]]


REFUSED = {
    "'total' carries a value": "total = 0\nfor i in range(x.size):\n    total += y.flat[i]\n    y.flat[i] = total",
    "may store the same element of y": "for i in range(x.size):\n    y.flat[x.flat[i]] = i",
    "may read of y what others store": "for i in range(x.size):\n    y.flat[i] = y.flat[0]",
    "a break ends": "for i in range(x.size):\n    if x.flat[i]:\n        break\n    y.flat[i] = 1",
    "returns from the midst": "for i in range(x.size):\n    if x.flat[i]:\n        return 0\n    y.flat[i] = 1",
    "'while n_0 > 0' stores": "n = 3\nwhile n > 0:\n    y.flat[n] = 1\n    n -= 1",
    "runs before anything": "n = 3\nwhile x.flat[n]:\n    n += 1\nfor i in range(x.size):\n    y.flat[i] = n",
    "turns depends on elements": "for i in range(x.flat[0]):\n    y.flat[i] = 1",
    "'k' leaves a loop": "for i in range(x.size):\n    k = i\n    y.flat[i] = k\ny.flat[0] = k",
    "x is read before a stage": "low = 0\nif x.size > 3:\n    for i in range(x.size):\n        y.flat[i] = i\n    "
    "low = x.flat[0]\nfor i in range(x.size):\n    x.flat[i] = low",
    "y is read before a stage": "n = y.flat[0]\nfor i in range(x.size):\n    y.flat[i] = n",
}


@pytest.mark.parametrize("reason", REFUSED)
def test_refusals_say_why(reason: str) -> None:
    with pytest.raises(Refusal, match=reason):
        proved("def loop(x, y):\n" + textwrap.indent(REFUSED[reason], "    "))


GROWS_SOMETIMES = """
def loop(x, y, n):
    k = 0
    for i in range(x.size):
        for j in range(n):
            y.flat[k + j] = x.flat[i]
        if n > 3:
            continue
        k += n
"""
LEFT_TO_THE_NEXT_ROW = """
def loop(x, y, n):
    k = 0
    for i in range(x.shape[0]):
        t = k
        for j in range(n):
            k = j
            y.flat[j] += t + j
"""


def test_a_name_grows_in_each_turn_or_is_carried() -> None:
    with pytest.raises(Refusal, match="'k' carries a value"):
        proved(GROWS_SOMETIMES, "n")
    assert shared(GROWS_SOMETIMES.replace("continue", "pass"), "n") == [["i", "j"]]


def test_what_an_inner_loop_leaves_to_the_outer_one_is_not_shared_out() -> None:
    """The last turn of the inner loop says it, and one thread alone runs that."""
    with pytest.raises(Refusal):
        proved(LEFT_TO_THE_NEXT_ROW, "n")
    assert shared(LEFT_TO_THE_NEXT_ROW.replace("t = k", "t = i"), "n") == [["j"]]


def test_steps_of_a_loop_are_numbers() -> None:
    """A step that an argument says may be negative, or 0."""
    text = "def loop(x, y, n, m):\n    for i in range(0, n, m):\n        y.flat[i] = x.flat[i]\n"
    with pytest.raises(Refusal, match="has a step that varies"):
        proved(text, "n m", "n m")
    assert shared(text.replace("range(0, n, m)", "range(0, n, 2)"), "n m", "n m") == [["i"]]


STORES = {
    "y.flat[i] = x.flat[i]": {"y"},
    "y.flat[i] += x.flat[i]": set(),
    "t = y.flat[i]; y.flat[i] = t * x.flat[i]": set(),
    "if x.flat[i] > 0: y.flat[i] = 1": set(),
    "if n > 0: y.flat[i] = 1": set(),
    "t = 1 if n > 0 else 2; y.flat[i] = t": {"y"},
}


@pytest.mark.parametrize("body", STORES)
def test_an_array_is_covered_where_each_turn_stores_and_none_reads(body: str) -> None:
    """What was in it before does not count then."""
    (stage,) = proved(f"def loop(x, y, n):\n    for i in range(x.size):\n        {body}\n", "n")
    assert stage.covers == STORES[body]


def test_what_is_a_factor_tells_turns_apart() -> None:
    i, j, n = Poly.atom("i"), Poly.atom("j"), Poly.atom("n")
    digits = {"i": None, "j": n}
    positive = Known({a: Atom(False, True, least=0) for a in "ijn"}, Facts((n,))).least
    assert set(extractions(i * n + j, digits, ["i", "j"], positive)) == {"i", "j"}
    assert set(extractions(i * n + j + j, digits, ["i", "j"], positive)) == set()
    assert set(extractions(i + j * n, digits, ["i", "j"], positive)) == set()
    three = i * Poly.number(3) * n + j + n
    assert set(extractions(three, digits, ["i", "j"], positive)) == {"i", "j"}
    assert set(extractions(three + n + n, digits, ["i"], positive)) == {"i"}
    assert extractions(three + n + n, digits, ["i"], positive) != extractions(three, digits, ["i"], positive)


def test_how_often_loops_turn_follows_from_shapes() -> None:
    text = """
    def loop(x, y, n):
        inner = x.shape[1] * n
        for i in range(x.shape[0]):
            for j in range(inner):
                y.flat[i * inner + j] = 1
    """
    flat = flatten(textwrap.dedent(text))
    stages = prove(flat, {"n": True})
    x, y = Outline((3, 4), 4), Outline((3, 8), 4)
    assert turns(flat, stages, 0, [x, y, 2]) == (3, 8)
    with pytest.raises(DependsOnElements):
        x.flat[0]


KEYED = """
    def loop(ids, x, y, z, n):
        for i in range(ids.size):
            row = int(ids.flat[i])
            for j in range(n):
                y.flat[row * n + j] += x.flat[i * n + j]
                z.flat[i * n + j] = y.flat[row * n + j]
    """


def test_turns_of_a_key_run_in_one_thread() -> None:
    flat = flatten(textwrap.dedent(KEYED))
    (stage,) = prove(flat, {"n": True}, ["ids"])
    assert (stage.shared, stage.key) == ((0, 1), "ids")
    assert stage.text == "a thread for each key in ids and for i_0 in range(ids.size), for j_0 in range(n)"
    (stage,) = prove(flat, {"n": True})  # they are no integers
    assert (stage.shared, stage.key) == ((1,), "")


NO_KEYS = {
    "two keys": "y.flat[ids.flat[i]] += 1\n    z.flat[x.flat[i]] += y.flat[ids.flat[i]]",
    "another element": "y.flat[ids.flat[i - 1]] += x.flat[i]",
    "a key and a neighbour": "y.flat[ids.flat[i]] += y.flat[ids.flat[i] + 1]",
    "a key and the turn": "y.flat[ids.flat[i]] += 1\n    y.flat[i] += 1",
    "a key that changes": "ids.flat[i] += 1\n    y.flat[ids.flat[i]] += 1",
    "half a key": "y.flat[ids.flat[i] // 2] += 1",
    "a carried name": "y.flat[ids.flat[i]] = total\n    total += x.flat[i]",
}


@pytest.mark.parametrize("name", NO_KEYS)
def test_what_is_no_key(name: str) -> None:
    text = f"def loop(ids, x, y, z):\n  total = 0\n  for i in range(ids.size):\n    {NO_KEYS[name]}"
    with pytest.raises(Refusal):
        prove(flatten(text), {}, ["ids", "x"])


def test_a_look_for_wrong_elements_is_shared_out() -> None:
    text = """
    def outside(ids, rows):
        for i in range(ids.size):
            if ids.flat[i] < 0 or ids.flat[i] >= rows:
                return 1
        return 0

    def count(ids, rows):
        found = 0
        for i in range(ids.size):
            if ids.flat[i] >= rows:
                found += 1
        return found

    def loop(ids, x, y):
        if outside(ids, x.size):
            return 1
        if count(ids, y.size):
            return 2
        for i in range(y.size):
            y.flat[i] = x.flat[i]
        return 0
    """
    stages = proved(text)
    assert shared(text) == [["i"], ["i"], ["i"]]
    assert [s.fails for s in stages] == [True, True, False]
    assert not any(s.before for s in stages)  # no thread looks at all ids


def test_what_a_function_reads_of_a_row_that_changes() -> None:
    text = """
    def total(y, at, n):
        found = 0.0
        for j in range(n):
            found += y.flat[at + j]
        return found

    def loop(x, y, n):
        for i in range(x.size):
            mean = x.flat[i] + total(y, i * n, n)
            for j in range(n):
                y.flat[i * n + j] -= mean
    """
    assert shared(text, "n") == [["i"]]
    with pytest.raises(Refusal, match="may read of y what others store"):
        proved(text.replace("total(y, i * n, n)", "total(y, 0, n)"), "n")


def test_several_names_at_once_are_assigned_one_after_another() -> None:
    text = """
    def loop(x, y, n):
        rate, width = x.flat[0], n
        a, b = 1, 2
        a, b = b, a
        for i in range(y.size // width):
            for j in range(width):
                y.flat[i * width + j] = rate * a
    """
    flat = flatten(textwrap.dedent(text))
    stages = prove(flat, {"n": True})
    assert turns(flat, stages, 0, [Outline((1,), 4), Outline((6,), 4), 2]) == (3, 2)
    swapped = ast.dump(ast.parse("a_0, b_0 = b_0, a_0").body[0])
    assert swapped in [ast.dump(statement) for statement in flat.body]


def test_loops_inside_a_thread_may_turn_as_elements_say() -> None:
    text = """
    def loop(lengths, x, y, n):
        k = 0
        for i in range(lengths.shape[0]):
            for j in range(lengths[i]):
                y.flat[i] += x.flat[k]
                k += 1
    """
    flat = flatten(textwrap.dedent(text))
    stages = prove(flat, {"n": True})
    values = [Outline((3,), 4), Outline((9,), 4), Outline((3,), 4), 2]
    assert turns(flat, stages, 0, values) == (3, None)


def test_a_result_and_sums_over_all_rows_are_loops_of_their_own() -> None:
    text = """
    def loop(x, y, sums, n):
        for i in range(x.size // n):
            total = 0.0
            for j in range(n):
                sums.flat[j] += x.flat[i * n + j]
                total += x.flat[i * n + j]
            for j in range(n):
                y.flat[i * n + j] = x.flat[i * n + j] / total
    """
    first, second = proved(text, "n")
    assert [s.levels[k].target.id for s in (first, second) for k in s.shared] == ["j_0", "i_0"]
    assert "total" not in ast.unparse(ast.fix_missing_locations(first.node))
    assert "sums" not in ast.unparse(ast.fix_missing_locations(second.node))
    with pytest.raises(Refusal):  # what is added up so far is a part of the result
        proved(text.replace("/ total", "/ sums.flat[j]"), "n")


ROWS = """
    def tail(width, n):
        return width - n

    def loop(x, y, n):
        width = y.shape[1]
        for i in range(y.shape[0]):
            for j in range(x.shape[1]):
                y.flat[i * width + j] += x.flat[i * x.shape[1] + j]
            for k in range(n):
                y.flat[i * width + tail(width, n) + k] = k
    """


def test_sizes_at_hand_show_that_rows_keep_apart() -> None:
    with pytest.raises(Refusal, match="of y"):
        proved(ROWS, "n")
    for columns, held in ((4, True), (8, True), (9, False), (12, False)):
        flat, sizes = flatten(textwrap.dedent(ROWS)), {"x": (3, columns), "y": (3, 8), "n": 4}
        if held:
            (stage,) = prove(flat, {"n": True}, sizes=sizes)
            assert stage.shared == (0,)
        else:
            with pytest.raises(Refusal):
                prove(flat, {"n": True}, sizes=sizes)


def test_tests_of_known_sizes_are_decided() -> None:
    text = """
    def loop(x, y, n):
        for i in range(x.size):
            if (y.size == 1 or n < 2) and not n:
                y.flat[0] += x.flat[i]
            else:
                y.flat[i] = x.flat[i]
    """
    sizes = {"x": (6,), "y": (6,), "n": 0}
    assert prove(flatten(textwrap.dedent(text)), {"n": True}, sizes={**sizes, "n": 3})[0].shared == (0,)
    for wrong in ({"y": (1,)}, {"n": 0}):
        with pytest.raises(Refusal):
            prove(flatten(textwrap.dedent(text)), {"n": True}, sizes={**sizes, **wrong})


@dataclass
class Meeting:
    """A loop whose turns meet for some sizes, in which it is refused; near: others of which it is proved for all turns.

    near: sizes, or names of what is positive.
    """

    text: str
    meets: dict[str, Size]
    near: dict[str, Size] | str
    keys: tuple[str, ...] = ()


MEETING = {
    "a distance of 0": Meeting("for i in range(x.size):\n  y.flat[i * n] = x.flat[i]", {"n": 0}, {"n": 3}),
    "a sum at one element": Meeting("for i in range(x.size):\n  y.flat[i * n] += x.flat[i]", {"n": 0}, "n"),
    "a name that does not grow": Meeting(
        "k = 0\nfor i in range(x.size):\n  y.flat[k] = x.flat[i]\n  k += n", {"n": 0}, {"n": 3}
    ),
    "half of 1": Meeting("h = n // 2\nfor i in range(x.size):\n  y.flat[i * h] = x.flat[i]", {"n": 1}, {"n": 3}),
    "a difference": Meeting("for i in range(x.size):\n  y.flat[i * (n - 3)] = x.flat[i]", {"n": 3}, {"n": 5}),
    "an array without elements": Meeting(
        "for i in range(x.size):\n  y.flat[i * z.shape[0]] = x.flat[i]", {"z": (0,)}, {"z": (3,)}
    ),
    "rows that shrink": Meeting(
        "for i in range(x.size):\n  for j in range(n):\n    y.flat[i * (n + m) + j] = x.flat[i]",
        {"n": 4, "m": -1},
        {"n": 3, "m": 0},
    ),
    "rests of what is negative": Meeting(
        "for i in range(x.size):\n  y.flat[i % n + (i // n) * n * n] = x.flat[i]", {"n": -2}, {"n": 3}
    ),
    "an index from the end": Meeting(
        "for i in range(x.shape[0]):\n  y[i - n] = x[i]", {"n": 1, "x": (5,), "y": (4,)}, {"n": 0}
    ),
    "keys times 0": Meeting("for i in range(x.size):\n  y.flat[x.flat[i] * n] += 1", {"n": 0}, {"n": 3}, keys=("x",)),
}


def with_parameters(text: str) -> str:
    """A loop over arrays x, y, z and numbers n, m."""
    return "def loop(x, y, z, n, m):\n" + textwrap.indent(text, "    ")


@pytest.mark.parametrize("name", MEETING)
def test_turns_that_meet_where_a_number_is_not_positive(name: str) -> None:
    case = MEETING[name]
    text, numbers = with_parameters(case.text), {"n": True, "m": True}
    for sizes in ({}, case.meets):  # neither for all sizes nor for those in which turns meet
        try:
            (stage,) = prove(flatten(text), numbers, case.keys, sizes)
        except Refusal:
            continue
        assert 0 not in stage.shared
    near, positive = (case.near, ()) if isinstance(case.near, dict) else ({}, case.near.split())
    (stage,) = prove(flatten(text), numbers, case.keys, near, positive)
    assert 0 in stage.shared


def test_keys_may_not_count_from_the_end() -> None:
    text = "for i in range(x.size):\n  y[x.flat[i]] = 3 * y[x.flat[i]] + 1"
    with pytest.raises(Refusal, match="of y"):
        prove(flatten(with_parameters(text)), {}, ["x"])
    direct = "for i in range(x.size):\n  if x.flat[i] < 0 or x.flat[i] >= n:\n    return 1\n  y[x.flat[i]] += 1"
    (stage,) = prove(flatten(with_parameters(direct)), {"n": True}, ["x"])
    assert stage.key == "x"
    tested = "for i in range(x.size):\n  k = x.flat[i]\n  if k < 0 or k >= n:\n    return 1\n  y[k] = 3 * y[k] + 1"
    (stage,) = prove(flatten(with_parameters(tested)), {"n": True}, ["x"])
    assert stage.key == "x"
    with pytest.raises(Refusal, match="of y"):
        prove(flatten(with_parameters(tested.replace("k < 0", "k < -1"))), {"n": True}, ["x"])


POSITIVE = {
    "an error before": "if n <= 0:\n  return 1\nfor i in range(x.size):\n  y.flat[i * n] = x.flat[i]",
    "a branch around": "if n > 0 and m > 0:\n  for i in range(x.size):\n    y.flat[i * n * m] = x.flat[i]",
    "the other branch": "if n < 1 or not m > 2:\n  return 1\nfor i in range(x.size):\n  y.flat[i * n * (m - 2)] = i",
    "a branch inside": "for i in range(x.size):\n  if 0 < n:\n    y.flat[i * n] = x.flat[i]",
    "at least 1": "k = max(n, 1)\nfor i in range(x.size):\n  y.flat[i * k] = x.flat[i]",
    "one of two": "k = n if n > 0 else 1\nfor i in range(x.size):\n  y.flat[i * k] = x.flat[i]",
    "a loop inside": "for i in range(x.size):\n  for j in range(n):\n    y.flat[i * n] = x.flat[i]",
    "a loop up to a quotient": "for i in range(x.size // n):\n  y.flat[i * n] = x.flat[i]",
    "a loop up to a product": "for i in range(x.size * n):\n  y.flat[i * x.size] = n",
    "a size that divides": "for i in range(x.size):\n  y.flat[i % z.size + i // z.size * z.size * 2] = 1",
    "the array stored into": "for i in range(x.size):\n  y.flat[i * y.shape[1]] = x.flat[i]",
    "sizes with names": "rows, columns = z.shape\nfor i in range(rows):\n  y.flat[i * columns] = z[i, 0]",
    "rows and columns of an array": "for i in range(x.size):\n  y.flat[i * z.shape[1]] = x.flat[i] + z[i, 0]",
    "an array that is read": "for i in range(x.size):\n  y.flat[i * z.shape[1]] = x.flat[i] + z.flat[0]",
}
UNKNOWN = {
    "an error for less": "if n < 0:\n  return 1\nfor i in range(x.size):\n  y.flat[i * n] = x.flat[i]",
    "a branch beside": "for i in range(x.size):\n  if n > 0:\n    z.flat[i] = n\n  y.flat[i * n] = x.flat[i]",
    "one of both": "if n > 0 or m > 0:\n  for i in range(x.size):\n    y.flat[i * n] = x.flat[i]",
    "a loop beside": "for i in range(x.size):\n  for j in range(n):\n    z.flat[i] = 1\n  y.flat[i * n] = x.flat[i]",
    "a loop up to a product of two": "for i in range(n * m):\n  y.flat[i * n] = 1",
    "an array that may be read": "for i in range(x.size):\n  y.flat[i * z.shape[1]] = z.flat[0] if m else 1",
    "a row, which may be empty": "for i in range(x.size):\n  y.flat[i * z.shape[1]] = z[i]",
    "an array read behind a test": "for i in range(x.size):\n  y.flat[i * z.shape[1]] = m > 0 and z.flat[0] > 0",
}


@pytest.mark.parametrize("name", [*POSITIVE, *UNKNOWN])
def test_what_shows_that_a_number_is_positive(name: str) -> None:
    flat, numbers = flatten(with_parameters({**POSITIVE, **UNKNOWN}[name])), {"n": True, "m": True}
    if name in POSITIVE:
        assert 0 in prove(flat, numbers)[-1].shared
    else:
        with pytest.raises(Refusal, match="of y"):
            prove(flat, numbers)
