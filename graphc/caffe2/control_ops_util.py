"""``caffe2.python.control_ops_util``: If and While operators around nets.

Blobs of a net that its surroundings know, which is what the lexical scope says, are those of the surroundings; all
others belong to the net alone, and are kept in a workspace of its own for its gradient.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from graphc.caffe2 import core
from graphc.caffe2.core import BlobReference


def get_external_blob_names(net: Any, lexical_scope: Iterable[str]) -> tuple[set[str], set[str]]:
    """The blobs around a net that it reads first, and those that it writes; raises ``AssertionError``."""
    known = set(map(str, lexical_scope))
    ssa, _ = core.get_ssa(net.Proto())
    inputs = {str(name) for name in core.get_undefined_blobs(ssa)}
    unknown = sorted(inputs - known)
    if unknown:
        raise AssertionError(f"Input blob {unknown[0]} is undefined")
    return inputs, {name for op in net.Proto().op for name in op.output if name in known}


def _references(names: Iterable[str]) -> list[BlobReference]:
    return [BlobReference(name) for name in names]


def _do_net(
    name: str, body: Any, inputs: Sequence[str], outputs: Sequence[str], workspace: BlobReference, **kwargs: Any
) -> Any:
    """A net of one operator Do, which runs a net on blobs around it that have the same names inside."""
    net, bound = core.Net(name), [*inputs, *outputs]
    inner = list(dict.fromkeys(bound))
    net.Do(
        [*_references(inputs), workspace],
        [*_references(outputs), workspace],
        net=body.Proto(),
        inner_blobs=inner,
        outer_blobs_idx=[bound.index(blob) for blob in inner],
        **kwargs,
    )
    net.AddExternalOutput(*_references(outputs), workspace)
    return net


def add_if_op(if_net: Any, cond_blob: Any, lexical_scope: Iterable[str], then_net: Any, else_net: Any = None) -> None:
    """Append an If that runs one of two nets.

    cond_blob: one bool. lexical_scope: names of the blobs around. Raises ``AssertionError`` for a net that reads a blob
    that is neither its own nor around it.
    """
    read: dict[str, None] = {}
    written: dict[str, None] = {}
    scopes: list[BlobReference] = []
    nets: dict[str, Any] = {}
    for branch, body in (("then", then_net), ("else", else_net)):
        if body is None:
            continue
        inputs, outputs = map(sorted, get_external_blob_names(body, lexical_scope))
        workspace = if_net.NextScopedBlob(f"{if_net.Name()}/workspace_if_{branch}")
        nets[f"{branch}_net"] = _do_net(f"do_{branch}_net", body, inputs, outputs, workspace).Proto()
        read.update(dict.fromkeys(inputs))
        written.update(dict.fromkeys(outputs))
        scopes.append(workspace)
    for workspace in scopes:
        if_net.CreateScope([], [workspace])
    results = [*_references(written), *scopes]
    if_net.If([cond_blob, *_references(read), *scopes], results, **nets)
    if_net.AddExternalOutput(*results)


def add_while_op(
    while_net: Any, cond_blob: Any, lexical_scope: Iterable[str], loop_body_net: Any, condition_body_net: Any = None
) -> None:
    """Append a While that runs a net as long as a blob is true.

    condition_body_net: a net that runs before each round and writes ``cond_blob``. Raises ``AssertionError`` for one
    that does not, and for nets that read blobs that are neither their own nor around them.
    """
    known = set(map(str, lexical_scope))
    inputs, outputs = get_external_blob_names(loop_body_net, known)
    read, written = sorted(inputs | outputs), sorted(outputs)
    scope = while_net.NextScopedBlob(f"{while_net.Name()}/workspace_loop_body")
    nets = {
        "loop_net": _do_net(
            "do_loop_body_net", loop_body_net, read, written, scope, copy_external_blobs=True
        ).Proto()
    }  # fmt: skip
    while_inputs, while_outputs, scopes = [*read, str(scope)], [*written, str(scope)], [scope]
    if condition_body_net is not None:
        cond_inputs, cond_outputs = _condition_blobs(condition_body_net, str(cond_blob), known)
        cond_scope = while_net.NextScopedBlob(f"{while_net.Name()}/workspace_loop_cond")
        nets["cond_net"] = _do_net(
            "do_loop_condition_net", condition_body_net, cond_inputs, cond_outputs, cond_scope
        ).Proto()
        while_inputs += [b for b in [*cond_inputs, str(cond_scope)] if b not in while_inputs]
        while_outputs += [b for b in [*cond_outputs, str(cond_scope)] if b not in while_outputs]
        scopes.append(cond_scope)
        if str(cond_blob) not in known:
            while_net.ConstantFill([], cond_blob, dtype=core.DataType.BOOL, value=False)
    for workspace in scopes:
        while_net.CreateScope([], [workspace])
    while_net.While([cond_blob, *_references(while_inputs)], _references(while_outputs), **nets)
    while_net.AddExternalOutput(*_references(while_outputs))


def _condition_blobs(net: Any, condition: str, known: set[str]) -> tuple[list[str], list[str]]:
    """Blobs around a condition's net that it reads and writes, the condition among these."""
    if not any(condition in op.output for op in net.Proto().op):
        raise AssertionError("Condition net does not write into condition blob")
    inputs, outputs = get_external_blob_names(net, known)
    return sorted(inputs), sorted(outputs | {condition})
