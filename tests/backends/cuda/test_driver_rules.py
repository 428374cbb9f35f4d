"""What the driver without a card refuses, as a real one does: what other tests of the runtime stand on."""

from __future__ import annotations

from pathlib import Path

import test_null_driver
from test_null_driver import process

driver = test_null_driver.driver

HEAD = """
import threading
import numpy as np
from cuda.bindings import driver as d
def told(answer):
    return answer[0].name.removeprefix("CUDA_").removeprefix("ERROR_")
def made(answer):
    assert not int(answer[0]), answer
    return answer[1] if len(answer) == 2 else answer[1:]
made(d.cuInit(0))
GLOBAL, LOCAL, RELAXED = d.CUstreamCaptureMode(0), d.CUstreamCaptureMode(1), d.CUstreamCaptureMode(2)
print(told(d.cuMemAlloc(8)))
here = made(d.cuDevicePrimaryCtxRetain(0))
d.cuCtxSetCurrent(here)
def stream(flags=1): return made(d.cuStreamCreateWithPriority(flags, 0))
def event(): return made(d.cuEventCreate(0))
def record(s, mode): made((*d.cuStreamBeginCapture(s, mode), 0))
"""


def said(code: str, driver: Path, folder: Path, **environment: str) -> list[str]:
    """What code prints, behind the first word: a call without a context."""
    done = process(HEAD + code, driver, folder, **environment)
    assert not done.returncode, done.stderr
    first, *rest = done.stdout.split()
    assert first == "INVALID_CONTEXT"
    return rest


def test_memory(driver: Path, tmp_path: Path) -> None:
    """Freed twice, not its beginning, on a stream that is gone; a copy into it afterwards is found out by a wait."""
    code = """
s, pool = stream(), made(d.cuDeviceGetDefaultMemPool(0))
place, host = made(d.cuMemAllocFromPoolAsync(64, pool, s)), made(d.cuMemAllocHost(64))
print(told(d.cuMemFreeAsync(int(place) + 8, s)), told(d.cuMemcpyAsync(place, 12, 4, s)))
print(told(d.cuMemFreeAsync(place, s)), told(d.cuMemFreeAsync(place, s)))
gone = stream()
made((*d.cuStreamDestroy(gone), 0))
print(told(d.cuStreamSynchronize(gone)))
print(told(d.cuMemcpyAsync(place, host, 64, s)), told(d.cuStreamSynchronize(s)), told(d.cuMemAlloc(8)))
"""
    assert said(code, driver, tmp_path) == [
        *("INVALID_VALUE", "INVALID_VALUE", "SUCCESS", "INVALID_VALUE", "INVALID_HANDLE"),
        *("SUCCESS", "ILLEGAL_ADDRESS", "ILLEGAL_ADDRESS"),
    ]


def test_order(driver: Path, tmp_path: Path) -> None:
    """Work on another stream sees memory, and what is in it, only behind an event."""
    code = """
import ctypes
def bytes_at(address): return (ctypes.c_uint8 * 64).from_address(int(address))
s, t, pool = stream(), stream(), made(d.cuDeviceGetDefaultMemPool(0))
host, back = made(d.cuMemAllocHost(64)), made(d.cuMemAllocHost(64))
bytes_at(host)[:] = [7] * 64
place = made(d.cuMemAllocFromPoolAsync(64, pool, s))
made((*d.cuMemcpyAsync(place, host, 64, s), 0))
mark = event()
made((*d.cuEventRecord(mark, s), 0))
print(told(d.cuEventQuery(mark)))
made((*d.cuStreamWaitEvent(t, mark, 0), 0))
made((*d.cuMemcpyAsync(back, place, 64, t), 0))
print(bytes_at(back)[3] == 7, told(d.cuStreamSynchronize(t)), bytes_at(back)[3], told(d.cuEventQuery(mark)))
early = made(d.cuMemAllocFromPoolAsync(64, pool, s))
made((*d.cuMemcpyAsync(back, early, 64, t), 0))
print(told(d.cuStreamSynchronize(t)))
"""
    assert said(code, driver, tmp_path) == ["NOT_READY", "False", "SUCCESS", "7", "SUCCESS", "ILLEGAL_ADDRESS"]


def test_recordings(driver: Path, tmp_path: Path) -> None:
    """Two at once are apart; what waits is refused by the mode, and spoils the recording that it meets."""
    code = """
a, b, place = stream(), stream(), made(d.cuMemAlloc(64))
record(a, RELAXED); record(b, RELAXED)
made((*d.cuMemcpyAsync(place, place, 8, a), 0))
print(told(d.cuMemAlloc(8)), told(d.cuStreamBeginCapture(a, RELAXED)))
first, second = made(d.cuStreamEndCapture(a)), made(d.cuStreamEndCapture(b))
print(int(first) != int(second), told(d.cuStreamEndCapture(a)))
for mode in (GLOBAL, LOCAL):
    record(a, mode)
    answers = []
    helper = threading.Thread(target=lambda: answers.extend([d.cuCtxSetCurrent(here), d.cuMemAlloc(8)]))
    helper.start(); helper.join()
    print(told(answers[1]), told(d.cuMemAllocHost(8)), told(d.cuMemcpyAsync(place, place, 8, a)))
    print(told(d.cuStreamEndCapture(a)))
record(a, RELAXED)
print(told(d.cuStreamSynchronize(a)), told(d.cuStreamEndCapture(a)))
record(a, RELAXED)
print(told(d.cuCtxSynchronize()), told(d.cuStreamEndCapture(a)))
"""
    assert said(code, driver, tmp_path) == [
        *("SUCCESS", "STREAM_CAPTURE_UNSUPPORTED", "True", "INVALID_VALUE"),
        *("STREAM_CAPTURE_UNSUPPORTED", "STREAM_CAPTURE_UNSUPPORTED", "STREAM_CAPTURE_INVALIDATED"),
        "STREAM_CAPTURE_INVALIDATED",
        *("SUCCESS", "STREAM_CAPTURE_UNSUPPORTED", "STREAM_CAPTURE_INVALIDATED", "STREAM_CAPTURE_INVALIDATED"),
        *("STREAM_CAPTURE_UNSUPPORTED", "STREAM_CAPTURE_INVALIDATED"),
        *("STREAM_CAPTURE_UNSUPPORTED", "STREAM_CAPTURE_INVALIDATED"),
    ]


def test_streams_that_record(driver: Path, tmp_path: Path) -> None:
    """Events in and out of recordings, the default stream beside a blocking one, and who may end."""
    code = """
a, b, c, mark, other = stream(), stream(), stream(0), event(), event()
made((*d.cuEventRecord(other, b), 0))
record(a, RELAXED)
print(told(d.cuStreamWaitEvent(a, other, 0)), told(d.cuStreamEndCapture(a)))
record(a, RELAXED); made((*d.cuEventRecord(mark, a), 0))
print(told(d.cuEventSynchronize(mark)), told(d.cuStreamWaitEvent(b, mark, 0)))
place = made(d.cuMemAlloc(8))
made((*d.cuMemcpyAsync(place, place, 8, b), 0))
print(told(d.cuStreamEndCapture(a)))
record(a, RELAXED); made((*d.cuEventRecord(mark, a), 0)); made((*d.cuStreamWaitEvent(b, mark, 0), 0))
print(told(d.cuStreamEndCapture(b)), told(d.cuStreamEndCapture(a)))
record(c, RELAXED)
print(told(d.cuMemcpyAsync(place, place, 8, 1)), told(d.cuStreamEndCapture(c)))
print(told(d.cuStreamBeginCapture(1, RELAXED)))
record(a, LOCAL)
answers = []
helper = threading.Thread(target=lambda: answers.extend([d.cuCtxSetCurrent(here), d.cuStreamEndCapture(a)]))
helper.start(); helper.join()
print(told(answers[1]), told(d.cuStreamEndCapture(a)))
"""
    assert said(code, driver, tmp_path) == [
        *("STREAM_CAPTURE_ISOLATION", "STREAM_CAPTURE_INVALIDATED", "CAPTURED_EVENT", "SUCCESS"),
        *("STREAM_CAPTURE_UNJOINED", "STREAM_CAPTURE_UNMATCHED", "STREAM_CAPTURE_INVALIDATED"),
        *("STREAM_CAPTURE_IMPLICIT", "STREAM_CAPTURE_INVALIDATED", "STREAM_CAPTURE_UNSUPPORTED"),
        *("STREAM_CAPTURE_WRONG_THREAD", "SUCCESS"),
    ]


def test_graphs(driver: Path, tmp_path: Path) -> None:
    """Copies of what was recorded, which outlive it; memory that went in between; another device."""
    code = """
s, place = stream(), made(d.cuMemAlloc(64))
record(s, RELAXED)
made((*d.cuMemcpyAsync(place, place, 8, s), 0))
graph = made(d.cuStreamEndCapture(s))
first, second = (made(d.cuGraphInstantiate(graph, 0)) for _ in range(2))
print(told(d.cuGraphDestroy(graph)), told(d.cuGraphDestroy(graph)), told(d.cuGraphInstantiate(graph, 0)))
print(told(d.cuGraphExecDestroy(second)), told(d.cuGraphLaunch(second, s)))
print(told(d.cuGraphLaunch(first, s)), told(d.cuStreamSynchronize(s)))
there = made(d.cuDevicePrimaryCtxRetain(1))
d.cuCtxSetCurrent(there)
far = stream()
print(told(d.cuGraphLaunch(first, far)), told(d.cuMemAllocAsync(8, s)), told(d.cuEventRecord(event(), s)))
d.cuCtxSetCurrent(here)
made((*d.cuMemFree(place), 0))
print(told(d.cuGraphLaunch(first, s)), told(d.cuStreamSynchronize(s)))
d.cuCtxSetCurrent(there)
print(told(d.cuCtxSynchronize()))
"""
    assert said(code, driver, tmp_path, NULL_DEVICES="2") == [
        *("SUCCESS", "INVALID_VALUE", "INVALID_VALUE", "SUCCESS", "INVALID_VALUE", "SUCCESS", "SUCCESS"),
        *("INVALID_VALUE", "INVALID_HANDLE", "INVALID_HANDLE", "SUCCESS", "ILLEGAL_ADDRESS", "SUCCESS"),
    ]


def test_dynamic_shared_memory(driver: Path, tmp_path: Path) -> None:
    """As much as a block of the card can have, by NVIDIA's table of capabilities, and a launch no more than was set."""
    code = """
import ctypes
library = made(d.cuLibraryLoadData(b"\\x7fELF", [], [], 0, [], [], 0))
kernel = made(d.cuLibraryGetKernel(library, b"k"))
most = d.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
def give(nbytes, card=0): return told(d.cuKernelSetAttribute(most, nbytes, kernel, card))
def launch(nbytes): return told(d.cuLaunchKernel(int(kernel), 1, 1, 1, 32, 1, 1, nbytes, 0, 0, 0))
print(launch(48 << 10), launch((48 << 10) + 1), give(227 << 10), launch(227 << 10), launch((227 << 10) + 1))
print(give((227 << 10) + 1), give(-1), give(163 << 10, 1), give((163 << 10) + 1, 1))
print(give(99 << 10, 2), give((99 << 10) + 1, 2))
"""
    known = {"NULL_DEVICES": "3", "NULL_MAJOR": "9,8,8", "NULL_MINOR": "0,0,9", "NULL_PARAMETERS": "k=0"}
    assert said(code, driver, tmp_path, **known) == [
        *("SUCCESS", "INVALID_VALUE", "SUCCESS", "SUCCESS", "INVALID_VALUE"),
        *("INVALID_VALUE", "INVALID_VALUE", "SUCCESS", "INVALID_VALUE"),
        *("SUCCESS", "INVALID_VALUE"),
    ]
