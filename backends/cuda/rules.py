"""Rule and Template of CUDA (``backends/rules.py``).

A template's source defines ``def <spec.name>(...)``, each of whose parameters is one of a task, in order, in the words
of ``words.py``. A unit of a task is a block of threads, as many as the spec's parameter ``threads`` says.
"""

from graphc.backends import rules
from graphc.backends.cuda.target import CudaTarget
from graphc.ir import LoweringError
from graphc.ir.opdef import Call
from graphc.ir.precision import HALVES, PRECISION
from graphc.ir.schedule import View
from graphc.ir.types import DType

Template = rules.Template[CudaTarget]
Rule = rules.Rule[CudaTarget]

THREADS = 256
"""Of a block where nothing asks for another number."""
MOST = 2**31 - 1
"""Elements of a value, blocks of a launch: index arithmetic has 32 bits."""


def is_float32(call: Call) -> bool:
    """All operands and results of a call are plain float32, and it is to be computed so."""
    values = [v for v in (*call.node.operands, *call.node.results) if v is not None]
    plain = all(v.type.dtype is DType.FLOAT and v.type.layout.block == 1 for v in values)
    return plain and PRECISION not in call.node.attrs


def is_floating(call: Call) -> bool:
    """All operands and results of a call are float32 or, where it is in half precision, halves, in any layout."""
    halves = PRECISION in call.node.attrs
    values = [v for v in (*call.node.operands, *call.node.results) if v is not None]
    return all(v.type.dtype is DType.FLOAT or (halves and v.type.dtype in HALVES) for v in values)


def blocks_for(threads: int, of_block: int = THREADS) -> int:
    """Blocks that have this many threads; raises ``LoweringError`` where 32 bits do not count them."""
    if threads > MOST:
        raise LoweringError(f"{threads} elements are more than a kernel on a card counts", "use a smaller batch")
    return -(-threads // of_block)


def require_reach(*views: View) -> None:
    """Raise ``LoweringError`` where elements of a value are further apart than 32 bits tell."""
    for v in views:
        blocks_for(1 + sum((d - 1) * s for d, s in zip(v.type.static_shape, v.strides) if d))
