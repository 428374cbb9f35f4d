"""Free blobs as soon as nobody needs them."""

from __future__ import annotations

from collections.abc import Callable, Collection

from graphc.caffe2.memonger.nets import Net, copy_of, message_of, names
from graphc.caffe2.memonger.protected import external_inputs, fixed_names, results
from graphc.frontends.netdef.schema import Message


def release_blobs_when_used(
    netproto: Net, dont_free_blobs: Collection[str], selector_fun: Callable[[str], bool] | None = None
) -> Message:
    """A copy of the net with an operator ``Free`` after the last one that needs a blob.

    dont_free_blobs: blobs that stay. So do external inputs and outputs, blobs that no operator reads, in a net that
    declares no output those whose last value no operator reads, and blobs that ``Alias`` or nested nets depend on.
    selector_fun: says of a blob whether it may be freed.
    """
    net = copy_of(message_of(netproto))
    read = {b for op in net.op for b in op.input}
    kept = {*names(dont_free_blobs), *net.external_output, *external_inputs(net), *fixed_names(net), *results(net)}
    last = {b: i for i, op in enumerate(net.op) for b in (*op.input, *op.output)}
    after: dict[int, list[str]] = {}
    for blob, i in last.items():
        if blob in read and blob not in kept and (selector_fun is None or selector_fun(blob)):
            after.setdefault(i, []).append(blob)
    ops = [copy_of(op) for op in net.op]
    del net.op[:]
    for i, op in enumerate(ops):
        net.op.add().CopyFrom(op)
        for blob in after.get(i, ()):
            net.op.add(type="Free", input=[blob], output=[blob])
    return net
