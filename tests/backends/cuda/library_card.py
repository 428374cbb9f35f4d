"""An emulated card with NVIDIA's libraries: stand-ins for the Python modules, which compute in NumPy.

They take descriptions as the real modules do, and do what is described: cuDNN's graphs of tensors with strides,
cublasLt's matrices that count columns first. float32 operands are rounded to TF32 wherever that is allowed.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, IntEnum
from types import ModuleType, SimpleNamespace
from typing import Any
from weakref import WeakSet

import numpy as np
import pytest
from emulated_card import EmulatedCard
from simt_memory import DeviceMemory

from graphc.ir.bfloat16 import from_bfloat16, to_bfloat16
from graphc.ir.fpmath import to_tf32
from graphc.ir.library_call import LibraryCall
from graphc.runtime.card import Launch, Move, Request, Transfer, Work
from graphc.runtime.libraries import LIBRARIES

STREAM = 77
COMPUTE_32F, COMPUTE_32F_FAST_TF32 = 68, 77
"""cublasLt's types of sums."""


class LibraryCard(EmulatedCard):
    """``EmulatedCard`` whose libraries are those below.

    requests: labels of the calls that were done. slow: labels of those that take a second, all others take no time.
    """

    def __init__(self, source: Any) -> None:
        super().__init__(source, 1 << 29)
        self._libraries: dict[str, Any] = {}
        self.requests: list[str] = []
        self.slow: set[str] = set()

    @property
    def memory(self) -> DeviceMemory:
        return self._memory

    def prepare(self, call: LibraryCall, label: str) -> Request:
        if call.library not in self._libraries:
            self._libraries[call.library] = LIBRARIES[call.library]()
        return Request(self._libraries[call.library].prepare(call, label), label)

    def measure(self, work: Sequence[Work], repeats: int) -> list[float]:
        seconds = sum(1.0 for item in work if isinstance(item, Request) and item.label in self.slow)
        rest = [item for item in work if not isinstance(item, Request)]
        return [seconds + time for time in super().measure(rest, repeats)]

    def _do(self, item: Work) -> None:
        if isinstance(item, Request):
            item.enqueue(STREAM)
            self.requests.append(item.label)
        else:
            assert isinstance(item, Launch | Move | Transfer)
            super()._do(item)


class Kind(Enum):
    FLOAT = "f4"
    HALF = "f2"
    BFLOAT16 = "bf"


def read(memory: DeviceMemory, address: int, kind: str, shape: Sequence[int], strides: Sequence[int]) -> np.ndarray:
    return widened(strided(memory, address, kind, shape, strides), kind)


def write(memory: DeviceMemory, address: int, kind: str, strides: Sequence[int], values: np.ndarray) -> None:
    place = strided(memory, address, kind, values.shape, strides)
    place[...] = to_bfloat16(values) if kind == "bf" else values


def strided(memory: DeviceMemory, address: int, kind: str, shape: Sequence[int], strides: Sequence[int]) -> np.ndarray:
    assert address % 16 == 0, "libraries count on 16 bytes"
    dtype = np.dtype({"f4": np.float32, "f2": np.float16, "bf": np.uint16}[kind])
    extent = 1 + sum((n - 1) * s for n, s in zip(shape, strides))
    flat = memory.view(address, extent * dtype.itemsize).view(dtype)
    return np.lib.stride_tricks.as_strided(flat, shape, [s * dtype.itemsize for s in strides], writeable=True)


def widened(values: np.ndarray, kind: str) -> np.ndarray:
    return from_bfloat16(values) if kind == "bf" else values.astype(np.float32)


class Tensor:
    """A tensor of a graph: given, or what an operation makes of others."""

    def __init__(self, kind: Kind | None = None, dim: Sequence[int] = (), stride: Sequence[int] = ()) -> None:
        self.kind, self.dim, self.stride = kind, dim, stride
        self.make: Any = None
        self.is_output = False

    def set_output(self, value: bool) -> Tensor:
        self.is_output = value
        return self

    def set_data_type(self, kind: Kind) -> Tensor:
        self.kind = kind
        return self

    def set_dim(self, dim: Sequence[int]) -> Tensor:
        self.dim = dim
        return self

    def set_stride(self, stride: Sequence[int]) -> Tensor:
        self.stride = stride
        return self


class Graph:
    """``cudnn.pygraph``. alive: those that somebody has. left_out: notes of kernels that are not to be used."""

    alive: WeakSet[Graph] = WeakSet()

    def __init__(self, memory: DeviceMemory, log: list[Any]) -> None:
        self.memory, self.log = memory, log
        self.left_out: set[str] = set()
        Graph.alive.add(self)

    def tensor(self, name: str, dim: Sequence[int], stride: Sequence[int], data_type: Kind) -> Tensor:
        return Tensor(data_type, dim, stride)

    def conv_fprop(
        self,
        image: Tensor,
        weight: Tensor,
        pre_padding: list[int],
        post_padding: list[int],
        stride: list[int],
        dilation: list[int],
    ) -> Tensor:
        pads = [(0, 0), (0, 0), *zip(pre_padding, post_padding)]
        made = Tensor()
        floats, left_out = image.kind is weight.kind is Kind.FLOAT, self.left_out

        def make(of: Any) -> np.ndarray:
            rounds = floats and "TENSOR_CORE" not in left_out
            x, w = (to_tf32(of(t)) if rounds else of(t) for t in (image, weight))
            return convolution(np.pad(x, pads), w, stride, dilation)

        made.make = make
        return made

    def bias(self, input: Tensor, bias: Tensor) -> Tensor:
        made = Tensor()
        made.make = lambda of: of(input) + of(bias)
        return made

    def relu(self, input: Tensor) -> Tensor:
        made = Tensor()
        made.make = lambda of: np.maximum(of(input), 0)
        return made

    def validate(self) -> None:
        self.log.append("validate")

    def build_operation_graph(self) -> None:
        self.log.append("build_operation_graph")

    def create_execution_plans(self, modes: list[str]) -> None:
        self.log.append(("create_execution_plans", *modes))

    def deselect_numeric_notes(self, notes: list[str]) -> None:
        self.left_out.update(notes)
        self.log.append(("without", *notes))

    def deselect_workspace_greater_than(self, nbytes: int) -> None:
        self.log.append(("workspace", nbytes))

    def check_support(self) -> None:
        self.log.append("check_support")

    def build_plans(self) -> None:
        self.log.append("build_plans")

    def execute(self, places: dict[Tensor, int], workspace: int, handle: int) -> None:
        assert workspace % 256 == 0
        self.memory.view(workspace, 64)[:] = 0xFF

        (result,) = (tensor for tensor in places if tensor.is_output)
        values = self._value(result, places)
        assert result.kind is not None
        assert list(values.shape) == list(result.dim)
        write(self.memory, places[result], result.kind.value, result.stride, values)
        self.log.append(("execute", handle))

    def _value(self, tensor: Tensor, places: dict[Tensor, int]) -> np.ndarray:
        if tensor.make is not None:
            return np.asarray(tensor.make(lambda other: self._value(other, places)))
        assert tensor.kind is not None
        return read(self.memory, places[tensor], tensor.kind.value, tensor.dim, tensor.stride)


def convolution(x: np.ndarray, w: np.ndarray, stride: list[int], dilation: list[int]) -> np.ndarray:
    """By the definition, window element by window element, sums in float64."""
    maps, depth, kh, kw = w.shape
    groups = x.shape[1] // depth
    oh, ow = ((x.shape[2 + i] - dilation[i] * (w.shape[2 + i] - 1) - 1) // stride[i] + 1 for i in range(2))
    y = np.zeros((x.shape[0], maps, oh, ow))
    for r in range(kh):
        for q in range(kw):
            rows = slice(r * dilation[0], r * dilation[0] + (oh - 1) * stride[0] + 1, stride[0])
            columns = slice(q * dilation[1], q * dilation[1] + (ow - 1) * stride[1] + 1, stride[1])
            part = x[:, :, rows, columns].reshape(x.shape[0], groups, depth, oh, ow)
            filters = w[:, :, r, q].reshape(groups, maps // groups, depth)
            y += np.einsum("ngdhw,gmd->ngmhw", part, filters, dtype=np.float64).reshape(y.shape)
    return y.astype(np.float32)


def cudnn_module(memory: DeviceMemory, log: list[Any]) -> ModuleType:
    """A module ``cudnn`` whose graphs work in a memory. log: what it was asked, in order."""
    module = ModuleType("cudnn")
    module.__dict__.update(
        data_type=Kind,
        heur_mode=SimpleNamespace(A="A", FALLBACK="FALLBACK"),
        numerical_note=SimpleNamespace(TENSOR_CORE="TENSOR_CORE"),
        pygraph=lambda **given: Graph(memory, log),
        create_handle=lambda: log.append("create_handle") or 5,
        destroy_handle=lambda handle: log.append(("destroy_handle", handle, len(Graph.alive))),
        set_stream=lambda handle, stream: log.append(("stream", handle, stream)),
        backend_version=lambda: 92800,
    )
    return module


class Names(IntEnum):
    """Attributes of cublasLt, numbered anyhow."""

    BATCH_COUNT, STRIDED_BATCH_OFFSET, TRANSA, TRANSB, EPILOGUE, BIAS_POINTER = range(6)
    MAX_WORKSPACE_BYTES, MIN_ALIGNMENT_A_BYTES, MIN_ALIGNMENT_B_BYTES = range(6, 9)
    MIN_ALIGNMENT_C_BYTES, MIN_ALIGNMENT_D_BYTES = range(9, 11)


class Endings(IntEnum):
    DEFAULT, RELU, BIAS, RELU_BIAS = 1, 2, 4, 6


def number_at(address: int, nbytes: int) -> int:
    import ctypes

    return int.from_bytes(ctypes.string_at(address, nbytes), "little")


class Lt(ModuleType):
    """``nvmath.bindings.cublasLt``. refuse: the heuristics find nothing. alive: what each number that was given out
    stands for, until it is destroyed. made: how many were given out."""

    MatmulDescAttribute = MatrixLayoutAttribute = MatmulPreferenceAttribute = Names
    Epilogue = Endings
    cuBLASLtError = type("cuBLASLtError", (Exception,), {})
    matmul_heuristic_result_dtype = np.dtype([("algo", np.uint64), ("workspace_size", np.uint64)])

    def __init__(self, memory: DeviceMemory, log: list[Any]) -> None:
        super().__init__("nvmath.bindings.cublasLt")
        self.memory, self.log, self.refuse = memory, log, False
        self.things: list[dict[Any, Any]] = [{}]
        self.alive: dict[int, str] = {}

    @property
    def made(self) -> int:
        return len(self.things) - 1

    def _new(self, what: str, **facts: Any) -> int:
        self.things.append(facts)
        self.alive[self.made] = what
        return self.made

    def _destroy(self, what: str, number: int) -> None:
        assert self.alive.pop(number) == what
        self.things[number].clear()

    def create(self) -> int:
        return self._new("handle")

    def destroy(self, handle: int) -> None:
        self._destroy("handle", handle)
        assert not self.alive, "the handle goes last"

    def matrix_layout_destroy(self, layout: int) -> None:
        self._destroy("layout", layout)

    def matmul_desc_destroy(self, product: int) -> None:
        self._destroy("product", product)

    def matrix_layout_create(self, type: int, rows: int, cols: int, ld: int) -> int:
        assert ld >= rows
        return self._new("layout", kind={0: "f4", 2: "f2", 14: "bf"}[type], shape=(rows, cols), ld=ld)

    def matmul_desc_create(self, compute: int, scale: int) -> int:
        assert compute in (COMPUTE_32F, COMPUTE_32F_FAST_TF32)
        assert scale == 0
        return self._new("product", compute=compute)

    def matmul_preference_create(self) -> int:
        return self._new("preference")

    def matmul_preference_destroy(self, preference: int) -> None:
        self._destroy("preference", preference)

    def matmul_desc_set_attribute(self, of: int, name: int, buffer: int, nbytes: int) -> None:
        self.things[of][Names(name)] = number_at(buffer, nbytes)

    matrix_layout_set_attribute = matmul_preference_set_attribute = matmul_desc_set_attribute

    def matmul_algo_get_heuristic(self, *given: int) -> None:
        wanted, count, found, returned = given[6:]
        assert count == 1
        self.log.append({name: self.things[wanted][name] for name in self.things[wanted]})
        self.memory_of(found)[:8] = b"\x2a" + bytes(7)
        self.memory_of(returned)[:1] = b"\0" if self.refuse else b"\1"

    @staticmethod
    def memory_of(address: int) -> memoryview:
        import ctypes

        return memoryview((ctypes.c_char * 8).from_address(address)).cast("B")

    def matmul(self, handle: int, product: int, *given: int) -> None:
        _, a, a_of, b, b_of, _, c, c_of, d, d_of, algorithm, workspace, room, stream = given
        assert {product, a_of, b_of, c_of} <= {*self.alive}
        assert (c, c_of, number_at(algorithm, 8), workspace % 256) == (d, d_of, 42, 0)
        self.memory.view(workspace, room)[:64] = 0xFF
        facts, out = self.things[product], self.things[d_of]
        rounds = facts["compute"] == COMPUTE_32F_FAST_TF32
        left = self._matrices(a, a_of, facts[Names.TRANSA], rounds)
        right = self._matrices(b, b_of, facts[Names.TRANSB], rounds)
        y = np.einsum("bij,bjk->bik", left, right, dtype=np.float64)
        if facts[Names.EPILOGUE] & Endings.BIAS:
            address = facts[Names.BIAS_POINTER]
            y = y + read(self.memory, address, out["kind"], (out["shape"][0],), (1,))[None, :, None]
        if facts[Names.EPILOGUE] & Endings.RELU:
            y = np.maximum(y, 0)
        strides = (out[Names.STRIDED_BATCH_OFFSET], 1, out["ld"])
        assert y.shape == (out[Names.BATCH_COUNT], *out["shape"])
        write(self.memory, d, out["kind"], strides, y)
        self.log.append(("matmul", stream))

    def _matrices(self, address: int, of: int, turned: int, rounds: bool) -> np.ndarray:
        facts = self.things[of]
        shape = (facts[Names.BATCH_COUNT], *facts["shape"])
        found = read(self.memory, address, facts["kind"], shape, (facts[Names.STRIDED_BATCH_OFFSET], 1, facts["ld"]))
        found = to_tf32(found) if rounds and facts["kind"] == "f4" else found
        return found.transpose(0, 2, 1) if turned else found


def install(patch: pytest.MonkeyPatch, memory: DeviceMemory) -> tuple[list[Any], Lt]:
    """Have ``import cudnn`` and nvmath's give the stand-ins; what they were asked, and cublasLt's."""
    log: list[Any] = []
    lt = Lt(memory, log)
    math, bindings, blas = ModuleType("nvmath"), ModuleType("nvmath.bindings"), ModuleType("nvmath.bindings.cublas")
    math.__dict__.update(CudaDataType={"CUDA_R_32F": 0, "CUDA_R_16F": 2, "CUDA_R_16BF": 14}, bindings=bindings)
    computes = SimpleNamespace(COMPUTE_32F=COMPUTE_32F, COMPUTE_32F_FAST_TF32=COMPUTE_32F_FAST_TF32)
    blas.__dict__.update(ComputeType=computes)
    bindings.__dict__.update(cublas=blas, cublasLt=lt)
    modules = {"cudnn": cudnn_module(memory, log), "nvmath": math, "nvmath.bindings": bindings}
    modules |= {"nvmath.bindings.cublas": blas, "nvmath.bindings.cublasLt": lt}
    for name, module in modules.items():
        patch.setitem(__import__("sys").modules, name, module)
    return log, lt
