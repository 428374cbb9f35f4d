"""Passes: Graph to Graph, and Graph to Schedule. Imports ``graphc.ir`` and nothing else of graphc."""

from __future__ import annotations

from graphc.passes import base
from graphc.passes.assign_layout import AssignLayout as AssignLayout
from graphc.passes.base import Pass as Pass
from graphc.passes.base import Pipeline as Pipeline
from graphc.passes.base import format_pipeline as format_pipeline
from graphc.passes.batch_norm_to_affine import BatchNormToAffine as BatchNormToAffine
from graphc.passes.canonicalize import Canonicalize as Canonicalize
from graphc.passes.cse import Cse as Cse
from graphc.passes.dce import Dce as Dce
from graphc.passes.fold_batch_norm import FoldBatchNorm as FoldBatchNorm
from graphc.passes.fold_constants import FoldConstants as FoldConstants
from graphc.passes.fuse_elementwise import FuseElementwise as FuseElementwise
from graphc.passes.fuse_epilogue import FuseEpilogue as FuseEpilogue
from graphc.passes.fuse_int8 import FuseInt8 as FuseInt8
from graphc.passes.half import Half as Half
from graphc.passes.hold_devices import HoldDevices as HoldDevices
from graphc.passes.infer_types import InferTypes as InferTypes
from graphc.passes.lower_dnnlowp import LowerDnnlowp as LowerDnnlowp
from graphc.passes.lower_int8 import LowerInt8 as LowerInt8
from graphc.passes.manager import PassError as PassError
from graphc.passes.manager import dump_to as dump_to
from graphc.passes.manager import first_wrong_pass as first_wrong_pass
from graphc.passes.manager import print_after as print_after
from graphc.passes.manager import run_pipeline as run_pipeline
from graphc.passes.manager import together as together
from graphc.passes.nhwc_to_nchw import NhwcToNchw as NhwcToNchw
from graphc.passes.order_after_mean import OrderAfterMean as OrderAfterMean
from graphc.passes.pipelines import LEVELS as LEVELS
from graphc.passes.pipelines import O0 as O0
from graphc.passes.pipelines import O1 as O1
from graphc.passes.pipelines import O2 as O2
from graphc.passes.pipelines import with_block as with_block
from graphc.passes.pipelines import with_devices as with_devices
from graphc.passes.pipelines import with_native_int8 as with_native_int8
from graphc.passes.tf32 import Tf32 as Tf32

PASSES: tuple[type[Pass], ...] = (
    InferTypes,
    HoldDevices,
    NhwcToNchw,
    Canonicalize,
    FoldConstants,
    Cse,
    Dce,
    FoldBatchNorm,
    BatchNormToAffine,
    FuseInt8,
    LowerInt8,
    LowerDnnlowp,
    OrderAfterMean,
    FuseEpilogue,
    FuseElementwise,
    AssignLayout,
    Half,
    Tf32,
)
"""Every pass, in the order in which they are usually run."""


def parse_pipeline(text: str) -> Pipeline:
    """The pipeline of a text such as ``dce,assign_layout{block=8}``; raises ``GraphcError`` naming what is wrong."""
    return base.parse_pipeline(text, PASSES)
