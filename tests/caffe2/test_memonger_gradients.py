"""Training nets: which gradients share, by hand, and in every order that the net allows."""

from __future__ import annotations

import random
from typing import Any

import pytest
from memonger_nets import Trace, count_blobs, must_follow, net, random_order, renamings

from graphc.caffe2 import memonger

FIVE_LAYERS = """
FC s/data s/fc1_w s/fc1_b -> s/fc1
FC s/fc1 s/fc2_w s/fc2_b -> s/fc2
FC s/fc2 s/fc3_w s/fc3_b -> s/fc3
FC s/fc3 s/fc4_w s/fc4_b -> s/fc4
FC s/fc4 s/fc5_w s/fc5_b -> s/fc5
Relu s/fc5 -> s/fc5
Softmax s/fc5 -> s/pred
LabelCrossEntropy s/pred s/label -> s/xent
AveragedLoss s/xent -> s/loss
ConstantFill s/loss -> s/loss_autogen_grad
AveragedLossGradient s/xent s/loss_autogen_grad -> s/xent_grad
LabelCrossEntropyGradient s/pred s/label s/xent_grad -> s/pred_grad
SoftmaxGradient s/pred s/pred_grad -> s/fc5_grad
ReluGradient s/fc5 s/fc5_grad -> s/fc5_grad
FCGradient s/fc4 s/fc5_w s/fc5_grad -> s/fc5_w_grad s/fc5_b_grad s/fc4_grad
FCGradient s/fc3 s/fc4_w s/fc4_grad -> s/fc4_w_grad s/fc4_b_grad s/fc3_grad
FCGradient s/fc2 s/fc3_w s/fc3_grad -> s/fc3_w_grad s/fc3_b_grad s/fc2_grad
FCGradient s/fc1 s/fc2_w s/fc2_grad -> s/fc2_w_grad s/fc2_b_grad s/fc1_grad
FCGradient s/data s/fc1_w s/fc1_grad -> s/fc1_w_grad s/fc1_b_grad s/data_grad
"""
PARAM_GRADS = {f"s/fc{i}_{p}_grad" for i in range(1, 6) for p in "wb"}


class Net:
    """What ``model.net`` is in a script."""

    def __init__(self, text: str, kind: str = "", outputs: str = "") -> None:
        self.message = net(text, outputs=outputs, type=kind)

    def Proto(self) -> Any:
        return self.message


@pytest.mark.parametrize("namescope", ["s", "s/", ""])
def test_two_pieces_of_storage_take_turns(namescope: str) -> None:
    """Each gradient is made from the one before it, whose place is then free for the next."""
    model = Net(FIVE_LAYERS)
    found = memonger.share_grad_blobs(model, ["s/loss"], PARAM_GRADS, namescope)
    chain = ["loss_autogen", "xent", "pred", "fc5", "fc4", "fc3", "fc2", "fc1", "data"]
    scope = "s/" if namescope else ""
    want = {f"s/{name}_grad": f"{scope}__m{i % 2}_shared" for i, name in enumerate(chain)}
    assert dict(renamings(model.message, found)) == want
    assert count_blobs(model.message) - count_blobs(found) == 7


def test_activations_share_but_for_the_last_two() -> None:
    model = Net(FIVE_LAYERS)
    found = memonger.share_grad_blobs(model, ["s/loss"], PARAM_GRADS, "s/", share_activations=True)
    without = memonger.share_grad_blobs(model, ["s/loss"], PARAM_GRADS, "s/")
    assert count_blobs(found) <= count_blobs(without)
    new = dict(renamings(model.message, found))
    assert not {"s/fc5", "s/fc4", "s/loss", "s/pred"}.intersection(new)


@pytest.mark.parametrize("share_activations", [False, True])
def test_blobs_to_keep(share_activations: bool) -> None:
    model = Net(FIVE_LAYERS, outputs="s/fc2_grad")
    found = memonger.share_grad_blobs(
        model, ["s/loss"], PARAM_GRADS, "s/", {"s/pred_grad", "s/fc2"}, share_activations=share_activations
    )
    assert not {"s/pred_grad", "s/fc2", "s/fc2_grad", *PARAM_GRADS}.intersection(dict(renamings(model.message, found)))


def test_other_scopes_do_not_share() -> None:
    text = FIVE_LAYERS + FIVE_LAYERS.replace("s/", "t/")
    found = memonger.share_grad_blobs(Net(text), ["s/loss"], PARAM_GRADS, "s/")
    assert all(old.startswith("s/") and new.startswith("s/__m") for old, new in renamings(net(text), found))


def test_summed_gradients_belong_to_the_scope() -> None:
    text = """
    ConstantFill s/loss -> s/l_grad
    Copy s/l_grad -> _s/a_grad
    Copy _s/a_grad -> s/b_grad
    Copy s/b_grad -> s/c_grad
    """
    new = dict(renamings(net(text), memonger.share_grad_blobs(Net(text), ["s/loss"], [], "s")))
    assert "_s/a_grad" in new


def test_nothing_to_share(caplog: pytest.LogCaptureFixture) -> None:
    found = memonger.share_grad_blobs(Net("FC x w b -> loss"), ["loss"], [], "")
    assert found == net("FC x w b -> loss")
    assert "no operator in question reads one of loss" in caplog.text


BRANCHES = """
Split s/x -> s/a s/b
Relu s/a -> s/a1
Relu s/b -> s/b1
Sum s/a1 s/b1 -> s/loss
ConstantFill s/loss -> s/loss_autogen_grad
Split s/loss_autogen_grad -> s/a1_grad s/b1_grad
ReluGradient s/a1 s/a1_grad -> s/a_grad
ReluGradient s/b1 s/b1_grad -> s/b_grad
ScaleGradient s/a_grad -> s/a0_grad
ScaleGradient s/b_grad -> s/b0_grad
Concat s/a0_grad s/b0_grad -> s/x_grad
"""


def test_branches_of_the_backward_pass_do_not_share() -> None:
    """The first branch takes over the loss's gradient, and its own first one; the second begins with new storage."""
    model = Net(BRANCHES, "dag")
    found = memonger.share_grad_blobs(model, ["s/loss"], [], "s")
    new = dict(renamings(model.message, found))
    assert new["s/loss_autogen_grad"] == new["s/a_grad"]
    assert new["s/a1_grad"] == new["s/a0_grad"]
    first = {new.get(f"s/{n}_grad") for n in ("a1", "a", "a0")}
    assert not first.intersection(new.get(f"s/{n}_grad", n) for n in ("b1", "b", "b0"))


@pytest.mark.parametrize("text", [FIVE_LAYERS, BRANCHES])
@pytest.mark.parametrize("share_activations", [False, True])
def test_every_order_gives_the_same(text: str, share_activations: bool) -> None:
    r = random.Random(3)
    model = Net(text, "dag")
    found = memonger.share_grad_blobs(model, ["s/loss"], PARAM_GRADS, "s", share_activations=share_activations)
    want, waits = Trace(model.message).inputs, must_follow(model.message)
    assert all(Trace(found, random_order(r, waits)).inputs == want for _ in range(50))


def test_an_activation_that_is_looked_at_later_is_not_overwritten() -> None:
    """Caffe2 takes no notice of operators outside of the backward pass."""
    text = FIVE_LAYERS + "Print s/fc2 ->\nCopy s/fc1 -> s/seen"
    model = Net(text, "dag")
    found = memonger.share_grad_blobs(model, ["s/loss"], PARAM_GRADS, "s", share_activations=True)
    r = random.Random(1)
    want, waits = Trace(model.message).inputs, must_follow(model.message)
    assert all(Trace(found, random_order(r, waits)).inputs == want for _ in range(50))
