"""Writing files so that a reader sees the old ones or the whole new ones."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

from graphc.ir.errors import FileError


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A file to write to, which takes the place of ``path`` when the block ends well and vanishes when it does not.

    Raises ``FileError`` where the folder, the disk or a folder or device of that name forbids it.
    """
    target = Path(path)
    handle, name = _beside(target)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        os.chmod(name, 0o644)
        os.replace(name, target)
    except OSError as error:
        Path(name).unlink(missing_ok=True)
        remedy = "free some space or choose another place"
        raise FileError(f"cannot write {target}: {error.strerror or error}", remedy) from None
    except BaseException:  # interrupted, too
        Path(name).unlink(missing_ok=True)
        raise


def require_place(path: str | os.PathLike[str]) -> None:
    """Raise the ``FileError`` that ``replacing`` would: for before the work whose result the file is to hold."""
    handle, name = _beside(Path(path))
    os.close(handle)
    os.unlink(name)


def _beside(target: Path) -> tuple[int, str]:
    """A new file in the folder of the target, open; raises ``FileError``."""
    try:
        if target.exists() and not target.is_file():
            raise FileError(f"cannot write {target}: it is a folder or a device", "give the name of a file")
        return tempfile.mkstemp(dir=target.parent, prefix=target.name[:100], suffix=".tmp")
    except OSError as error:
        remedy = "check that the folder exists and is writable"
        raise FileError(f"cannot write {target}: {error.strerror}", remedy) from None


def replace_all(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Replace files of a folder, by name, that are of use together only.

    Everything is written before anything is replaced: where the disk forbids one, all are as they were. The first is
    the one by which readers find the others; it is away while they are replaced, so that it never stands beside those
    of another time. Raises ``FileError`` as ``replacing`` does.
    """
    with ExitStack() as stack:
        for name, content in contents.items():
            file = stack.enter_context(replacing(folder / name))
            file.write(content)
            file.flush()
        (folder / next(iter(contents))).unlink(missing_ok=True)
