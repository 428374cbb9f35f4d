"""Streams, contexts and cards of the caller's, on the driver without a card (``null_driver.c``), which does late what
need not be done yet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import test_null_driver
from emulated import emulated_plan
from one_net import nets, operator
from test_card_plans import OPS, WEIGHTS, X
from test_null_driver import process, start

import graphc
from graphc.plan import Plan

driver = test_null_driver.driver

HEAD = """
import os, sys
import numpy as np
import graphc
from cuda.bindings import driver as d
from cuda.core import Device
from graphc.runtime.nvidia import NvidiaCard
def made(answer):
    assert not int(answer[0]), answer
    return answer[1] if len(answer) == 2 else answer[1:]
def tried(call):
    try:
        call()
    except graphc.GraphcError as error:
        print(error.message)
def current(): return int(made(d.cuCtxGetCurrent()))
def launches(): return len(open(os.environ["NULL_LOG"]).readlines()) if os.path.exists(os.environ["NULL_LOG"]) else 0
if len(sys.argv) > 1:
    plan, x = graphc.load(sys.argv[1], allow_native=True), np.load(sys.argv[2])
"""


@pytest.fixture(scope="module")
def plan() -> Plan:
    return emulated_plan(OPS, {"x": X}, "y", WEIGHTS)


def told(code: str, driver: Path, plan: Plan, folder: Path, **environment: str) -> list[str]:
    """The lines that code prints which has a plan and an input of it."""
    done, _ = start(HEAD + code, driver, plan, folder, **environment)
    assert not done.returncode, done.stderr
    assert not done.stderr
    return done.stdout.splitlines()


def test_the_callers_context_stays_current(driver: Path, plan: Plan, tmp_path: Path) -> None:
    """None, and another card's: after runs, errors of all kinds, and when memory is given back."""
    code = """
def everything():
    y = plan.run({"x": x}, on_card=True)["y"]
    y.numpy()
    tried(lambda: plan.run({"x": x[0]}))
    tried(lambda: plan.code.card.allocate(1 << 40))
    tried(lambda: plan.with_card(1).with_card(7).run({"x": x}))
made(d.cuInit(0))
print(current())
everything()
print(current())
other = int(made(d.cuDevicePrimaryCtxRetain(1)))
d.cuCtxSetCurrent(other)
everything()
print(current() == other)
"""
    lines = [line for line in told(code, driver, plan, tmp_path, NULL_DEVICES="2") if len(line) < 8]
    assert lines == ["0", "0", "True"]


def test_a_lost_card_is_lost_for_all_plans(driver: Path, plan: Plan, tmp_path: Path) -> None:
    """Another plan on the card says so at once; another card goes on."""
    code = """
other = graphc.load(sys.argv[1], allow_native=True)
tried(lambda: plan.run({"x": x}))
tried(lambda: other.run({"x": x}))
card = plan.with_card(1).code.card
place = card.allocate(8)
card.upload(place, np.arange(8, dtype=np.uint8))
print(card.download(place.address, 8).sum())
"""
    first, second, last = told(code, driver, plan, tmp_path, NULL_FAULT="pool", NULL_DEVICES="2")
    assert "LAUNCH_FAILED" in first
    assert second.startswith("card 0 cannot be used any more in this process: card 0 (null card) failed")
    assert last == "28"


def test_a_plan_on_another_card(driver: Path, plan: Plan, tmp_path: Path) -> None:
    code = """
plan.with_card(1).run({"x": x})
print(launches(), len(open(os.environ["NULL_LOG"] + ".1").readlines()))
plan.run({"x": x})
print(launches())
tried(lambda: plan.with_card(2).run({"x": x}))
made_there = plan.with_card(1).run({"x": x}, on_card=True)["y"]
print(made_there.__dlpack_device__())
"""
    assert told(code, driver, plan, tmp_path, NULL_DEVICES="2") == [
        *("0 3", "3", "there is no card 2: this process sees 2, numbered from 0", "(2, 1)")
    ]
    (message,) = told(
        'tried(lambda: plan.with_card(1).run({"x": x}))', driver, plan, tmp_path, NULL_DEVICES="2", NULL_MAJOR="9,8"
    )
    assert message == "the plan is for sm_90a, but card 1 (null card) of this machine is sm_80"


def test_a_plan_for_a_cpu_has_no_card() -> None:
    graph = graphc.import_model(*_relu(), {"x": X})
    plan = graphc.compile_graph(graph, target="native", prepare=False)
    with pytest.raises(graphc.GraphcError, match="not on a card"):
        plan.with_card(0)
    with pytest.raises(graphc.RunError, match="a stream of a card was given"):
        plan.run({"x": X}, stream=1)


def _relu() -> tuple[bytes, None]:
    return nets([operator("Relu", "x", "y")], {"x": X}, "y", {})[0], None


STREAM = """
device = Device(0)
device.set_current()
s = device.create_stream()
host = made(d.cuMemAllocHost(x.nbytes))
class Given:
    def __init__(self, place, stream):
        self.__cuda_array_interface__ = {
            "shape": x.shape, "typestr": "<f4", "data": (int(place), False), "version": 3, "stream": stream
        }
"""


def test_a_run_on_a_callers_stream_is_not_waited_for(driver: Path, plan: Plan, tmp_path: Path) -> None:
    """Nothing has happened when it returns; the stream's next wait does all, in order. Twice, and by both protocols."""
    code = """
place = made(d.cuMemAllocAsync(x.nbytes, s.handle))  # there when the stream comes to it
for given in (s, int(s.handle)):
    before = launches()
    y = plan.run({"x": Given(place, None)}, on_card=True, stream=given)["y"]
    print(launches() - before, y.__cuda_array_interface__["stream"] == int(s.handle))
    made((*d.cuMemcpyAsync(host, y.address, y.nbytes, s.handle), 0))
    del y  # given back on the stream, behind the copy
    if given is s:
        plan.code.card.wait()  # others of the plan's work may be done first
    s.sync()
    print(launches() - before)
plan.run({"x": Given(place, None)}, stream=s)
print(launches())
"""
    assert told(STREAM + code, driver, plan, tmp_path) == ["0 True", "3", "0 True", "3", "9"]


def test_a_plan_that_goes_waits_for_its_run(driver: Path, plan: Plan, tmp_path: Path) -> None:
    """Its pinned memory is read until then."""
    code = """
import gc
y = plan.run({"x": x}, on_card=True, stream=s)["y"]
del plan
gc.collect()
s.sync()
print(launches())
"""
    assert told(STREAM + code, driver, plan, tmp_path) == ["3"]


def test_streams_that_a_run_cannot_follow(driver: Path, plan: Plan, tmp_path: Path) -> None:
    code = """
there = int(made(d.cuDevicePrimaryCtxRetain(1)))
d.cuCtxPushCurrent(there)
far = made(d.cuStreamCreateWithPriority(1, 0))
d.cuCtxPopCurrent()
tried(lambda: plan.run({"x": x}, stream=int(far)))
builder = device.create_graph_builder()
builder.begin_building()
tried(lambda: plan.run({"x": x}, stream=builder))
builder.end_building()
tried(lambda: plan.run({"x": x}, stream="stream"))
plan.run({"x": x}, stream=0)
plan.run({"x": x}, stream=2)
"""
    assert told(STREAM + code, driver, plan, tmp_path, NULL_DEVICES="2") == [
        "the stream is of card 1, the plan runs on card 0",
        "the stream records a graph, and a run cannot be recorded",
        "stream is 'stream'",
    ]


@pytest.mark.parametrize("way", ["y.__cuda_array_interface__", "y.__dlpack__(stream=int(s.handle))"])
def test_memory_that_others_read_is_given_back_when_they_have_read_it(
    driver: Path, plan: Plan, tmp_path: Path, way: str
) -> None:
    code = f"""
y = plan.run({{"x": x}}, on_card=True)["y"]
{way}
made((*d.cuMemcpyAsync(host, y.address, y.nbytes, s.handle), 0))
del y
for _ in range(2):
    plan.run({{"x": x}}, on_card=True)
s.sync()
print(len(plan.code.card._shared.returned))
"""
    assert told(STREAM + code, driver, plan, tmp_path) == ["0"]


def test_dlpack_has_the_readers_stream_wait(driver: Path, plan: Plan, tmp_path: Path) -> None:
    code = """
t = device.create_stream()
y = plan.run({"x": x}, on_card=True, stream=s)["y"]
capsule = y.__dlpack__(stream=int(t.handle))
made((*d.cuMemcpyAsync(host, y.address, y.nbytes, t.handle), 0))
t.sync()
print(launches(), y.numpy().shape)
"""
    assert told(STREAM + code, driver, plan, tmp_path) == ["3 (1, 4, 3, 3)"]


def test_pinned_memory_is_kept(driver: Path, tmp_path: Path) -> None:
    """More bytes than it has go in pieces, in both directions, and one piece of it serves all."""
    code = """
card = NvidiaCard("sm_90a", lambda major, minor: True)
pinned, sizes = card.pinned, []
card.pinned = lambda size: sizes.append(size) or pinned(size)
data = np.arange(5 << 20, dtype=np.int64)
place = card.allocate(data.nbytes)
card.upload(place, data)
print(np.array_equal(card.download(place.address, data.nbytes).view(np.int64), data), sizes)
print(np.array_equal(card.download(place.address + 80, 8).view(np.int64), data[10:11]), len(sizes))
"""
    done = process(HEAD + code, driver, tmp_path, NULL_PINNED=str(1 << 24))
    assert done.stdout.splitlines() == [f"True {[1 << 24]}", "True 1"], done.stderr


def test_runs_of_other_sizes_make_room(driver: Path, tmp_path: Path) -> None:
    """Input and output of 1.2 million bytes each, then of 1.6 and 2 million, on a card of 4.5 million."""
    x = np.zeros((3, 100000), np.float32)
    relu = emulated_plan([operator("Relu", "x", "y")], {"x": x}, "y", {})
    code = """
for rows in (3, 4, 5, 3):
    plan.run({"x": np.zeros((rows, 100000), np.float32)})
print(launches())
tried(lambda: plan.run({"x": np.zeros((6, 100000), np.float32)}))
"""
    count, message = told(code, driver, relu, tmp_path, NULL_MEMORY="4500000")
    assert count == "4"
    assert "needs 0.0 GiB on card 0" in message


def test_too_little_memory_on_the_card(driver: Path, plan: Plan, tmp_path: Path) -> None:
    (message,) = told('tried(lambda: plan.run({"x": x}))', driver, plan, tmp_path, NULL_MEMORY="2000")
    assert "'x': float[1,3,9,9]" in message
    assert "GiB on card 0 (null card), which has 0.0 GiB free" in message
