"""The real runtime for cards (cuda.core) on a driver of our own that makes copies, and notes launches.

Needs the extra ``cuda`` and a C compiler; each case is a process, because a process has one driver.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import test_two_devices as two_devices
from emulated import emulated_plan
from emulated_card import EmulatedCard
from one_net import nets, operator
from test_card_plans import OPS, WEIGHTS, X
from test_two_devices import SANDWICH

from graphc.plan import Plan

RUN = """
import sys
import numpy as np
import graphc
plan = graphc.load(sys.argv[1], allow_native=True)
for _ in range(2):
    y = plan.run({"x": np.load(sys.argv[2])})["y"]
np.save(sys.argv[3], y)
assert "numba" not in sys.modules
"""


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("needs a C compiler on Linux")
    if find_spec("cuda") is None or find_spec("cuda.core") is None:
        pytest.skip("needs cuda.core: pip install 'graphc[cuda]'")
    library = tmp_path_factory.mktemp("driver") / "libcuda.so.1"
    source = Path(__file__).with_name("null_driver.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-w", "-pthread", "-o", library, source, "-ldl"], check=True)
    return library


@pytest.fixture(scope="module")
def plan() -> Plan:
    return emulated_plan(OPS, {"x": X}, "y", WEIGHTS)


def process(
    code: str, driver: Path, folder: Path, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    """A process that runs code on the driver, whose launches stand in the file ``log`` of a folder."""
    environment |= {"NULL_DRIVER": str(driver), "NULL_LOG": str(folder / "log")}
    environment |= {"LD_LIBRARY_PATH": str(driver.parent), "PYTHONSAFEPATH": "1"}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)


def start(
    code: str, driver: Path, plan: Plan, folder: Path, **environment: str
) -> tuple[subprocess.CompletedProcess[str], list[list[int | str]]]:
    """A process that runs code on the driver, and the launches that this one noted."""
    path, log = folder / "net.pkl", folder / "log"
    plan.save(path)
    np.save(folder / "x.npy", X)
    tasks = [t for schedule in plan.schedules for step in schedule.steps for t in step]
    known = ",".join({f"{t.kernel.name}={len(t.params)}" for t in tasks})
    arguments = str(path), str(folder / "x.npy"), str(folder / "y.npy")
    done = process(code, driver, folder, *arguments, NULL_PARAMETERS=known, **environment)
    lines = log.read_text().splitlines() if log.exists() else []
    return done, [[name, *map(int, numbers)] for name, *numbers in map(str.split, lines)]


def test_a_run_launches_what_the_schedule_says(driver: Path, plan: Plan, tmp_path: Path) -> None:
    done, launches = start(RUN, driver, plan, tmp_path)
    assert not done.returncode, done.stderr
    card = plan.code.card = EmulatedCard(plan.code.card._source)
    plan.run({"x": X})
    assert len(launches) == 2 * len(card.launches)
    assert launches[: len(card.launches)] == launches[len(card.launches) :]
    for (name, blocks, threads, *params), wanted in zip(launches, card.launches):
        assert (name, blocks, threads) == (wanted.kernel, wanted.blocks, wanted.threads)
        small = [(a, b) for a, b in zip(params, wanted.params, strict=True) if a < 1 << 32]
        assert all(a == b for a, b in small)  # the others are addresses
        assert 2 <= len(params) - len(small) <= 4


FAILURES = {
    "finds no card": {"NULL_DEVICES": "0"},
    "for CUDA 12.4, the kernels need 13.0": {"NULL_VERSION": "12040"},
    "the plan is for sm_90a, but card 0 (null card) of this machine is sm_80": {"NULL_MAJOR": "8"},
}


@pytest.mark.parametrize("message", FAILURES)
def test_what_is_wrong_is_told(driver: Path, plan: Plan, tmp_path: Path, message: str) -> None:
    done, _ = start(RUN, driver, plan, tmp_path, **FAILURES[message])
    assert message in done.stderr


def test_no_memory_leaves_the_process_usable(driver: Path, plan: Plan, tmp_path: Path) -> None:
    code = """
import numpy as np
import graphc
from graphc.runtime.nvidia import NvidiaCard
card = NvidiaCard("sm_90a", lambda major, minor: True)
try:
    card.allocate(1 << 40)
except graphc.RunError as error:
    print(error.message, error.help)
place = card.allocate(1000)
card.upload(place, np.arange(1000, dtype=np.uint8))
print(int(card.download(place.address, 1000)[255]))
"""
    done, _ = start(code, driver, plan, tmp_path)
    assert "OUT_OF_MEMORY" in done.stdout, done.stderr
    assert "smaller batch" in done.stdout
    assert done.stdout.endswith("255\n")


FAULT = """
import sys
import numpy as np
import graphc
from graphc.runtime.nvidia import NvidiaCard
plan, x = graphc.load(sys.argv[1], allow_native=True), np.load(sys.argv[2])
for _ in range(2):
    try:
        plan.run({"x": x})
    except graphc.RunError as error:
        print(error.message, "|", error.help)
try:
    plan.run({"x": x}, on_card=True)
except graphc.RunError as error:
    print("again")
del plan
graph = graphc.import_model(sys.argv[3] + ".pb", None, {"x": x})
print(graphc.compile_graph(graph, target="native").run({"x": x})["y"].sum())
"""


@pytest.mark.parametrize("steps", [False, True])
def test_a_fault_costs_the_card_and_not_the_process(driver: Path, plan: Plan, tmp_path: Path, steps: bool) -> None:
    """The first run tells the fault, later ones that the card is lost; a net for the CPU runs in the same process."""
    predict, _ = nets([operator("Relu", "x", "y")], {"x": X}, "y", {})
    (tmp_path / "y.npy.pb").write_bytes(predict)
    environment = {"NULL_FAULT": "pool"} | ({"GRAPHC_CARD_STEPS": "1"} if steps else {})
    done, launches = start(FAULT, driver, plan, tmp_path, **environment)
    assert not done.returncode, done.stderr
    first, second, third, last = done.stdout.splitlines()
    assert "CUDA_ERROR_LAUNCH_FAILED" in first
    assert ("the kernel that computes p" if steps else "a run of 3 kernels") in first
    assert ("GRAPHC_CARD_STEPS=1" in first) != steps
    assert second.startswith("card 0 (null card) cannot be used any more in this process")
    assert "start a new process" in second
    assert third == "again"
    assert np.isclose(float(last), np.maximum(X, 0).sum(), rtol=1e-5)
    assert [name.split("_")[0] for name, *_ in launches] == ["conv"]
    assert not done.stderr


def test_no_pinned_memory(driver: Path, plan: Plan, tmp_path: Path) -> None:
    done, _ = start(RUN, driver, plan, tmp_path, NULL_PINNED="100")
    assert "bytes of pinned memory: CUDA_ERROR_OUT_OF_MEMORY" in done.stderr
    assert "smaller batch" in done.stderr


ON_CARD = """
import sys
import numpy as np
import graphc
from graphc.runtime.card_array import CardArray
plan, x = graphc.load(sys.argv[1], allow_native=True), np.load(sys.argv[2])
place = plan.code.card.allocate(x.nbytes)
plan.code.card.upload(place, x)

class Given:
    def __init__(self, address, strides=None):
        self.__cuda_array_interface__ = {
            "shape": x.shape, "typestr": "<f4", "data": (address, False), "version": 2, "strides": strides
        }

made = plan.run({"x": Given(place.address)}, on_card=True)["y"]
assert isinstance(made, CardArray), made
again = plan.run({"x": x}, on_card=True)["y"]
print(made.address == again.address, made.numpy().shape, made.__cuda_array_interface__["typestr"])
for wrong in (Given(12), Given(place.address, x[:, :, ::-1].strides)):
    try:
        plan.run({"x": wrong})
    except graphc.RunError as error:
        print(error.message, "|", error.help)
"""


def test_inputs_and_outputs_on_the_card(driver: Path, plan: Plan, tmp_path: Path) -> None:
    done, launches = start(ON_CARD, driver, plan, tmp_path)
    assert not done.returncode, done.stderr
    first, *wrong = done.stdout.splitlines()
    assert first == "False (1, 4, 3, 3) <f4"
    assert len(launches) == 2 * 3
    assert "input 'x' is in no card's memory (address 0xc)" in wrong[0]
    assert "not in row-major order" in wrong[1]
    assert "contiguous" in wrong[1]


def test_an_input_on_another_card(driver: Path, plan: Plan, tmp_path: Path) -> None:
    code = ON_CARD.replace("plan.code.card", "other.code.card").replace("place =", "other = plan.with_card(1)\nplace =")
    done, _ = start(code, driver, plan, tmp_path, NULL_DEVICES="2")
    assert "is on card 1 (address" in done.stderr
    assert "the plan runs on card 0" in done.stderr


def test_the_cards_clock(driver: Path, plan: Plan, tmp_path: Path) -> None:
    """Three kernels take three microseconds of this driver's, each by itself one."""
    code = """
import sys
import numpy as np
import graphc
plan, x = graphc.load(sys.argv[1], allow_native=True), np.load(sys.argv[2])
(times,) = plan.card_times({"x": x}, 4)
print([round(1e6 * t, 3) for t in times.whole], [round(1e6 * t, 3) for _, t in times.tasks])
print(round(1e6 * plan.code.copy_seconds(1000), 3))
"""
    done, _ = start(code, driver, plan, tmp_path)
    assert done.stdout.splitlines() == ["[3.0, 3.0, 3.0, 3.0] [1.0, 1.0, 1.0]", "1.0"], done.stderr


def test_a_plan_with_a_part_on_the_cpu(driver: Path, tmp_path: Path) -> None:
    """Two recorded sequences with the CPU's kernels in between, and no Numba in the process."""
    plan = emulated_plan(SANDWICH, {"x": X}, "y", two_devices.WEIGHTS, beside=True)
    done, launches = start(RUN, driver, plan, tmp_path)
    assert not done.returncode, done.stderr
    assert [name.split("_")[0] for name, *_ in launches] == ["conv", "conv", "softmax"] * 2
    plan.run({"x": X})
    for (name, blocks, threads, *_), wanted in zip(launches, plan.code.card.launches):
        assert (name, blocks, threads) == (wanted.kernel, wanted.blocks, wanted.threads)


def test_more_shared_memory_than_a_kernel_declares(driver: Path, tmp_path: Path) -> None:
    """The driver has to be told before, and refuses the launch otherwise."""
    code = """
import graphc
from graphc.runtime.card import Launch
from graphc.runtime.nvidia import NvidiaCard
card = NvidiaCard("sm_90a", lambda major, minor: True)
kernel = card.load("conv", b"\\x7fELF" + bytes(100))
print(card.measure([Launch(kernel, 3, 512, (7,), "y", 147456)], 1))
card._allow_shared = lambda item: None
try:
    card.measure([Launch(card.load("conv", b"\\x7fELF" + bytes(100)), 3, 512, (7,), "y", 147456)], 1)
except graphc.RunError as error:
    print(error.message)
"""
    done = process(code, driver, tmp_path, NULL_PARAMETERS="conv=1")
    assert (tmp_path / "log").read_text().splitlines() == ["conv 3 512 7"] * 2, done.stderr
    assert "failed at recording a run: CUDA_ERROR" in done.stdout, done.stdout + done.stderr
