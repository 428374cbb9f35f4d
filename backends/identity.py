"""Which kernel generators these are: a plan holds what they made, parameters and packed weights, and needs the same."""

from __future__ import annotations

from functools import cache
from hashlib import blake2b
from pathlib import Path

import graphc.backends


@cache
def generators() -> str:
    """Digest (BLAKE2b, hexadecimal) of the sources of this package, in the order of their paths.

    Others may take the parameters of a kernel, or weights, in another order, and would read past their ends.
    """
    found = blake2b(digest_size=16)
    for folder in graphc.backends.__path__:
        for path in sorted(Path(folder).rglob("*.py")):
            found.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return found.hexdigest()
