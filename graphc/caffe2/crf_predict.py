"""``caffe2.python.crf_predict``: the answers of a conditional random field, by operators."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.caffe2.crf import CRFWithLoss


def crf_update_predictions(model: Any, crf_with_loss: CRFWithLoss, classes: Any) -> Any:
    """The scores changed so that the best path has the highest one of each word."""
    init, net = model.param_init_net, model.net
    return apply_crf(init, net, crf_with_loss.transitions, classes, crf_with_loss.num_classes)


def apply_crf(init_net: Any, net: Any, transitions: Any, predictions: Any, num_classes: int) -> Any:
    """The same for nets without a model; gives the blob of words x classes."""
    padded = CRFWithLoss.pad_predictions(predictions, init_net, net, num_classes)
    swapped = net.SwapBestPath([padded, net.ViterbiPath([padded, transitions])])
    words = net.RemovePadding([swapped], padding_width=1, end_padding_width=1)
    starts = net.GivenTensorIntFill([], shape=[2], values=np.array([0, 0], np.int32))
    ends = net.GivenTensorIntFill([], shape=[2], values=np.array([-1, -3], np.int32))
    return net.Slice([words, starts, ends])
