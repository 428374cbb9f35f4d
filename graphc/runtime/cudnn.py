"""Convolutions by cuDNN, through its Python front end (nvidia-cudnn-frontend), an extra."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakValueDictionary

from graphc.ir.errors import GraphcError, RunError
from graphc.ir.library_call import ALIGNMENT, TF32, LibraryCall, Operand
from graphc.runtime.library_use import INSTALL, Enqueue, goes_with, rounded_up


@dataclass(eq=False)
class _Plan:
    """cuDNN's graph of calls of one shape, with the kernel chosen. library: its handle outlives the graph."""

    graph: Any
    tensors: list[Any]
    library: Cudnn


class Cudnn:
    """cuDNN on the current card; calls of one shape share a plan. Raises ``GraphcError`` where it is not installed."""

    def __init__(self) -> None:
        self._cudnn = _open()
        try:
            self._handle = self._cudnn.create_handle()
        except RuntimeError as error:  # the front end is there, and the library is not, or does not work
            raise GraphcError(f"cuDNN cannot be used: {error}", INSTALL) from error
        goes_with(self, self._cudnn.destroy_handle, self._handle)
        self._plans: WeakValueDictionary[LibraryCall, _Plan] = WeakValueDictionary()

    def prepare(self, call: LibraryCall, label: str) -> Enqueue:
        """Have cuDNN choose a kernel; raises ``RunError`` where it has none."""
        plan = self._plan(call, label)
        places = {tensor: o.place for tensor, o in zip(plan.tensors, call.operands)}
        workspace = rounded_up(call.workspace)

        def enqueue(stream: int) -> None:
            self._cudnn.set_stream(handle=self._handle, stream=stream)
            plan.graph.execute(places, workspace, handle=self._handle)

        goes_with(enqueue, _let_go, plan)
        return enqueue

    def _plan(self, call: LibraryCall, label: str) -> _Plan:
        key = without_places(call)
        found = self._plans.get(key)
        if found is None:
            graph, tensors = describe(self._cudnn, call, self._handle)
            try:
                choose(self._cudnn, graph, call)
            except Exception as error:  # the front end has kinds of its own
                raise RunError(
                    f"cuDNN {self._cudnn.backend_version()} has no kernel for the convolution that computes "
                    f"'{label}': {error}",
                    f"compile the net with graphc's own: --engine '{label}=default'",
                ) from error
            found = self._plans[key] = _Plan(graph, tensors, self)
        return found


def _let_go(plan: _Plan) -> None:
    """A call has gone; the graph goes with the last one, and before the handle."""


def describe(cudnn: Any, call: LibraryCall, handle: Any = None) -> tuple[Any, list[Any]]:
    """cuDNN's graph of a call, and its tensors in the order of the call's operands. It needs no card."""
    wide = cudnn.data_type.FLOAT
    kinds = {"f4": wide, TF32: wide, "f2": cudnn.data_type.HALF, "bf": cudnn.data_type.BFLOAT16}
    graph = cudnn.pygraph(
        io_data_type=kinds[call.y.kind], intermediate_data_type=wide, compute_data_type=wide, handle=handle
    )

    def tensor(name: str, o: Operand) -> Any:
        return graph.tensor(name=name, dim=list(o.shape), stride=list(o.strides), data_type=kinds[o.kind])

    x, w = tensor("x", call.x), tensor("w", call.w)
    stride, dilation, heads, tails = (list(call.window[i : i + 2]) for i in range(0, 8, 2))
    y = graph.conv_fprop(image=x, weight=w, pre_padding=heads, post_padding=tails, stride=stride, dilation=dilation)
    tensors = [x, w]
    if call.bias is not None:
        maps = call.bias.shape[0]
        bias = replace(call.bias, shape=(1, maps, 1, 1), strides=(maps, 1, 1, 1))
        tensors.append(tensor("bias", bias))
        y = graph.bias(input=y, bias=tensors[-1])
    if call.relu:
        y = graph.relu(y)
    y.set_output(True).set_data_type(kinds[call.y.kind])
    y.set_dim(list(call.y.shape)).set_stride(list(call.y.strides))
    graph.validate()
    return graph, [*tensors, y]


def choose(cudnn: Any, graph: Any, call: LibraryCall) -> None:
    """Have the heuristics choose a kernel within the workspace; float32 is rounded to TF32 only where the call says so.

    Kernels for float32 that have the note are those that round.
    """
    graph.build_operation_graph()
    graph.create_execution_plans([cudnn.heur_mode.A, cudnn.heur_mode.FALLBACK])
    if call.x.kind == "f4":
        graph.deselect_numeric_notes([cudnn.numerical_note.TENSOR_CORE])
    graph.deselect_workspace_greater_than(call.room - ALIGNMENT)
    graph.check_support()
    graph.build_plans()


def without_places(call: LibraryCall) -> LibraryCall:
    """The call without its addresses: what a choice depends on."""

    def bare(o: Operand) -> Operand:
        return replace(o, place=0)

    bias = bare(call.bias) if call.bias is not None else None
    return replace(call, x=bare(call.x), w=bare(call.w), bias=bias, y=bare(call.y), workspace=0)


def _open() -> Any:
    """The module cudnn, which loads cuDNN."""
    try:
        import cudnn
    except (ImportError, OSError, RuntimeError) as error:  # the last two where the library itself is missing
        raise GraphcError(f"the plan calls cuDNN, which is not installed: {error}", INSTALL) from None
    return cudnn
