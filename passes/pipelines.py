"""The pipelines of the optimisation levels. Each is a value: passes in order, with the reason where order matters."""

from __future__ import annotations

from dataclasses import replace

from graphc.passes.assign_layout import AssignLayout
from graphc.passes.base import Pipeline
from graphc.passes.batch_norm_to_affine import BatchNormToAffine
from graphc.passes.canonicalize import Canonicalize
from graphc.passes.cse import Cse
from graphc.passes.dce import Dce
from graphc.passes.fold_batch_norm import FoldBatchNorm
from graphc.passes.fold_constants import FoldConstants
from graphc.passes.fuse_elementwise import FuseElementwise
from graphc.passes.fuse_epilogue import FuseEpilogue
from graphc.passes.fuse_int8 import FuseInt8
from graphc.passes.hold_devices import HoldDevices
from graphc.passes.infer_types import InferTypes
from graphc.passes.lower_dnnlowp import LowerDnnlowp
from graphc.passes.lower_int8 import LowerInt8
from graphc.passes.nhwc_to_nchw import NhwcToNchw
from graphc.passes.order_after_mean import OrderAfterMean

O0: Pipeline = (
    InferTypes(),
    # First of all: every pass below sees images in one order, and folding transposes the weights.
    NhwcToNchw(),
    # Removes what has no kernel because it has no meaning at run time: identities, fills of weights.
    Canonicalize(),
    FoldConstants(),
    Dce(),
)
"""Only what a net needs to run: every operator of the net stays visible as it is."""

O1: Pipeline = (
    InferTypes(),
    # First of all: every pass below sees images in one order, canonicalize cancels what it leaves, folding transposes
    # the weights.
    NhwcToNchw(),
    # Before folding: forwarding an identity makes more operands constants.
    Canonicalize(),
    FoldConstants(),
    # After folding: shapes that became constants make reshapes trivial.
    Canonicalize(),
    Cse(),
    # Before fold_batch_norm: an unread user of a convolution's result would keep it from being folded.
    Dce(),
    # Before any fusion: it reads the operators that fusion hides.
    FoldBatchNorm(),
    # After fold_batch_norm, which leaves nothing of what this would make two operators of.
    BatchNormToAffine(),
    # Apart from what is in float; its scales are constants by now.
    FuseInt8(),
    # After fuse_int8, which leaves no Relu of its own.
    LowerInt8(),
    # After lower_int8, which would let the products take what follows them, with other integers.
    LowerDnnlowp(),
    # After lower_int8, which takes the conversion to float away from between.
    OrderAfterMean(),
    # Chains first, so that each convolution keeps its own activation ...
    FuseEpilogue(),
    FuseElementwise(),
    # ... then what became one operator by fuse_elementwise, such as x * sigmoid(x).
    FuseEpilogue(),
    Dce(),
)
"""Everything but layouts: answers differ from O0 by rounding only."""

O2: Pipeline = (
    *O1,
    # Last: it fixes the layout of every value, and passes above make values without one.
    AssignLayout(),
)
"""The default: O1 and blocked layouts for the convolutional part."""

LEVELS: dict[int, Pipeline] = {0: O0, 1: O1, 2: O2}


def with_block(pipeline: Pipeline, block: int) -> Pipeline:
    """The pipeline with the target's channel block in place of the default; 1 leaves everything plain."""
    return tuple(replace(p, block=block) if isinstance(p, AssignLayout) else p for p in pipeline)


def with_devices(pipeline: Pipeline) -> Pipeline:
    """The pipeline for a target with a card: what a net wants on the CPU stays apart, before anything is fused."""
    return (*pipeline[:1], HoldDevices(), *pipeline[1:])


def with_native_int8(pipeline: Pipeline) -> Pipeline:
    """The pipeline with graphc's own int8 products in place of Caffe2's integers (``lower_int8``)."""
    return tuple(replace(p, caffe2=True) if isinstance(p, LowerInt8) else p for p in pipeline)
