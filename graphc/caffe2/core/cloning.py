"""Copies of nets whose own blobs get a prefix."""

from __future__ import annotations

from typing import Any

from graphc.caffe2.core.net import Net
from graphc.caffe2.core.ssa import get_ssa, get_undefined_blobs


def clone_and_bind_net(
    net: Net, name: str, prefix: str, blob_remap: dict[str, str] | None = None, inputs: Any = None,
    keep_schema: bool = True,
) -> tuple[Net, dict[str, str]]:  # fmt: skip
    """A copy of a net, and the new names of its blobs: those that it makes are called ``prefix + name``.

    blob_remap: further names, continued in place. inputs: a record whose blobs take the place of those of the net's
    input record, by field.
    """
    names = {} if blob_remap is None else blob_remap
    if inputs is not None:
        record = net.input_record()
        fields = dict(zip(record.field_names(), record.field_blobs()))
        missing = set(fields) - set(inputs.field_names())
        if missing:
            raise AssertionError(f"Schemas don't match: the inputs lack {sorted(missing)}, which net {net} has")
        names.update(
            {str(fields[f]): str(b) for f, b in zip(inputs.field_names(), inputs.field_blobs()) if f in fields}
        )
    ssa, versions = get_ssa(net)
    outside = get_undefined_blobs(ssa)
    for blob in versions:
        names.setdefault(blob, blob if blob in outside else prefix + blob)
    clone = net.Clone(name, names, keep_schema=keep_schema)
    if not keep_schema and inputs is not None:
        clone.set_input_record(inputs)
    return clone, names
