"""Which function translates which layer of Caffe 1, and the nets as a whole."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphc.caffe2.caffe_translator.legacy_pad import inferred_shape, remove_legacy_padding
from graphc.caffe2.caffe_translator.old_layers import new_layers
from graphc.caffe2.proto import caffe2_pb2, caffe_pb2
from graphc.caffe2.tensor_proto import CaffeBlobToNumpyArray
from graphc.frontends.netdef.schema import Message

_LOG = logging.getLogger(__name__)

Translation = tuple[Any, Sequence[Message]]
"""Operators (one, several or None) and ``TensorProto`` parameters of a layer."""
Translator = Callable[..., Translation]


class TranslatorRegistry:
    """Functions that translate a layer, by its type.

    A function gets the ``LayerParameter``, the layer's trained arrays, ``is_test`` and keywords, and gives the
    operators and their parameters. Keywords: net and net_params so far, input_dims, and ``shape_of``, the shape of a
    blob or None.
    """

    registry_: dict[str, Translator] = {}

    @classmethod
    def Register(cls, op_name: str) -> Callable[[Translator], Translator]:
        """A decorator that registers a function for a type of layers."""

        def wrapper(function: Translator) -> Translator:
            cls.registry_[op_name] = function
            return function

        return wrapper

    @classmethod
    def TranslateLayer(
        cls, layer: Message, pretrained_blobs: Sequence[np.ndarray], is_test: bool, **kwargs: Any
    ) -> tuple[list[Message], list[Message]]:
        """The operators and parameters of a layer.

        Raises ``KeyError`` for a type that nobody registered, ``NotImplementedError`` for a layer whose parameters no
        operator follows and ``ValueError`` for trained arrays that are not the layer's; all name the layer.
        """
        if layer.type not in cls.registry_:
            raise KeyError(
                f"No translator registered for layer '{layer.name}' of type {layer.type}; there are translators for "
                f"{', '.join(sorted(cls.registry_))}. Register one: @TranslatorRegistry.Register('{layer.type}')"
            )
        try:
            operators, parameters = cls.registry_[layer.type](layer, pretrained_blobs, is_test, **kwargs)
        except (NotImplementedError, ValueError) as error:
            raise type(error)(f"layer '{layer.name}' of type {layer.type}: {error}") from None
        if operators is None:
            operators = []
        return (operators if isinstance(operators, list) else [operators]), list(parameters)

    @classmethod
    def TranslateModel(
        cls,
        caffe_net: Message,
        pretrained_net: Message,
        is_test: bool = False,
        net_state: Message | None = None,
        remove_legacy_pad: bool = False,
        input_dims: Sequence[int] | None = None,
    ) -> tuple[Message, Message]:
        """The ``NetDef`` of a network and its parameters, as ``TensorProtos``.

        caffe_net: the ``NetParameter`` of a prototxt, with layers of either generation. pretrained_net: that of a
        caffemodel; its layers are found by name. net_state: which layers count, by their rules of inclusion.
        remove_legacy_pad: write the padding that Caffe's rounding up comes to as numbers. input_dims: the size of the
        first input, for that and for layers that need to know; the size in the prototxt unless given. Raises what
        ``TranslateLayer`` does, and ``ValueError`` for a network without layers.
        """
        state = caffe_pb2.NetState() if net_state is None else net_state
        layers = new_layers(caffe_net)
        if not layers:
            raise ValueError("the network has no layers: is the file a prototxt of Caffe, and not a solver's?")
        trained = _trained_blobs(pretrained_net)
        net, parameters = caffe2_pb2.NetDef(name=caffe_net.name), caffe2_pb2.TensorProtos()
        taken: set[str] = set()
        dims = input_shape(caffe_net) if input_dims is None else list(input_dims)
        more = {"net": net, "net_params": parameters, "input_dims": dims}
        more["shape_of"] = lambda blob: inferred_shape(net, parameters, dims, blob)
        for layer in layers:
            if not _is_included(state, layer):
                _LOG.info("Current net state does not need layer %s", layer.name)
                continue
            operators, own = cls.TranslateLayer(layer, trained.get(layer.name, []), is_test, **more)
            _give_own_names(layer, operators, own, taken)
            net.op.extend(operators)
            parameters.protos.extend(own)
        if remove_legacy_pad:
            remove_legacy_padding(net, parameters, dims)
        return net, parameters


def _trained_blobs(net: Message) -> dict[str, list[np.ndarray]]:
    """The arrays of each layer; raises ``ValueError`` for two layers of one name that have some."""
    found: dict[str, list[np.ndarray]] = {}
    old = [layer.layer if layer.HasField("layer") else layer for layer in net.layers]
    for layer in (*net.layer, *old):
        if not layer.blobs:
            continue
        if layer.name in found:
            raise ValueError(f"the caffemodel has two layers '{layer.name}' with parameters")
        found[layer.name] = [CaffeBlobToNumpyArray(blob) for blob in layer.blobs]
    return found


def _give_own_names(layer: Message, operators: Sequence[Message], own: Sequence[Message], taken: set[str]) -> None:
    """Rename parameters that a layer before has: layers that work in place are called by the same blob."""
    for parameter in own:
        if parameter.name in taken:
            name = f"{layer.name}{parameter.name[parameter.name.rfind('_') :]}"
            for op in operators:
                op.input[:] = [name if blob == parameter.name else blob for blob in op.input]
            parameter.name = name
        taken.add(parameter.name)


# ---- which layers count ----------------------------------------------------------------------------------------------


def _is_included(state: Message, layer: Message) -> bool:
    if layer.include:
        return any(_meets(state, rule) for rule in layer.include)
    return not any(_meets(state, rule) for rule in layer.exclude)


def _meets(state: Message, rule: Message) -> bool:
    return (
        (not rule.HasField("phase") or rule.phase == state.phase)
        and (not rule.HasField("min_level") or state.level >= rule.min_level)
        and (not rule.HasField("max_level") or state.level <= rule.max_level)
        and set(rule.stage) <= set(state.stage)
        and set(rule.not_stage).isdisjoint(state.stage)
    )


def input_shape(net: Message) -> list[int]:
    """The shape of the first input as the prototxt gives it; empty where it does not."""
    shapes = [*net.input_shape, *(shape for layer in net.layer for shape in layer.input_param.shape)]
    if shapes:
        return list(shapes[0].dim)
    return list(net.input_dim[:4])
