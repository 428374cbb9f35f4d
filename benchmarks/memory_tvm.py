"""The memory that TVM's static planner allots to a net: ``python benchmarks/memory_tvm.py NET.onnx``.

Operators are fused as in TVM's default pipeline; the sum of the storages that ``StaticPlanBlockMemory`` allocates is
printed. The output and the inside of operators are not in it.
"""

from __future__ import annotations

import sys

import numpy as np
import onnx
import tvm
from tvm import relax
from tvm.relax.frontend.onnx import from_onnx

PASSES = (
    relax.transform.DecomposeOpsForInference,
    relax.transform.FoldConstant,
    relax.transform.LegalizeOps,
    relax.transform.AnnotateTIROpPattern,
    relax.transform.FoldConstant,
    relax.transform.FuseOps,
    relax.transform.FuseTIR,
    relax.transform.ToNonDataflow,
    relax.transform.RemovePurityChecking,
    relax.transform.CallTIRRewrite,
    relax.transform.StaticPlanBlockMemory,
)


def storage_bytes(path: str) -> int:
    """Bytes of all storages, for a batch of one."""
    model = onnx.load(path)
    weights = {i.name for i in model.graph.initializer}
    inputs = {i.name: i.type.tensor_type.shape.dim for i in model.graph.input if i.name not in weights}
    module = from_onnx(model, {name: [d.dim_value or 1 for d in dims] for name, dims in inputs.items()})
    with tvm.target.Target({"kind": "llvm"}):
        module = tvm.transform.Sequential([made() for made in PASSES])(module)
    found = []

    def visit(expression: relax.Expr) -> None:
        named = isinstance(expression, relax.Call) and isinstance(expression.op, tvm.ir.Op)
        if named and expression.op.name == "relax.memory.alloc_storage":
            found.append(int(np.prod([int(n) for n in expression.args[0].values])))

    relax.analysis.post_order_visit(module["main"], visit)
    return sum(found)


if __name__ == "__main__":
    print(storage_bytes(sys.argv[1]))
