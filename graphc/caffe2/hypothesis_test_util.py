"""``caffe2.python.hypothesis_test_util``: tests of operators on random inputs, by the package hypothesis.

``HypothesisTestCase`` runs one operator and compares it with a reference in Python, with finite differences, with
itself on other devices. The strategies are in ``graphc.caffe2.hypothesis_strategies``. Importing this loads the profile
that ``CAFFE2_HYPOTHESIS_PROFILE`` names: ``dev`` (10 examples, the default), ``sandcastle`` (50, the same every time)
or ``debug`` (50, told one by one). No test has a deadline (``test_util.TestCase``).
"""
# ruff: noqa: PT009, PT027  (what this gives is a test case of unittest)

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import hypothesis
import hypothesis.strategies as st
import numpy as np

from graphc.caffe2 import core, device_checker, gradient_checker, test_util, workspace
from graphc.caffe2.hypothesis_strategies import arrays as arrays
from graphc.caffe2.hypothesis_strategies import dims as dims
from graphc.caffe2.hypothesis_strategies import elements_of_type as elements_of_type
from graphc.caffe2.hypothesis_strategies import floats as floats
from graphc.caffe2.hypothesis_strategies import lengths as lengths
from graphc.caffe2.hypothesis_strategies import lengths_tensor as lengths_tensor
from graphc.caffe2.hypothesis_strategies import ntensors as ntensors
from graphc.caffe2.hypothesis_strategies import segment_ids as segment_ids
from graphc.caffe2.hypothesis_strategies import segmented_tensor as segmented_tensor
from graphc.caffe2.hypothesis_strategies import sparse_lengths_tensor as sparse_lengths_tensor
from graphc.caffe2.hypothesis_strategies import sparse_segmented_tensor as sparse_segmented_tensor
from graphc.caffe2.hypothesis_strategies import tensor as tensor
from graphc.caffe2.hypothesis_strategies import tensor1d as tensor1d
from graphc.caffe2.hypothesis_strategies import tensors as tensors
from graphc.caffe2.hypothesis_strategies import tensors1d as tensors1d
from graphc.caffe2.proto import caffe2_pb2
from graphc.frontends.netdef.schema import Message

_LOG = logging.getLogger(__name__)

# ---- profiles --------------------------------------------------------------------------------------------------------


def is_sandcastle() -> bool:
    """The tests run where Caffe2's own did."""
    return os.getenv("SANDCASTLE") == "1" or os.getenv("TW_JOB_USER") == "sandcastle"


def is_travis() -> bool:
    """The tests run on Travis."""
    return "TRAVIS" in os.environ


def _register_profiles() -> None:
    relaxed: dict[str, Any] = {"suppress_health_check": list(hypothesis.HealthCheck), "deadline": None}
    hypothesis.settings.register_profile("dev", max_examples=10, database=None, **relaxed)
    hypothesis.settings.register_profile("sandcastle", max_examples=50, database=None, derandomize=True, **relaxed)
    verbose = hypothesis.Verbosity.verbose
    hypothesis.settings.register_profile("debug", max_examples=50, database=None, verbosity=verbose, **relaxed)
    chosen = "sandcastle" if is_sandcastle() else os.getenv("CAFFE2_HYPOTHESIS_PROFILE", "dev")
    hypothesis.settings.load_profile(chosen)


_register_profiles()

# ---- devices ---------------------------------------------------------------------------------------------------------

cpu_do = caffe2_pb2.DeviceOption()
cuda_do = caffe2_pb2.DeviceOption(device_type=caffe2_pb2.CUDA)
hip_do = caffe2_pb2.DeviceOption(device_type=caffe2_pb2.HIP)
gpu_do = caffe2_pb2.DeviceOption(device_type=workspace.GpuDeviceType)
device_options = [cpu_do]
"""The devices that tests run on: graphc has a processor and no other."""
expanded_device_options = [cpu_do]


def device_checker_device_options() -> st.SearchStrategy:
    """The list of all devices."""
    return st.just(device_options)


def gradient_checker_device_option() -> st.SearchStrategy:
    """One of the devices."""
    return st.sampled_from(device_options)


gcs = {"gc": gradient_checker_device_option(), "dc": device_checker_device_options()}
gcs_cpu_only = {"gc": st.just(cpu_do), "dc": st.just([cpu_do])}
gcs_cuda_only = {"gc": st.just(cuda_do), "dc": st.just([cuda_do])}
gcs_gpu_only = {"gc": st.just(gpu_do), "dc": st.just([gpu_do])}
gcs_no_hip = gcs

# ---- running one operator --------------------------------------------------------------------------------------------


@contextmanager
def temp_workspace(name: str | bytes = "temp_ws") -> Iterator[None]:
    """Another workspace within the block, which is empty at its end."""
    before = workspace.CurrentWorkspace()
    workspace.SwitchWorkspace(name.decode() if isinstance(name, bytes) else name, True)
    try:
        yield
    finally:
        workspace.ResetWorkspace()
        workspace.SwitchWorkspace(before)


def _on_device(op: Message, device_option: Message) -> Message:
    placed = copy.deepcopy(op)
    placed.device_option.CopyFrom(device_option)
    return placed


def _feed_inputs(
    op: Message, inputs: Sequence[Any], device_option: Message, input_device_options: Mapping[str, Message] | None
) -> None:
    """Feed arrays to the inputs of an operator, in order; raises ``ValueError`` where there are too few."""
    if len(op.input) > len(inputs):
        raise ValueError(f"must supply an input for each input on the op: {list(op.input)} vs {len(inputs)} arrays")
    devices = input_device_options or core.InferOpBlobDevicesAsDict(op)[0]
    for name, array in zip(op.input, inputs):
        workspace.FeedBlob(name, array, device_option=devices.get(name, device_option))


def runOpBenchmark(
    device_option: Message,
    op: Message,
    inputs: Sequence[Any],
    input_device_options: Mapping[str, Message] | None = None,
    iterations: int = 10,
) -> Any:
    """What ``BenchmarkNet`` says of the operator, with a time of its own."""
    placed = _on_device(op, device_option)
    net = caffe2_pb2.NetDef(name=op.name or "test")
    net.op.extend([placed])
    with temp_workspace():
        _feed_inputs(placed, inputs, device_option, input_device_options)
        workspace.CreateNet(net)
        return workspace.BenchmarkNet(net.name, 1, iterations, True)


def runOpOnInput(
    device_option: Message,
    op: Message,
    inputs: Sequence[Any],
    input_device_options: Mapping[str, Message] | None = None,
) -> list[Any]:
    """The outputs of the operator."""
    placed = _on_device(op, device_option)
    with temp_workspace():
        _feed_inputs(placed, inputs, device_option, input_device_options)
        workspace.RunOperatorOnce(placed)
        return [workspace.FetchBlob(name) for name in placed.output]


# ---- the test case ---------------------------------------------------------------------------------------------------


class HypothesisTestCase(test_util.TestCase):
    """A test of operators; the operators are ``OperatorDef`` and stay as they are."""

    def assertDeviceChecks(
        self,
        device_options: Sequence[Message],
        op: Message,
        inputs: Sequence[Any],
        outputs_to_check: Sequence[int],
        input_device_options: Mapping[str, Message] | None = None,
        threshold: float = 0.01,
    ) -> None:
        """The outputs at these positions are the same on all devices."""
        checker = device_checker.DeviceChecker(threshold, device_options=device_options)
        self.assertTrue(checker.CheckSimple(op, inputs, outputs_to_check, input_device_options))

    def assertGradientChecks(
        self,
        device_option: Message,
        op: Message,
        inputs: Sequence[Any],
        outputs_to_check: int,
        outputs_with_grads: Sequence[int],
        grad_ops: Sequence[Message] | None = None,
        threshold: float = 0.005,
        stepsize: float = 0.05,
        input_device_options: Mapping[str, Message] | None = None,
        ensure_outputs_are_inferred: bool = False,
    ) -> None:
        """The gradient by the input at position ``outputs_to_check``, of these outputs, is that of differences."""
        checker = gradient_checker.GradientChecker(
            stepsize=stepsize,
            threshold=threshold,
            device_option=device_option,
            workspace_name=str(device_option),
            input_device_options=input_device_options,
        )
        same, grad, estimate = checker.CheckSimple(
            op,
            inputs,
            outputs_to_check,
            outputs_with_grads,
            grad_ops=grad_ops,
            input_device_options=input_device_options,
            ensure_outputs_are_inferred=ensure_outputs_are_inferred,
        )
        self.assertEqual(grad.shape, estimate.shape)
        self.assertTrue(same, f"Gradient check failed for input {op.input[outputs_to_check]}")

    def assertReferenceChecks(
        self,
        device_option: Message,
        op: Message,
        inputs: Sequence[Any],
        reference: Callable[..., Any],
        input_device_options: Mapping[str, Message] | None = None,
        threshold: float = 1e-4,
        output_to_grad: str | None = None,
        grad_reference: Callable[..., Any] | None = None,
        atol: float | None = None,
        outputs_to_check: Sequence[int] | None = None,
        ensure_outputs_are_inferred: bool = False,
    ) -> list[Any]:
        """The outputs of the operator, which are those of ``reference(*inputs)``.

        reference: gives a list or tuple of arrays, one an output, or one a position of outputs_to_check. threshold:
        relative and, unless ``atol`` says otherwise, absolute difference allowed. grad_reference: gives, for the
        gradient of the output ``output_to_grad``, the outputs and the inputs, the gradients of the inputs: an array,
        (values, indices) of a sparse one, None where there is none. ensure_outputs_are_inferred: shapes and types have
        to follow from the operator; where they do but differ, this is logged.
        """
        placed = _on_device(op, device_option)
        with temp_workspace():
            _feed_inputs(placed, inputs, device_option, input_device_options)
            net = core.Net("opnet")
            net.Proto().op.extend([placed])
            inferred = _inferred(net)
            workspace.RunNetOnce(net)
            expected = reference(*inputs)
            if not isinstance(expected, tuple | list):
                raise RuntimeError(
                    "You are providing a wrong reference implementation. A proper one should return a tuple/list of "
                    "numpy arrays."
                )
            if not outputs_to_check:
                self.assertEqual(len(expected), len(placed.output))
                outputs_to_check = range(len(placed.output))
            outputs = []
            for i, array in zip(outputs_to_check, expected):
                name = placed.output[i]
                outputs.append(workspace.FetchBlob(name))
                _assert_same(name, outputs[-1], array, threshold if atol is None else atol, threshold)
                self._check_inference(name, inferred, outputs[-1], ensure_outputs_are_inferred)
            if grad_reference is not None:
                if output_to_grad is None:
                    raise AssertionError("If grad_reference is set, output_to_grad has to be set as well")
                with core.DeviceScope(device_option):
                    self._check_gradients(placed, inputs, expected, output_to_grad, grad_reference, threshold)
            return outputs

    def _check_gradients(
        self,
        op: Message,
        inputs: Sequence[Any],
        outputs: Sequence[Any],
        output_to_grad: str,
        reference: Callable[..., Any],
        threshold: float,
    ) -> None:
        """The gradients of the inputs, for a gradient of one output that is that output, are those of a reference."""
        name = output_to_grad + "_grad"
        operators, gradients = core.GradientRegistry.GetBackwardPass([op], {output_to_grad: name})
        given = workspace.FetchBlob(output_to_grad)
        expected = reference(given, outputs, inputs)
        workspace.FeedBlob(name, given)
        workspace.RunOperatorsOnce(operators)
        self.assertEqual(len(expected), len(inputs))
        for blob, value in zip(op.input, expected):
            gradient = gradients.get(blob)
            if not gradient:
                self.assertIsNone(value)
            elif isinstance(gradient, core.GradientSlice):
                _assert_same(str(gradient.values), workspace.FetchBlob(gradient.values), value[0], threshold, threshold)
                _assert_same(str(gradient.indices), workspace.FetchBlob(gradient.indices), value[1], 1e-4, 1e-4)
            else:
                _assert_same(str(gradient), workspace.FetchBlob(gradient), value, threshold, threshold)

    def _check_inference(self, name: str, inferred: Any, output: Any, ensure: bool) -> None:
        """What is known of a blob before a run fits what the run gave."""
        shapes, types = inferred
        if ensure:
            self.assertIn(name, shapes, f"Shape for {name} was not inferred")
        if name not in shapes or not isinstance(output, np.ndarray):
            return
        number = gradient_checker.NUMBERS.get(output.dtype, types[name])
        if list(shapes[name]) == list(output.shape) and types[name] == number:
            return
        message = f"{name} is {output.dtype} {output.shape}, inferred: type {types[name]}, shape {shapes[name]}"
        if ensure or os.getenv("CAFFE2_ASSERT_SHAPEINFERENCE") == "1":
            self.fail(message)
        _LOG.warning(message)

    def assertValidationChecks(
        self,
        device_option: Message,
        op: Message,
        inputs: Sequence[Any],
        validator: Callable[..., Any],
        input_device_options: Mapping[str, Message] | None = None,
        as_kwargs: bool = True,
        init_net: Any = None,
    ) -> None:
        """Call a function that asserts what it knows of inputs and outputs.

        as_kwargs: with every array under its blob's name; otherwise as lists, ``inputs`` and ``outputs``. init_net:
        runs before the operator.
        """
        if as_kwargs and len({*op.input, *op.output}) != len(op.input) + len(op.output):
            raise AssertionError("in-place ops are not supported in as_kwargs mode")
        placed = _on_device(op, device_option)
        with temp_workspace():
            _feed_inputs(placed, inputs, device_option, input_device_options)
            if init_net:
                workspace.RunNetOnce(init_net)
            workspace.RunOperatorOnce(placed)
            outputs = [workspace.FetchBlob(name) for name in placed.output]
            if as_kwargs:
                validator(**dict(zip([*placed.input, *placed.output], [*inputs, *outputs])))
            else:
                validator(inputs=inputs, outputs=outputs)

    def assertRunOpRaises(
        self,
        device_option: Message,
        op: Message,
        inputs: Sequence[Any],
        input_device_options: Mapping[str, Message] | None = None,
        exception: Any = (Exception,),
        regexp: str | None = None,
    ) -> None:
        """Running the operator raises an exception, whose text has to match regexp if there is one."""
        placed = _on_device(op, device_option)
        with temp_workspace():
            _feed_inputs(placed, inputs, device_option, input_device_options)
            with self.assertRaisesRegex(exception, regexp or ""):
                workspace.RunOperatorOnce(placed)


def _inferred(net: Any) -> tuple[dict[str, list[int]], dict[str, int]]:
    """Shapes and types of a net's blobs; none, and a log, where they do not follow."""
    try:
        return workspace.InferShapesAndTypes([net])
    except RuntimeError as error:
        if os.getenv("CAFFE2_ASSERT_SHAPEINFERENCE") == "1":
            raise
        _LOG.warning(str(error))
        return {}, {}


def _assert_same(name: str, found: Any, expected: Any, atol: float, rtol: float) -> None:
    """Numbers within a tolerance, anything else equal."""
    if not isinstance(found, np.ndarray) or found.dtype.kind in "SO":
        np.testing.assert_array_equal(found, expected)
        return
    message = f"Output {name} is not matching the reference"
    np.testing.assert_allclose(found, expected, atol=atol, rtol=rtol, err_msg=message)
