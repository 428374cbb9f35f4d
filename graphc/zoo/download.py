"""Whole models of the zoo: all files, or nothing."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from graphc.ir import FileError
from graphc.zoo.fetch import Progress, fetch, quiet
from graphc.zoo.folders import make_importable
from graphc.zoo.identities import Identity, identities

MIRRORS = (
    "https://s3.amazonaws.com/download.caffe2.ai/models/",
    "https://media.githubusercontent.com/media/facebookarchive/models/master/",
)
"""Caffe2's own server, and the large files of the repository that it was filled from."""
NET_FILES = ("predict_net.pb", "init_net.pb")


def mirrors(first: Sequence[str] = ()) -> list[str]:
    """URLs or folders that models are looked for at, in order.

    first: in front of all others. ``GRAPHC_MODEL_MIRRORS``, separated by spaces, stands for those known.
    """
    chosen = os.environ.get("GRAPHC_MODEL_MIRRORS", "").split()
    return list(dict.fromkeys(_url(m) for m in (*first, *(chosen or MIRRORS))))


def _url(mirror: str) -> str:
    url = mirror if "://" in mirror else Path(mirror).resolve().as_uri()
    return url.rstrip("/") + "/"


def is_valid_name(name: str) -> bool:
    """A model may have this name: letters, digits, ``_`` and ``-``, with slashes between parts."""
    return re.fullmatch(r"[0-9a-zA-Z_-]+(/[0-9a-zA-Z_-]+)*", name) is not None and name != "__init__"


def files_of(name: str) -> dict[str, Identity | None]:
    """The files of a model with their identities; for a model that is not known the names of two nets."""
    known = identities().get(name, {})
    return {**known} if known else dict.fromkeys(NET_FILES)


def download_model(
    name: str,
    folder: Path,
    *,
    sources: Sequence[str] | None = None,
    files: Sequence[str] = (),
    force: bool = False,
    importable: bool = False,
    progress: Callable[[str], Progress] = lambda file: quiet,
) -> Path:
    """Download a model to ``folder / name``, and give that path.

    sources: mirrors, by default ``mirrors()``. files: further ones than ``files_of`` names. force: replace what is
    there. importable: make it a module. progress: gives a ``Progress`` for a file. Files gather in a hidden folder
    beside, where a later call finds what has come, and it is renamed when all are whole. Raises ``FileError``.
    """
    if not is_valid_name(name):
        raise FileError(f"'{name}' is no name of a model", "graphc models list has them")
    target = folder / name
    if target.exists() and not force:
        raise FileError(f"{target} exists already", "force its replacement (-f)")
    staging = target.with_name(f".{target.name}.part")
    try:
        staging.mkdir(parents=True, exist_ok=True)
        for file, identity in {**dict.fromkeys(files), **files_of(name)}.items():
            if not (staging / file).exists():
                urls = [f"{mirror}{name}/{file}" for mirror in (mirrors() if sources is None else sources)]
                fetch(urls, staging / file, identity, progress(file))
        if importable:
            make_importable(staging)
        _replace(staging, target)
    except FileError:
        _remove_if_empty(staging)
        raise
    except OSError as error:
        raise FileError(f"{target} cannot be written: {error.strerror or error}", "check the folder and disk") from None
    return target


def _remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()


def _replace(staging: Path, target: Path) -> None:
    """Rename a folder; what has its name steps aside first, and comes back if that fails."""
    if not target.exists():
        staging.rename(target)
        return
    aside = target.with_name(f".{target.name}.old")
    _remove(aside)
    target.rename(aside)
    try:
        staging.rename(target)
    except OSError:
        aside.rename(target)
        raise
    _remove(aside)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
