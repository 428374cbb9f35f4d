"""Tensors as pictures: the arrays that are drawn."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from graphc.caffe2 import visualize


class Pyplot(ModuleType):
    """What ``visualize`` calls of matplotlib."""

    def __init__(self) -> None:
        super().__init__("matplotlib.pyplot")
        self.shown: list[tuple[np.ndarray, Any]] = []

    def imshow(self, image: np.ndarray, cmap: Any, interpolation: str) -> None:
        self.shown.append((image, cmap))

    def axis(self, what: str) -> None:
        assert what == "off"


@pytest.fixture
def pyplot(monkeypatch: pytest.MonkeyPatch) -> Pyplot:
    made = Pyplot()
    monkeypatch.setitem(sys.modules, "matplotlib", ModuleType("matplotlib"))
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", made)
    return made


def test_grids(pyplot: Pyplot) -> None:
    show = visualize.PatchVisualizer(gap=1)
    patches = np.arange(1, 4).repeat(4).reshape(3, 2, 2)
    want = [[1, 1, 2, 2, 2], [1, 1, 2, 2, 2], [2, 2, 2, 2, 2], [3, 3, 2, 2, 2], [3, 3, 2, 2, 2]]  # the ground is 2
    assert show.ShowMultiple(patches).tolist() == want
    assert show.ShowMultiple(patches.reshape(3, 4)).tolist() == want
    assert show.ShowMultiple(patches[..., None]).tolist() == want
    assert show.ShowMultiple(patches, ncols=3, bg_func=np.max).shape == (2, 8)
    assert show.ShowChannels(np.moveaxis(patches, 0, -1)).tolist() == want
    assert show.ShowImages(patches).max() == pytest.approx(1)
    assert show.ShowSingle(np.arange(12.0)).shape == (2, 2, 3)
    visualize.NCHW.ShowMultiple(np.zeros((4, 3, 2, 2)))
    assert pyplot.shown[-1][0].shape == (5, 5, 3)
    visualize.NCHW.ShowSingle(np.zeros((3, 4, 5)))
    assert pyplot.shown[-1][0].shape == (4, 5, 3)
    assert pyplot.shown[0][1] == "gray"
    for wrong in (np.zeros((2, 5)), np.zeros((2, 2, 2, 2)), np.zeros(3)[:, None, None, None, None]):
        with pytest.raises(ValueError, match=r"no square patch|are neither"):
            show.ShowMultiple(wrong)


def test_axes() -> None:
    picture = np.zeros((7, 4, 5, 3))
    assert visualize.ChannelFirst(picture).shape == (7, 3, 4, 5)
    assert visualize.ChannelLast(visualize.ChannelFirst(picture)).shape == picture.shape


def test_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match="pip install matplotlib"):
        visualize.NHWC.ShowSingle(np.zeros((2, 2)))
