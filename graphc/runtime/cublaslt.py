"""Products of matrices by cublasLt, through nvmath-python's bindings, an extra.

cublasLt counts columns first. So it is asked for the transposed product: y' = w' x', whose rows are y's columns.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import numpy as np

from graphc.ir.errors import GraphcError, RunError
from graphc.ir.library_call import ALIGNMENT, TF32, LibraryCall, Operand
from graphc.runtime.library_use import INSTALL, Enqueue, goes_with, rounded_up


class CublasLt:
    """cublasLt on the current card. Raises ``GraphcError`` where it is not installed."""

    def __init__(self) -> None:
        self._lt, self._types, self._computes = _open()
        try:
            self._handle = self._lt.create()
        except (RuntimeError, self._lt.cuBLASLtError) as error:  # the library is not there, or does not work
            raise GraphcError(f"cublasLt cannot be used: {error}", INSTALL) from error
        goes_with(self, self._lt.destroy, self._handle)
        self._one, self._zero = np.ones(1, np.float32), np.zeros(1, np.float32)

    def prepare(self, call: LibraryCall, label: str) -> Enqueue:
        """Have cublasLt choose a kernel; raises ``RunError`` where it has none."""
        lt, room, workspace = self._lt, call.room - ALIGNMENT, rounded_up(call.workspace)
        with ExitStack() as made:
            w, turn_w = self._layout(made, call.w)
            x, turn_x = self._layout(made, call.x)
            y, _ = self._layout(made, call.y)
            product = self._product(made, call, turn_w, turn_x)
            places = [int(o.place) for o in (call.w, call.x, call.y) if isinstance(o.place, int)]
            algorithm = self._algorithm(product, (w, x, y), places, room, label)
            kept = made.pop_all()

        def enqueue(stream: int) -> None:
            factors = self._one.ctypes.data, self._zero.ctypes.data
            lt.matmul(
                *(self._handle, product, factors[0], places[0], w, places[1], x, factors[1]),
                *(places[2], y, places[2], y, algorithm.ctypes.data, workspace, room, stream),
            )

        goes_with(enqueue, _close, kept, self)
        return enqueue

    def _layout(self, made: ExitStack, o: Operand) -> tuple[int, bool]:
        """cublasLt's description of a matrix as it counts, and whether it has to turn it around."""
        (count, rows, columns), (distance, row, column) = o.shape, o.strides
        turned = column != 1 and columns != 1
        shape = (rows, columns, max(column, rows)) if turned else (columns, rows, max(row, columns))
        layout: int = self._lt.matrix_layout_create(self._type(o.kind), *shape)
        made.callback(self._lt.matrix_layout_destroy, layout)
        names = self._lt.MatrixLayoutAttribute
        for name, value in ((names.BATCH_COUNT, np.int32(count)), (names.STRIDED_BATCH_OFFSET, np.int64(distance))):
            _set(self._lt.matrix_layout_set_attribute, layout, name, value)
        return layout, turned

    def _product(self, made: ExitStack, call: LibraryCall, turn_w: bool, turn_x: bool) -> int:
        """cublasLt's description of the operation; float32 is rounded to TF32 only where the call says so."""
        computes = self._computes
        compute = computes.COMPUTE_32F_FAST_TF32 if call.x.kind == TF32 else computes.COMPUTE_32F
        product: int = self._lt.matmul_desc_create(compute, self._type("f4"))
        made.callback(self._lt.matmul_desc_destroy, product)
        names, endings = self._lt.MatmulDescAttribute, self._lt.Epilogue
        ending = {
            (False, False): endings.DEFAULT,
            (False, True): endings.RELU,
            (True, False): endings.BIAS,
            (True, True): endings.RELU_BIAS,
        }[call.bias is not None, call.relu]
        values: list[tuple[Any, Any]] = [
            (names.TRANSA, np.int32(turn_w)),
            (names.TRANSB, np.int32(turn_x)),
            (names.EPILOGUE, np.uint32(ending)),
        ]
        if call.bias is not None:
            values.append((names.BIAS_POINTER, np.int64(call.bias.place)))  # type: ignore[arg-type]
        for name, value in values:
            _set(self._lt.matmul_desc_set_attribute, product, name, value)
        return product

    def _algorithm(
        self, product: int, layouts: tuple[int, int, int], places: list[int], room: int, label: str
    ) -> np.ndarray:
        """The kernel that the heuristics prefer for these alignments and this workspace."""
        lt, names = self._lt, self._lt.MatmulPreferenceAttribute
        w, x, y = layouts
        wanted = lt.matmul_preference_create()
        _set(lt.matmul_preference_set_attribute, wanted, names.MAX_WORKSPACE_BYTES, np.uint64(room))
        for operand, place in zip("ABCD", (*places, places[2])):
            name = getattr(names, f"MIN_ALIGNMENT_{operand}_BYTES")
            _set(lt.matmul_preference_set_attribute, wanted, name, np.uint32(min(place & -place, ALIGNMENT)))
        found, count = np.zeros(1, lt.matmul_heuristic_result_dtype), np.zeros(1, np.int32)
        try:
            lt.matmul_algo_get_heuristic(
                self._handle, product, w, x, y, y, wanted, 1, found.ctypes.data, count.ctypes.data
            )
        except lt.cuBLASLtError as error:
            raise _refusal(label, str(error)) from error
        finally:
            lt.matmul_preference_destroy(wanted)
        if not count[0]:
            raise _refusal(label, "no algorithm")
        return found  # which begins with the algorithm

    def _type(self, kind: str) -> int:
        names = {"f4": "CUDA_R_32F", TF32: "CUDA_R_32F", "f2": "CUDA_R_16F", "bf": "CUDA_R_16BF"}
        return int(self._types[names[kind]])


def _close(made: ExitStack, library: CublasLt) -> None:
    """Destroy descriptions, before the handle of their library."""
    made.close()


def _refusal(label: str, reason: str) -> RunError:
    return RunError(
        f"cublasLt has no kernel for the product that computes '{label}': {reason}",
        f"compile the net with graphc's own: --engine '{label}=default'",
    )


def _set(setter: Callable[[int, int, int, int], None], of: int, name: Any, value: np.generic) -> None:
    """Set an attribute, which cublasLt reads from memory."""
    held = np.array([value])
    setter(of, int(name), held.ctypes.data, held.nbytes)


def _open() -> tuple[Any, Any, Any]:
    """The module of cublasLt's functions, the types of elements and of sums."""
    try:
        from nvmath import CudaDataType
        from nvmath.bindings import cublas, cublasLt
    except (ImportError, OSError, RuntimeError) as error:  # the last two where the library itself is missing
        raise GraphcError(f"the plan calls cublasLt, which is not installed: {error}", INSTALL) from None
    return cublasLt, CudaDataType, cublas.ComputeType
