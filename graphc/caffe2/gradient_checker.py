"""``caffe2.python.gradient_checker``: gradients of operators and nets against finite differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graphc.caffe2 import workspace
from graphc.caffe2.core import (
    BlobReference,
    CreateOperator,
    GradientRegistry,
    GradientSlice,
    InferOpBlobDevicesAsDict,
    Net,
)
from graphc.caffe2.proto import caffe2_pb2
from graphc.frontends.netdef.schema import Message

NUMBERS = {
    np.dtype(np.float64): caffe2_pb2.TensorProto.DOUBLE,
    np.dtype(np.float32): caffe2_pb2.TensorProto.FLOAT,
    np.dtype(np.int32): caffe2_pb2.TensorProto.INT32,
    np.dtype(np.int64): caffe2_pb2.TensorProto.INT64,
}
"""Element types whose inference checks compare."""


def getGradientForOp(op: Message) -> tuple[list[Message], list[Any]]:
    """The operators of the gradients, and the gradients of the inputs; those of the outputs are ``NAME_grad``."""
    operators, gradients = GradientRegistry.GetGradientForOp(op, [name + "_grad" for name in op.output])
    return operators, gradients


# ---- operators -------------------------------------------------------------------------------------------------------


class GradientChecker:
    """Checks the gradient of an operator under half the sum of the squares of its outputs.

    stepsize: of the central differences. threshold: absolute and relative difference that is allowed.
    """

    def __init__(
        self,
        stepsize: float,
        threshold: float,
        device_option: Message | None = None,
        workspace_name: str = "gradient_check",
        input_device_options: Mapping[str, Message] | None = None,
    ) -> None:
        self._stepsize = stepsize
        self._threshold = threshold
        self._device_option = device_option or caffe2_pb2.DeviceOption()
        self._workspace_name = workspace_name
        self._input_device_options = input_device_options or {}

    def GetLossAndGrad(
        self,
        op: Message,
        grad_ops: Sequence[Message],
        inputs: Sequence[Any],
        input_names: Sequence[str],
        input_to_check: int,
        grad_name: Any,
        outputs_with_grads: Sequence[int],
    ) -> tuple[Any, np.ndarray]:
        """Half the sum of the squares of the outputs at these positions, and its gradient by one input, dense."""
        loss = self._loss(op, inputs, input_names, outputs_with_grads)
        for i in outputs_with_grads:
            name = op.output[i]
            workspace.FeedBlob(name + "_grad", workspace.FetchBlob(name), self._device_option)
        workspace.RunOperatorsOnce(grad_ops)
        if not isinstance(grad_name, GradientSlice):
            return loss, workspace.FetchBlob(grad_name)
        dense = np.zeros_like(inputs[input_to_check], np.float32)
        np.add.at(dense, workspace.FetchBlob(grad_name.indices), workspace.FetchBlob(grad_name.values))
        return loss, dense

    def _loss(self, op: Message, inputs: Sequence[Any], names: Sequence[str], outputs: Sequence[int]) -> Any:
        for name, array in zip(names, inputs):
            workspace.FeedBlob(name, array, self._input_device_options.get(name, self._device_option))
        workspace.RunOperatorOnce(op)
        return sum((workspace.FetchBlob(op.output[i]) ** 2).sum() for i in outputs) / 2.0

    def CheckSimple(
        self,
        op: Message,
        inputs: Sequence[Any],
        input_to_check: int,
        outputs_with_grads: Sequence[int],
        grad_ops: Sequence[Message] | None = None,
        input_device_options: Mapping[str, Message] | None = None,
        ensure_outputs_are_inferred: bool = False,
    ) -> tuple[bool, np.ndarray, np.ndarray]:
        """Whether the gradient by one input is that of finite differences; then both gradients.

        inputs: float arrays, which are changed while this runs. outputs_with_grads: the outputs whose squares count.
        grad_ops: the operators of the gradient, those that are registered unless given. Prints the elements that
        differ. Raises ``Exception`` where shapes differ, with ensure_outputs_are_inferred also where shapes or types
        of the gradients do not follow from the operators.
        """
        before = workspace.CurrentWorkspace()
        workspace.SwitchWorkspace(self._workspace_name, True)
        try:
            op.device_option.CopyFrom(self._device_option)
            registered, gradients = getGradientForOp(op)
            operators = registered if grad_ops is None else grad_ops
            devices = input_device_options or InferOpBlobDevicesAsDict(op)[0]
            for name, array in zip(op.input, inputs):
                workspace.FeedBlob(name, array, devices.get(name, self._device_option))
            grad = self.GetLossAndGrad(
                op, operators, inputs, op.input, input_to_check, gradients[input_to_check], outputs_with_grads
            )[1]
            if grad.shape != inputs[input_to_check].shape:
                raise Exception(
                    f"Mismatched gradient shapes: estimated ({inputs[input_to_check].shape}), grad ({grad.shape})"
                )
            if ensure_outputs_are_inferred:
                self._check_inference(op, operators)
            estimate = self._estimate(op, inputs, input_to_check, outputs_with_grads)
        finally:
            if self._workspace_name != before:
                workspace.ResetWorkspace()
                workspace.SwitchWorkspace(before)
        return self._close(grad, estimate), grad, estimate

    def _estimate(self, op: Message, inputs: Sequence[Any], input_to_check: int, outputs: Sequence[int]) -> np.ndarray:
        """Central differences, element by element."""
        checked = inputs[input_to_check]
        estimate: np.ndarray = np.zeros_like(checked)
        for i in range(checked.size):
            value, losses = checked.flat[i], []
            for step in (self._stepsize, -self._stepsize):
                checked.flat[i] = value + step
                losses.append(self._loss(op, inputs, op.input, outputs))
            checked.flat[i] = value
            estimate.flat[i] = (losses[0] - losses[1]) / self._stepsize / 2
        return estimate

    def _close(self, grad: np.ndarray, estimate: np.ndarray) -> bool:
        wrong = np.flatnonzero(~np.isclose(grad, estimate, atol=self._threshold, rtol=self._threshold))
        if wrong.size:
            print("Failed. [idx, grad, grad_estimate] are:")
            print(np.vstack([wrong, grad.flat[wrong], estimate.flat[wrong]]).T)
        return not wrong.size

    @staticmethod
    def _check_inference(op: Message, grad_ops: Sequence[Message]) -> None:
        net = caffe2_pb2.NetDef()
        net.op.extend([op, *grad_ops])
        shapes, types = workspace.InferShapesAndTypes([net], nets_proto=True)
        for name in {name for grad_op in grad_ops for name in grad_op.output}:
            if name not in shapes:
                raise Exception(f"expected output {name} to be inferred")
            array = workspace.FetchBlob(name)
            if list(array.shape) != list(shapes[name]):
                raise Exception(f"Mismatched inferred shape: want({list(array.shape)}), got({shapes[name]})")
            if types[name] != NUMBERS.get(array.dtype, types[name]):
                raise Exception(f"Mismatched inferred type: want({array.dtype}), got({types[name]})")


# ---- nets ------------------------------------------------------------------------------------------------------------


class NetGradientChecker:
    """Checks the gradients of nets."""

    @staticmethod
    def CompareNets(
        nets: Sequence[Net],
        outputs: Sequence[Sequence[Any]],
        outputs_with_grad_ids: Sequence[int],
        inputs_with_grads: Sequence[Any],
        input_values: Mapping[Any, np.ndarray] | None = None,
        threshold: float = 0.0000001,
        print_net_images: bool = False,
    ) -> None:
        """Raise ``AssertionError`` unless nets give the same outputs and the same gradients by these inputs.

        outputs: those of each net, in one order. outputs_with_grad_ids: positions of those that have a gradient, of
        ones. print_net_images: print the nets, as text.
        """
        results = [
            _forward_and_gradients(net, names, [names[i] for i in outputs_with_grad_ids], input_values,
                                   inputs_with_grads, print_net_images)
            for net, names in zip(nets, outputs)
        ]  # fmt: skip
        first_forward, first_gradients, _ = results[0]
        for names, (forward, gradients, _) in zip(outputs[1:], results[1:]):
            for i, (x, y) in enumerate(zip(first_forward, forward, strict=True)):
                _assert_close(x, y, threshold, f"Different forward pass results for output id {i}: {names[i]}")
            for blob, gradient in gradients.items():
                _assert_close(first_gradients[blob], gradient, threshold, f"Different gradients for input {blob}")

    @staticmethod
    def Check(
        net: Net,
        outputs_with_grad: Sequence[Any],
        input_values: Mapping[Any, np.ndarray],
        input_to_check: Any,
        step_size: float = 0.0001,
        threshold: float = 0.05,
        print_net: bool = True,
    ) -> tuple[float, float]:
        """Mean and largest difference of the gradient by one input from central differences of the sum of outputs.

        Raises ``AssertionError`` where one is above the threshold; print_net: with the net.
        """
        _, gradients, full_net = _forward_and_gradients(net, [], outputs_with_grad, input_values, [input_to_check])
        given = input_values[input_to_check]

        def loss(element: int, delta: float) -> Any:
            changed = given.copy()
            changed.flat[element] += delta
            workspace.FeedBlob(input_to_check, changed)
            workspace.RunNetOnce(full_net)
            return sum(workspace.FetchBlob(output) for output in outputs_with_grad).sum()

        estimate = np.zeros_like(given)
        for i in range(given.size):
            estimate.flat[i] = (loss(i, step_size) - loss(i, -step_size)) / step_size / 2
        message = f"Error in gradient check for net_copy {net.Name()}" + (f": {net.Proto()}" if print_net else "")
        return _assert_close(gradients[input_to_check], estimate, threshold, message)


def _forward_and_gradients(
    net: Net,
    outputs: Sequence[Any],
    outputs_with_grad: Sequence[Any],
    input_values: Mapping[Any, np.ndarray] | None,
    inputs_with_grads: Sequence[Any],
    print_net: bool = False,
) -> tuple[list[np.ndarray], dict[Any, np.ndarray], Net]:
    """The outputs, the gradients by inputs and the net that computes them."""
    full = net.Clone(net.Name() + "_copy")
    gradients = full.AddGradientOperators(outputs_with_grad)
    for name, value in (input_values or {}).items():
        workspace.FeedBlob(name, value)
    for blob in inputs_with_grads:
        if blob not in gradients:
            raise AssertionError(f"{blob} has no gradient, cannot check net gradient.")
        if not workspace.HasBlob(blob):
            raise AssertionError(f"{blob} is not in the workspace")
    if print_net:
        print(full.Proto())
    workspace.RunNetOnce(full)
    dense = {blob: _dense(gradients[blob], blob) for blob in inputs_with_grads}
    return [workspace.FetchBlob(output) for output in outputs], dense, full


def _dense(gradient: Any, blob: Any) -> np.ndarray:
    if isinstance(gradient, BlobReference):
        return np.asarray(workspace.FetchBlob(gradient))
    inputs = [gradient.indices, gradient.values, blob]
    workspace.RunOperatorOnce(CreateOperator("SparseToDense", inputs, "tmp_dense_grad"))
    return np.asarray(workspace.FetchBlob("tmp_dense_grad"))


def _assert_close(x: np.ndarray, y: np.ndarray, threshold: float, message: str) -> tuple[float, float]:
    np.testing.assert_allclose(x, y, atol=threshold, rtol=threshold, err_msg=message)
    difference = np.abs(x - y)
    return float(np.mean(difference)), float(np.max(difference))
