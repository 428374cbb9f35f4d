"""Plans that were damaged, forged or shared: every field is checked, threads and forks do no harm."""

from __future__ import annotations

import gc
import io
import itertools
import multiprocessing
import os
import pickle
import random
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphc
from graphc.runtime import planfile

DIGITS = Path(__file__).resolve().parents[2] / "examples" / "digits"
NET, INIT = str(DIGITS / "predict_net.pb"), str(DIGITS / "init_net.pb")
BATCHES = [np.random.default_rng(n).standard_normal((n, 1, 8, 8)).astype(np.float32) for n in (1, 2, 3, 5, 9, 17)]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plan") / "digits.pkl"
    graphc.compile(NET, INIT, threads=2).save(path)
    return path


def outcome(path: Path) -> np.ndarray | None:
    """Answer of the plan, None where graphc refuses it with an error of its own."""
    try:
        return graphc.load(path, threads=1).run({"data": BATCHES[0]})["softmax"]
    except graphc.GraphcError:
        return None


def test_damage_anywhere_is_found(path: Path, tmp_path: Path) -> None:
    """A flipped bit or a cut is refused, or it lies in the padding and changes nothing."""
    data, expected, r = path.read_bytes(), outcome(path), random.Random(1)
    for at in [*range(0, len(data), len(data) // 60), *range(0, 200, 9)]:
        flipped = bytearray(data)
        flipped[at] ^= 1 << r.randrange(8)
        for damaged in (bytes(flipped), data[:at]):
            (tmp_path / "damaged.pkl").write_bytes(damaged)
            answer = outcome(tmp_path / "damaged.pkl")
            assert answer is None or np.array_equal(answer, expected)


def forged(data: bytes, change: dict[str, Any], drop: str = "") -> bytes:
    """The plan with fields changed and the checksums made right again."""
    stream = io.BytesIO(data)
    head = pickle.load(stream)
    start = -(-stream.tell() // planfile.ALIGNMENT) * planfile.ALIGNMENT
    body = {k: v for k, v in {**pickle.loads(head["body"]), **change}.items() if k != drop}
    packed = pickle.dumps(body, protocol=4)
    head = pickle.dumps({**head, "digest": planfile._digest(packed), "body": packed}, protocol=4)
    return head + bytes(-len(head) % planfile.ALIGNMENT) + data[start:]


def test_plans_of_other_kernels_are_refused(path: Path, tmp_path: Path) -> None:
    """Another version may take packed weights or a kernel's parameters in another order, and read past their ends."""
    target = tmp_path / "old.pkl"
    for changed in (forged(path.read_bytes(), {"generators": "0" * 32}), forged(path.read_bytes(), {}, "generators")):
        target.write_bytes(changed)
        with pytest.raises(graphc.PlanError, match="another version of graphc"):
            graphc.load(target)


def test_forged_fields_are_errors(path: Path, tmp_path: Path) -> None:
    data = path.read_bytes()
    fields = pickle.loads(pickle.loads(data)["body"])
    target = tmp_path / "forged.pkl"
    for name in fields:
        for value in (None, -1, "", [], "x", 2**70, b"x", {"a": 1}):
            target.write_bytes(forged(data, {name: value}))
            outcome(target)
        target.write_bytes(forged(data, {}, drop=name))
        outcome(target)
    for name in fields["segments"][0]:
        for value in (None, -1, "", [], "x", 2**70, b"x", {"a": 1}):
            target.write_bytes(forged(data, {"segments": [{**fields["segments"][0], name: value}]}))
            outcome(target)


@pytest.mark.parametrize(("old", "new"), [("arena", "nothing"), ("const[", "const[9"), ("in[0]", "in[7]")])
def test_forged_addresses_are_errors(path: Path, tmp_path: Path, old: str, new: str) -> None:
    data = path.read_bytes()
    segment = pickle.loads(pickle.loads(data)["body"])["segments"][0]
    schedule = segment["schedule"]
    steps = schedule.index("step")
    changed = schedule[:steps] + schedule[steps:].replace(old, new)
    assert changed != schedule
    (tmp_path / "forged.pkl").write_bytes(forged(data, {"segments": [{**segment, "schedule": changed}]}))
    with pytest.raises(graphc.PlanError):
        graphc.load(tmp_path / "forged.pkl").run({"data": BATCHES[0]})


def test_plans_of_other_machines(path: Path, tmp_path: Path) -> None:
    (tmp_path / "other.pkl").write_bytes(forged(path.read_bytes(), {"target": "vax"}))
    with pytest.raises(graphc.PlanError, match="is for target 'vax'"):
        graphc.load(tmp_path / "other.pkl")


def test_a_full_disk_leaves_nothing(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    plan = graphc.load(path)
    monkeypatch.setattr("os.replace", full)
    with pytest.raises(graphc.FileError, match="No space left"):
        plan.save(tmp_path / "plan.pkl")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_only_files_are_replaced(path: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path / "pipe", tmp_path):
        with pytest.raises(graphc.FileError, match="folder or a device"):
            graphc.load(path).save(place)


def test_threads_share_a_plan(path: Path) -> None:
    plan, wrong = graphc.load(path, threads=2), []
    expected = [graphc.load(path, threads=1).run({"data": x})["softmax"] for x in BATCHES]

    def work(start: int) -> None:
        for k in range(start, start + 30):
            got = plan.run({"data": BATCHES[k % 6]}, ["pool3"] if k % 7 == 0 else ())["softmax"]
            if not np.array_equal(got, expected[k % 6]):
                wrong.append(k)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


def test_plans_end_while_workers_spin(path: Path) -> None:
    for x in BATCHES:
        graphc.load(path, threads=2).run({"data": x})
        gc.collect()


def _child(plan: graphc.Plan, path: Path, pipe: Any) -> None:
    pipe.send([p.run({"data": BATCHES[1]})["softmax"] for p in (plan, graphc.load(path, threads=2))])


@pytest.mark.skipif(not hasattr(os, "fork") or sys.platform == "darwin", reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_runs_plans(path: Path) -> None:
    """Even when another thread of the parent holds the team at the fork, or plans for other sizes."""
    plan, over = graphc.load(path, threads=2), threading.Event()
    expected = plan.run({"data": BATCHES[1]})["softmax"]

    def keep_busy() -> None:
        for batch in itertools.cycle(range(7, 99)):
            if over.is_set():
                return
            plan.run({"data": np.zeros((batch, 1, 8, 8), np.float32)})

    busy = threading.Thread(target=keep_busy)
    busy.start()
    try:
        for _ in range(3):
            mine, theirs = multiprocessing.Pipe()
            child = multiprocessing.get_context("fork").Process(target=_child, args=(plan, path, theirs))
            child.start()
            answered = mine.poll(30)
            answers = mine.recv() if answered else []
            child.kill()
            child.join()
            assert answered, "the child hangs"
            assert all(np.array_equal(a, expected) for a in answers)
    finally:
        over.set()
        busy.join()
