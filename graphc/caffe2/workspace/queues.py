"""Host operators that pass blobs between threads. Rules from Caffe2's ``blobs_queue.cc``."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable

import numpy as np

from graphc.caffe2.workspace.host_operators import HostCall, host_operator
from graphc.caffe2.workspace.values import Value

Row = list[Value]

_RANDOM = np.random.default_rng(0)
"""Draws queues."""
NEVER = threading.Event()
"""That a wait was cancelled, where nobody can."""


class BlobsQueue:
    """Rows of ``num_blobs`` values, up to ``capacity``. Until it is closed writers wait for room, readers for rows."""

    def __init__(self, capacity: int, num_blobs: int) -> None:
        self.capacity, self.num_blobs = capacity, num_blobs
        self._rows: deque[Row] = deque()
        self._closed = False
        self._changed = threading.Condition()

    def put(self, row: Row, cancelled: threading.Event) -> bool:
        """Append a row, waiting for room; False where the queue is closed, or the wait cancelled."""
        with self._changed:
            self._wait(lambda: self._closed or len(self._rows) < self.capacity, None, cancelled)
            if self._closed or len(self._rows) >= self.capacity:
                return False
            self._rows.append(row)
            self._changed.notify_all()
            return True

    def get(self, timeout: float | None, cancelled: threading.Event = NEVER) -> Row | None:
        """The next row, waiting for one; None where the queue is closed and empty, the time (seconds) over, or the wait
        cancelled."""
        with self._changed:
            self._wait(lambda: self._closed or bool(self._rows), timeout, cancelled)
            if not self._rows:
                return None
            self._changed.notify_all()
            return self._rows.popleft()

    def _wait(self, ready: Callable[[], bool], timeout: float | None, cancelled: threading.Event) -> None:
        """Wait until it is ready, the time over or the wait cancelled, which is looked at ten times a second."""
        end = math.inf if timeout is None else time.monotonic() + timeout
        while not cancelled.is_set() and (left := end - time.monotonic()) > 0:
            if self._changed.wait_for(ready, min(left, 0.1)):
                return

    def close(self) -> None:
        """Refuse further rows; those that are in it can still be read."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


@host_operator("CreateBlobsQueue")
def create_blobs_queue(call: HostCall) -> None:
    """A queue."""
    capacity = call.arg("capacity", 1)
    if capacity < 1:
        call.fail(f"argument capacity is {capacity}", "give a number from 1 on")
    call.write(0, BlobsQueue(capacity, call.arg("num_blobs", 1)))


def _enqueue(call: HostCall) -> bool:
    queue, row = call.object(0, BlobsQueue), list(call.read_all())[1:]
    if len(row) != queue.num_blobs:
        call.fail(f"it was given {len(row)} blobs, the queue has {queue.num_blobs}", "name as many as num_blobs")
    return _went_on(call, bool(queue.put(row, call.memory.cancelled)))


def _went_on(call: HostCall, done: bool) -> bool:
    """``done``; fails where it is not, because the run was cancelled."""
    if not done and call.memory.cancelled.is_set():
        call.fail("the run was cancelled while it waited for the queue")
    return done


@host_operator("EnqueueBlobs")
def enqueue_blobs(call: HostCall) -> None:
    """Append the inputs after the first as a row; fails where the queue is closed."""
    if not _enqueue(call):
        call.fail("the queue is closed", "use SafeEnqueueBlobs, whose last output says so")


@host_operator("SafeEnqueueBlobs")
def safe_enqueue_blobs(call: HostCall) -> None:
    """Append the inputs after the first as a row; the last output is true where the queue is closed."""
    done = _enqueue(call)
    call.write(call.n_outputs - 1, np.array(not done, np.bool_))


def _dequeue(call: HostCall, n: int) -> list[Value] | None:
    """The values of the next row, or those of several rows joined; None where there are none."""
    queue = call.object(0, BlobsQueue)
    if n != queue.num_blobs:
        call.fail(f"it has {n} outputs for blobs, the queue {queue.num_blobs}", "name as many as num_blobs")
    timeout = call.arg("timeout_secs", 0.0)
    rows: list[Row] = []
    wanted = max(call.arg("num_records", 1), 1)
    limit, cancelled = timeout if timeout > 0 else None, call.memory.cancelled
    while len(rows) < wanted and (row := queue.get(limit, cancelled)) is not None:
        rows.append(row)
    if not _went_on(call, bool(rows)):
        return None
    return rows[0] if wanted == 1 else [np.concatenate(column) for column in zip(*rows)]


@host_operator("DequeueBlobs")
def dequeue_blobs(call: HostCall) -> None:
    """The next row; fails where the queue is closed and empty, or the time is over."""
    values = _dequeue(call, call.n_outputs)
    if values is None:
        call.fail(
            "the queue is closed and empty, or the time is over", "use SafeDequeueBlobs, whose last output says so"
        )
    for i, value in enumerate(values):
        call.write(i, value)


@host_operator("SafeDequeueBlobs")
def safe_dequeue_blobs(call: HostCall) -> None:
    """The next row, or ``num_records`` rows joined; the last output is true where there were none."""
    values = _dequeue(call, call.n_outputs - 1)
    for i, value in enumerate(values or ()):
        call.write(i, value)
    call.write(call.n_outputs - 1, np.array(values is None, np.bool_))


@host_operator("WeightedSampleDequeueBlobs")
def weighted_sample_dequeue_blobs(call: HostCall) -> None:
    """The next row of one of the queues, drawn by ``weights``, its number in output ``table_idx_blob``; the last output
    is true where there was none."""
    queues = [call.object(i, BlobsQueue) for i in range(call.n_inputs)]
    weights = np.array(call.op.args.get("weights", ()), np.float64)
    if len(weights) != len(queues) or (weights < 0).any() or weights.sum() <= 0:
        call.fail(f"argument weights is {weights.tolist()}", f"give {len(queues)} numbers from 0 on, not all 0")
    drawn = int(_RANDOM.choice(len(queues), p=weights / weights.sum()))
    row = queues[drawn].get(None, call.memory.cancelled)
    _went_on(call, row is not None)
    for i, value in enumerate(row or ()):
        call.write(i, value)
    place = call.arg("table_idx_blob", -1)
    if row is not None and place >= 0:
        call.write(place, np.array([drawn], np.int32))
    call.write(call.n_outputs - 1, np.array(row is None, np.bool_))


@host_operator("CloseBlobsQueue")
def close_blobs_queue(call: HostCall) -> None:
    """Close a queue."""
    call.object(0, BlobsQueue).close()


@host_operator("Free")
def free(call: HostCall) -> None:
    """Empty the outputs."""
    for i in range(call.n_outputs):
        call.write(i, None)


class RebatchingQueue(BlobsQueue):
    """A queue of single rows of tensors, which are read in batches of any size."""


@host_operator("CreateRebatchingQueue")
def create_rebatching_queue(call: HostCall) -> None:
    """A queue of rows."""
    call.write(0, RebatchingQueue(max(call.arg("capacity", 1), 1), call.arg("num_blobs", 1)))


@host_operator("EnqueueRebatchingQueue")
def enqueue_rebatching_queue(call: HostCall) -> None:
    """Append the inputs after the first as a row, with ``enqueue_batch`` every row of theirs."""
    queue, tensors = call.object(0, RebatchingQueue), [np.asarray(v) for v in list(call.read_all())[1:]]
    if len(tensors) != queue.num_blobs:
        call.fail(f"it was given {len(tensors)} blobs, the queue has {queue.num_blobs}", "name as many as num_blobs")
    whole = not call.arg("enqueue_batch", 0)
    if not whole and len({len(t) if t.ndim else -1 for t in tensors}) > 1:
        call.fail("the batches differ in length", "give tensors with as many rows each")
    rows = [tensors] if whole else [[t[i] for t in tensors] for i in range(len(tensors[0]))]
    if not _went_on(call, all(queue.put(list(row), call.memory.cancelled) for row in rows)):
        call.fail("the queue is closed", "enqueue before it is closed")


@host_operator("DequeueRebatchingQueue")
def dequeue_rebatching_queue(call: HostCall) -> None:
    """The next ``num_elements`` rows, fewer of a queue that is closed; fails where there are none."""
    queue, rows = call.object(0, RebatchingQueue), list[Row]()
    cancelled, wanted = call.memory.cancelled, max(call.arg("num_elements", 1), 1)
    while len(rows) < wanted and (row := queue.get(None, cancelled)) is not None:
        rows.append(row)
    if not _went_on(call, bool(rows)):
        call.fail("the queue is closed and empty", "ask less often, or look at what the producer says")
    for i, column in enumerate(zip(*rows)):
        call.write(i, np.stack(column))


@host_operator("CloseRebatchingQueue")
def close_rebatching_queue(call: HostCall) -> None:
    """Close a queue."""
    call.object(0, RebatchingQueue).close()
