"""A NetDef as plain Python data: what the reader gives, the importer takes and the writer writes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

DEVICE_NAMES = ("cpu", "cuda", "mkldnn", "opengl", "opencl", "ideep", "hip", "fpga", "maia", "xla", "mps")
CARDS = (DEVICE_NAMES.index("cuda"), DEVICE_NAMES.index("hip"))


@dataclass(frozen=True)
class Device:
    """A ``DeviceOption``; ``type`` is Caffe2's number (0 CPU, 1 CUDA ...). random_seed: None where it is not given."""

    type: int = 0
    id: int = 0
    random_seed: int | None = None
    node_name: str = ""
    numa_node: int = 0
    extra_info: tuple[str, ...] = ()

    @property
    def is_card(self) -> bool:
        """CUDA, or HIP."""
        return self.type in CARDS

    def __str__(self) -> str:
        """``""`` for the CPU without a seed, else e.g. ``cuda:0`` or ``cpu:0 random_seed=7``."""
        if self.type == 0 and self.random_seed is None:
            return ""
        known = 0 <= self.type < len(DEVICE_NAMES)
        place = f"{DEVICE_NAMES[self.type] if known else f'device{self.type}'}:{self.id}"
        return place if self.random_seed is None else f"{place} random_seed={self.random_seed}"


@dataclass(frozen=True)
class TensorArg:
    """An argument whose value is a tensor message (fields ``t``, ``tensors``, ``qtensors``), kept as its bytes."""

    field: str
    content: tuple[bytes, ...]


ArgValue = Any
"""int, float (a float32 held exactly), bytes, a tuple of one of these, Net, tuple of Nets, TensorArg; a long list of
floats or ints is a 1-D float32 or int64 array. ``()`` is an argument that has a name only, as Caffe2 writes ``[]``."""


def _held(value: ArgValue) -> ArgValue:
    if isinstance(value, list):
        return tuple(map(_held, value))
    return value.encode() if isinstance(value, str) else value


@dataclass
class Operator:
    """An ``OperatorDef``. Names are UTF-8; other bytes in a name appear as ``\\xNN``.

    Arguments may be given as lists and texts, which become the tuples and bytes that they are held as.
    """

    type: str
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    args: dict[str, ArgValue] = field(default_factory=dict)
    name: str = ""
    engine: str = ""
    device: Device | None = None
    is_gradient: bool = False
    control_inputs: list[str] = field(default_factory=list)
    debug_info: str = ""
    domain: str = ""
    version: int = 0

    def __post_init__(self) -> None:
        if any(isinstance(v, (list, str)) for v in self.args.values()):
            self.args = {name: _held(value) for name, value in self.args.items()}

    def nets(self) -> Iterator[tuple[str, Net]]:
        """The nets among the arguments with the argument's name."""
        for name, value in self.args.items():
            for item in value if isinstance(value, tuple) else (value,):
                if isinstance(item, Net):
                    yield name, item


@dataclass
class Net:
    """A ``NetDef``."""

    name: str = ""
    ops: list[Operator] = field(default_factory=list)
    external_inputs: list[str] = field(default_factory=list)
    external_outputs: list[str] = field(default_factory=list)
    args: dict[str, ArgValue] = field(default_factory=dict)
    type: str = ""
    num_workers: int = 0
    device: Device | None = None
