"""Which modules of ``caffe2`` graphc has, by the names that scripts import."""

from __future__ import annotations

import difflib
import importlib.util
import pkgutil

import graphc.caffe2

PACKAGE = "graphc.caffe2"
ROOTS = ("caffe2", "caffe2.python")
"""Packages that stand for ``graphc.caffe2`` itself."""
_PRIVATE = (
    "arguments",
    "building",
    "as_caffe2",
    "database",
    "hypothesis_strategies",
    "modules",
    "old_names",
    "operator_types",
    "tensor_proto",
    "test_files",
    "transforms",
)
"""Modules that only graphc has."""
_SCRIPT = "a script, not a part of the API: run Caffe2's file with python -m graphc.caffe2 FILE"
_OTHER_HARDWARE = "for hardware that graphc does not compile for; nets without it run on the CPU"
_IN_COMPILING = "rewrites nets for a library of the CPU; graphc compiles nets as they are"
_ONE_PROCESS = "for models of several machines; graphc runs in one process (data_parallel_model.Parallelize_CPU)"
_ABSENT = {
    "caffe2.python.onnx.backend": "reads models of ONNX, which graphc writes (caffe2.python.onnx.frontend) but does "
    "not read: run them with onnxruntime",
    "caffe2.python.onnx.backend_rep": "runs models of ONNX: use onnxruntime",
    "caffe2.python.onnx.backend_cpp_rep": "runs models of ONNX: use onnxruntime",
    "caffe2.python.onnx.onnxifi": _OTHER_HARDWARE,
    "caffe2.python.onnx.test_onnxifi": _OTHER_HARDWARE,
    "caffe2.python.trt": _OTHER_HARDWARE,
    "caffe2.python.fakelowp": _OTHER_HARDWARE,
    "caffe2.python.fakefp16_transform_lib": _OTHER_HARDWARE,
    "caffe2.python.ideep": _IN_COMPILING,
    "caffe2.python.mkl": _IN_COMPILING,
    "caffe2.python.extension_loader": "loads libraries of C++: write operators in Python, graphc.register_operator",
    "caffe2.python.mint": "a server of plots that was never published as a whole: use tensorboard or matplotlib",
    "caffe2.python.benchmark_generator": _SCRIPT,
    "caffe2.python.binarysize": _SCRIPT,
    "caffe2.python.embedding_generation_benchmark": _SCRIPT,
    "caffe2.python.lstm_benchmark": _SCRIPT,
    "caffe2.python.numa_benchmark": _SCRIPT,
    "caffe2.python.rnn.lstm_comparison": _SCRIPT,
    "caffe2.python.examples": _SCRIPT,
    "caffe2.python.models.seq2seq": "builds translators; the cells and the attention of them are in rnn_cell",
    "caffe2.contrib.nccl": _OTHER_HARDWARE,
    "caffe2.contrib.gloo": _ONE_PROCESS,
    "caffe2.distributed": _ONE_PROCESS,
    "caffe2.contrib.tensorboard": "writes graphs for tensorboard: use caffe2.python.net_drawer or net_printer",
    "caffe2.contrib": "a contribution that was not a part of the API",
    "caffe2.experiments": "an experiment that was not a part of the API",
    "caffe2.quantization": "a server of quantised operators of C++: graphc has them (Int8Conv, engine DNNLOWP)",
}
"""Why graphc does not have modules of ``caffe2``, and what helps; a package stands for what is below it."""


def twin(name: str) -> str:
    """The module of graphc that stands for one of ``caffe2``: ``caffe2.python.core`` is ``graphc.caffe2.core``."""
    if name in ROOTS:
        return PACKAGE
    tail = name.removeprefix("caffe2.").removeprefix("python.")
    return f"{PACKAGE}.{tail}"


def exists(name: str) -> bool:
    """graphc has the module that stands for one of ``caffe2``."""
    try:
        return name in ROOTS or importlib.util.find_spec(twin(name)) is not None
    except ModuleNotFoundError:
        return False


def absence(name: str) -> str:
    """Why graphc does not have a module of ``caffe2``, and what is near."""
    try:
        importlib.util.find_spec(twin(name))
    except ModuleNotFoundError as error:
        if error.name is None and not _reason(name):  # a finder's own words
            return str(error)
    if _reason(name):
        return f"graphc has no module '{name}': {_reason(name)}"
    near = difflib.get_close_matches(name, known(), 1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"graphc has no module '{name}'; it has {', '.join(known())}{hint}"


def _reason(name: str) -> str:
    """What is said of a module, or of the innermost package around it that something is said of."""
    found = [package for package in _ABSENT if name == package or name.startswith(package + ".")]
    return _ABSENT[max(found, key=len)] if found else ""


def known() -> list[str]:
    """The modules of ``caffe2`` that graphc has, sorted."""
    found = (
        m.name for m in pkgutil.iter_modules(graphc.caffe2.__path__) if m.name not in _PRIVATE and m.name[0] != "_"
    )
    return sorted(f"caffe2.{n}" if n == "proto" else f"caffe2.python.{n}" for n in found)
