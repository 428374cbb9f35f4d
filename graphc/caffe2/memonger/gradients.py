"""Share the blobs of a backward pass."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence

from graphc.caffe2.memonger.nets import Net, message_of, names
from graphc.caffe2.memonger.recycling import compute_blob_recycling_for_dag
from graphc.caffe2.memonger.report import log
from graphc.frontends.netdef.schema import Message


def share_grad_blobs(
    net: Net,
    losses: Iterable[str],
    param_grads: Iterable[str],
    namescope: str,
    dont_share_blobs: Iterable[str] | None = None,
    share_activations: bool = False,
    blob_shapes: Mapping[str, Sequence[int]] | None = None,
) -> Message:
    """A NetDef in which the gradients that pass between layers share blobs; it runs as ``simple`` and as ``dag`` net.

    losses: the blobs from which the backward pass starts. param_grads: gradients that are kept. namescope: only blobs
    under it share; a slash is added where it lacks one. dont_share_blobs: further blobs to keep; the declared outputs
    always are. share_activations: results of layers (blobs whose ``<blob>_w`` is an input of their operator) share too,
    except those of the last two layers, which are usually looked at. blob_shapes: shapes by name, for the best fit.

    The net given is not changed. Raises ``MemongerError`` where the result does not verify.
    """
    log.warning("NOTE: Executing memonger to optimize gradient memory")
    scope = namescope if not namescope or namescope.endswith("/") else namescope + "/"
    message, kept = message_of(net), set(names(param_grads))
    gradients = {b for op in message.op for b in (*op.input, *op.output) if _is_gradient(b, scope) and b not in kept}
    ops = [i for i, op in enumerate(message.op) if gradients.intersection((*op.input, *op.output))]
    shareable = gradients | (_activations(message) if share_activations else set())
    heads, started = names(losses), time.perf_counter()
    dont_share = kept.union(names(dont_share_blobs), heads)
    found = compute_blob_recycling_for_dag(message, heads, ops, shareable, scope, dont_share, blob_shapes or {})
    log.info("Memonger memory optimization took %.3f secs", time.perf_counter() - started)
    return found


def _is_gradient(blob: str, scope: str) -> bool:
    """A gradient under the scope; those that are summed up over branches have an underscore in front of it."""
    return blob.endswith("_grad") and blob.startswith((scope, "_" + scope))


def _activations(net: Message) -> set[str]:
    found = [b for op in net.op for b in op.output if b + "_w" in op.input and b not in net.external_output]
    return set(found[:-2])
