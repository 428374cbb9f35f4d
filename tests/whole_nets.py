"""The nets of shared/models that come with weights and answers."""

WHOLE = (
    "alexnet_small",
    "inception_v1_small",
    "mnist",
    "mtcnn_pnet",
    "perception_v0",
    "resnet50_small",
    "segmentation_mobile",
    "squeezenet_v1.0",
    "squeezenet_v1.1",
    "style_animals",
    "super_resolution",
    "tiny_yolo_a_small",
    "vgg19_small",
)
"""Folders below shared/models."""


def whole_nets_but(*others: str) -> tuple[str, ...]:
    """All of them without some."""
    assert set(others) <= set(WHOLE)
    return tuple(name for name in WHOLE if name not in others)
