"""``caffe2.python.parallel_workers``: threads that call a function over and over, until they are stopped."""

from __future__ import annotations

import atexit
import logging
import threading
import time
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

log = logging.getLogger("parallel_workers")
LOG_INT_SECS = 60
"""Seconds between two notes on the same thing in the log."""
_JOIN_SECONDS = 5.0


def init_workers(
    worker_fun: Callable[[int], Any],
    num_worker_threads: int = 2,
    worker_name: str = "train",
    init_fun: Callable[[Any, Any], Any] | None = None,
    external_loggers: Sequence[Any] | None = None,
    shutdown_fun: Callable[[], Any] | None = None,
) -> GlobalWorkerCoordinator:
    """Prepare threads that call ``worker_fun(worker id)``; ``start()`` of the coordinator that is given starts them.

    init_fun: called with the coordinator of these threads and that of all before they start. external_loggers: their
    ``log(dict)`` gets times. shutdown_fun: called at the end.
    """
    metrics = Metrics(external_loggers)
    ids = [global_coordinator.get_new_worker_id() for _ in range(num_worker_threads)]
    coordinator = WorkerCoordinator(worker_name, ids, init_fun, shutdown_fun=shutdown_fun)
    coordinator._workers = [
        threading.Thread(
            target=run_worker,
            name=f"parallel_workers worker id {i}",
            args=[coordinator, Worker(coordinator, i, worker_fun, metrics)],
        )
        for i in ids
    ]
    global_coordinator.add(coordinator)
    return global_coordinator


class Metrics:
    """Sums of numbers by name, and how many there were (``NAME_count``)."""

    def __init__(self, external_loggers: Sequence[Any] | None) -> None:
        self._external_loggers = external_loggers
        self.reset_metrics()

    def reset_metrics(self) -> None:
        """Forget the sums."""
        self._metrics: dict[str, Any] = defaultdict(int)

    def log_metrics(self) -> None:
        """Give the sums to the loggers; one that fails is noted in the log."""
        for logger in self._external_loggers or ():
            try:
                logger.log(self._metrics)
            except Exception as error:
                log.warning("Failed to call ExternalLogger: %s", error)

    def put_metric(self, key: str, value: Any, count: bool = True) -> None:
        """Add a number."""
        self._metrics[key] += value
        if count:
            self._metrics[f"{key}_count"] += 1


class State(ABC):
    """What threads of one coordinator share."""

    @abstractmethod
    def start(self) -> None:
        """Called before the threads start."""

    @abstractmethod
    def stop(self) -> None:
        """Called when they are to end."""

    @abstractmethod
    def cleanup(self) -> None:
        """Called when they have ended."""


class WorkerCoordinator:
    """The threads of one ``init_workers``."""

    def __init__(
        self,
        worker_name: str,
        worker_ids: list[int],
        init_fun: Callable[[Any, Any], Any] | None,
        state: State | None = None,
        shutdown_fun: Callable[[], Any] | None = None,
    ) -> None:
        self._active = True
        self._started = False
        self._workers: list[threading.Thread] = []
        self._worker_name, self._worker_ids = worker_name, worker_ids
        self._init_fun, self._state, self._shutdown_fun = init_fun, state, shutdown_fun

    def is_active(self) -> bool:
        """The threads are to go on."""
        return self._active

    def init(self, global_coordinator: Any) -> None:
        """Call the function that comes before the start."""
        if self._init_fun and not self._started:
            self._init_fun(self, global_coordinator)

    def _start(self) -> None:
        if self._started:
            return
        self._active = self._started = True
        if self._state is not None:
            self._state.start()
        for thread in self._workers:
            thread.daemon = True
            thread.start()

    def _stop(self, reason: str | None = None) -> None:
        self._active = False
        if reason is not None:
            log.error("Data input failed due to an error: %s", reason)
        if self._shutdown_fun is not None and self._started:
            self._shutdown_fun()
        if self._state is not None:
            self._state.stop()
        self._started = False

    def _wait_finish(self) -> bool:
        """Wait for the threads; False where one does not end, perhaps because it waits for data."""
        for thread in self._workers:
            if thread is not threading.current_thread() and thread.ident is not None:
                thread.join(_JOIN_SECONDS)
        alive = [thread.name for thread in self._workers if thread.is_alive()]
        if alive:
            log.warning("workers failed to close while waiting: %s", ", ".join(alive))
        elif self._state is not None:
            self._state.cleanup()
        return not alive

    def get_worker_ids(self) -> list[int]:
        """The numbers of the threads."""
        return self._worker_ids


class GlobalWorkerCoordinator:
    """The coordinators of the process; they end with it."""

    def __init__(self) -> None:
        self._coordinators: list[Any] = []
        self._fetcher_id_seq = 0
        self._worker_ids: list[int] = []
        self.register_shutdown_handler()

    def add(self, coordinator: Any) -> None:
        """Note a coordinator."""
        self._coordinators.append(coordinator)

    def get_new_worker_id(self) -> int:
        """A number that no other thread has."""
        self._worker_ids.append(self._fetcher_id_seq)
        self._fetcher_id_seq += 1
        return self._worker_ids[-1]

    def get_worker_ids(self) -> list[int]:
        """The numbers of all threads."""
        return self._worker_ids

    def start(self) -> None:
        """Start all threads, after the functions that come before."""
        for coordinator in self._coordinators:
            coordinator.init(self)
        for coordinator in self._coordinators:
            coordinator._start()

    def stop(self) -> bool:
        """End all threads; False where one does not."""
        for coordinator in self._coordinators:
            coordinator._stop()
        coordinators, self._coordinators = self._coordinators, []
        ended = [coordinator._wait_finish() for coordinator in coordinators]
        return all(ended)

    def stop_coordinator(self, worker_name: str) -> None:
        """End the threads of one name."""
        for coordinator in self._coordinators:
            if coordinator._worker_name == worker_name:
                coordinator._stop()
                coordinator._wait_finish()
        self._coordinators = [c for c in self._coordinators if c._worker_name != worker_name]

    def register_shutdown_handler(self) -> None:
        """End all threads with the process."""
        atexit.register(self.stop)


class Worker:
    """What one thread does."""

    def __init__(
        self, coordinator: Any, worker_id: int, worker_fun: Callable[..., Any] | None = None, metrics: Any = None
    ) -> None:
        self._coordinator, self._worker_id = coordinator, worker_id
        self._worker_fun, self._metrics = worker_fun, metrics
        self._start_time = 0.0

    def start(self) -> None:
        """Note the time."""
        self._start_time = time.time()

    def run(self) -> None:
        """Call the function."""
        if self._worker_fun is not None:
            self._worker_fun(self._worker_id)

    def handle_exception(self, e: Exception) -> None:
        """Note the error and end all threads of the coordinator."""
        log.exception("Exception in worker %s", self._worker_id, exc_info=e)
        self._coordinator._stop(f"Exception in worker {self._worker_id}: {e}")

    def finish(self) -> None:
        """Note how long it took."""
        self._metrics.put_metric("worker_time", time.time() - self._start_time)
        self._metrics.log_metrics()


global_coordinator = GlobalWorkerCoordinator()


def run_worker(coordinator: Any, worker: Any) -> None:
    """Let a worker run until its coordinator ends it."""
    while coordinator.is_active():
        worker.start()
        try:
            worker.run()
        except Exception as error:
            worker.handle_exception(error)
        finally:
            worker.finish()
