"""Quantisation to 8 bits after training, as functions of graphs and records; ``graphc.quantization`` runs them.

``prepare`` the float graph, ``find_layers``, ``equalize``; observe values (``Observation``) and what weights meet
(``Moments``); ``assign`` scales; ``quantise_weights``; ``rewrite``.
"""

from graphc.passes.quantize.equalization import equalize as equalize
from graphc.passes.quantize.int8_weights import Int8Weights as Int8Weights
from graphc.passes.quantize.int8_weights import quantise_weights as quantise_weights
from graphc.passes.quantize.layers import Kind as Kind
from graphc.passes.quantize.layers import Layer as Layer
from graphc.passes.quantize.layers import choose_layers as choose_layers
from graphc.passes.quantize.layers import find_layers as find_layers
from graphc.passes.quantize.limits import unfit_layer as unfit_layer
from graphc.passes.quantize.limits import unfit_product as unfit_product
from graphc.passes.quantize.moments import Moments as Moments
from graphc.passes.quantize.observation import Observation as Observation
from graphc.passes.quantize.preparation import prepare as prepare
from graphc.passes.quantize.ranges import RULES as RULES
from graphc.passes.quantize.rewriting import rewrite as rewrite
from graphc.passes.quantize.rewriting import unused_mark as unused_mark
from graphc.passes.quantize.table import QuantTable as QuantTable
from graphc.passes.quantize.table import assign as assign
from graphc.passes.quantize.table import parse_table as parse_table
