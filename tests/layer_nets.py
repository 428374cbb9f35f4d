"""Models of layers on the reference interpreter: nothing is compiled."""

from __future__ import annotations

from typing import Any

import interpreted_nets
import numpy as np

from graphc.caffe2 import core, schema
from graphc.caffe2.layer_model_helper import LayerModelHelper
from graphc.caffe2.layers.layers import InstantiationContext

Arrays = dict[str, np.ndarray]


def new_model() -> LayerModelHelper:
    """A model that takes ``x``, of four numbers."""
    return LayerModelHelper("model", schema.Struct(("x", schema.Scalar((np.float32, (4,))))), schema.Struct())


def record(model: LayerModelHelper, **fields: Any) -> Any:
    """A record of the model's net; fields by type or by schema."""
    typed = {name: field if isinstance(field, schema.Field) else schema.Scalar(field) for name, field in fields.items()}
    return schema.NewRecord(model.net, schema.Struct(*typed.items()))


def net_of(model: LayerModelHelper, context: str, init_net: core.Net | None = None) -> core.Net:
    """The net of one kind of all layers; another one gets what fills the parameters."""
    net = core.Net(context)
    for layer in model.layers:
        layer.add_operators(net, init_net or core.Net("init"), context)
    return net


def evaluated(
    model: LayerModelHelper, output: Any, fed: Arrays, context: str = InstantiationContext.TRAINING
) -> tuple[Arrays, Arrays]:
    """What a net of one kind makes of these blobs: the leaves of the output by name; and the parameters."""
    init_net = model.create_init_net("init")
    net = net_of(model, context, init_net)
    initial = interpreted_nets.initial(init_net)
    blobs = [str(blob) for blob in output.field_blobs()]
    return interpreted_nets.run(net, {**initial, **fed}, blobs), initial


def types(net: core.Net) -> list[str]:
    return [op.type for op in net.Proto().op]
