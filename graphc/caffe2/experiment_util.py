"""``caffe2.python.experiment_util``: logs of training runs, as comma-separated text and to loggers of the user's."""

from __future__ import annotations

import datetime
import logging
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any


class ExternalLogger(ABC):
    """A logger of the user's."""

    @abstractmethod
    def set_runtime_args(self, runtime_args: Mapping[str, Any]) -> None:
        """Take the settings of the run."""

    @abstractmethod
    def log(self, log_dict: Mapping[str, Any]) -> None:
        """Take the numbers of a moment by name."""


class ModelTrainerLog:
    """A log in the file ``NAME_DATE_TIME.log`` of the current folder. runtime_args: settings, noted first."""

    def __init__(
        self, expname: str, runtime_args: Any, external_loggers: Sequence[ExternalLogger] | None = None
    ) -> None:
        self.experiment_id = f"{expname}_{datetime.datetime.now():%Y%m%d_%H%M%S}"
        self.filename = f"{self.experiment_id}.log"
        self.logstr(f"# {runtime_args}")
        self.headers: list[str] | None = None
        self.start_time = self.last_time = time.time()
        self.last_input_count = 0
        self.external_loggers = list(external_loggers or ())
        if self.external_loggers:
            settings = dict(runtime_args if isinstance(runtime_args, dict) else vars(runtime_args))
            settings.update(experiment_id=self.experiment_id, hostname=socket.gethostname())
            for logger in self.external_loggers:
                logger.set_runtime_args(settings)

    def logstr(self, str: str) -> None:
        """Append a line."""
        with open(self.filename, "a", encoding="utf-8") as file:
            file.write(str + "\n")
        logging.getLogger("experiment_logger").info(str)

    def log(self, input_count: int, batch_count: int, additional_values: Mapping[str, Any]) -> None:
        """Append numbers: inputs and batches so far, and others by name. The first time the names come before."""
        now = time.time()
        seconds, inputs = now - self.last_time, input_count - self.last_input_count
        self.last_time, self.last_input_count = now, input_count
        values = {
            "time_spent": seconds,
            "cumulative_time_spent": now - self.start_time,
            "input_count": inputs,
            "cumulative_input_count": input_count,
            "cumulative_batch_count": batch_count,
            "inputs_per_sec": inputs / seconds if seconds > 0 else 0.0,
            **{key: additional_values[key] for key in sorted(additional_values)},
        }
        if self.headers is None:
            self.headers = list(values)
            self.logstr(",".join(self.headers))
        self.logstr(",".join(str(value) for value in values.values()))
        for logger in self.external_loggers:
            try:
                logger.log(values)
            except Exception as error:
                logging.warning("Failed to call ExternalLogger: %s", error)
