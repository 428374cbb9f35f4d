"""``caffe2.python.device_checker``: do operators and nets give the same on several devices?

graphc runs every device option on the CPU, so what is compared is the same machine code; that options, engines and
feeds are accepted is still checked.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from graphc.caffe2 import workspace
from graphc.caffe2.core import InferOpBlobDevicesAsDict
from graphc.frontends.netdef.schema import Message


class DeviceChecker:
    """Runs operators and nets on devices and compares with the first of them.

    threshold: absolute and relative difference that is allowed.
    """

    def __init__(self, threshold: float, device_options: Sequence[Message]) -> None:
        self._threshold = threshold
        self._device_options = device_options

    def CheckSimple(
        self,
        op: Message,
        inputs: Sequence[Any],
        outputs_to_check: Sequence[int],
        input_device_options: Mapping[str, Message] | None = None,
    ) -> bool:
        """The outputs at these positions of an operator are the same on all devices.

        input_device_options: where to feed an input, by name; where the operator is, unless said.
        """
        op = copy.deepcopy(op)
        names = [op.output[i] for i in outputs_to_check]
        results = []
        with _own_workspace():
            for option in self._device_options:
                op.device_option.CopyFrom(option)
                devices = input_device_options or InferOpBlobDevicesAsDict(op)[0]
                for name, array in zip(op.input, inputs):
                    workspace.FeedBlob(name, np.array(array), devices.get(name, option))
                workspace.RunOperatorOnce(op)
                results.append([workspace.FetchBlob(name) for name in names])
                workspace.ResetWorkspace()
        return self._same(names, results)

    def CheckNet(
        self,
        net: Message,
        inputs: Mapping[str, Any] | None = None,
        blobs_to_check: Sequence[str] | None = None,
        ignore: Collection[str] | None = None,
    ) -> bool:
        """The blobs of a ``NetDef`` are the same on all devices: these, or all but the ignored that operators make."""
        made = [name for op in net.op for name in op.output] if blobs_to_check is None else blobs_to_check
        names = [name for name in made if name not in (ignore or ())]
        results = []
        with _own_workspace():
            for option in self._device_options:
                for name, array in (inputs or {}).items():
                    workspace.FeedBlob(name, array, option)
                for op in net.op:
                    op.device_option.CopyFrom(option)
                workspace.RunNetOnce(net)
                results.append([workspace.FetchBlob(name) for name in names])
        return self._same(names, results)

    def _same(self, names: Sequence[str], results: Sequence[Sequence[Any]]) -> bool:
        """Every device's results are those of the first; prints those that are not."""
        same = True
        for i, found in enumerate(results[1:], 1):
            for name, x, y in zip(names, found, results[0]):
                if not np.allclose(x, y, atol=self._threshold, rtol=self._threshold):
                    print(f"Failure in checking device option {i} and output {name}. The outputs are:\n{x}\n{y}")
                    same = False
        return same


@contextmanager
def _own_workspace() -> Iterator[None]:
    before = workspace.CurrentWorkspace()
    workspace.SwitchWorkspace("_device_check_", True)
    try:
        yield
    finally:
        workspace.ResetWorkspace()
        workspace.SwitchWorkspace(before)
