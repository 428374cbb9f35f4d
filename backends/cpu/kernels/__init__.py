"""The kernel templates of the CPU backend, one family a file: ``RULES`` and ``TEMPLATES`` list them all."""

from graphc.backends.cpu.kernels import (
    conv_border,
    conv_depthwise,
    conv_direct,
    conv_rules,
    conv_transpose,
    conv_winograd,
    copy,
    gemm,
    image,
    loops,
    lrn,
    movement,
    norm,
    pointwise,
    pool,
    reduce,
    resize,
    search,
    softmax,
    typed,
)
from graphc.backends.cpu.kernels.copy import copy_task as copy_task
from graphc.backends.cpu.kernels.copy import halo_task as halo_task
from graphc.backends.cpu.rules import Rule, Template

RULES: tuple[Rule, ...] = (
    *conv_rules.RULES,
    conv_transpose.RULE,
    gemm.RULE,
    *pointwise.RULES,
    *pool.RULES,
    *softmax.RULES,
    *search.RULES,
    *movement.RULES,
    *image.RULES,
    *loops.RULES,
    *lrn.RULES,
    *reduce.RULES,
    *norm.RULES,
    *resize.RULES,
    *typed.RULES,
)
TEMPLATES: tuple[Template, ...] = (
    conv_direct.TEMPLATE,
    conv_border.TEMPLATE,
    *conv_winograd.TEMPLATES,
    conv_depthwise.TEMPLATE,
    *gemm.TEMPLATES,
    *pointwise.TEMPLATES,
    *copy.TEMPLATES,
    *pool.TEMPLATES,
    *softmax.TEMPLATES,
    *search.TEMPLATES,
    *image.TEMPLATES,
    *loops.TEMPLATES,
    *lrn.TEMPLATES,
    *reduce.TEMPLATES,
    *norm.TEMPLATES,
    *resize.TEMPLATES,
    *typed.TEMPLATES,
)
