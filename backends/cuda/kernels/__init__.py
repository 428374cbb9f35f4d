"""The kernel templates of the CUDA backend, one family a file: ``RULES`` and ``TEMPLATES`` list them all."""

from graphc.backends.cuda.kernels import conv, copy, pointwise, pool, softmax
from graphc.backends.cuda.rules import Rule, Template
from graphc.backends.movement import movement_rules

RULES: tuple[Rule, ...] = (
    *conv.RULES,
    *pointwise.RULES,
    *pool.RULES,
    *softmax.RULES,
    *movement_rules(copy.CudaCopier),
)
TEMPLATES: tuple[Template, ...] = (
    *conv.TEMPLATES,
    *copy.TEMPLATES,
    *pointwise.TEMPLATES,
    *pool.TEMPLATES,
    *softmax.TEMPLATES,
)
