"""A NetDef pair with weights in float16: half the bytes, for Caffe2 and for graphc."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from graphc.frontends.netdef import Net, Source, read_net, write_net
from graphc.frontends.netdef.half_fills import half_weights, with_half_weights
from graphc.ir import GraphcError
from graphc.runtime.atomic import replacing


@dataclass(frozen=True)
class HalfPair:
    """A net and its init net, where there is one, with large weights in float16. weights: their names."""

    predict: Net
    init: Net | None
    weights: tuple[str, ...]

    def save(self, folder: str | Path) -> None:
        """Write ``predict_net.pb`` and, where there is an init net, ``init_net.pb`` to a folder."""
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        nets = {"predict_net.pb": self.predict} | ({"init_net.pb": self.init} if self.init else {})
        for name, net in nets.items():
            with replacing(str(target / name)) as file:
                file.write(write_net(net))

    def __str__(self) -> str:
        return f"{len(self.weights)} weights in float16"


def half_pair(predict_net: Source, init_net: Source | None = None) -> HalfPair:
    """The nets with their weights rounded to float16; operators, names and values between operators stay.

    Weights are GivenTensorFills of two dimensions or more and 1024 elements or more (``half_fills.py``). Raises
    ``GraphcError`` where there are none, ``NetError`` for one with numbers beyond float16, and what reading raises.
    """
    predict, init = read_net(predict_net), read_net(init_net) if init_net is not None else None
    names = tuple(name for net in (predict, init) if net for name in half_weights(net))
    if not names:
        help = "" if init_net is not None else "give the init net, which holds the weights"
        raise GraphcError("the net has no float32 weights that float16 would make smaller", help)
    return HalfPair(with_half_weights(predict), with_half_weights(init) if init else None, names)
