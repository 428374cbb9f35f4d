"""Share the blobs of a net without gradients: for any order of its operators, or for the order in the net."""

from __future__ import annotations

import time
from collections.abc import Iterable

from graphc.caffe2.memonger.apply import apply_assignments
from graphc.caffe2.memonger.nets import Net, blobs_of, copy_of, message_of, names
from graphc.caffe2.memonger.protected import external_inputs, fixed_names, results
from graphc.caffe2.memonger.recycling import compute_blob_recycling_for_dag
from graphc.caffe2.memonger.report import MemongerError, log
from graphc.caffe2.memonger.verify import require_same
from graphc.frontends.netdef.schema import Message
from graphc.ir import registry


def optimize_inference_for_dag(net: Net, input_blobs: Iterable[str], namescope: str = "") -> Message:
    """A NetDef in which the blobs between operators share; it runs as ``simple`` and as ``dag`` net.

    input_blobs: where to start. External inputs and outputs keep their blobs; a net that declares no output keeps all
    that no operator reads. The net given is not changed. Raises ``MemongerError`` for an input that no operator before
    writes and that is not declared, for a net with gradient operators, and for an operator that has to run in place and
    does not.
    """
    message = message_of(net)
    outside = {*message.external_input, *message.external_output}
    _require_inference(message, outside)
    shareable, wanted, started = blobs_of(message) - outside, results(message), time.perf_counter()
    found = compute_blob_recycling_for_dag(
        message, names(input_blobs), range(len(message.op)), shareable, namescope, wanted, {}
    )
    log.info("Memonger memory optimization took %.3f secs", time.perf_counter() - started)
    return found


def _require_inference(net: Message, outside: set[str]) -> None:
    written: set[str] = set()
    for i, op in enumerate(net.op):
        missing = [b for b in op.input if b not in written and b not in outside]
        if missing:
            raise MemongerError(
                f"{missing[0]} not in external input",
                f"operator #{i} {op.type} reads it; declare it, or write it before",
            )
        if op.is_gradient_op:
            raise MemongerError(
                "You can only pass inference-only nets to optimize_inference_for_dag",
                f"operator #{i} {op.type} is a gradient; share_grad_blobs is for training nets",
            )
        _require_in_place(i, op)
        written.update(op.output)


def _require_in_place(i: int, op: Message) -> None:
    """Refuse an operator that has to write what it reads, and writes something else: it would have to share anyway."""
    record = registry().get(op.type)
    for reads, writes in record.enforced if record is not None else ():
        if reads < len(op.input) and writes < len(op.output) and op.input[reads] != op.output[writes]:
            raise MemongerError(
                f"operator #{i} {op.type} reads '{op.input[reads]}' and writes '{op.output[writes]}', "
                "which have to be one blob",
                f"let it write '{op.input[reads]}'",
            )


def optimize_inference_fast(net: Net, static_blobs: Iterable[str]) -> Message:
    """A NetDef in which blobs share, for a net that runs in order; found in one pass over its operators.

    static_blobs: blobs that keep their names and contents. So do, listed or not, external inputs and outputs; in a net
    that declares no output, all that no operator reads; and blobs that nested nets or other storage depend on. Every
    other blob that is read gets a name ``__m<N>_shared``.

    A copy of the net comes back, and a warning says why, where nothing can be done: for a net that does not run in
    order, has a RecurrentNetwork, or was treated before.
    """
    message = message_of(net)
    reason = _why_not(message)
    renamed = {} if reason else _linear_scan(message, _static(message, static_blobs))
    if not reason and blobs_of(message).intersection(renamed.values()):
        reason, renamed = "net was already memongered", {}
    if not renamed:
        log.warning("The net is returned as it is: %s.", reason or "no blob may share")
    found = copy_of(message)
    apply_assignments(found, renamed)
    require_same(message, found, {*names(static_blobs), *results(message)})
    return found


def _why_not(net: Message) -> str:
    if net.type not in ("", "simple"):
        return f"cannot optimize memory for nets of type {net.type}, whose operators run in no fixed order"
    if any(op.type == "RecurrentNetwork" for op in net.op):
        return "memonger does not support RecurrentNetwork here; optimize_inference_for_dag does"
    return ""


def _static(net: Message, static_blobs: Iterable[str]) -> set[str]:
    return {*names(static_blobs), *results(net), *net.external_output, *external_inputs(net), *fixed_names(net)}


def _linear_scan(net: Message, static: set[str]) -> dict[str, str]:
    """New names: a blob that an operator writes first takes over the storage that was set free last."""
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    for i, op in enumerate(net.op):
        last.update(dict.fromkeys((*op.input, *op.output), i))
        for blob in op.output:
            first.setdefault(blob, i)
    storage: dict[str, str] = {}
    free: list[str] = []
    shared = 0
    for i, op in enumerate(net.op):
        released = []
        for blob in dict.fromkeys(op.input):
            if blob in static or last[blob] != i:
                continue
            if blob not in storage:
                storage[blob], shared = f"__m{shared}_shared", shared + 1
            released.append(storage[blob])
        for blob in dict.fromkeys(op.output):
            if free and blob not in static and first[blob] == i:
                storage[blob] = free.pop()
        free += released
    return storage
