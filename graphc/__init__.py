"""graphc: a compiler for Caffe2 models.

>>> import graphc
>>> plan = graphc.compile("predict_net.pb", "init_net.pb", inputs={"data": (1, 3, 227, 227)})
>>> probabilities = plan.run({"data": batch})["softmaxout"]
>>> plan.save("plan.pkl"); plan = graphc.load("plan.pkl")

Names are imported when they are first asked for: a process that compiles kernels, or completes a command, needs few.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from graphc.comparison import Comparison as Comparison
    from graphc.comparison import compare as compare
    from graphc.compiler import compile as compile
    from graphc.compiler import compile_graph as compile_graph
    from graphc.compiler import import_model as import_model
    from graphc.compiler import optimise as optimise
    from graphc.custom import register_operator as register_operator
    from graphc.ir import FileError as FileError
    from graphc.ir import Graph as Graph
    from graphc.ir import GraphcError as GraphcError
    from graphc.ir import LoweringError as LoweringError
    from graphc.ir import NetError as NetError
    from graphc.ir import ParseError as ParseError
    from graphc.ir import PlanError as PlanError
    from graphc.ir import RunError as RunError
    from graphc.ir import UnsupportedError as UnsupportedError
    from graphc.ir import VerifyError as VerifyError
    from graphc.operators import Int8Tensor as Int8Tensor
    from graphc.operators import run_operator as run_operator
    from graphc.plan import Plan as Plan
    from graphc.plan import load as load
    from graphc.quantization import Quantized as Quantized
    from graphc.quantization import quantize as quantize
    from graphc.tuning import tuning_of as tuning_of
    from graphc.tuning_file import write_tuning as write_tuning

_NAMES = {
    "graphc.comparison": ("Comparison", "compare"),
    "graphc.compiler": ("compile", "compile_graph", "import_model", "optimise"),
    "graphc.custom": ("register_operator",),
    "graphc.ir": (
        *("FileError", "Graph", "GraphcError", "LoweringError", "NetError", "ParseError", "PlanError", "RunError"),
        *("UnsupportedError", "VerifyError"),
    ),
    "graphc.operators": ("Int8Tensor", "run_operator"),
    "graphc.plan": ("Plan", "load"),
    "graphc.quantization": ("Quantized", "quantize"),
    "graphc.tuning": ("tuning_of",),
    "graphc.tuning_file": ("write_tuning",),
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> object:
    """A public name, or a module of the package."""
    if name in _HOMES:
        found = getattr(import_module(_HOMES[name]), name)
        globals()[name] = found
        return found
    if not name.startswith("_"):
        module = f"graphc.{name}"
        try:
            return import_module(module)
        except ModuleNotFoundError as error:
            if error.name != module:
                raise
    raise AttributeError(f"module 'graphc' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
