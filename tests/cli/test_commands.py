"""The command line, on the digits net of the repository."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

DIGITS = Path(__file__).resolve().parents[2] / "examples" / "digits"
NET, INIT = str(DIGITS / "predict_net.pb"), str(DIGITS / "init_net.pb")


def graphc(*arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own and check its exit code; a traceback is never an answer."""
    done = subprocess.run(
        [sys.executable, "-I", "-m", "graphc", *arguments], capture_output=True, text=True, timeout=300
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == code, done.stderr + done.stdout
    return done


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("plan") / "digits.pkl"
    assert "kernels" in graphc("compile", NET, "--init", INIT, "-o", str(path)).stderr
    return str(path)


def test_compile_tells_facts_as_json(tmp_path: Path) -> None:
    facts = json.loads(graphc("compile", NET, "--init", INIT, "-o", str(tmp_path / "d.pkl"), "--json").stdout)
    assert facts["inputs"] == {"data": "float[1,1,8,8]"}
    assert facts["outputs"] == ["softmax"]
    assert facts["weight_bytes"] > 80_000


def picture_options() -> list[str]:
    return ["--size", "8", "--grey", "--scale", "1/255", "--labels", str(DIGITS / "labels.txt")]


def test_run_on_pictures(plan: str) -> None:
    pictures = [str(DIGITS / f"{d}.png") for d in range(10)]
    found = json.loads(graphc("run", plan, *pictures, *picture_options(), "--json").stdout)
    assert [entry["top"][0]["class"] for entry in found] == list(range(10))
    assert all(len(entry["top"]) == 5 for entry in found)


def test_run_on_arrays(plan: str, tmp_path: Path) -> None:
    with np.load(DIGITS / "test_images.npz") as data:
        images, labels = data["images"], data["labels"]
    batch = (images[:, None] / np.float32(255)).astype(np.float32)
    np.savez(tmp_path / "in.npz", data=batch)
    graphc("run", plan, "--inputs", str(tmp_path / "in.npz"), "--outputs", str(tmp_path / "out.npz"))
    with np.load(tmp_path / "out.npz") as out:
        (scores,) = (out[n] for n in out.files)
    assert (scores.argmax(1) == labels).mean() > 0.97


def test_run_on_random_data(plan: str) -> None:
    assert "float32[1, 10]" in graphc("run", plan, "--random").stdout


def test_dump_of_every_stage(plan: str) -> None:
    for stage in ("imported", "typed", "optimised", "scheduled", "kernels"):
        text = graphc("dump", NET, "--init", INIT, "--stage", stage).stdout
        assert len(text.splitlines()) > 10
    assert "def conv" in graphc("dump", plan, "--stage", "kernels").stdout
    assert "arena" in graphc("dump", plan, "--stage", "scheduled").stdout
    assert graphc("dump", plan, "--format", "svg").stdout.startswith("<svg")
    assert "digraph" in graphc("dump", NET, "--init", INIT, "--format", "dot").stdout
    assert json.loads(graphc("dump", NET, "--init", INIT, "--format", "json").stdout)["nodes"]


def test_dumped_text_is_read_back(tmp_path: Path) -> None:
    first = graphc("dump", NET, "--init", INIT, "--after", "fold_constants").stdout
    (tmp_path / "net.gir").write_text(first)
    assert graphc("dump", str(tmp_path / "net.gir")).stdout == first


def test_check(tmp_path: Path) -> None:
    assert "ready" in graphc("check", NET, "--init", INIT).stdout
    report = json.loads(graphc("check", NET, "--json", code=1).stdout)
    assert not report["ok"]


def test_bench(plan: str) -> None:
    timing = json.loads(graphc("bench", plan, "--seconds", "0.05", "--threads", "1", "--json").stdout)
    assert timing["median"] > 0
    assert len(timing["steps"]) >= 4


def test_catalogues_and_completion() -> None:
    assert "Conv" in graphc("ops").stdout
    assert "stride" in graphc("ops", "Conv").stdout
    assert "fold_batch_norm" in graphc("passes").stdout
    assert "_GRAPHC_COMPLETE" in graphc("completion", "bash").stdout
    assert "graphc compile" in graphc("compile", "--help").stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["compile", "missing.pb", "-o", "x.pkl"], "does not exist"),
        (["compile", NET, "--init", INIT, "--target", "mmx", "-o", "x.pkl"], "unknown target"),
        (["compile", NET, "--init", INIT, "--input", "data", "-o", "x.pkl"], "NAME=DIMS"),
        (["compile", NET, "--init", INIT, "--input", "data=1,3,8,8", "-o", "x.pkl"], "Conv"),
        (["compile", NET, "--init", INIT, "-o", "/no/such/folder/x.pkl"], "cannot write"),
        (["run", NET, "--random"], "not a graphc plan"),
        (["ops", "Convv"], "Conv"),
    ],
)
def test_bad_input_is_told_in_one_paragraph(arguments: list[str], told: str, tmp_path: Path) -> None:
    arguments = [str(tmp_path / a) if a == "x.pkl" else a for a in arguments]
    assert told in graphc(*arguments, code=2).stderr


def test_wrong_arrays_are_told(plan: str, tmp_path: Path) -> None:
    cases = {
        "dtype": {"data": np.zeros((1, 1, 8, 8))},
        "unknown input": {"image": np.zeros((1, 1, 8, 8), np.float32)},
        "dimensions": {"data": np.zeros((8, 8), np.float32)},
        "empty": {"data": np.zeros((0, 1, 8, 8), np.float32)},
        "Conv": {"data": np.zeros((1, 2, 8, 8), np.float32)},
    }
    for told, arrays in cases.items():
        np.savez(tmp_path / "in.npz", **arrays)
        assert told in graphc("run", plan, "--inputs", str(tmp_path / "in.npz"), code=2).stderr
