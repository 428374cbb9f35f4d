"""``caffe2.python.control``: steps for sequences, loops and branches of nets and steps.

A condition is a blob of one bool, or a net whose last external output is one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphc.caffe2 import core

_used_step_names: set[str] = set()


def _next_step_name(control: str, base: str) -> str:
    name = first = f"{base}/{control}"
    k = 0
    while name in _used_step_names:
        k += 1
        name = f"{first}_{k}"
    _used_step_names.add(name)
    return name


def _listed(given: Sequence[Any]) -> list[Any]:
    """The items of an argument list, which may be one list; raises ``ValueError`` for none."""
    if not given:
        raise ValueError("input cannot be empty.")
    if len(given) > 1:
        return list(given)
    return list(given[0]) if isinstance(given[0], list) else [given[0]]


def _are_nets(parts: Any) -> bool:
    return all(isinstance(part, core.Net) for part in (parts if isinstance(parts, list) else [parts]))


def _with_nets(before: list[Any], parts: Any, after: list[Any]) -> list[Any]:
    """Nets or steps, with nets before and after them."""
    middle = _listed((parts,))
    if _are_nets(middle):
        return [*before, *middle, *after]
    return [*([Do("prepend", before)] if before else []), *middle, *([Do("append", after)] if after else [])]


def GetConditionBlobFromNet(condition_net: Any) -> Any:
    """The last external output of a net; raises ``AssertionError`` for a net without one."""
    outputs = condition_net.Proto().external_output
    if not outputs:
        raise AssertionError(f"Condition net {condition_net} must has at least one external output")
    return core.BlobReference(outputs[-1])


def BoolNet(*blobs_with_bool_value: Any) -> Any:
    """A net that sets blobs: pairs of a blob and a bool."""
    net = core.Net("bool_net")
    for blob, value in _listed(blobs_with_bool_value):
        filled = net.ConstantFill([], [blob], shape=[], value=value, dtype=core.DataType.BOOL)
        net.AddExternalOutput(filled)
    return net


def NotNet(condition_blob_or_net: Any) -> tuple[Any, Any]:
    """A net that negates a condition, and the blob that it writes."""
    return _condition_net("not_net", "Not", condition_blob_or_net)


def _condition_net(name: str, operator: str, condition: Any) -> tuple[Any, Any]:
    blob = GetConditionBlobFromNet(condition) if isinstance(condition, core.Net) else condition
    net = core.Net(name)
    found = getattr(net, operator)(blob)
    net.AddExternalOutput(found)
    return net, found


def MergeConditionNets(name: str, condition_nets: Any, relation: str) -> Any:
    """One net of the operators of several, whose last external output relates theirs by ``And`` or ``Or``."""
    if not isinstance(condition_nets, list):
        return condition_nets
    if len(condition_nets) <= 1:
        return condition_nets[0] if condition_nets else None
    merged, last = core.Net(name), None
    for net in condition_nets:
        proto = net.Proto()
        if proto.device_option != merged.Proto().device_option or proto.type != merged.Proto().type:
            raise AssertionError(f"net {net} has another type or device than {merged}")
        merged.Proto().op.extend(proto.op)
        merged.Proto().external_input.extend(proto.external_input)
        last = _related(merged, last, GetConditionBlobFromNet(net), relation)
        for key, items in net._attr_dict.items():
            merged._attr_dict[key] += items
    merged.AddExternalOutput(last)
    return merged


def _related(net: Any, last: Any, blob: Any, relation: str) -> Any:
    return blob if last is None else getattr(net, relation)([last, blob])


def CombineConditions(name: str, condition_nets: Any, relation: str) -> Any:
    """A net that relates the conditions of several nets by ``And`` or ``Or``, without their operators."""
    if not condition_nets:
        return None
    if not isinstance(condition_nets, list):
        raise ValueError("condition_nets must be a list of nets.")
    if len(condition_nets) == 1:
        return _condition_net("copy_condition_blob_net", "Copy", condition_nets[0])[0]
    net, last = core.Net(name), None
    for condition in condition_nets:
        last = _related(net, last, GetConditionBlobFromNet(condition), relation)
    net.AddExternalOutput(last)
    return net


def _step(control: str, name: str, parts: Any, **kwargs: Any) -> Any:
    return core.scoped_execution_step(_next_step_name(control, name), parts, **kwargs)


def Do(name: str, *nets_or_steps: Any) -> Any:
    """A step that runs nets or steps one after another."""
    parts = _listed(nets_or_steps)
    return parts[0] if len(parts) == 1 and isinstance(parts[0], core.ExecutionStep) else _step("Do", name, parts)


def DoParallel(name: str, *nets_or_steps: Any) -> Any:
    """A step that runs nets or steps at once."""
    parts = _listed(nets_or_steps)
    if len(parts) == 1 and isinstance(parts[0], core.ExecutionStep):
        return parts[0]
    steps = [core.to_execution_step(part) for part in parts]
    return _step("DoParallel", name, steps, concurrent_substeps=True)


def _negated(condition: Any) -> tuple[list[Any], Any]:
    """Nets that compute a condition and its negation, and the blob of that."""
    not_net, stop = NotNet(condition)
    return [condition, not_net] if isinstance(condition, core.Net) else [not_net], stop


def _plain(condition: Any) -> tuple[list[Any], Any]:
    """Nets that compute a condition, and its blob."""
    if isinstance(condition, core.Net):
        return [condition], GetConditionBlobFromNet(condition)
    return [], core.BlobReference(str(condition))


def _guarded(control: str, name: str, parts: list[Any], stop: Any, **kwargs: Any) -> Any:
    """A step that a blob ends, which is set to false before where it is looked at before it is computed."""
    if not _are_nets(parts):
        return _step(control, name, parts, should_stop_blob=stop, **kwargs)
    inner = _step(f"{control}-inner", name, parts, should_stop_blob=stop, **kwargs)
    return Do(f"{name}/{control}", BoolNet((stop, False)), inner)


def _run_once_if(name: str, condition: Any, parts: Any) -> Any:
    before, stop = _negated(condition)
    return _guarded("_RunOnceIf", name, _with_nets(before, parts, []), stop, only_once=True)


def _run_once_if_not(name: str, condition: Any, parts: Any) -> Any:
    if isinstance(condition, core.Net):
        before, stop = _plain(condition)
    else:
        copy, stop = _condition_net("copy_condition_blob_net", "Copy", condition)
        before = [copy]
    return _step("_RunOnceIfNot", name, _with_nets(before, parts, []), should_stop_blob=stop, only_once=True)


def For(name: str, nets_or_steps: Any, iter_num: int) -> Any:
    """A step that runs nets or steps ``iter_num`` times."""
    init_net, count_net = core.Net("init-net"), core.Net("For-iter")
    counter = init_net.CreateCounter([], init_count=iter_num)
    done = count_net.CountDown([counter])
    loop = _step("For-inner", name, _with_nets([count_net], nets_or_steps, []), should_stop_blob=done)
    return Do(f"{name}/For", Do(f"{name}/For-init-net", init_net), loop)


def While(name: str, condition_blob_or_net: Any, nets_or_steps: Any) -> Any:
    """A step that runs nets or steps as long as a condition, looked at before, is true."""
    before, stop = _negated(condition_blob_or_net)
    return _guarded("While", name, _with_nets(before, nets_or_steps, []), stop)


def Until(name: str, condition_blob_or_net: Any, nets_or_steps: Any) -> Any:
    """A step that runs nets or steps until a condition, looked at before, is true."""
    before, stop = _plain(condition_blob_or_net)
    return _step("Until", name, _with_nets(before, nets_or_steps, []), should_stop_blob=stop)


def DoWhile(name: str, condition_blob_or_net: Any, nets_or_steps: Any) -> Any:
    """A step that runs nets or steps as long as a condition, looked at after, is true."""
    after, stop = _negated(condition_blob_or_net)
    loop = _step("DoWhile-inner", name, _with_nets([], nets_or_steps, after), should_stop_blob=stop)
    return Do(f"{name}/DoWhile", BoolNet((stop, False)), loop)


def DoUntil(name: str, condition_blob_or_net: Any, nets_or_steps: Any) -> Any:
    """A step that runs nets or steps until a condition, looked at after, is true.

    A blob that is true already ends it after the first net or step.
    """
    after, stop = _plain(condition_blob_or_net)
    if not after:
        return _step("DoUntil", name, nets_or_steps, should_stop_blob=stop)
    loop = _step("DoUntil-inner", name, _with_nets([], nets_or_steps, after), should_stop_blob=stop)
    return Do(f"{name}/DoUntil", BoolNet((stop, False)), loop)


def Switch(name: str, *conditions: Any) -> Any:
    """A step of pairs of a condition and nets or steps, each of which runs if its condition is true."""
    return core.scoped_execution_step(
        _next_step_name("Switch", name),
        [_run_once_if(f"{name}/Switch", condition, parts) for condition, parts in _listed(conditions)],
    )


def SwitchNot(name: str, *conditions: Any) -> Any:
    """``Switch`` for conditions that are false."""
    return core.scoped_execution_step(
        _next_step_name("SwitchNot", name),
        [_run_once_if_not(f"{name}/SwitchNot", condition, parts) for condition, parts in _listed(conditions)],
    )


def If(name: str, condition_blob_or_net: Any, true_nets_or_steps: Any, false_nets_or_steps: Any = None) -> Any:
    """A step that runs one thing if a condition is true, and perhaps another if it is not."""
    if not false_nets_or_steps:
        return _run_once_if(f"{name}/If", condition_blob_or_net, true_nets_or_steps)
    blob = condition_blob_or_net
    if isinstance(blob, core.Net):
        blob = GetConditionBlobFromNet(blob)
    return Do(
        f"{name}/If",
        _run_once_if(f"{name}/If-true", condition_blob_or_net, true_nets_or_steps),
        _run_once_if_not(f"{name}/If-false", blob, false_nets_or_steps),
    )


def IfNot(name: str, condition_blob_or_net: Any, true_nets_or_steps: Any, false_nets_or_steps: Any = None) -> Any:
    """``If`` with the branches swapped."""
    if false_nets_or_steps:
        return If(name, condition_blob_or_net, false_nets_or_steps, true_nets_or_steps)
    return _run_once_if_not(f"{name}/IfNot", condition_blob_or_net, true_nets_or_steps)
