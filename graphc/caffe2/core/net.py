"""``core.Net``: a NetDef that grows operator by operator."""

from __future__ import annotations

import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from graphc.caffe2.arguments import MakeArgument
from graphc.caffe2.core.blob_reference import (
    BlobReference,
    GradientSlice,
    ScopedBlobReference,
    ScopedName,
    blob_references,
    unknown_operator,
)
from graphc.caffe2.core.data_type import DataType
from graphc.caffe2.core.gradients import GradientRegistry
from graphc.caffe2.core.net_names import prefixed
from graphc.caffe2.core.operator import CreateOperator
from graphc.caffe2.core.remap import RemapFunction, remap_net, renamed
from graphc.caffe2.core.ssa import get_op_ids_in_path, get_ssa, get_undefined_blobs
from graphc.caffe2.operator_types import is_operator, operator_types
from graphc.caffe2.proto import caffe2_pb2
from graphc.caffe2.scope import NameScope
from graphc.caffe2.workspace.current import current
from graphc.caffe2.workspace.immediate import IsImmediate, RunOperatorImmediate
from graphc.caffe2.workspace.observers import make_observer
from graphc.caffe2.workspace.python_functions import python_arguments
from graphc.caffe2.workspace.tracebacks import Frame, operator_tracebacks
from graphc.frontends.netdef.schema import Message

_CONST_FILLS = {"i4": "GivenTensorIntFill", "i8": "GivenTensorInt64Fill", "b1": "GivenTensorBoolFill"}
"""Fills of ``Const`` by kind and size of NumPy's elements; ``GivenTensorFill``, of float32, for other numbers."""


class Net:
    """A net with a name that no other net has (``name``, ``name_1``, ...), to which attributes add operators.

    ``net.Relu("x", "y")`` gives the ``BlobReference`` of its output, a tuple for several, None for none. Without
    outputs, or with their number, blobs get names of their own. What an operator reads and nothing made becomes an
    external input.
    """

    record_of_columns: ClassVar[Callable[..., Any] | None] = None
    """``schema.from_column_list``, which that module puts here: it stands above this one."""
    _net_names_used: set[str] = set()
    _names_lock = threading.Lock()
    operator_registry_: dict[str, Any] = {}

    @staticmethod
    def _get_next_net_name(basename: str) -> str:
        with Net._names_lock:
            first, k = prefixed(basename), 1
            name = first
            while name in Net._net_names_used:
                name, k = f"{first}_{k}", k + 1
            Net._net_names_used.add(name)
        return name

    def __init__(self, name_or_proto: str | Message | None) -> None:
        """An empty net of this name, or a copy of a NetDef; inside a ``NetBuilder`` its name comes before the net's."""
        self._net = caffe2_pb2.NetDef()
        self._next_name_index = 0
        self._registered_blob_names: set[str] = set()
        self._recreate_lookup_tables = False
        self._op_outputs: set[str] = set()
        self._external_input_map: set[str] = set()
        self._attr_dict: dict[str, list[Any]] = defaultdict(list)
        self._input_record: Any = None
        self._output_record: Any = None
        if isinstance(name_or_proto, caffe2_pb2.NetDef):
            self._net.CopyFrom(name_or_proto)
            self._RecreateLookupTables()
            self._next_name_index = self._first_free_index()
            name_or_proto = self._net.name
        self._net.name = Net._get_next_net_name(str(name_or_proto or ""))

    def _first_free_index(self) -> int:
        prefix = f"{self._net.name}_blob_"
        tails = (name.removeprefix(prefix) for name in self.UsedBlobNames() if name.startswith(prefix))
        return max((int(tail) + 1 for tail in tails if tail.isdecimal()), default=0)

    def Proto(self) -> Message:
        """The NetDef itself: changes of it change the net."""
        self._recreate_lookup_tables = True
        return self._net

    def Name(self) -> str:
        """The net's name."""
        return str(self._net.name)

    def __str__(self) -> str:
        return self.Name()

    # ---- operators ---------------------------------------------------------------------------------------------------

    def __getattr__(self, op_type: str) -> Callable[..., Any]:
        if op_type.startswith("_") or not (is_operator(op_type) or is_operator(op_type, "CUDNN")):
            raise AttributeError(unknown_operator(op_type))
        return lambda *args, **kwargs: self._CreateAndAddToSelf(op_type, *args, **kwargs)

    def __dir__(self) -> Sequence[str]:
        return sorted({*object.__dir__(self), *operator_types()})

    def _CreateAndAddToSelf(
        self, op_type: str, inputs: Any = (), outputs: Any = None, op_idx: int | None = None, **kwargs: Any
    ) -> Any:
        references = blob_references(inputs)
        for blob in references:
            if not self.BlobIsDefined(blob):
                if blob.Net() is self:
                    raise AssertionError(f"blob '{blob}' was made by this net, which does not have it any more")
                self.AddExternalInput(blob)
        if outputs is None:
            outputs = self.NextName(prefix=op_type)
        elif isinstance(outputs, int):
            outputs = [self.NextName(prefix=op_type, output_id=i) for i in range(outputs)]
        op = CreateOperator(op_type, references, blob_references(outputs, net=self), **kwargs)
        if op_idx is None:
            self._ExtendOps([op])
            operator_tracebacks[self.Name()][len(self._net.op) - 1] = _callers()
        else:
            self.insert_op_at_idx(op, op_idx)
        made = [BlobReference(name, self) for name in op.output]
        return None if not made else made[0] if len(made) == 1 else tuple(made)

    def Python(
        self,
        f: Any,
        grad_f: Any = None,
        python_func_type: Any = None,
        pass_workspace: bool = False,
        grad_output_indices: Sequence[int] | None = None,
        grad_input_indices: Sequence[int] | None = None,
    ) -> Callable[..., Any]:
        """``net.Python(f)(inputs, outputs)``: an operator that calls ``f(inputs, outputs)``.

        f, grad_f: functions of two lists of tensors (``.data``, ``.shape``, ``.reshape(shape)``, ``.feed(array)``), or
        tuples (factory, args, kwargs) that make them. pass_workspace: a third argument is the workspace.
        python_func_type: a class of which ``python_func_type(f)`` has ``forward`` and ``backward``. grad_f gets
        inputs, outputs and gradients of the outputs (those of grad_output_indices), and writes gradients of the inputs
        (those of grad_input_indices).
        """
        arguments = python_arguments(f, grad_f, python_func_type, pass_workspace)
        arguments["grad_output_indices"] = list(grad_output_indices or [])
        arguments["grad_input_indices"] = list(grad_input_indices or [])
        return lambda *args, **kwargs: self._CreateAndAddToSelf("Python", *args, **{**kwargs, **arguments})

    def Const(self, array: Any, blob_out: Any = None, dtype: Any = None) -> Any:
        """A blob with these elements: a bool, texts, whole numbers of 32 or 64 bits, other numbers as float32."""
        if isinstance(array, bool):
            return self.ConstantFill([], blob_out or 1, dtype=DataType.BOOL, value=array)
        values = np.array(array, dtype=dtype)
        fill = _CONST_FILLS.get(values.dtype.str[1:], "GivenTensorFill")
        create = self.__getattr__("GivenTensorStringFill" if values.dtype.kind in "SUO" else fill)
        return create([], blob_out or 1, shape=values.shape, values=values.flatten().tolist())

    def LogInfo(self, *msg_or_blobs: Any) -> None:
        """Print texts and blobs when the net runs."""
        for item in msg_or_blobs:
            is_blob = isinstance(item, BlobReference)
            blob = item if is_blob else self.GivenTensorStringFill([], self.NextName("log"), shape=[], values=[item])
            self.Print(blob, [])

    def AddGradientOperators(self, ys: Any, skip: int = 0) -> dict[BlobReference, Any]:
        """Append the operators that compute the gradients of blobs.

        ys: blobs whose gradient is one, or a dict from blob to its gradient, None for one. skip: so many operators at
        the beginning get no gradients. Gives the gradient of every blob that has one: a blob, or a ``GradientSlice``.
        """
        operators, gradients = GradientRegistry.GetBackwardPass(self._net.op[skip:], ys)
        if IsImmediate():
            for op in operators:
                RunOperatorImmediate(op)
        self._ExtendOps(operators)
        return gradients

    def DeduplicateGradientSlices(self, g: GradientSlice, aggregator: str = "sum") -> GradientSlice:
        """A sparse gradient that names each row once; several of a row are summed, or averaged (``mean``)."""
        if not isinstance(g, GradientSlice):
            raise AssertionError(f"a GradientSlice is needed, not {type(g).__name__}")
        reducers = {"sum": "UnsortedSegmentSum", "mean": "UnsortedSegmentMean"}
        if aggregator.lower() not in reducers:
            raise ValueError(f"{aggregator} is not supported: sum or mean")
        unique, remapping = self.Unique([g.indices], 2, engine="SparseHash")
        values = self.__getattr__(reducers[aggregator.lower()])([g.values, remapping], 1)
        return GradientSlice(indices=unique, values=values)

    def AppendNet(self, net: Net, device_option: Message | None = None) -> Net:
        """Append another net's operators, external inputs that nothing here makes, and external outputs."""
        if not isinstance(net, Net):
            raise AssertionError(f"a core.Net is needed, not {type(net).__name__}")
        other = net.Proto()
        for name in other.external_input:
            if not self.BlobIsDefined(name):
                self._net.external_input.append(name)
                self._external_input_map.add(name)
        mine = set(self._net.external_output)
        self._net.external_output.extend(name for name in other.external_output if name not in mine)
        at = len(self._net.op)
        self._ExtendOps(other.op)
        for op in self._net.op[at:] if device_option is not None else ():
            op.device_option.CopyFrom(device_option)
        return self

    def insert_op_at_idx(self, op: Message, op_idx: int) -> None:
        """Put an operator before the one at a position."""
        if not 0 <= op_idx <= len(self._net.op):
            raise AssertionError(f"position {op_idx} is not within the net's {len(self._net.op)} operators")
        operators = list(self._net.op)
        operators.insert(op_idx, op)
        copies = caffe2_pb2.NetDef()
        copies.op.extend(operators)
        del self._net.op[:]
        self._net.op.extend(copies.op)
        self._op_outputs.update(op.output)

    def reroute_tensor(self, tensor: Any, new_producer: Message, can_modify: Sequence[Message] | None = None) -> int:
        """Insert an operator behind the one that makes a tensor, and let readers of the tensor read its first output.

        can_modify: only these operators are changed. Gives the number of operators that were.
        """
        name, operators = str(tensor), list(self.Proto().op)
        changed = [op for op in operators if name in op.input and (can_modify is None or op in can_modify)]
        for op in changed:
            op.input[:] = [new_producer.output[0] if blob == name else blob for blob in op.input]
        outputs = self._net.external_output
        outputs[:] = [new_producer.output[0] if blob == name else blob for blob in outputs]
        maker = max((i for i, op in enumerate(operators) if name in op.output), default=-1)
        self.insert_op_at_idx(new_producer, maker + 1)
        return len(changed)

    def _ExtendOps(self, new_ops: Any) -> None:
        self._net.op.extend(new_ops)
        for op in new_ops:
            self._op_outputs.update(op.output)

    def extend_ops(self, new_ops: Any) -> None:
        """Append operators."""
        self._ExtendOps(new_ops)

    # ---- blobs -------------------------------------------------------------------------------------------------------

    def _RecreateLookupTables(self) -> None:
        self._op_outputs = {name for op in self._net.op for name in op.output}
        self._external_input_map = set(self._net.external_input)
        self._recreate_lookup_tables = False

    def _CheckLookupTables(self) -> None:
        """Raise ``AssertionError`` unless the net remembers what its operators make and what it reads."""
        outputs = {name for op in self._net.op for name in op.output}
        if outputs - self._op_outputs or set(self._net.external_input) - self._external_input_map:
            raise AssertionError(f"net {self} has forgotten blobs")

    def BlobIsDefined(self, blob: Any) -> bool:
        """An operator of the net makes the blob, or it is an external input."""
        if self._recreate_lookup_tables:
            self._RecreateLookupTables()
        return str(blob) in self._op_outputs or str(blob) in self._external_input_map

    def UsesBlob(self, blob: Any) -> bool:
        """An operator of the net reads the blob, or it is an external input."""
        name = str(blob)
        return any(name in op.input for op in self._net.op) or name in self._net.external_input

    def UsedBlobNames(self) -> set[str]:
        """Every blob that the net names."""
        names = {*self._net.external_input, *self._net.external_output}
        return names.union(*([*op.input, *op.output] for op in self._net.op))

    def GetBlobRef(self, blob_name: Any) -> BlobReference:
        """A blob of the net; raises ``KeyError`` for one that it does not define."""
        if not self.BlobIsDefined(blob_name):
            raise KeyError(f"Net does not define blob {blob_name}")
        return BlobReference(str(blob_name), self)

    def NextBlob(self, prefix: Any = "unnamed") -> BlobReference:
        """A blob that is not defined yet: ``prefix``, else ``prefix_auto_0`` ...; never the same twice."""
        base = name = str(prefix)
        k = 0
        while name in self._registered_blob_names or self.BlobIsDefined(name):
            name, k = f"{base}_auto_{k}", k + 1
        self._registered_blob_names.add(name)
        return BlobReference(name)

    def NextScopedBlob(self, prefix: str = "unnamed") -> BlobReference:
        """``NextBlob`` in the current name scope."""
        return self.NextBlob(ScopedName(prefix))

    def NextName(self, prefix: str | None = None, output_id: int | None = None) -> str:
        """A name for an output: ``net/prefix``, ``net/prefix:0``, ``net/prefix_2`` ...; else ``net_blob_0``."""
        if not prefix:
            self._next_name_index += 1
            return f"{self._net.name}_blob_{self._next_name_index - 1}"
        tail = "" if output_id is None else f":{output_id}"
        base = name = f"{self._net.name}/{prefix}"
        name, k = base + tail, 2
        while self.BlobIsDefined(ScopedBlobReference(name)):
            name, k = f"{base}_{k}{tail}", k + 1
        return name

    def AddExternalInput(self, *inputs: Any) -> Any:
        """Declare blobs that the net reads; the blob, or a list. Raises ``AssertionError`` for one that it has."""
        if not inputs:
            raise AssertionError("no input was given")
        if self._recreate_lookup_tables:
            self._RecreateLookupTables()
        names = [str(blob) for blob in inputs]
        for name in names:
            if name in self._external_input_map:
                raise AssertionError(f"Net already contains an input named {name}")
            self._net.external_input.append(name)
            self._external_input_map.add(name)
        references = [BlobReference(name) for name in names]
        return references[0] if len(references) == 1 else references

    def AddExternalInputs(self, *inputs: Any) -> Any:
        """``AddExternalInput``."""
        return self.AddExternalInput(*inputs)

    def AddScopedExternalInputs(self, *inputs: Any) -> list[BlobReference]:
        """``AddExternalInput`` of names in the current scope, as a list."""
        found = self.AddExternalInput(*map(ScopedBlobReference, inputs))
        return found if isinstance(found, list) else [found]

    def AddExternalOutput(self, *outputs: Any) -> None:
        """Declare blobs that the net gives; raises ``AssertionError`` for one that it does not define."""
        for blob in outputs:
            if not isinstance(blob, BlobReference):
                raise AssertionError(f"a BlobReference is needed, not {type(blob).__name__}")
            if not self.BlobIsDefined(blob):
                raise AssertionError(f"{blob} is not defined")
        self._net.external_output.extend(map(str, outputs))

    def AddExternalOutputs(self, *outputs: Any) -> None:
        """``AddExternalOutput``."""
        self.AddExternalOutput(*outputs)

    def AddScopedExternalOutputs(self, *outputs: Any) -> None:
        """``AddExternalOutput`` of names in the current scope."""
        self.AddExternalOutput(*map(ScopedBlobReference, outputs))

    @property
    def external_inputs(self) -> list[BlobReference]:
        """The blobs that the net reads."""
        return [BlobReference(name) for name in self._net.external_input]

    @property
    def external_outputs(self) -> list[BlobReference]:
        """The blobs that the net gives."""
        return [BlobReference(name) for name in self._net.external_output]

    def is_external_input(self, blob: Any) -> bool:
        """The blob is an external input."""
        return str(blob) in self._net.external_input

    # ---- copies ------------------------------------------------------------------------------------------------------

    def Clone(
        self,
        name: str,
        blob_remap: Mapping[str, str] | None = None,
        op_id_mask: Sequence[int] | None = None,
        remap_funcs: Mapping[str, RemapFunction] | None = None,
        keep_schema: bool = True,
        update_external_list: bool = False,
    ) -> Net:
        """A copy with another name.

        blob_remap: other names for blobs. op_id_mask: positions of the operators to take. remap_funcs: what renames in
        the arguments of an operator, by type. keep_schema: the records of inputs and outputs come along.
        update_external_list: external inputs are what the operators taken read and do not make, external outputs what
        they make and do not read.
        """
        names = {str(k): str(v) for k, v in (blob_remap or {}).items()}
        proto = caffe2_pb2.NetDef()
        proto.CopyFrom(self._net)
        proto.name = name
        if op_id_mask is not None:
            del proto.op[:]
            proto.op.extend(self._net.op[i] for i in op_id_mask)
        remap_net(proto, names, remap_funcs)
        if update_external_list:
            ssa, _ = get_ssa(proto)
            reads = [blob for inputs, _ in ssa for blob in inputs]
            passed_on = {name for name, version in reads if version}
            proto.external_input[:] = dict.fromkeys(name for name, version in reads if not version)
            made = dict.fromkeys(name for op in proto.op for name in op.output)
            proto.external_output[:] = [name for name in made if name not in passed_on]
        clone = Net(proto)
        clone._attr_dict.update({key: list(items) for key, items in self._attr_dict.items()})
        if keep_schema:
            clone._input_record = _renamed_record(self._input_record, names, clone)
            clone._output_record = _renamed_record(self._output_record, names, clone)
        return clone

    def ClonePartial(
        self, name: str, inputs: Any, outputs: Sequence[Any], remap_funcs: Mapping[str, RemapFunction] | None = None
    ) -> tuple[Net, list[BlobReference]]:
        """A net of the operators that ``outputs`` need, given ``inputs``, and its outputs.

        inputs: blobs, or a dict from blob to what it is called in the copy. Blobs inside are called ``name/...``.
        Raises ``AssertionError`` where an operator that is needed would make one of the inputs.
        """
        pairs = inputs if isinstance(inputs, Mapping) else dict(inputs if _are_pairs(inputs) else zip(inputs, inputs))
        given = {str(k): str(v) for k, v in pairs.items()}
        for blob in outputs:
            if not self.BlobIsDefined(blob):
                raise AssertionError(f"{blob} is not defined")
        ssa, versions = get_ssa(self._net, dict.fromkeys(given, 0))
        used = get_op_ids_in_path(ssa, versions, given, outputs)
        if set(used) & set(get_op_ids_in_path(ssa, versions, [], list(given))):
            raise AssertionError("Cannot partially clone net: some of the ops required would generate the given input.")
        outside = sorted(get_undefined_blobs([ssa[i] for i in used]) - given.keys())
        prefix = f"{name}/" if name else ""
        names = {b: given.get(b, b if b in outside else prefix + b) for b in versions}
        clone = self.Clone(name, names, used, remap_funcs)
        results = [renamed(names, o) for o in outputs]
        clone._net.external_input[:] = [*given.values(), *outside]
        clone._net.external_output[:] = results
        clone._RecreateLookupTables()
        return clone, [clone.GetBlobRef(o) for o in results]

    # ---- settings ----------------------------------------------------------------------------------------------------

    def AddArgument(self, arg_name: str, arg_value: Any) -> None:
        """Give the net an argument, in the field that ``utils.MakeArgument`` chooses."""
        self._net.arg.append(MakeArgument(arg_name, arg_value))

    def set_rand_seed(self, seed: int = 100, sequence_seed: bool = True, seed_on_op_def: bool = False) -> None:
        """Give every operator a seed: ``seed + position``, one that follows from its definition, or ``seed``."""
        if sequence_seed and seed_on_op_def:
            raise AssertionError("sequence_seed and seed_on_op_def cannot be both set to True.")
        for i, op in enumerate(self.Proto().op):
            by_definition = hash(str(op) + str(seed)) % np.iinfo(np.uint32).max if seed_on_op_def else seed
            op.device_option.random_seed = seed + i if sequence_seed else by_definition

    def RunAllOnGPU(self, gpu_id: int = 0, use_cudnn: bool = False) -> None:
        """Note the GPU as the net's device; graphc runs it on the CPU, with the same answers."""
        _note_gpu(self._net, gpu_id, use_cudnn)

    def RunAllOnMKL(self) -> None:
        """Note MKL-DNN as the net's device, which changes no answer."""
        self._set_device(caffe2_pb2.MKLDNN)

    def RunAllOnIDEEP(self) -> None:
        """Note IDEEP as the net's device, which changes no answer."""
        self._set_device(caffe2_pb2.IDEEP)

    def _set_device(self, device_type: int) -> None:
        self._net.device_option.CopyFrom(caffe2_pb2.DeviceOption(device_type=device_type))

    def add_attribute(self, name: str, obj: Any) -> None:
        """Keep an object with the net, under a name that may have several."""
        self._attr_dict[name].append(obj)

    def get_attributes(self, name: str) -> list[Any]:
        """The objects kept under a name."""
        return self._attr_dict.get(name, [])

    def AddObserver(self, observer_type: str) -> Any:
        """Let an observer look at the created net's runs: ``TimeObserver`` (``average_time()``, milliseconds) or
        ``RunCountObserver``. Raises ``RuntimeError`` for another one, and for a net that was not created."""
        created = current().net(self.Name())
        created.observers.append(make_observer(observer_type, created.program.net, current().value))
        return created.observers[-1]

    def RemoveObserver(self, observer: Any) -> None:
        """Take away an observer; raises ``ValueError`` for one that it does not have."""
        current().net(self.Name()).observers.remove(observer)

    def NumObservers(self) -> int:
        """The number of observers."""
        return len(current().net(self.Name()).observers)

    def PopulateProtoWithFileName(self) -> None:
        """Name every operator by the line of Python that created it."""
        frames = operator_tracebacks.get(self.Name(), {})
        for i, op in enumerate(self.Proto().op):
            if i in frames:
                op.name = ":".join(map(str, frames[i][0]))

    # ---- records -----------------------------------------------------------------------------------------------------

    def input_record(self) -> Any:
        """The record of the inputs, or None."""
        return self._input_record

    def output_record(self) -> Any:
        """The record of the outputs, or None."""
        return self._output_record

    def set_input_record(self, input_record: Any) -> Any:
        """Set the record of the inputs; its blobs become external inputs. Gives the record.

        One without blobs gets new ones, called after its fields in the name scope of the net.
        """
        if not input_record.has_blobs():
            with NameScope(self.Name()):
                input_record = _with_new_blobs(input_record, self)
        if self._input_record is not None and set(input_record.field_blobs()) != set(self._input_record.field_blobs()):
            raise AssertionError("Input schema cannot be reset")
        for blob in input_record.field_blobs():
            if not self.is_external_input(blob):
                self.AddExternalInput(blob)
        self._input_record = input_record
        return input_record

    def set_output_record(self, record: Any) -> None:
        """Set the record of the outputs; its blobs become external outputs."""
        if self._output_record is not None and set(record.field_blobs()) != set(self._output_record.field_blobs()):
            raise AssertionError("Output schema cannot be reset")
        for blob in record.field_blobs():
            if str(blob) not in self._net.external_output:
                self.AddExternalOutput(blob)
        self._output_record = record

    def recover_input_record_by_prefix(self, prefix: str) -> None:
        """Set the record of the inputs to the external inputs whose names begin with ``prefix``; what follows it are
        names of fields. Nothing where there are none; raises ``AssertionError`` where nobody imported ``schema``."""
        if (record := _record_by_prefix(self._net.external_input, prefix)) is not None:
            self.set_input_record(record)

    def recover_output_record_by_prefix(self, prefix: str) -> None:
        """The same for the record of the outputs and the external outputs."""
        if (record := _record_by_prefix(self._net.external_output, prefix)) is not None:
            self.set_output_record(record)

    def AppendOutputRecordField(self, field_name: str, record: Any) -> None:
        """Add a field to the record of the outputs; raises ``AssertionError`` where there is none."""
        if self._output_record is None:
            raise AssertionError("Tried to append to missing output record")
        self.AddExternalOutput(*record.field_blobs())
        self._output_record += type(self._output_record)((field_name, record))

    def AppendInputRecordField(self, field_name: str, record: Any) -> None:
        """Add a field to the record of the inputs; raises ``AssertionError`` where there is none."""
        if self._input_record is None:
            raise AssertionError("Tried to append to missing input record")
        self.AddExternalInput(*record.field_blobs())
        self._input_record += type(self._input_record)((field_name, record))


def _note_gpu(net: Message, gpu_id: int, use_cudnn: bool) -> None:
    """Note the GPU as the device of a NetDef and of the steps of its recurrent layers."""
    net.device_option.CopyFrom(caffe2_pb2.DeviceOption(device_type=caffe2_pb2.CUDA, device_id=gpu_id))
    for op in net.op:
        if use_cudnn:
            op.engine = "CUDNN"
        for argument in op.arg if op.type == "RecurrentNetwork" else ():
            if argument.name == "step_net":
                _note_gpu(argument.n, gpu_id, use_cudnn)


def _renamed_record(record: Any, names: Mapping[str, str], net: Net) -> Any:
    """A copy of a record, whose blobs belong to a net and have other names; None for None."""
    if record is None:
        return None
    copy = record.clone()
    for scalar in copy.all_scalars():
        scalar.set_value(BlobReference(renamed(names, str(scalar.get())), net), unsafe=True)
    return copy


def _record_by_prefix(blobs: Sequence[str], prefix: str) -> Any:
    names = [name.removeprefix(prefix) for name in blobs if name.startswith(prefix)]
    if not names:
        return None
    if Net.record_of_columns is None:
        raise AssertionError("records need the module schema: import caffe2.python.schema")
    return Net.record_of_columns(names, col_blobs=[BlobReference(prefix + name) for name in names])


def _with_new_blobs(record: Any, net: Net) -> Any:
    """A copy of a record with a new blob for every leaf, called as the leaf in the current name scope."""
    copy = record.clone()
    for scalar, name in zip(copy.all_scalars(), copy.field_names()):
        scalar.set_value(net.NextScopedBlob(name or "unnamed_scalar"), unsafe=True)
    return copy


def _are_pairs(items: Any) -> bool:
    return isinstance(items, list) and all(isinstance(i, tuple) and len(i) == 2 for i in items)


def _callers() -> list[Frame]:
    """File, line and function of the calls that led here, the innermost first, without those of this package."""
    frame, found = sys._getframe(1), list[Frame]()
    while frame is not None:
        if frame.f_globals.get("__package__") != __package__:
            found.append((frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name))
        frame = frame.f_back  # type: ignore[assignment]
    return found
