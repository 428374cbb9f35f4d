"""Which version of each blob the operators of a net read and write; blobs may be overwritten, also in place."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from graphc.ir.gradient import NamedCall

Version = tuple[str, int]
"""A blob and its version: 0 where it is first read or written, one more with every operator that writes it after."""

OUTSIDE = -1
"""The writer of what the net is given."""


class BlobVersions:
    """The versions in a list of operators.

    read, written: by operator, the version of each blob that it reads and writes. readers: operators in order, one as
    often as it names the blob. last: the version of each blob behind the last operator.
    """

    def __init__(self, operators: Sequence[NamedCall]) -> None:
        self.operators = operators
        self.last: dict[str, int] = {}
        self.read: list[dict[str, int]] = []
        self.written: list[dict[str, int]] = []
        self.readers: dict[Version, list[int]] = defaultdict(list)
        self._writers: dict[str, list[int]] = defaultdict(list)
        self._first: dict[str, int] = {}
        for i, call in enumerate(operators):
            self._play(i, call)

    def _play(self, i: int, call: NamedCall) -> None:
        for name in call.inputs:
            self._first.setdefault(name, 1)
            self.readers[name, self.last.setdefault(name, 0)].append(i)
        self.read.append({name: self.last[name] for name in call.inputs})
        for name in call.outputs:
            self._first.setdefault(name, 0)
            self.last[name] = self.last[name] + 1 if name in self.last else 0
            self._writers[name].append(i)
        self.written.append({name: self.last[name] for name in call.outputs})

    def writer(self, name: str, version: int) -> int:
        """The operator that writes a version of a blob; ``OUTSIDE`` where the net is given it."""
        k = version - self._first[name]
        return self._writers[name][k] if k >= 0 else OUTSIDE

    def overwriter(self, name: str, version: int) -> int:
        """The last operator that writes a later version of a blob; ``OUTSIDE`` where none does."""
        return self._writers[name][-1] if self.last[name] != version else OUTSIDE
