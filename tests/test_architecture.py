"""The house rules of docs/architecture.md and docs/style.md that a program can check."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path
from statistics import median

from source_tree import ROOMS, ROOT, Function, Module, modules, other_python_files, target, text_files

from graphc.backends.cuda.compile import MEANING
from graphc.ir import registry
from graphc.ir.ops import FAMILIES

MAY_IMPORT = {
    "graphc.ir": ("graphc.ir",),
    "graphc.passes": ("graphc.passes", "graphc.ir"),
    "graphc.backends": ("graphc.backends", "graphc.ir"),
    "graphc.frontends": ("graphc.frontends", "graphc.ir"),
    "graphc.runtime": ("graphc.runtime", "graphc.backends.load", "graphc.backends.job", "graphc.ir"),
    "graphc.caffe2": ("graphc",),
}
"""Room -> what its modules may import of graphc; the modules of ``graphc`` itself may import everything but
``graphc.caffe2``, which nothing else imports."""

RUNTIME_MAY_NOT = ("graphc.ir.ops", "graphc.ir.reference", "graphc.ir.rewrite", "graphc.ir.builder")
"""The runtime reads data (types, schedules, text); the parts of ir that make or change graphs are not for it."""

LATE_IMPORTS = {
    ("graphc.ir.graph", "graphc.ir.opdef"): "a node is data; the records are loaded when one is first asked for",
    ("graphc.ir.graph", "graphc.ir.printer"): "str(graph) is a convenience; the printer is written against Graph",
    ("graphc.ir.graph", "graphc.ir.svg"): "so is a graph's picture in a notebook; the drawing is written against Graph",
    (
        "graphc.native_segment",
        "graphc.passes.memory.planner",
    ): "a process that runs plans lowers at most; the planner is for one that compiles",
    (
        "graphc.backends.cpu.target",
        "llvmlite",
    ): "naming a target needs no LLVM; asking for this machine's features does",
    (
        "graphc.backends.load",
        "llvmlite",
    ): "LLVM is loaded by the process that runs kernels, not by one that looks at plans",
    ("graphc.runtime.nvidia", "cuda.core"): "an extra, for those who have a card",
    ("graphc.runtime.nvidia", "cuda.bindings"): "so is what it is made with",
    ("graphc.runtime.cudnn", "cudnn"): "an extra, for those who ask for its engine",
    ("graphc.runtime.cublaslt", "nvmath"): "so is this one",
    ("graphc.runtime.cublaslt", "nvmath.bindings"): "and this, a part of it",
    (
        "graphc.passes.memory.allocate",
        "graphc.passes.memory.exact",
    ): "the exact search is compiled by Numba; most plans do without it",
    (
        "graphc.passes.memory.allocate",
        "graphc.passes.memory.minimise",
    ): "so it is for what makes decisions with it",
}
"""(module, imported module) -> why the import stands inside a function."""

MAX_FILE_LINES = 600
MAX_FUNCTION_LINES = 60
MAX_SHARE_OF_LONG_FUNCTIONS = 0.02
MAX_MEDIAN_FUNCTION_LINES = 8


def under(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)


def test_imports_go_one_way() -> None:
    wrong = []
    for module in modules().values():
        room = next((room for room in MAY_IMPORT if under(module.name, room)), None)
        for imported in module.imports if room else ():
            name = target(imported)
            if under(name, "graphc") and not under(name, *MAY_IMPORT[room or ""]):
                wrong.append(f"{module}:{imported.line} imports {name}")
    assert not wrong, "\n".join(wrong)


def test_the_runtime_needs_data_only() -> None:
    runtime = [module for module in modules().values() if under(module.name, "graphc.runtime")]
    wrong = [
        f"{module}:{imported.line} imports {target(imported)}"
        for module in runtime
        for imported in module.imports
        if under(target(imported), *RUNTIME_MAY_NOT)
    ]
    assert not wrong, "\n".join(wrong)


def test_nothing_imports_the_room_above_all() -> None:
    users = {m.name for m in modules().values() for i in m.imports if under(target(i), "graphc.caffe2")}
    assert all(under(name, "graphc.caffe2") for name in users), users


def test_protobuf_stays_where_netdefs_are() -> None:
    users = {m.name for m in modules().values() for i in m.imports if under(i.module, "google")}
    assert all(under(name, "graphc.frontends", "graphc.caffe2") for name in users), users


def test_words_and_workers_alone_know_the_compiler() -> None:
    """For cards another compiler replaces these modules and no others (decision 8)."""
    users = {m.name for m in modules().values() for i in m.imports if under(i.module, "numba", "llvmlite", "cuda")}
    kernels = {name for name in users if under(name, "graphc.backends.cuda")}
    assert kernels == {f"graphc.backends.cuda.{name}" for name in MEANING}
    assert {name for name in users if re.fullmatch(r"graphc\.backends\.\w+", name)} == {
        "graphc.backends.intrinsics",
        "graphc.backends.load",
    }


def test_no_target_borrows_from_another() -> None:
    """What two of them need stands in ``backends`` itself."""
    targets = ("graphc.backends.cpu", "graphc.backends.cuda")
    borrowed = [
        f"{module}:{i.line} imports {target(i)}"
        for module in modules().values()
        for mine, other in (targets, targets[::-1])
        for i in module.imports
        if under(module.name, mine) and under(target(i), other)
    ]
    shared = [
        f"{module}:{i.line} imports {target(i)}"
        for module in modules().values()
        for i in module.imports
        if re.fullmatch(r"graphc\.backends(\.\w+)?", module.name) and module.name not in targets
        if under(target(i), *targets)
    ]
    assert not borrowed + shared, "\n".join(borrowed + shared)


def test_imports_are_absolute_and_explicit() -> None:
    """``import ir`` would load a second copy of every class, and only from the checkout."""
    bare = tuple(folder for folder in ROOMS if folder != "graphc")
    wrong = [
        f"{module}:{i.line} {'.' * i.level}{i.module} {i.name}"
        for module in modules().values()
        for i in module.imports
        if i.level or i.name == "*" or under(i.module, *bare)
    ]
    assert not wrong, "\n".join(wrong)


def test_tests_import_the_installed_package() -> None:
    bare = tuple(folder for folder in ROOMS if folder != "graphc")
    for path in other_python_files():
        imports = Module("", path).imports
        assert not [i for i in imports if not i.level and under(i.module, *bare)], path.relative_to(ROOT)


def test_imports_stand_at_the_head_of_the_file() -> None:
    late = {(m.name, target(i)): f"{m}:{i.line}" for m in modules().values() for i in m.imports if i.function}
    unexplained = [f"{where}: {name}" for (module, name), where in late.items() if (module, name) not in LATE_IMPORTS]
    assert not unexplained, "\n".join(unexplained)
    assert set(LATE_IMPORTS) <= set(late), f"no longer needed: {set(LATE_IMPORTS) - set(late)}"


def test_files_are_short() -> None:
    files = [module.path for module in modules().values()] + other_python_files()
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    long = [f"{path.relative_to(ROOT)}: {n} lines" for path, n in lengths.items() if n > MAX_FILE_LINES]
    assert not long, "\n".join(long)


def lines_of(function: Function) -> int:
    return (function.end_lineno or function.lineno) - function.lineno + 1


def test_functions_are_short() -> None:
    sizes = {f"{m}:{f.lineno} {f.name}": lines_of(f) for m in modules().values() for f in m.functions()}
    long = {where: n for where, n in sizes.items() if n > MAX_FUNCTION_LINES}
    assert len(long) <= MAX_SHARE_OF_LONG_FUNCTIONS * len(sizes), long
    assert median(sizes.values()) <= MAX_MEDIAN_FUNCTION_LINES


def test_public_names_have_docstrings() -> None:
    documented = {
        (c.name, f.name) for m in modules().values() for c in m.classes() for f in methods(c) if ast.get_docstring(f)
    }
    missing = []
    for module in modules().values():
        missing += [str(module)] if not ast.get_docstring(module.tree) else []
        for node in module.tree.body:
            if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_"):
                missing += [f"{module}:{node.lineno} {node.name}"] if not ast.get_docstring(node) else []
                missing += undocumented_methods(module, node, documented) if isinstance(node, ast.ClassDef) else []
    assert not missing, "\n".join(missing)


def methods(node: ast.ClassDef) -> list[Function]:
    return [f for f in node.body if isinstance(f, Function)]


def undocumented_methods(module: Module, node: ast.ClassDef, documented: set[tuple[str, str]]) -> list[str]:
    """Public methods without docstring that need one: longer than a statement, no override of a documented one."""
    bases = {ast.unparse(base).split("[")[0].split(".")[-1] for base in node.bases}
    return [
        f"{module}:{f.lineno} {node.name}.{f.name}"
        for f in methods(node)
        if not f.name.startswith("_")
        and not ast.get_docstring(f)
        and not any((base, f.name) in documented for base in bases)
        and len(f.body) > 1
    ]


def test_every_operator_family_is_listed() -> None:
    """A family that FAMILIES lacks would declare its operators only where somebody happens to import it."""
    listed = set(registry())
    for name in modules():
        if under(name, "graphc.ir.ops"):
            importlib.import_module(name)
            assert set(registry()) == listed, f"{name} declares operators but is not in FAMILIES"
    assert len(FAMILIES) == len(set(FAMILIES))
    assert {record.family for record in registry().values()} <= set(FAMILIES)


def pass_classes() -> dict[str, str]:
    """Names of the classes that derive from Pass -> the module that defines them."""
    return {
        node.name: module.name
        for module in modules().values()
        if under(module.name, "graphc.passes")
        for node in module.classes()
        if any(ast.unparse(base).split(".")[-1] == "Pass" for base in node.bases)
    }


def test_a_pass_has_the_name_of_its_file() -> None:
    for cls, module in pass_classes().items():
        assert module.rsplit(".", 1)[-1].replace("_", "") == cls.lower(), f"{cls} is in {module}"


def test_every_pass_is_registered() -> None:
    known = {cls.__name__ for cls in importlib.import_module("graphc.passes").PASSES}
    assert known == set(pass_classes())


def test_no_path_of_a_developers_machine() -> None:
    rooms = "|".join(("work", "root", "tmp", "home", "Users"))
    pattern = re.compile(rf"(?<![\w.:/$)}}-])/(?:{rooms})(?:/|\b)")
    found = [
        f"{path.relative_to(ROOT)}:{text.count(chr(10), 0, match.start()) + 1} {match.group()}"
        for path, text in text_files()
        for match in pattern.finditer(text)
        if path != Path(__file__).resolve()
    ]
    assert not found, "\n".join(found)


def test_running_a_plan_does_not_import_numba() -> None:
    """Numba takes half a second to import; only compiling needs it."""
    code = "import sys, graphc, graphc.cli; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT.parent, check=False).returncode == 0
