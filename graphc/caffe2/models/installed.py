"""The nets of an installed model."""

from __future__ import annotations

from pathlib import Path

from graphc.frontends.netdef import parse_netdef
from graphc.frontends.netdef.schema import Message

PAIRS = (("init_net.pb", "predict_net.pb"), ("model_init.pb", "model.pb"))
"""Files that hold init net and predict net; the second pair is that of Mask R-CNN2Go."""


def nets(folder: Path) -> tuple[Message, Message]:
    """``(init_net, predict_net)`` of a model's folder as NetDefs; raises ``FileError``."""
    init, predict = next((pair for pair in PAIRS if (folder / pair[1]).exists()), PAIRS[0])
    return parse_netdef(folder / init), parse_netdef(folder / predict)
