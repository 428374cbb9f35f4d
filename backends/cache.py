"""The kernel cache: object code by content hash, in the user's cache folder, safe with concurrent processes."""

from __future__ import annotations

import os
import tempfile
from functools import cache
from hashlib import blake2b
from pathlib import Path

from platformdirs import user_cache_path

from graphc.backends.load import KernelObject

SHARED = ("intrinsics", "vocabulary", "worker")
"""The modules of this folder that give the words of kernel source their meaning on every target."""


def content_key(*parts: str) -> str:
    """The key of machine code: a hash of all that it depends on."""
    return blake2b("\0".join(parts).encode(), digest_size=20).hexdigest()


@cache
def meaning_of_words(target: Path, modules: tuple[str, ...]) -> str:
    """Hash of the modules that give the words of kernel source their meaning, those in a target's folder and the shared
    ones: another meaning is another kernel.
    """
    paths = [*(target / f"{name}.py" for name in modules), *(Path(__file__).parent / f"{name}.py" for name in SHARED)]
    return blake2b(b"\0".join(path.read_bytes() for path in paths)).hexdigest()


class KernelCache:
    """Files ``<folder>/<two digits>/<key>.o``, written beside and renamed, each with its own checksum.

    A damaged entry counts as absent. A folder that cannot be written to is a cache that keeps nothing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @staticmethod
    def default() -> KernelCache:
        """The cache of this user: ``GRAPHC_CACHE_DIR``, or the platform's cache folder."""
        chosen = os.environ.get("GRAPHC_CACHE_DIR")
        return KernelCache(Path(chosen) if chosen else user_cache_path("graphc") / "kernels")

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.o"

    def get(self, key: str) -> KernelObject | None:
        """The entry, None where there is none that is whole."""
        try:
            return KernelObject.unpack(self._path(key).read_bytes())
        except (OSError, ValueError):
            return None

    def put(self, key: str, obj: KernelObject) -> None:
        """Store an entry; a full disk or read-only folder is no error, the kernel is just compiled again next time."""
        path = self._path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
        except OSError:
            return
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(obj.pack())
            os.replace(name, path)
        except OSError:
            Path(name).unlink(missing_ok=True)
