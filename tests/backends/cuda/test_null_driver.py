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
from emulated import emulated_plan
from emulated_card import EmulatedCard
from test_card_plans import OPS, WEIGHTS, X

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
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-w", "-o", library, source, "-ldl"], check=True)
    return library


@pytest.fixture(scope="module")
def plan() -> Plan:
    return emulated_plan(OPS, {"x": X}, "y", WEIGHTS)


def start(
    code: str, driver: Path, plan: Plan, folder: Path, **environment: str
) -> tuple[subprocess.CompletedProcess[str], list[list[int | str]]]:
    """A process that runs code on the driver, and the launches that this one noted."""
    path, log = folder / "net.pkl", folder / "log"
    plan.save(path)
    np.save(folder / "x.npy", X)
    tasks = [t for step in plan.schedules[0].steps for t in step]
    known = ",".join({f"{t.kernel.name}={len(t.params)}" for t in tasks})
    environment |= {"NULL_DRIVER": str(driver), "NULL_LOG": str(log), "NULL_PARAMETERS": known}
    environment |= {"LD_LIBRARY_PATH": str(driver.parent), "PYTHONSAFEPATH": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, path, folder / "x.npy", folder / "y.npy"],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
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
    "the plan is for sm_90a, but this machine's card (null card) is sm_80": {"NULL_MAJOR": "8"},
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
