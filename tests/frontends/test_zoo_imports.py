"""Every public net, weights or none, imports, infers types, verifies, prints, and parses back equal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf import text_format

from graphc.frontends.netdef import Net, import_net, message_class, read_net
from graphc.ir import Graph, constant_arrays, infer_types, parse, print_graph, verify
from graphc.ir.errors import UnsupportedError
from graphc.ir.ops.unsupported import require_runnable
from graphc.ir.types import TensorType

NAMES = """
bvlc_alexnet char_lstm detectron_faster_rcnn_R50_C4_1x inception_v1 mask_rcnn_2go_fp32 mnist_lenet_plan
mobilenet_v2_quantized mobilenetv1_onnx resnet18v1_onnx resnet50 resnet50_quantized shufflenet tiny_yolo_a vgg19
"""
FOLDERS = NAMES.split()
WITH_WEIGHTS = """
alexnet_small inception_v1_small mnist mtcnn_pnet perception_v0 resnet50_small segmentation_mobile squeezenet_v1.0
squeezenet_v1.1 style_animals super_resolution tiny_yolo_a_small vgg19_small
"""


def nets_of(path: Path) -> Iterator[Net]:
    """The net in a file, or every net of a plan."""
    if "plan" not in path.stem:
        yield read_net(path)
        return
    plan = text_format.Parse(path.read_bytes().decode(), message_class("PlanDef")())
    for network in plan.network:
        yield read_net(network.SerializeToString())


def nets(folder: Path) -> list[Net]:
    """Every net in a folder of the zoo."""
    return [net for path in sorted(folder.glob("*.pb*")) for net in nets_of(path)]


def typed(net: Net, inputs: dict[str, TensorType] | None = None) -> Graph:
    graph = import_net(net, inputs=inputs)
    infer_types(graph)
    verify(graph)
    return graph


@pytest.mark.parametrize("folder", FOLDERS)
def test_nets_without_weights(folder: str, shared: Path) -> None:
    for net in nets(shared / "models" / "without_weights" / folder):
        imported = import_net(net)
        assert parse(print_graph(imported), constant_arrays(imported)) == imported, net.name
        graph = typed(net)
        assert parse(print_graph(graph), constant_arrays(graph)) == graph, net.name
        assert len(graph.nodes) + len(graph.constants) == len(net.ops), net.name


@pytest.mark.parametrize("folder", WITH_WEIGHTS.split())
def test_nets_with_weights(folder: str, shared: Path) -> None:
    files = shared / "models" / folder
    graph = import_net(read_net(files / "predict_net.pb"), read_net(files / "init_net.pb"))
    assert parse(print_graph(graph), constant_arrays(graph)) == graph
    infer_types(graph)
    verify(graph)
    assert parse(print_graph(graph), constant_arrays(graph)) == graph


def _typed_with(shared: Path, folder: str, **types: str) -> Graph:
    (net, *_) = nets(shared / "models" / "without_weights" / folder)
    return typed(net, {name: TensorType.parse(text) for name, text in types.items()})


def test_shapes_of_a_detector(shared: Path) -> None:
    graph = _typed_with(
        shared, "detectron_faster_rcnn_R50_C4_1x", data="float[1,3,800,800]", im_info="float[1,3]", anchor="float[15,4]"
    )
    blobs = graph.blobs()
    assert blobs["score_nms"].type.rank == 1
    assert str(blobs["bbox_nms"].type).startswith("float[n_score_nms,4")
    assert blobs["rpn_rois"].type.shape[1] == 5
    assert blobs["pool5"].type.shape[2:] == (14, 14)


def test_result_of_a_branch_has_the_shape_of_neither(shared: Path) -> None:
    """``mask_fcn_probs`` is float[1] where no box was found, else float[boxes, classes, H, W]."""
    graph = _typed_with(shared, "mask_rcnn_2go_fp32", data="float[1,3,320,320]")
    (branch,) = [n for n in graph.nodes if n.op == "If"]
    assert str(graph.blobs()["mask_fcn_probs"].type) == "float[*]"
    assert [v.name for v in branch.results] == ["mask_fcn_probs", "bbox_nms"]


def test_quantisation_is_part_of_the_types(shared: Path) -> None:
    graph = _typed_with(shared, "mobilenet_v2_quantized", data="float[N,3,224,224]")
    relu = next(n for n in graph.nodes if n.op == "Int8Relu")
    quant = relu.results[0].type.quant
    assert quant is not None
    assert quant.zero_point == 0
    assert quant.scale == pytest.approx(0.0501052774489)


def test_training_nets_say_why_they_cannot_run(shared: Path) -> None:
    (init, train, _) = nets_of(shared / "models" / "without_weights" / "mnist_lenet_plan" / "train_plan.pbtxt")
    with pytest.raises(UnsupportedError) as caught:
        require_runnable(typed(train))
    assert len(caught.value.problems) == 1
    assert "TensorProtosDBInput" in caught.value.problems[0]
    assert "feed its output blobs as inputs" in caught.value.problems[0]
    with pytest.raises(UnsupportedError, match="1 of its operators"):
        require_runnable(typed(init))
