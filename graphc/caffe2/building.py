"""Builders: nets, steps and further builders that run one after another, filled within ``with builder:``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from graphc.caffe2 import context, core
from graphc.caffe2.core import BlobReference, net_names


class NetBuilder(context.Managed):
    """Nets, steps and builders, in the order in which they run; ``core.to_execution_step`` makes a step of them.

    initial_scope: blobs that exist before. Nets inside have names that begin with the builder's, which begins with that
    of the builder around it.
    """

    def __init__(
        self,
        name: str | None = None,
        initial_scope: Iterable[Any] | None = None,
        _stop_blob_required: bool = False,
        _stop_blob: BlobReference | None = None,
        _fullname: str | None = None,
        _use_control_ops: bool = False,
    ) -> None:
        if _fullname and name:
            raise AssertionError("Cannot set both _fullname and name")
        if _use_control_ops and (_stop_blob_required or _stop_blob):
            raise AssertionError("Stop blobs are not used with control operators")
        parent = NetBuilder.current(required=False)
        parts = (parent.name if parent is not None else None, name)
        self.name = _fullname or "/".join(part for part in parts if part)
        self._frozen = False
        self._current_net: Any = None
        self._children: list[Any] = []
        self._init_lexical_scope = parent.lexical_scope() if parent is not None else set()
        self._init_lexical_scope |= {str(blob) for blob in initial_scope or ()}
        self._stop_blob = _stop_blob
        self._stop_blob_required = _stop_blob_required
        self._use_control_ops = _use_control_ops

    def __str__(self) -> str:
        return self.name or "Un-named NetBuilder"

    def __enter__(self) -> Any:
        net_names.enter(self.name)
        return super().__enter__()

    def __exit__(self, etype: Any = None, *args: Any) -> None:
        super().__exit__(etype, *args)
        net_names.leave()
        if self._use_control_ops and self._children:
            children = self._reset_children()
            self._children = [NetBuilder.merge_nets(children, self.lexical_scope())]
        self.freeze()
        if etype is None and self._stop_blob_required and self._stop_blob is None:
            raise AssertionError(f"This NetBuilder ({self.name}) requires a stop condition: `stop` or `stop_if`")

    # ---- what is inside ----------------------------------------------------------------------------------------------

    def lexical_scope(self) -> set[str]:
        """The names of the blobs that what is added next may use."""
        names = set(self._init_lexical_scope)
        for child in self._children:
            if isinstance(child, core.Net):
                names |= child.UsedBlobNames()
            elif isinstance(child, NetBuilder) and child._use_control_ops:
                names |= child.lexical_scope()
        return names

    def _reset_children(self) -> list[Any]:
        children, self._children, self._current_net = self._children, [], None
        return children

    def _require_mutable(self) -> None:
        if self._frozen:
            raise AssertionError(f"This NetBuilder ({self.name}) has been built already.")

    def add(self, child: Any) -> Any:
        """Append a net, a step, a builder or a group of tasks, and give it back."""
        self._require_mutable()
        usable = isinstance(child, core.Net) or (isinstance(child, NetBuilder) and child._use_control_ops)
        if self._use_control_ops and not usable:
            raise AssertionError("Expected Net or NetBuilder with control ops")
        self._children.append(child)
        self._current_net = child if isinstance(child, core.Net) else None
        return child

    def current_net(self, name: str | None = None) -> Any:
        """The last net, to which operators are added; a new one where there is none, or a name is given."""
        self._require_mutable()
        if self._current_net is None or name is not None:
            self.add(core.Net(name))
        return self._current_net

    def freeze(self) -> None:
        """Take nothing else from now on."""
        for child in self._children:
            if isinstance(child, NetBuilder):
                child.freeze()
        self._current_net = None
        self._frozen = True

    def get(self) -> list[Any]:
        """What is inside; the builder takes nothing else from now on."""
        self.freeze()
        return self._children

    @staticmethod
    def merge_nets(nets_or_builders: Sequence[Any], outer_blob_names: Iterable[str]) -> Any:
        """One net of several, whose external outputs are blobs that its surroundings know; None of none."""
        net = None
        for part in nets_or_builders:
            found = _only_net(part)
            net = found if net is None else net.AppendNet(found)
        if net is not None:
            known = set(outer_blob_names)
            net.Proto().external_output[:] = [o for o in net.Proto().external_output if o in known]
        return net

    # ---- stopping ----------------------------------------------------------------------------------------------------

    def stop_blob(self) -> BlobReference:
        """The blob that ends the builder's step, which is made, false, where there is none yet."""
        if self._use_control_ops:
            raise AssertionError("Stop blobs are not used with control operators")
        if self._stop_blob is None:
            net = self.current_net()
            self._stop_blob = BlobReference(net.NextName("stop_blob"), net=net)
            net.Const(False, blob_out=self._stop_blob)
            if net is not self._children[0]:
                first = core.Net("stop_blob_init")
                first.Const(False, blob_out=self._stop_blob)
                self._children.insert(0, first)
        return self._stop_blob

    def stop_if(self, blob: Any) -> None:
        """End the step here if a blob is true."""
        stop = self.stop_blob()
        self.current_net().Or([stop, blob], [stop])
        self._current_net = None


def _only_net(part: Any) -> Any:
    """The net of a builder of one net; a net as it is."""
    if isinstance(part, core.Net):
        return part
    if not isinstance(part, NetBuilder) or not part._use_control_ops:
        raise AssertionError("Merging of NetBuilder supported only for control ops")
    nets = part.get()
    if len(nets) != 1 or not isinstance(nets[0], core.Net):
        raise AssertionError("Invalid control op net builder")
    return nets[0]
