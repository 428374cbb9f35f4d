"""Rule and Template of the CPU (``backends/rules.py``).

A template's source defines ``def <spec.name>(p, lo, hi, tid)``. ``p``: address of the parameters (int64 each, read with
``ld(p, i)``); [lo, hi): the units to do; ``tid``: the thread's number, for its part of the scratch. Units of one task
may run in any order on any threads.
"""

from graphc.backends import rules
from graphc.backends.cpu.target import CpuTarget
from graphc.backends.rules import float_bits as float_bits

Template = rules.Template[CpuTarget]
Rule = rules.Rule[CpuTarget]
