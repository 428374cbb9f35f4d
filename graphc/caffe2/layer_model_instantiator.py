"""``caffe2.python.layer_model_instantiator``: nets for training, evaluation and prediction from a model of layers."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from graphc.caffe2 import core, schema
from graphc.caffe2.layers.layers import InstantiationContext
from graphc.caffe2.layers.tags import Tags


def _filter_layers(layers: list[Any], include_tags: Collection[str] | None, excluded: str) -> list[Any]:
    """The layers with one of the tags, of all without them, that are not excluded."""
    chosen = layers if include_tags is None else [layer for layer in layers if layer.tags & set(include_tags)]
    return [layer for layer in chosen if excluded not in layer.tags]


def shrink_output_schema(net: core.Net, out_schema: Any) -> Any:
    """The fields of a record, if it has several, whose blobs the net makes."""
    if len(out_schema.field_names()) <= 1:
        return out_schema
    columns = zip(
        out_schema.field_names(),
        out_schema.field_types(),
        out_schema.field_blobs(),
        out_schema.field_metadata(),
        strict=True,
    )
    kept = [column for column in columns if net.BlobIsDefined(column[2])]
    names, types, blobs, metadata = ([column[i] for column in kept] for i in range(4))
    return schema.from_column_list(names, types, blobs, metadata)


def generate_predict_net(model: Any, include_tags: Collection[str] | None = None) -> core.Net:
    """The net for prediction: of all layers, or of those with one of the tags."""
    net = core.Net("predict_net")
    for layer in _filter_layers(model.layers, include_tags, Tags.EXCLUDE_FROM_PREDICTION):
        layer.add_operators(net, context=InstantiationContext.PREDICTION)
    net.set_input_record(model.input_feature_schema.clone())
    net.set_output_record(shrink_output_schema(net, model.output_schema.clone()))
    return net


def generate_eval_net(model: Any, include_tags: Collection[str] | None = None) -> core.Net:
    """The net for evaluation."""
    net = core.Net("eval_net")
    for layer in _filter_layers(model.layers, include_tags, Tags.EXCLUDE_FROM_EVAL):
        layer.add_operators(net, context=InstantiationContext.EVAL)
    _set_training_records(net, model)
    return net


def generate_training_nets_forward_only(
    model: Any, include_tags: Collection[str] | None = None
) -> tuple[core.Net, core.Net]:
    """The net that fills parameters, and the net for training without gradients."""
    net, init_net = core.Net("train_net"), model.create_init_net("train_init_net")
    for layer in _filter_layers(model.layers, include_tags, Tags.EXCLUDE_FROM_TRAIN):
        layer.add_operators(net, init_net)
    _set_training_records(net, model)
    return init_net, net


def generate_training_nets(model: Any, include_tags: Collection[str] | None = None) -> tuple[core.Net, core.Net]:
    """The net that fills parameters, and the net for training; without gradients for a model without a loss."""
    init_net, net = generate_training_nets_forward_only(model, include_tags)
    model.apply_regularizers_on_loss(net, init_net)
    if not model.has_loss():
        return init_net, net
    gradients = net.AddGradientOperators(model.loss.field_blobs())
    model.apply_post_grad_net_modifiers(net, init_net, gradients, modify_output_record=True)
    model.apply_optimizers(net, init_net, gradients)
    model.apply_regularizers_after_optimizer(net, init_net, gradients)
    model.apply_final_net_modifiers(net, init_net, gradients, modify_output_record=True)
    return init_net, net


def _set_training_records(net: core.Net, model: Any) -> None:
    net.set_input_record(model.input_feature_schema + model.trainer_extra_schema)
    net.set_output_record(shrink_output_schema(net, model.output_schema + model.metrics_schema))
