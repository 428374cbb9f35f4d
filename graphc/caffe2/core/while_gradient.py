"""The gradient of While: a While over the gradient of its Do, which goes on as long as the scope has workspaces.

Caffe2 drops what the earlier iterations add to the gradient of a blob that all of them read, and what flows back
through a blob that nothing behind the loop reads. Here both are right.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphc.caffe2.core.nested_gradients import (
    Gradients,
    given_gradients,
    gradient_net,
    net_argument,
    net_gradients,
    operator,
    reads_and_writes,
    refuse,
    zeros,
)
from graphc.frontends.netdef.schema import Message


def gen_while_gradient(op: Message, g_output: Sequence[Any]) -> tuple[list[Message], list[str | None]]:
    """The gradient operators of a While, and the gradients of its inputs; raises ``EnforceError``.

    Its loop_net has to be one Do with ``copy_external_blobs`` and without ``reuse_workspace``, as ``add_while_op``
    makes it, so that every iteration leaves a workspace with what it read and made.
    """
    given, do = given_gradients(op, g_output), _loop_body(op)
    running = _running(op, do, given)
    loop_net = net_argument(op, "loop_net")
    assert loop_net is not None
    (*copies, gradient_do), found = net_gradients(op, loop_net, running, do.input)
    summed = {x: f"{x}_grad" for x in do.input[:-1] if x in found and x not in running}
    before = [_beginning(op, b, given.get(b), g) for b, g in running.items()]
    before += [zeros(op, x, g) for x, g in summed.items()]
    after = [_next(op, b, g, found.get(b)) for b, g in running.items()]
    for x, g in summed.items():
        part = f"_{g}_iteration"
        gradient_do.output[list(gradient_do.output).index(found[x])] = part
        after.append(operator(op, "Sum", [g, part], [g]))
    gradients = {**running, **summed}
    loop = _while(op, do.output[-1], gradient_net(loop_net, [*copies, gradient_do, *after]), list(gradients.values()))
    return [*before, *loop], [gradients.get(name) for name in op.input]


def _loop_body(op: Message) -> Message:
    """The Do that is the loop's net; raises ``EnforceError``."""
    loop_net = net_argument(op, "loop_net")
    if loop_net is None or len(loop_net.op) != 1 or loop_net.op[0].type != "Do":
        refuse(op, "its loop_net is not one Do", "make the loop with NetBuilder or control_ops_util.add_while_op")
    do = loop_net.op[0]
    flags = {arg.name: arg.i for arg in do.arg}
    if flags.get("reuse_workspace") or not flags.get("copy_external_blobs"):
        refuse(
            op,
            "its Do does not keep what an iteration read",
            "set copy_external_blobs, and not reuse_workspace",
        )
    return do


def _running(op: Message, do: Message, given: Gradients) -> Gradients:
    """The gradients that an iteration takes from the one behind it: those of the loop's results, and of what one
    iteration leaves for the next though nothing else reads it."""
    loop_net, cond_net = net_argument(op, "loop_net"), net_argument(op, "cond_net")
    assert loop_net is not None
    written = set(do.output[:-1])
    by_condition = {name for inner in (cond_net.op if cond_net is not None else ()) for name in inner.output}
    running = {b: _name(b, given) for b in given}
    while True:
        lost = next((b for b in running if b not in written or b in by_condition), None)
        if lost is not None:
            refuse(op, f"'{lost}' has a gradient and is not the loop's own", "write it in the loop's body alone")
        made, found = net_gradients(op, loop_net, running, do.input)
        if not made:
            refuse(op, "nothing in its body has a gradient", "put a StopGradient behind it")
        more = [b for b in do.input[:-1] if b in written and b in found and b not in running]
        if not more:
            return running
        running |= {b: _name(b, given) for b in more}


def _name(blob: str, given: Gradients) -> str:
    taken = [g for b, g in given.items() if b != blob]
    return f"{blob}_grad" if f"{blob}_grad" not in taken else f"{blob}_before_grad"


def _beginning(op: Message, blob: str, given: str | None, running: str) -> Message:
    """What fills the gradient that the last iteration takes. In place it is an operator too, so that whoever gives the
    loop's result another name leaves the given gradient as it is."""
    if given is None:
        return zeros(op, blob, running)
    return operator(op, "Copy" if given != running else "StopGradient", [given], [running])


def _next(op: Message, blob: str, running: str, found: str | None) -> Message:
    """What hands the gradient of a blob to the iteration before: zeros where this one did not read it."""
    return zeros(op, running, running) if found is None else operator(op, "Copy", [found], [running])


def _while(op: Message, scope: str, loop_net: Message, results: list[str]) -> list[Message]:
    """The operators of the loop."""
    condition = f"{scope}/gradient_loop_cond"
    has_scope = operator(op, "HasScope", [scope], [condition])
    cond_net = gradient_net(loop_net, [has_scope], "gradient_loop_cond_net")
    reads, _ = reads_and_writes(loop_net.op)
    inputs = dict.fromkeys([*reads, *results, scope])
    loop = operator(op, "While", [condition, *inputs], [*results, scope], loop_net=loop_net, cond_net=cond_net)
    return [has_scope, loop]
