"""RecurrentNetwork operators whose blobs memonger has renamed.

An argument ``<blob>.rename`` tells the new name of an input or output. Step nets and links may call it by either name:
Caffe2's two memongers differ in what they rename. The operator's meaning ties blobs together by their names, that of a
gradient to that of its blob, so nets and links get the old names back; inputs and outputs keep the new ones.
"""

from __future__ import annotations

from dataclasses import replace

from graphc.frontends.netdef.net import ArgValue, Operator
from graphc.frontends.netdef.scopes import renamed

SUFFIX = ".rename"


def old_names(op: Operator) -> dict[str, str]:
    """New name -> old name of the operator's renamed blobs."""
    return {
        value.decode("utf-8", "backslashreplace"): name.removesuffix(SUFFIX)
        for name, value in op.args.items()
        if name.endswith(SUFFIX) and isinstance(value, bytes)
    }


def restore(op: Operator) -> Operator:
    """The operator with the old names in its nets and lists of names."""
    old = old_names(op)
    return replace(op, args={k: _restored(v, old) for k, v in op.args.items()}) if old else op


def _restored(value: ArgValue, old: dict[str, str]) -> ArgValue:
    if isinstance(value, tuple) and all(isinstance(v, bytes) for v in value):
        return tuple(old.get(v.decode("utf-8", "backslashreplace"), "").encode() or v for v in value)
    return renamed(value, lambda n: old.get(n, n))
