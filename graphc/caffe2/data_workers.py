"""``caffe2.python.data_workers``: threads that fetch data as arrays and feed it to a net in batches."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphc.caffe2 import core, scope, workspace
from graphc.caffe2.parallel_workers import (
    LOG_INT_SECS,
    GlobalWorkerCoordinator,
    Metrics,
    State,
    Worker,
    WorkerCoordinator,
    run_worker,
)

log = logging.getLogger("data_workers")
_POLL_SECONDS = 0.5
_NET_QUEUE_CAPACITY = 4
"""Batches that wait for the net."""


def get_worker_ids(num_workers: int) -> list[int]:
    """0, 1 ... ``num_workers - 1``."""
    return list(range(num_workers))


def init_data_input_workers(
    net: Any,
    input_blob_names: Sequence[str],
    fetch_fun: Callable[[int, int], Any],
    batch_size: int,
    num_worker_threads: int = 2,
    input_source_name: str = "train",
    max_buffered_batches: int = 800,
    init_fun: Callable[[Any, Any], Any] | None = None,
    external_loggers: Sequence[Any] | None = None,
    dont_rebatch: bool = False,
    batch_columns: Sequence[int] | None = None,
    timeout: float = 600,
) -> GlobalCoordinator:
    """Let a net read batches that threads fetch; ``start()`` and ``stop()`` of what is given start and end them.

    net: a ``Net`` or model; operators that read the blobs are added. fetch_fun: ``fetch_fun(worker id, batch size)``
    gives an array for each blob, with as many rows as it likes; rows are joined and cut to batches, unless
    ``dont_rebatch``. batch_columns: the axis of the rows of each array, 0 by default. timeout: seconds after which the
    net fails without data.
    """
    feeder = BatchFeeder(
        net,
        input_blob_names,
        batch_size,
        scope.CurrentDeviceScope(),
        scope.CurrentNameScope(),
        input_source_name,
        global_coordinator.get_queue(input_source_name, max_buffered_batches),
        Metrics(external_loggers),
        dont_rebatch,
        batch_columns,
        timeout=timeout,
    )
    ids = [global_coordinator.get_new_worker_id() for _ in range(num_worker_threads)]
    coordinator = WorkerCoordinator(input_source_name, ids, init_fun, feeder)
    workers = [DataWorker(coordinator, i, fetch_fun, feeder._metrics, batch_size, feeder) for i in ids]
    coordinator._workers = [
        threading.Thread(
            target=run_worker, name=f"data_workers fetcher id {worker._worker_id}", args=[coordinator, worker]
        )
        for worker in workers
    ]
    name = f"Enqueuer {input_source_name} {scope.CurrentNameScope()}"
    coordinator._workers.append(threading.Thread(target=enqueuer, name=name, args=[coordinator, feeder]))
    global_coordinator.add(coordinator)
    return global_coordinator


class BatchFeeder(State):
    """Takes what threads fetched, makes batches of it and puts them into queues of the workspace."""

    def __init__(
        self,
        net: Any,
        input_blob_names: Sequence[str],
        batch_size: int,
        device_option: Any,
        namescope: str,
        input_source_name: str,
        queue: Any,
        metrics: Metrics,
        dont_rebatch: bool,
        batch_columns: Sequence[int] | None,
        timeout: float = 600,
    ) -> None:
        self._input_blob_names, self._batch_size = input_blob_names, batch_size
        self._device_option, self._namescope, self._timeout = device_option, namescope, timeout
        self._input_source_name, self._internal_queue = input_source_name, queue
        self._metrics, self._dont_rebatch = metrics, dont_rebatch
        self._batch_columns = list(batch_columns) if batch_columns is not None else [0] * len(input_blob_names)
        self._inputs, self._prev_seconds, self._last_warning = 0, time.time(), time.time()
        self._rest: list[np.ndarray] | None = None
        self._queues = [self._create_queue(name) for name in input_blob_names]
        self._create_caffe2_ops(net)
        self._scratch = {name: f"{namescope}{name}_scratch_{input_source_name}" for name in input_blob_names}
        for name in self._scratch_names():
            workspace.FeedBlob(name, np.array([], np.float32))

    def _scratch_names(self) -> list[str]:
        return [name + tail for name in self._scratch.values() for tail in ("", "_status")]

    def _create_queue(self, blob: str) -> Any:
        name = f"{blob}_c2queue_{self._input_source_name}"
        workspace.RunOperatorOnce(
            core.CreateOperator("CreateBlobsQueue", [], [name], num_blobs=1, capacity=_NET_QUEUE_CAPACITY)
        )
        return core.ScopedBlobReference(name)

    def _create_caffe2_ops(self, net: Any) -> None:
        """Add the operators that read the blobs."""
        for queue_blob, name in zip(self._queues, self._input_blob_names):
            net.DequeueBlobs(queue_blob, name, timeout_secs=float(self._timeout))

    def start(self) -> None:
        """Count from now on."""
        self._inputs, self._prev_seconds = 0, time.time()

    def stop(self) -> None:
        """Close the queues."""
        for queue_blob in self._queues:
            if workspace.HasBlob(queue_blob):
                workspace.RunOperatorOnce(core.CreateOperator("CloseBlobsQueue", [queue_blob], []))
        self._log_inputs_per_interval(0, force=True)

    def cleanup(self) -> None:
        """Let go of the memory."""
        for name in self._scratch_names():
            if workspace.HasBlob(name):
                workspace.ResetBlob(name)

    def put(self, chunk: Any, data_input_coordinator: Any) -> None:
        """Take arrays that a thread fetched, waiting for room; raises ``AssertionError`` for others."""
        if chunk is None:
            log.warning("Fetcher function returned None")
            return
        self._validate(chunk)
        while data_input_coordinator.is_active():
            try:
                self._internal_queue.put(chunk, block=True, timeout=_POLL_SECONDS)
            except queue.Full:
                continue
            self._log_inputs_per_interval(chunk[0].shape[0])
            return

    def _validate(self, chunk: Any) -> None:
        if len(chunk) != len(self._input_blob_names):
            raise AssertionError("Expecting data blob for each input")
        if not all(isinstance(array, np.ndarray) for array in chunk):
            raise AssertionError("Fetcher function must return a numpy array")
        rows = {array.shape[axis] for array, axis in zip(chunk, self._batch_columns)} if not self._dont_rebatch else ()
        if len(rows) > 1:
            raise AssertionError("Each returned input must have equal number of samples")

    def _get(self, data_input_coordinator: Any) -> Any:
        started = time.time()
        while data_input_coordinator.is_active():
            try:
                return self._internal_queue.get(block=True, timeout=_POLL_SECONDS)
            except queue.Empty:
                if time.time() - self._last_warning > LOG_INT_SECS:
                    log.warning("** Data input is slow: (still) no data in %s secs.", time.time() - started)
                    self._last_warning = time.time()
        return None

    def _enqueue_batch(self, data_input_coordinator: Any) -> None:
        """Pass on one batch."""
        batch = self._get(data_input_coordinator) if self._dont_rebatch else self._next_batch(data_input_coordinator)
        if batch is None or not data_input_coordinator.is_active():
            return
        started = time.time()
        for name, queue_blob, array in zip(self._input_blob_names, self._queues, batch):
            self._enqueue(name, queue_blob, array)
        self._metrics.put_metric("enqueue_time", time.time() - started)

    def _next_batch(self, data_input_coordinator: Any) -> list[np.ndarray] | None:
        """Rows of as many chunks as needed; those that are left begin the next batch."""
        batch, self._rest = self._rest, None
        axes = self._batch_columns
        while batch is None or batch[0].shape[axes[0]] < self._batch_size:
            chunk = self._get(data_input_coordinator)
            if chunk is None:
                return None
            batch = chunk if batch is None else [np.concatenate(p, axis) for *p, axis in zip(batch, chunk, axes)]
        if batch[0].shape[axes[0]] > self._batch_size:
            cut = [np.split(array, [self._batch_size], axis) for array, axis in zip(batch, axes)]
            batch, self._rest = [part[0] for part in cut], [part[1] for part in cut]
        return batch

    def _enqueue(self, name: str, queue_blob: Any, array: np.ndarray) -> None:
        scratch = core.BlobReference(self._scratch[name])
        workspace.FeedBlob(scratch, array)
        status = core.BlobReference(f"{scratch}_status")
        workspace.RunOperatorOnce(core.CreateOperator("SafeEnqueueBlobs", [queue_blob, scratch], [scratch, status]))

    def _log_inputs_per_interval(self, inputs: int, force: bool = False) -> None:
        self._inputs += inputs
        now = time.time()
        seconds = now - self._prev_seconds
        if seconds < LOG_INT_SECS and not force:
            return
        self._metrics.put_metric("inputs_per_sec", int(self._inputs / seconds) if seconds > 0 else 0, False)
        self._metrics.put_metric("queue_size", self._internal_queue.qsize(), False)
        self._metrics.put_metric("time_elapsed", seconds, False)
        self._metrics.log_metrics()
        self._metrics.reset_metrics()
        self._inputs, self._prev_seconds = 0, now


class GlobalCoordinator(GlobalWorkerCoordinator):
    """The coordinators of all sources of data."""

    def __init__(self) -> None:
        super().__init__()
        self._queues: dict[str, Any] = {}

    def get_queue(self, queue_name: str, max_buffered_batches: int) -> Any:
        """The queue between the threads of a source and its feeder."""
        if not isinstance(max_buffered_batches, int):
            raise AssertionError("max_buffered_batches is a whole number")
        return self._queues.setdefault(queue_name, queue.Queue(maxsize=max_buffered_batches))

    def reset_data_input(self, namescope: str, name: str, net: Any, batch_size: int) -> None:
        """Let another net read a source's data, in batches of another size."""
        for coordinator in self._coordinators:
            if coordinator._worker_name == name and coordinator._state._namescope == namescope:
                coordinator._state._batch_size = batch_size
                coordinator._state._create_caffe2_ops(net)


class DataWorker(Worker):
    """A thread that fetches."""

    def __init__(
        self,
        coordinator: Any,
        worker_id: int,
        worker_fun: Callable[[int, int], Any],
        metrics: Metrics,
        batch_size: int,
        batch_feeder: BatchFeeder,
    ) -> None:
        super().__init__(coordinator, worker_id, worker_fun=worker_fun, metrics=metrics)
        self._fetch, self._batch_size, self._batch_feeder = worker_fun, batch_size, batch_feeder

    def run(self) -> None:
        """Fetch once."""
        self._batch_feeder.put(self._fetch(self._worker_id, self._batch_size), self._coordinator)

    def finish(self) -> None:
        """Note how long it took."""
        self._metrics.put_metric("fetcher_time", time.time() - self._start_time)


global_coordinator = GlobalCoordinator()


def enqueuer(coordinator: Any, batch_feeder: BatchFeeder) -> None:
    """Pass on batches until the coordinator ends it."""
    while coordinator.is_active():
        batch_feeder._enqueue_batch(coordinator)
