"""Models with parameters that training leaves alone."""

from __future__ import annotations

import pytest

from graphc.caffe2 import scope, workspace
from graphc.caffe2.models.seq2seq.seq2seq_model_helper import Seq2SeqModelHelper


def test_parameters_with_and_without_gradients() -> None:
    model = Seq2SeqModelHelper(name="m", use_cudnn=False, ws_nbytes_limit=1 << 20)
    assert model.arg_scope == {
        "use_cudnn": False, "cudnn_exhaustive_search": False, "order": "NHWC", "ws_nbytes_limit": 1 << 20
    }  # fmt: skip
    trained = model.AddParam("trained", init=("XavierFill", {"shape": [2, 3]}))
    fixed = model.AddParam("fixed", init_value=2.5, trainable=False)
    with scope.NameScope("inner"):
        inner = model.AddParam("fixed", init_value=7, trainable=False)
        assert model.GetNonTrainableParams() == [inner]
    assert model.GetNonTrainableParams("inner") == [inner]
    assert model.GetNonTrainableParams() == [fixed, inner]
    assert model.GetAllParams() == [trained, fixed, inner]
    workspace.RunNetOnce(model.param_init_net)
    assert workspace.FetchBlob("fixed").tolist() == [2.5]
    assert workspace.FetchBlob("trained").shape == (2, 3)


def test_wrong_parameters() -> None:
    model = Seq2SeqModelHelper(init_params=False)
    assert str(model.AddParam("given")) == "given"
    assert "given" in model.net.Proto().external_input
    with pytest.raises(AssertionError, match="takes the place"):
        model.AddParam("both", init=("XavierFill", {}), init_value=1)
    with pytest.raises(AssertionError, match="needs init"):
        Seq2SeqModelHelper().AddParam("none")
