"""What the files of Caffe2's zoo are: sizes and SHA-256 sums, from the Git LFS pointers of the zoo's repository."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_BLOCK = 1 << 20


@dataclass(frozen=True)
class Identity:
    """Size in bytes and SHA-256 sum (hexadecimal) of a file."""

    size: int
    sha256: str


@functools.cache
def identities() -> Mapping[str, Mapping[str, Identity]]:
    """By model the files of the zoo that are known, by name: ``identities()["squeezenet"]["init_net.pb"]``."""
    text = Path(__file__).with_name("zoo_sha256.json").read_text(encoding="utf-8")
    return {
        model: {name: Identity(*facts) for name, facts in files.items()} for model, files in json.loads(text).items()
    }


def identify(path: Path) -> list[str]:
    """The files of the zoo that a file equals, as ``model/file``; several where styles share a net."""
    size = path.stat().st_size
    same_size = [
        (f"{model}/{name}", identity.sha256)
        for model, files in identities().items()
        for name, identity in files.items()
        if identity.size == size
    ]
    digest = sha256_of(path) if same_size else ""
    return [name for name, known in same_size if known == digest]


def sha256_of(path: Path) -> str:
    """The SHA-256 sum of a file, hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
