"""Tables of tilings on disk: as JSON for people and other machines, and in the cache what was measured here."""

from __future__ import annotations

import os
from hashlib import blake2b
from pathlib import Path

from graphc.backends.cache import KernelCache
from graphc.backends.cuda.kernels.tilings import require_known
from graphc.backends.cuda.target import CudaTarget
from graphc.backends.cuda.tuning import Measured, Tuning
from graphc.backends.identity import generators
from graphc.ir import FileError, GraphcError
from graphc.runtime.atomic import replacing

TuningFile = Tuning | str | os.PathLike[str]
"""A table, or the path of its JSON."""


def write_tuning(path: str | os.PathLike[str], tuning: Tuning) -> None:
    """Write a table as JSON, so that a reader sees the old file or the whole new one; raises ``FileError``."""
    with replacing(path) as file:
        file.write(str(tuning).encode() + b"\n")


def read_tuning(source: TuningFile, target: CudaTarget) -> Tuning:
    """The table that a user gives for a target.

    Raises ``FileError`` for a path that cannot be read, ``GraphcError`` for what is no table, for one of another
    target, and for tilings that this graphc has no kernels for.
    """
    if isinstance(source, Tuning):
        tuning, name = source, "the table of tilings"
    elif isinstance(source, str | os.PathLike):
        name = os.fspath(source)
        tuning = Tuning.parse(_text(name), name)
    else:
        raise GraphcError(f"tuning is a {type(source).__name__}", "give a Tuning, or the path of a file: tuning.json")
    if tuning.target != target.name:
        raise GraphcError(
            f"{name} was measured for {tuning.target!r}, the target is '{target.name}'",
            f"compile with --target {tuning.target}, or measure on a card of the other architecture: graphc tune",
        )
    require_known(tuning, target, name)
    return tuning


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise FileError(f"cannot read {path}: {error.strerror}", "check the path and its permissions") from None
    except ValueError as error:  # no UTF-8, or a path with a zero byte
        raise FileError(f"cannot read {path!r} as text: {error}", "give a file that graphc tune wrote") from None


class TuningStore:
    """What was measured on a card with these kernel generators: in the kernel cache a file for each problem.

    Each is a table of one entry and is written whole, so a command that was ended goes on where it was.
    """

    def __init__(self, target: CudaTarget, card: str) -> None:
        self._target, self._card = target, card
        name = blake2b(f"{card}\0{generators()}".encode(), digest_size=16).hexdigest()
        self.folder = KernelCache.default().folder / "tuning" / f"{target.arch}-{name}"

    def _path(self, problem: str) -> Path:
        return self.folder / f"{blake2b(problem.encode(), digest_size=16).hexdigest()}.json"

    def get(self, problem: str) -> Measured | None:
        """The entry, None where there is none that is whole."""
        try:
            tuning = Tuning.parse(self._path(problem).read_text(encoding="utf-8"))
            require_known(tuning, self._target, "")
        except (OSError, ValueError, GraphcError):
            return None
        return tuning.entries.get(problem)

    def put(self, problem: str, found: Measured) -> None:
        """Store an entry; raises ``FileError`` where the disk is full or the folder cannot be written to."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FileError(
                f"cannot make {self.folder}: {error.strerror}",
                "set GRAPHC_CACHE_DIR to a folder that can be written to",
            ) from None
        write_tuning(self._path(problem), Tuning(self._target.name, self._card, {problem: found}))
