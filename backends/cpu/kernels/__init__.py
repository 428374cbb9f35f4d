"""The kernel templates of the CPU backend, one family a file: ``RULES`` and ``TEMPLATES`` list them all."""

from graphc.backends.cpu.kernels import conv, conv_direct, copy, gemm, pointwise
from graphc.backends.cpu.kernels.copy import copy_task as copy_task
from graphc.backends.cpu.kernels.copy import halo_task as halo_task
from graphc.backends.cpu.rules import Rule, Template

RULES: tuple[Rule, ...] = (
    conv.RULE,
    gemm.RULE,
    *pointwise.RULES,
)
TEMPLATES: tuple[Template, ...] = (
    conv_direct.TEMPLATE,
    *gemm.TEMPLATES,
    *pointwise.TEMPLATES,
    *copy.TEMPLATES,
)
