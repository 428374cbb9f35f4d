"""What kernel source may say. Source comes from templates, but its parameters may come from a plan file: nothing that a
plan holds may run when the source is executed, so everything but plain function definitions is refused.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection, Mapping
from types import FunctionType
from typing import Any

ELEMENTS = ("b1", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2")
"""NumPy's letters of what the arrays of a loop may hold."""
BUILTINS = {"range": range, "min": min, "max": max, "abs": abs, "int": int, "float": float, "len": len, "bool": bool}

_ALLOWED = (
    *(ast.Module, ast.FunctionDef, ast.arguments, ast.arg),
    *(ast.Return, ast.Assign, ast.AugAssign, ast.For, ast.While, ast.If, ast.Expr, ast.Pass, ast.Break, ast.Continue),
    *(ast.BoolOp, ast.BinOp, ast.UnaryOp, ast.Compare, ast.Call, ast.IfExp, ast.Attribute, ast.Subscript, ast.Slice),
    *(ast.Name, ast.Tuple, ast.Constant, ast.expr_context, ast.boolop, ast.operator, ast.unaryop, ast.cmpop),
)


def load_source(name: str, source: str, words: Mapping[str, Any], helper: Callable[[FunctionType], Any]) -> Any:
    """The function ``name`` of a source that knows ``words``; the functions that it calls are what ``helper`` makes of
    them. Raises ``ValueError`` as ``check_source`` does.
    """
    check_source(name, source, words)
    scope: dict[str, Any] = {**words, "__builtins__": BUILTINS, "__name__": "graphc_kernel"}
    exec(compile(source, f"<graphc:{name}>", "exec"), scope)
    for other, function in list(scope.items()):
        if isinstance(function, FunctionType) and other != name:
            scope[other] = helper(function)
    return scope[name]


def check_source(name: str, source: str, vocabulary: Collection[str]) -> None:
    """Raise ``ValueError`` unless ``source`` only defines functions, from plain statements and known names."""
    tree = ast.parse(source)
    for top in tree.body:
        if not isinstance(top, ast.FunctionDef) or top.decorator_list or top.returns or top.args.defaults:
            raise ValueError(f"kernel {name}: line {top.lineno} is not a plain function definition")
    known = {n.name for n in tree.body if isinstance(n, ast.FunctionDef)} | set(vocabulary) | set(BUILTINS)
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            known.add(node.id)
        if isinstance(node, ast.arg):
            known.add(node.arg)
    for node in ast.walk(tree):
        _check_node(name, node, known)


def _check_node(name: str, node: ast.AST, known: Collection[str]) -> None:
    if not isinstance(node, _ALLOWED) or (isinstance(node, ast.arg) and node.annotation is not None):
        raise ValueError(f"kernel {name}: {type(node).__name__} has no place in a kernel")
    if isinstance(node, ast.Name) and (node.id not in known or node.id.startswith("__")):
        raise ValueError(f"kernel {name}: unknown name {node.id!r}")
    if isinstance(node, ast.Attribute) and node.attr.startswith("_"):
        raise ValueError(f"kernel {name}: attribute {node.attr!r}")
