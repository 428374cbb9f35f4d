"""Object code to callable addresses through llvmlite alone: all of the backends that running a plan needs."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

MAGIC = b"graphc-kernel-1\n"


@dataclass(frozen=True)
class KernelObject:
    """Relocatable object code and the symbol of its kernel."""

    symbol: str
    code: bytes

    def pack(self) -> bytes:
        """Bytes with a checksum, for a file."""
        body = self.symbol.encode() + b"\n" + self.code
        return MAGIC + blake2b(body, digest_size=16).digest() + body

    @staticmethod
    def unpack(data: bytes) -> KernelObject:
        """Inverse of ``pack``; raises ``ValueError`` for anything else."""
        body = data[len(MAGIC) + 16 :]
        if not data.startswith(MAGIC) or blake2b(body, digest_size=16).digest() != data[len(MAGIC) : len(MAGIC) + 16]:
            raise ValueError("not a whole kernel object")
        symbol, _, code = body.partition(b"\n")
        return KernelObject(symbol.decode(), code)


class LoadedKernels:
    """Machine code in this process; it stays as long as this object lives.

    addresses: kernel name -> entry point ``int32(result, exception, params, lo, hi, thread)``, all machine words; the
    first two point to words that the caller does not read.
    """

    def __init__(self, objects: Mapping[str, KernelObject]) -> None:
        from llvmlite import binding

        _initialize(binding)
        machine = binding.Target.from_default_triple().create_target_machine()
        self._engine = binding.create_mcjit_compiler(binding.parse_assembly(""), machine)
        for obj in dict.fromkeys(objects.values()):
            self._engine.add_object_file(binding.ObjectFileRef.from_data(obj.code))
        self._engine.finalize_object()
        self.addresses = {name: int(self._engine.get_function_address(obj.symbol)) for name, obj in objects.items()}


def _initialize(binding: Any) -> None:
    with suppress(RuntimeError):  # newer llvmlite initialises itself and says so
        binding.initialize()
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
