"""Bad input on the command line: exit code 2 and a paragraph with a remedy; 70 for graphc's own defects."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import graphc
from graphc.cli import main
from graphc.cli.app import graphc as group

DIGITS = Path(__file__).resolve().parents[2] / "examples" / "digits"
NET, INIT = str(DIGITS / "predict_net.pb"), str(DIGITS / "init_net.pb")
PICTURE = str(DIGITS / "0.png")
COMPILE = ("compile", NET, "--init", INIT)


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("plan") / "digits.pkl"
    graphc.compile(NET, INIT, threads=1).save(path)
    return str(path)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """``run(arguments...)``: exit code and standard error."""

    def call(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["graphc", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        return code, capsys.readouterr().err

    return call


WRONG = [
    ((*COMPILE, "--input", "data=0,1,8,8"), "has no elements"),
    ((*COMPILE, "--input", "data=99999999999999999,1,8,8"), "would need"),
    ((*COMPILE, "--input", "data=1,1,8"), "op #0 Conv"),
    ((*COMPILE, "--input", "data=1,3,8,8"), "op #0 Conv"),
    ((*COMPILE, "--input", "data=int64:1,1,8,8"), "takes float"),
    ((*COMPILE, "--input", "data=1,1,1,1"), "MaxPool"),
    ((*COMPILE, "--input", "nope=1,1,8,8"), "it reads: data"),
    ((*COMPILE, "--pipeline", ""), "begin the pipeline with infer_types"),
    ((*COMPILE, "--pipeline", "fold_constants"), "begin the pipeline with infer_types"),
    ((*COMPILE, "--keep", "zz"), "no blob 'zz'"),
    ((*COMPILE, "--target", "pdp11"), "known here"),
    (("compile", NET), "give the init net"),
    (("compile", INIT, "--init", NET), "swap the two"),
    (("compile", INIT, "--init", INIT), "is the init net itself"),
]


@pytest.mark.parametrize(("arguments", "text"), WRONG)
def test_compile_says_what_is_wrong(run, tmp_path: Path, arguments: tuple[str, ...], text: str) -> None:
    code, told = run(*arguments, "-o", tmp_path / "x.pkl")
    assert code == 2, told
    assert text in told
    assert "help: " in told


FILES = {
    "empty": b"",
    "pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 123\n",
    "page": b"<!DOCTYPE html><html>404</html>",
    "cut": Path(NET).read_bytes()[:100],
    "noise": bytes(range(256)) * 9,
    "picture": Path(PICTURE).read_bytes(),
}


@pytest.mark.parametrize("kind", FILES)
def test_files_that_are_no_nets(run, tmp_path: Path, kind: str) -> None:
    path = tmp_path / kind
    path.write_bytes(FILES[kind])
    for command in (("compile", path, "-o", tmp_path / "x.pkl"), ("check", path), ("dump", path)):
        code, told = run(*command)
        assert code == 2, told
        assert kind in told
        assert "help: " in told


@pytest.mark.parametrize("kind", FILES)
def test_files_that_are_no_plans(run, tmp_path: Path, kind: str) -> None:
    path = tmp_path / kind
    path.write_bytes(FILES[kind])
    assert run("run", path, "--random")[0] == 2
    assert "not a graphc plan" in run("bench", path)[1]


PICTURES = [
    ((NET, "--grey"), "is not a picture"),
    ((PICTURE,), "input channels"),
    ((PICTURE, "--grey", "--size", "100000"), "100000 x 100000 pixels"),
    ((PICTURE, "--grey", "--size", "1"), "larger than the padded image"),
    ((PICTURE, "--grey", "--mean", "1,2,3"), "mean has 3 values"),
    ((PICTURE, "--grey", "--mean", "a,b"), "list of numbers"),
    ((PICTURE, "--grey", "--mean", "1e999"), "list of numbers"),
    ((PICTURE, "--grey", "--scale", ""), "list of numbers"),
    ((PICTURE, "--grey", "--scale", "1,2"), "one number"),
    ((PICTURE, "--grey", "--labels", "/nowhere"), "does not exist"),
    ((PICTURE, "--grey", "--fetch", "zz"), "blob 'zz'"),
    (("--random", "--threads", "9999"), "not in the range"),
    ((), "give pictures"),
]


@pytest.mark.parametrize(("arguments", "text"), PICTURES)
def test_run_says_what_is_wrong(run, plan: str, arguments: tuple[str, ...], text: str) -> None:
    code, told = run("run", plan, *arguments)
    assert code == 2, told
    assert text in told


IMAGE = np.zeros((1, 1, 8, 8), np.float32)
ARRAYS = [
    ({"nope": IMAGE}, "unknown input 'nope'"),
    ({"data": IMAGE.astype(np.float64)}, "float64"),
    ({"data": IMAGE[0]}, "4 dimensions"),
    ({"data": IMAGE, "more": IMAGE}, "unknown input 'more'"),
    ({"data": np.array([{}], object)}, "plain arrays"),
    ({"data": IMAGE[:0]}, "is empty"),
    ({"data": np.array(["a"])}, "dtype"),
    ({}, "is missing"),
]


@pytest.mark.parametrize(("arrays", "text"), ARRAYS)
def test_arrays_that_do_not_fit(run, plan: str, tmp_path: Path, arrays: dict[str, np.ndarray], text: str) -> None:
    np.savez(tmp_path / "in.npz", **arrays)
    code, told = run("run", plan, "--inputs", tmp_path / "in.npz")
    assert code == 2, told
    assert text in told


def test_few_labels_are_told(run, plan: str, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("zero\n")
    code, told = run("run", plan, PICTURE, "--grey", "--labels", tmp_path / "labels.txt")
    assert code == 0
    assert "1 labels for 10 classes" in told


@pytest.mark.parametrize("place", ["missing/x.pkl", "."])
def test_places_that_cannot_be_written(run, plan: str, tmp_path: Path, place: str) -> None:
    for command in ((*COMPILE, "-o"), ("run", plan, "--random", "--outputs"), ("dump", NET, "-o")):
        assert run(*command, tmp_path / place)[0] == 2


def test_an_internal_error_is_one_paragraph(run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(context: object) -> None:
        raise AssertionError("two\nlines")

    monkeypatch.setattr(group.commands["ops"], "invoke", broken)
    code, told = run("ops")
    assert code == 70
    assert "defect of graphc" in told
    assert "AssertionError: two lines" in told
    assert "Traceback" not in told
    monkeypatch.setenv("GRAPHC_TRACEBACK", "1")
    assert "Traceback" in run("ops")[1]


def test_check_lists_all_that_is_missing(run, shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = shared / "models" / "without_weights"
    nets = {
        "char_lstm/lstm_predict_net.pbtxt": "RecurrentNetwork has no kernel",
        "char_lstm/lstm_init_net.pbtxt": "Load",
    }
    for net, text in nets.items():
        with pytest.raises(SystemExit) as stop:
            group(["check", str(folder / net)], standalone_mode=False)
        assert stop.value.code == 1
        assert text in capsys.readouterr().out
