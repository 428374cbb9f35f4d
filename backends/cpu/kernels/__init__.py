"""The kernel templates of the CPU backend, one family a file: ``RULES`` and ``TEMPLATES`` list them all."""

from graphc.backends.cpu.rules import Rule, Template

RULES: tuple[Rule, ...] = ()
TEMPLATES: tuple[Template, ...] = ()
