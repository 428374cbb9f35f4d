"""Memonger on recurrent nets: step nets and links are renamed, and graphc still finds the blobs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from golden import load_reader
from golden_nets import net_graph
from memonger_nets import bits, count_blobs, lines, net, renamings

from graphc.caffe2 import memonger
from graphc.frontends.netdef import parse_netdef, parse_text, read_net, to_text
from graphc.frontends.netdef.renames import old_names, restore
from graphc.ir import evaluate
from graphc.ir.infer import infer_types


def recurrent(kind: str = "RecurrentNetwork", as_text: bool = False) -> Any:
    """Two operators around a recurrent one whose step net reads ``seq`` in slices, and ``w`` as it is."""
    message = net(f"FC x w b -> seq\n{kind} seq h0 w -> all last ws\nCopy all -> y", "x w b h0", "y")
    op = message.op[1]
    step = net("FC h_prev w b -> h\nSum h seq_t -> h", "h_prev w b seq_t", "h")
    arg = op.arg.add(name="step_net")
    if as_text:
        arg.s = to_text(step).encode()
    else:
        arg.n.CopyFrom(step)
    op.arg.add(name="link_internal", strings=[b"h_prev", b"h", b"seq_t"])
    op.arg.add(name="link_external", strings=[b"states", b"states", b"seq"])
    op.arg.add(name="alias_dst", strings=[b"all", b"last"])
    op.arg.add(name="recurrent_states", strings=[b"states"])
    return message


def argument(message: Any, name: str) -> Any:
    return next(arg for arg in message.op[1].arg if arg.name == name)


@pytest.mark.parametrize("as_text", [False, True])
@pytest.mark.parametrize("kind", ["RecurrentNetwork", "RecurrentNetworkGradient"])
def test_apply(kind: str, as_text: bool) -> None:
    message = recurrent(kind, as_text)
    memonger.apply_assignments(message, {"seq": "s", "all": "s", "w": "v", "y": "unused_here", "h": "t"})
    assert lines(message) == ["FC x v b -> s", f"{kind} s h0 v -> s last ws", "Copy s -> unused_here"]
    step = argument(message, "step_net")
    step = parse_text(step.s.decode()) if as_text else step.n
    assert lines(step) == ["FC h_prev v b -> t", "Sum t seq_t -> t"]
    assert list(step.external_input) == ["h_prev", "v", "b", "seq_t"]
    assert list(argument(message, "link_external").strings) == [b"states", b"states", b"s"]
    assert list(argument(message, "alias_dst").strings) == [b"s", b"last"]
    renames = {a.name: a.s for a in message.op[1].arg if a.name.endswith(".rename")}
    assert renames == {"seq.rename": b"s", "all.rename": b"s", "w.rename": b"v"}


def test_blobs_that_a_step_net_calls_by_name_stay() -> None:
    """``h`` is the step net's own, ``states`` is nowhere among the inputs and outputs: neither may change its name."""
    message = recurrent()
    message.op.insert(0, net("Copy x -> h").op[0])
    message.op.insert(1, net("Copy h -> states").op[0])
    message.op.insert(2, net("Copy states -> g").op[0])
    message.op.append(net("Copy g -> z").op[0])
    message.external_output.append("z")
    new = dict(renamings(message, memonger.optimize_inference_for_dag(message, ["x"])))
    assert not {"h", "states", "h_prev", "seq_t"}.intersection(new)


def test_old_names_come_back() -> None:
    message = recurrent()
    want = read_net(message.SerializeToString()).ops[1]
    memonger.apply_assignments(message, {"seq": "s", "last": "t"})
    op = read_net(message.SerializeToString()).ops[1]
    assert old_names(op) == {"s": "seq", "t": "last"}
    restored = restore(op)
    assert (restored.inputs, restored.outputs) == (["s", "h0", "w"], ["all", "t", "ws"])
    assert {name: restored.args[name] for name in want.args} == want.args


def values(reader: Any, recorded: Any, message: Any) -> dict[str, np.ndarray]:
    """All blobs of a recorded net after a run of graphc, with another NetDef."""
    recorded.net = message.SerializeToString()
    graph, arrays = net_graph(recorded, reader)
    infer_types(graph)
    return evaluate(graph, arrays)


def as_in_the_library(before: Any, after: Any) -> Any:
    """What Caffe2's memonger in C++ leaves behind: links and aliases have the old names, nets the new ones."""
    found = type(after)()
    found.CopyFrom(after)
    for a, b in zip(before.op, found.op):
        if b.type.startswith("RecurrentNetwork"):
            old = {arg.name: arg for arg in a.arg}
            for arg in b.arg:
                if arg.strings:
                    arg.CopyFrom(old[arg.name])
    return found


@pytest.mark.parametrize("name", ["net0106", "net0122", "net0138", "net0144", "net0326"])
def test_recorded_nets(shared: Path, name: str) -> None:
    reader = load_reader(shared / "golden")
    path = shared / "golden_nets" / f"{name}.npz"
    message = parse_netdef(reader.load_net(path).net)
    losses = [op.input[0] for op in message.op if op.type == "ConstantFill" and op.input]
    if losses:
        grads = {b for op in message.op for b in op.output if b.endswith(("_w_grad", "_b_grad"))}
        found = memonger.share_grad_blobs(message, losses, grads, "", share_activations=True)
    else:
        found = memonger.optimize_inference_for_dag(message, message.external_input)
    assert count_blobs(found) < count_blobs(message)
    assert any(arg.name.endswith(".rename") for op in found.op for arg in op.arg)
    want = values(reader, reader.load_net(path), message)
    new = dict(renamings(message, found))
    for variant in (found, as_in_the_library(message, found)):
        got = values(reader, reader.load_net(path), variant)
        compared = [b for b in want if b not in new and b in got and want[b].dtype != object]
        assert len(compared) > len(want) // 2
        assert all(bits(got[b]) == bits(want[b]) for b in compared)
