"""Tuning on an emulated card whose clock prefers a known tile: what is measured, stored, exported, refused."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from emulated_card import EmulatedCard
from one_net import nets, operator, reference

import graphc
from graphc.backends.cuda.cubin import Cubin
from graphc.backends.cuda.kernels import conv_tile, tensor_tile
from graphc.backends.cuda.kernels.tilings import candidates
from graphc.backends.cuda.target import find
from graphc.backends.cuda.tiling import Problem
from graphc.backends.cuda.tuning import Tuning
from graphc.cli.app import graphc as command
from graphc.cli.app import main
from graphc.cuda_code import CudaCode
from graphc.ir.schedule import KernelSpec
from graphc.ir.schedule_text import print_schedule
from graphc.passes import half_rule
from graphc.plan import Plan
from graphc.runtime.card import Launch, Work
from graphc.tuning import alone, layers, shortlist
from graphc.tuning_file import read_tuning

TARGET = "cuda:sm_90a"
RANDOM = np.random.default_rng(8)


def data(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape).astype(np.float32)


X = data(1, 12, 5, 6)
WEIGHTS = {"u": data(12, 12, 3, 3) / 10, "v": data(12, 12, 3, 3) / 10, "w": data(20, 12, 1, 1) / 3, "b": data(12)}
OPS = [
    operator("Conv", "x u b", "c", kernel=3, pad=1),
    operator("Conv", "c v b", "d", kernel=3, pad=1),
    operator("Conv", "d w", "y", kernel=1),
]
"""Two convolutions that differ in nothing but their weights, and another one."""


class ClockedCard(EmulatedCard):
    """A card on which kernels of some specs take a microsecond, all others ten. timed: what was measured, in order."""

    def __init__(self) -> None:
        self.specs: dict[str, KernelSpec] = {}
        self.sources: dict[str, str] = {}
        super().__init__(self.sources.__getitem__, 1 << 28)
        self.fast: Callable[[KernelSpec], bool] = lambda spec: False
        self.timed: list[KernelSpec] = []

    def measure(self, work: Sequence[Work], repeats: int) -> list[float]:
        specs = [self.specs[item.kernel] for item in work if isinstance(item, Launch)]
        self.timed += dict.fromkeys(specs)
        return [sum(1e-6 if self.fast(spec) else 1e-5 for spec in specs)] * repeats


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ClockedCard:
    """The machine's card; kernels need no compiler, and the cache is empty."""
    made = ClockedCard()

    def load(code: CudaCode, specs: Sequence[KernelSpec], progress: object = None) -> None:
        for spec in specs:
            made.specs[spec.name], made.sources[spec.name] = spec, code.source(spec)
            code.objects[spec.name] = Cubin(spec.name, b"\x7fELF", spec.int("threads"), 0, 0, 0, 0).pack()

    monkeypatch.setattr(CudaCode, "load", load)
    monkeypatch.setattr("graphc.cuda_code.NvidiaCard", lambda *given: made)
    monkeypatch.setenv("GRAPHC_CACHE_DIR", str(tmp_path / "cache"))
    return made


def compiled(ops: list[Any] = OPS, **options: Any) -> Plan:
    predict, init = nets(ops, {"x": X}, "y", WEIGHTS)
    graph = graphc.import_model(predict, init, {"x": X})
    return graphc.compile_graph(graph, target=TARGET, prepare=False, **options)


def is_tile(tile: conv_tile.Tile | tensor_tile.TensorTile) -> Callable[[KernelSpec], bool]:
    wanted = {(name, value) for name, value in tile.static().items()}
    return lambda spec: wanted <= set(spec.params) or spec.template.endswith("join")


def chosen(plan: Plan) -> dict[str, str]:
    return {layer.blob: f"{layer.tiling} {'measured' if layer.tuned else 'model'}" for layer in layers(plan)}


OTHER_TILE = conv_tile.Tile(32, 32, 16, 4, 4)
"""Not the model's choice for these sizes."""


def test_the_fastest_tile_is_found_once_for_equal_products(card: ClockedCard) -> None:
    assert not any(str(OTHER_TILE) in tiling for tiling in chosen(compiled()).values())
    assert not card.timed
    card.fast = is_tile(OTHER_TILE)
    plan = compiled(tune=True)
    assert chosen(plan) == dict.fromkeys("cdy", f"{OTHER_TILE}, in 1 measured")
    tuning = graphc.tuning_of(plan)
    assert len(tuning.entries) == 2
    assert (tuning.target, tuning.card) == (TARGET, card.name)
    for found in tuning.entries.values():
        assert (found.seconds, found.model_seconds) == pytest.approx((1e-6, 1e-5))
    windows = [spec for spec in card.timed if spec.template == "conv" and spec.int("kh") == 3]
    assert len(windows) > 2
    (want,) = reference(OPS, {"x": X}, "y", WEIGHTS)
    np.testing.assert_allclose(plan.run({"x": X})["y"], want, rtol=0, atol=3e-6 * np.abs(want).max())


def test_what_was_measured_is_not_measured_again(card: ClockedCard) -> None:
    card.fast = is_tile(OTHER_TILE)
    first = compiled(tune=True)
    card.timed.clear()
    second = compiled(tune=True)
    assert not card.timed
    assert graphc.tuning_of(second) == graphc.tuning_of(first)
    assert graphc.tuning_of(compiled()).entries == {}  # nobody asked


def test_a_command_that_was_ended_goes_on(card: ClockedCard, monkeypatch: pytest.MonkeyPatch) -> None:
    measure = ClockedCard.measure

    def interrupted(self: ClockedCard, work: Sequence[Work], repeats: int) -> list[float]:
        if any(self.specs[item.kernel].int("kh") == 1 for item in work if isinstance(item, Launch)):
            raise KeyboardInterrupt
        return measure(self, work, repeats)

    monkeypatch.setattr(ClockedCard, "measure", interrupted)
    with pytest.raises(KeyboardInterrupt):
        compiled(tune=True)
    monkeypatch.setattr(ClockedCard, "measure", measure)
    card.timed.clear()
    assert len(graphc.tuning_of(compiled(tune=True)).entries) == 2
    assert {spec.int("kh") for spec in card.timed if spec.template == "conv"} == {1}


def test_tilings_have_to_agree(card: ClockedCard) -> None:
    """One that forgets the bias is no faster one."""
    source = card._source

    def forgets(name: str) -> str:
        text = source(name)
        return text.replace("ld_f4(bias, map)", "f4(0.0)") if is_tile(OTHER_TILE)(card.specs[name]) else text

    card._source = forgets
    with pytest.raises(graphc.LoweringError, match=f"'{OTHER_TILE}, in 1' gives other answers than 'float") as error:
        compiled(tune=True)
    assert "report it" in (error.value.help or "")


def test_no_time(card: ClockedCard) -> None:
    plan = compiled(tune=1e-9)
    assert not card.timed
    assert "tuning: 0 products of 2 were measured in time, a model chose for the rest" in plan.graph.notes


def test_exported_and_imported(card: ClockedCard, tmp_path: Path) -> None:
    card.fast = is_tile(OTHER_TILE)
    plan, path = compiled(tune=True), tmp_path / "tuning.json"
    graphc.write_tuning(path, graphc.tuning_of(plan))
    assert Tuning.parse(path.read_text()) == graphc.tuning_of(plan)
    again = compiled(tuning=path)
    assert print_schedule(again.schedules[0]) == print_schedule(plan.schedules[0])
    assert chosen(again) == chosen(plan)
    again.save(tmp_path / "plan.pkl")
    loaded = graphc.load(tmp_path / "plan.pkl")
    assert graphc.tuning_of(loaded) == graphc.tuning_of(plan)
    assert chosen(loaded) == chosen(plan)


HALF_TILE = tensor_tile.TensorTile(32, 32, 16, 16, 8)
LONG = [operator("Conv", "x u b", "c", kernel=3, pad=1), operator("Conv", "c l", "y", kernel=3, pad=1)]


def with_more_channels(patch: pytest.MonkeyPatch) -> None:
    """44 channels between the operators, which are no whole blocks."""
    patch.setitem(WEIGHTS, "u", data(44, 12, 3, 3) / 10)
    patch.setitem(WEIGHTS, "b", data(44))
    patch.setitem(WEIGHTS, "l", data(20, 44, 3, 3) / 20)


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_parts_of_sums_on_tensor_cores(card: ClockedCard, precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With parts for the sizes compiled for, with the model's for others, and after the plan was loaded."""
    with_more_channels(monkeypatch)
    card.fast = lambda spec: is_tile(HALF_TILE)(spec) and spec.template in ("tensor_part", "tensor_join")
    monkeypatch.setattr(tensor_tile, "PARTS", (1, 3))
    monkeypatch.setattr(tensor_tile, "TILES", (tensor_tile.TILES[3], HALF_TILE))
    plan = compiled(LONG, tune=True, precision={"*": precision, "y": precision})
    assert chosen(plan)["y"] == f"{HALF_TILE}, in 3 measured"
    assert {"tensor_part", "tensor_join"} <= {spec.template for spec in plan.kernels}
    for x in (X, np.concatenate([X, X[:, ::-1]])):
        (want,) = reference(LONG, {"x": x}, "y", WEIGHTS)
        tolerance = {"float16": 3e-3, "bfloat16": 2e-2}[precision]
        np.testing.assert_allclose(plan.run({"x": x})["y"], want, rtol=0, atol=tolerance * np.abs(want).max())


@pytest.mark.parametrize(("precision", "kind"), [("float16", "f2"), ("tf32", "tf")])
def test_products_of_computed_matrices(
    precision: str, kind: str, card: ClockedCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """B is transposed, which is another problem than not; four warps together (wgmma) do neither."""
    monkeypatch.setattr(half_rule, "MANY", 0)
    inputs = {"a": data(3, 24, 40), "b": data(3, 56, 40)}
    ops = [operator("BatchMatMul", "a b", "y", trans_b=1)]
    predict, _ = nets(ops, inputs, "y", {})
    graph = graphc.import_model(predict, None, inputs)
    card.fast = is_tile(HALF_TILE)
    plan = graphc.compile_graph(graph, target=TARGET, prepare=False, tune=True, precision={"y": precision})
    assert chosen(plan) == {"y": f"{HALF_TILE}, in 1 measured"}
    (problem,) = graphc.tuning_of(plan).entries
    assert problem.startswith(f"matmul_nt kind={kind} y=f4 pixels=24 maps=56 channels=40 groups=3 ")
    assert {spec.template for spec in card.timed} == {"matmul_tensor"}
    (want,) = reference(ops, inputs, "y", {})
    np.testing.assert_allclose(plan.run(inputs)["y"], want, rtol=0, atol=3e-3 * np.abs(want).max())


def test_products_of_computed_floats(card: ClockedCard) -> None:
    """Tiles by FFMA, and sums in parts, with what follows."""
    inputs = {"a": data(12, 700), "b": data(20, 700), "r": data(12, 20)}
    ops = [operator("MatMul", "a b", "p", trans_b=1), operator("Add", "p r", "y")]
    predict, _ = nets(ops, inputs, "y", {})
    graph = graphc.import_model(predict, None, inputs)
    card.fast = lambda spec: spec.template == "gemm_join" or is_tile(OTHER_TILE)(spec)
    plan = graphc.compile_graph(graph, target=TARGET, prepare=False, tune=True)
    assert chosen(plan)["y"].startswith(str(OTHER_TILE))
    (problem,) = graphc.tuning_of(plan).entries
    assert problem.startswith("gemm_nt kind=f4 y=f4 pixels=20 maps=12 channels=700 groups=1 ")
    assert {spec.template for spec in card.timed} >= {"gemm"}
    (want,) = reference(ops, inputs, "y", {})
    np.testing.assert_allclose(plan.run(inputs)["y"], want, rtol=0, atol=4e-6 * np.abs(want).max())


def test_inputs_of_an_operator_alone_are_whole(card: ClockedCard, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks that are not full of channels are filled by the reorder in front, in memory that is counted."""
    with_more_channels(monkeypatch)
    plan = compiled(LONG, precision={"*": "float16", "y": "float16"})
    assert any(v is not None and v.type.layout.block == 8 for layer in layers(plan) for v in layer.node.operands)
    for layer in layers(plan):
        graph = alone(layer.node, layer.graph)
        assert all(v.type.layout.block == 1 for v in (*graph.inputs, *graph.outputs))
        assert [n.op for n in graph.nodes].count("Conv") == 1
        assert len({v.name for v in graph.inputs}) == len(graph.inputs)


def test_the_shortlist_begins_with_the_models_choice() -> None:
    target = find(TARGET)
    for kind in ("f4", "f2", "u1"):
        problem = Problem("conv", kind, kind, 3136, 64, 64, kernel=(3, 3), cuts=True)
        found = shortlist(problem, target)
        assert found[0] == candidates(problem, target)[0]
        assert 1 < len(found) == len(set(found)) <= 16
        assert max(t.clocks(problem, target) for t in found) <= 2 * found[0].clocks(problem, target)
        assert len({t.tile for t in found}) > 2


def test_problems_print_and_parse() -> None:
    problem = Problem("conv", "f2", "f4", 3136, 64, 64, 2, (3, 5), (2, 1), (8, 8), 1, cuts=True)
    text = "conv kind=f2 y=f4 pixels=3136 maps=64 channels=64 groups=2 kernel=3x5 stride=2x1 blocks=8x8 others=1 cuts=1"
    assert str(problem) == text
    assert Problem.parse(text) == problem
    assert problem.products == 3136 * 64 * 64 * 15 * 2
    for wrong in ("", "conv", text + " more=1", text.replace("3x5", "3"), text.replace("64", "sixty"), text + " "):
        with pytest.raises((ValueError, TypeError)):
            Problem.parse(wrong)


PROBLEM = str(Problem("conv", "f4", "f4", 30, 12, 12, kernel=(3, 3), cuts=True))


def entry(**changes: Any) -> dict[str, Any]:
    return {"tiling": f"{OTHER_TILE}, in 1", "seconds": 1e-6, "model": "a", "model_seconds": 1e-5} | changes


def table(**changes: Any) -> str:
    plain = {"format": "graphc-tuning", "version": 1, "target": TARGET, "card": "a card", "entries": {PROBLEM: entry()}}
    return json.dumps(plain | changes)


REFUSED = [
    (table()[:-20], "is no JSON, or is truncated"),
    ("[1]", "is no table of tilings"),
    (table(version=2), "has version 2, this graphc reads 1"),
    (table(version=10**4000), "has version 10000000000000000000, this"),
    (table().replace('"a card"', "[" * 900 + "]" * 900), "target and card are texts"),
    (table().replace("1e-05", "[" * 900 + "]" * 900), "an entry has two texts and two times"),
    (table().replace("1e-05", "NaN"), "an entry has two texts and two times"),
    (table().replace("1e-05", "1e999"), "an entry has two texts and two times"),
    (table().replace("1e-05", "[" * 10**5), "is no JSON, or is truncated"),
    (table(target="cuda:sm_80"), "was measured for 'cuda:sm_80', the target is 'cuda:sm_90a'"),
    (table(more=1), "it has the keys card, entries, format, more, target, version"),
    (table(entries=[]), "entries an object"),
    (table(entries={PROBLEM: entry(more=1)}), "an entry has tiling, seconds, model, model_seconds"),
    (table(entries={PROBLEM: entry(seconds="1")}), "an entry has two texts and two times"),
    (table(entries={PROBLEM: entry(tiling="float 7x7x7/4x4, in 1")}), "says 'float 7x7x7/4x4, in 1' for 'conv kind=f4"),
    (table(entries={PROBLEM: entry(tiling=f"{HALF_TILE}, in 1")}), "which no kernel of cuda:sm_90a does"),
    (table(entries={"conv kind=f4": entry()}), "which is no problem of a tiling"),
    (table(entries={PROBLEM.replace("pixels=30", f"pixels={10**400}"): entry()}), "which is no problem of"),
    ("\xff", "as text"),
]


@pytest.mark.parametrize(("text", "message"), REFUSED, ids=[m for _, m in REFUSED])
def test_tables_that_are_none(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "tuning.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(graphc.GraphcError) as error:
        compiled(tuning=path)
    assert message in error.value.message
    assert "tuning.json" in error.value.message
    assert error.value.help


def test_damaged_tables_are_refused_or_say_the_same() -> None:
    """One byte after the other lost or changed: an error, or a table whose tilings kernels do."""
    text, target = table(), find(TARGET)
    for at in range(len(text)):
        for other in ("", "0", '"', "-", "x"):
            try:
                found = read_tuning(Tuning.parse(text[:at] + other + text[at + 1 :]), target)
            except graphc.GraphcError:
                continue
            for problem, measured in found.entries.items():
                assert measured.tiling in map(str, candidates(Problem.parse(problem), target))


def test_a_table_that_fits() -> None:
    plan = compiled(tuning=Tuning.parse(table()))
    assert chosen(plan)["c"] == chosen(plan)["d"] == f"{OTHER_TILE}, in 1 measured"
    assert chosen(plan)["y"].endswith("model")


def test_what_cannot_be_asked(tmp_path: Path) -> None:
    predict, init = nets(OPS, {"x": X}, "y", WEIGHTS)
    cases: list[tuple[dict[str, Any], str]] = [
        ({"tune": True, "tuning": Tuning.parse(table())}, "a table of them is given"),
        ({"tune": 0.0}, "tune is 0.0"),
        ({"tuning": 7}, "tuning is a int"),
        ({"tuning": str(tmp_path / "none.json")}, "No such file"),
        ({"tune": True, "target": "native"}, "which has nothing to tune"),
        ({"tuning": Tuning.parse(table()), "target": "native"}, "a table of tilings is of cards"),
    ]
    for options, message in cases:
        with pytest.raises(graphc.GraphcError, match=message):
            graphc.compile(predict, init, **{"inputs": {"x": X.shape}, "target": TARGET} | options)


def test_no_card(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*given: object) -> None:
        raise graphc.RunError("this machine has no NVIDIA driver", "")

    monkeypatch.setattr("graphc.cuda_code.NvidiaCard", none)
    with pytest.raises(graphc.RunError, match="tuning needs a card: this machine has no NVIDIA driver") as error:
        compiled(tune=True)
    assert "--tuning tuning.json" in (error.value.help or "")


def test_a_full_disk(card: ClockedCard, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def full(*given: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(graphc.FileError, match="No space left on device") as error:
            compiled(tune=True)
    assert "free some space" in (error.value.help or "")
    assert not [f for f in tmp_path.rglob("*") if f.is_file()]  # nothing half-written
    monkeypatch.setenv("GRAPHC_CACHE_DIR", "/dev/null/cache")
    with pytest.raises(graphc.FileError, match="cannot make /dev/null/cache"):
        compiled(tune=True)


@pytest.mark.parametrize("name", ["tune", "compile"])
def test_a_place_for_the_result_is_looked_for_before_the_work(
    card: ClockedCard, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for file, net in zip(("predict.pb", "init.pb"), nets(OPS, {"x": X}, "y", WEIGHTS)):
        Path(file).write_bytes(net)
    net = ["predict.pb", "--init", "init.pb", "--input", "x=1,12,5,6", "--target", TARGET]
    asked = ["--tune"] if name == "compile" else []
    monkeypatch.setattr(sys, "argv", ["graphc", name, *net, *asked, "-o", "none/result"])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    assert "cannot write none/result: No such file or directory" in capsys.readouterr().err
    assert not card.timed


def test_an_error_does_not_write_on_the_terminal_what_a_table_says(
    card: ClockedCard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Escape sequences, and halves of a character, which no encoding has."""
    monkeypatch.chdir(tmp_path)
    for file, net in zip(("predict.pb", "init.pb"), nets(OPS, {"x": X}, "y", WEIGHTS)):
        Path(file).write_bytes(net)
    Path("tuning.json").write_text(table(target="\x1b[31mX\ud800"))
    net = ["predict.pb", "--init", "init.pb", "--input", "x=1,12,5,6", "--target", TARGET, "-o", "plan.pkl"]
    monkeypatch.setattr(sys, "argv", ["graphc", "compile", *net, "--tuning", "tuning.json"])
    with pytest.raises(SystemExit):
        main()
    assert "compile with --target \ufffd[31mX\ufffd, or measure" in capsys.readouterr().err


def test_a_damaged_entry_is_measured_again(card: ClockedCard, tmp_path: Path) -> None:
    first = compiled(tune=True)
    files = sorted(tmp_path.rglob("*.json"))
    assert len(files) == 2
    files[0].write_text(files[0].read_text()[:-9])
    card.timed.clear()
    assert graphc.tuning_of(compiled(tune=True)) == graphc.tuning_of(first)
    assert card.timed


def test_commands(card: ClockedCard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, net in zip(("predict.pb", "init.pb"), nets(OPS, {"x": X}, "y", WEIGHTS)):
        Path(name).write_bytes(net)
    card.fast = is_tile(OTHER_TILE)
    net = ["predict.pb", "--init", "init.pb", "--input", "x=1,12,5,6", "--target", TARGET]

    def run(*arguments: str) -> str:
        done = CliRunner().invoke(command, arguments, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    told = run("tune", *net, "-o", "tuning.json")
    assert f"{OTHER_TILE}, in 1" in told
    assert "2 products on card 0 (emulated): 2.0 us, the model's choices 20.0 us: 90 % less" in told
    card.timed.clear()
    run("compile", *net, "--tuning", "tuning.json", "-o", "plan.pkl")
    run("compile", *net, "--tune", "--tune-seconds", "60", "-o", "tuned.pkl")
    assert not card.timed
    shown = run("dump", "plan.pkl", "--stage", "scheduled")
    assert [line.split()[-1] for line in shown.splitlines() if str(OTHER_TILE) in line] == ["measured"] * 3
    assert run("dump", "tuned.pkl", "--stage", "scheduled") == shown
    (plain,) = json.loads(run("dump", "tuned.pkl", "--stage", "scheduled", "--format", "json"))
    tiling = {"tiling": f"{OTHER_TILE}, in 1", "chosen_by": "measured"}
    assert plain["tilings"] == [{"result": blob} | tiling for blob in "cdy"]
    for arguments, message in (
        (["compile", *net, "--tune-seconds", "1", "-o", "p"], "--tune-seconds is for --tune"),
        (["quantize", "predict.pb", "--tune", "-o", "folder"], "are for plans: -o FILE.pkl"),
        (["quantize", "predict.pb", "--tune", "-o", "p.pkl"], "is a CPU, which has nothing to tune"),
        (["quantize", "predict.pb", "--tuning", "init.pb", "--target", TARGET, "-o", "p.pkl"], "init.pb"),
    ):
        done = CliRunner().invoke(command, arguments)
        assert message in done.output or message in str(done.exception)
        assert done.exit_code
