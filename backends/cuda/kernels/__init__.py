"""The kernel templates of the CUDA backend, one family a file: ``RULES`` and ``TEMPLATES`` list them all."""

from graphc.backends.cuda.kernels import (
    conv,
    conv_depthwise,
    conv_transpose,
    copy,
    fc,
    gemm,
    lrn,
    norm,
    pad,
    photos,
    pointwise,
    pool,
    reduce,
    softmax,
    transpose,
)
from graphc.backends.cuda.rules import Rule, Template
from graphc.backends.movement import movement_rules

RULES: tuple[Rule, ...] = (
    *conv.RULES,
    *conv_depthwise.RULES,
    *conv_transpose.RULES,
    *fc.RULES,
    *gemm.RULES,
    *lrn.RULES,
    *norm.RULES,
    *pad.RULES,
    *photos.RULES,
    *pointwise.RULES,
    *pool.RULES,
    *reduce.RULES,
    *softmax.RULES,
    *movement_rules(copy.CudaCopier),
)
TEMPLATES: tuple[Template, ...] = (
    *conv.TEMPLATES,
    *conv_depthwise.TEMPLATES,
    *copy.TEMPLATES,
    *fc.TEMPLATES,
    *gemm.TEMPLATES,
    *lrn.TEMPLATES,
    *norm.TEMPLATES,
    *pad.TEMPLATES,
    *photos.TEMPLATES,
    *pointwise.TEMPLATES,
    *pool.TEMPLATES,
    *reduce.TEMPLATES,
    *softmax.TEMPLATES,
    *transpose.TEMPLATES,
)
