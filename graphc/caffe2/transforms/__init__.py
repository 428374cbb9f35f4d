"""Rewritings of nets by name, as ``transformations`` and ``workspace.ApplyTransform`` offer them."""

from __future__ import annotations

from collections.abc import Callable

from graphc.caffe2.transforms.batch_norm import Blobs as Blobs
from graphc.caffe2.transforms.batch_norm import fuse_conv_bn as fuse_conv_bn
from graphc.caffe2.transforms.cleaning import common_subexpression_elimination, dead_code_elim
from graphc.caffe2.transforms.convolutions import add_nnpack, fuse_nnpack_conv_relu, sink_max_pool
from graphc.frontends.netdef.schema import Message

TRANSFORMS: dict[str, Callable[[Message], None]] = {
    "AddNNPACK": add_nnpack,
    "CommonSubexpressionElimination": common_subexpression_elimination,
    "ConvToNNPack": add_nnpack,
    "DeadCodeElim": dead_code_elim,
    "FuseNNPACKConvRelu": fuse_nnpack_conv_relu,
    "SinkMaxPool": sink_max_pool,
}
"""Rewritings that need the net alone."""
WORKSPACE_TRANSFORMS: dict[str, Callable[[Message, Blobs], None]] = {"FuseConvBN": fuse_conv_bn}
"""Rewritings that change weights, too."""


def transform(name: str, net: Message, blobs: Blobs) -> None:
    """Rewrite a NetDef in place; raises ``KeyError`` for a name that is none."""
    if name in WORKSPACE_TRANSFORMS:
        WORKSPACE_TRANSFORMS[name](net, blobs)
    else:
        TRANSFORMS[name](net)
