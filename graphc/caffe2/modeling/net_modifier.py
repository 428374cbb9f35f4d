"""``caffe2.python.modeling.net_modifier``: objects that add operators to a net that is already built."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from graphc.caffe2 import core, schema


class NetModifier(abc.ABC):
    """A subclass defines ``modify_net``; calling the object applies it."""

    @abc.abstractmethod
    def modify_net(
        self,
        net: core.Net,
        init_net: core.Net | None = None,
        grad_map: Mapping[Any, Any] | None = None,
        blob_to_device: Mapping[Any, Any] | None = None,
        modify_output_record: bool = False,
    ) -> None:
        """Add the operators.

        grad_map: gradients of parameters. blob_to_device: where operators of a blob run. modify_output_record: what is
        computed becomes a field of the net's output record.
        """

    def __call__(
        self,
        net: core.Net,
        init_net: core.Net | None = None,
        grad_map: Mapping[Any, Any] | None = None,
        blob_to_device: Mapping[Any, Any] | None = None,
        modify_output_record: bool = False,
    ) -> None:
        """Modify the net."""
        self.modify_net(
            net,
            init_net=init_net,
            grad_map=grad_map,
            blob_to_device=blob_to_device,
            modify_output_record=modify_output_record,
        )


class BlobReport(NetModifier):
    """A modifier that computes something of each of some blobs, prints it now and then, and can return it.

    A subclass defines ``_add(net, blob)``, which gives the blob to report, and its field type. Nothing is printed for
    a frequency below 1.
    """

    _field_name_suffix: str

    def __init__(self, blobs: Sequence[Any], logging_frequency: int) -> None:
        """blobs: by name; each has to be in the net. logging_frequency: runs of the net from print to print."""
        self._blobs = blobs
        self._logging_frequency = logging_frequency

    def _device(self, blob: core.BlobReference, blob_to_device: Mapping[Any, Any]) -> AbstractContextManager[None]:
        """Where the operators of a blob run: where the net runs."""
        return nullcontext()

    def field_name_suffix(self) -> str:
        """What follows the blob's name in the name of its field of the output record."""
        return self._field_name_suffix

    @abc.abstractmethod
    def _add(self, net: core.Net, blob: core.BlobReference) -> tuple[Any, Any]:
        """Add the operators for a blob; gives the blob with the result, and the type of its field."""

    def modify_net(
        self,
        net: core.Net,
        init_net: core.Net | None = None,
        grad_map: Mapping[Any, Any] | None = None,
        blob_to_device: Mapping[Any, Any] | None = None,
        modify_output_record: bool = False,
    ) -> None:
        """Add the operators of all blobs; raises ``AssertionError`` for a blob that the net does not have."""
        for name in self._blobs:
            blob = core.BlobReference(str(name))
            if not net.BlobIsDefined(blob):
                raise AssertionError(f"blob {blob} is not defined in net {net.Name()}")
            with self._device(blob, blob_to_device or {}):
                result, field_type = self._add(net, blob)
                if self._logging_frequency >= 1:
                    net.Print(result, [], every_n=self._logging_frequency)
            if modify_output_record:
                _append_output(net, str(blob) + self._field_name_suffix, schema.Scalar(field_type, result))


def _append_output(net: core.Net, name: str, field: schema.Scalar) -> None:
    """A further field of the net's output record; its first one where it has no record."""
    if net.output_record() is None:
        net.set_output_record(schema.Struct((name, field)))
    else:
        net.AppendOutputRecordField(name, field)
