"""One file from the first mirror that has it: resumed where it broke off, checked, in its place only when whole."""

from __future__ import annotations

import http.client
import json
import mmap
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from graphc.frontends.netdef import detect
from graphc.ir import FileError
from graphc.zoo.identities import Identity, sha256_of

Progress = Callable[[int, int | None], None]
"""Called with the bytes that are there, and all of them or None where that is not known."""

_BLOCK = 1 << 16
_ATTEMPTS = 3
_SECONDS = 30
"""How long a server may say nothing."""


class _Broken(Exception):
    """The transfer ended too early; what came is kept."""


class _Useless(Exception):
    """This mirror does not have the file."""


def quiet(done: int, total: int | None) -> None:
    """A ``Progress`` that shows nothing."""


def fetch(urls: Sequence[str], target: Path, identity: Identity | None = None, progress: Progress = quiet) -> None:
    """Download a file to ``target``, from the first of its URLs that gives it whole.

    What a broken transfer left, ``target`` with ``.part`` behind its name, is continued (HTTP ranges), in a later call
    if an identity is known to check the whole by. A file that is no net although its name says so (a web page, a Git
    LFS pointer) or that differs from the identity is refused, and the next mirror asked. Raises ``FileError`` with each
    mirror's reason; ``target`` is untouched then.
    """
    part = target.with_name(target.name + ".part")
    if identity is None:
        part.unlink(missing_ok=True)
    reasons = []
    for url in urls:
        try:
            _fetch_from(url, part, identity, progress)
            os.replace(part, target)
            return
        except (_Useless, _Broken) as error:
            reasons.append(f"  {url}: {error}")
        except urllib.error.URLError as error:
            reasons.append(f"  {url}: {_reason(error)}")
    raise FileError(f"{target.name} could not be downloaded", _remedy(reasons), "\n".join(reasons))


def _fetch_from(url: str, part: Path, identity: Identity | None, progress: Progress) -> None:
    continued = part.exists()
    try:
        _transfer_all(url, part, identity, progress)
        _check(part, identity)
    except _Useless:
        part.unlink(missing_ok=True)
        if not continued:
            raise
        _fetch_from(url, part, identity, progress)  # what an earlier call left may be to blame


def _transfer_all(url: str, part: Path, identity: Identity | None, progress: Progress) -> None:
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            _transfer(url, part, identity, progress)
            break
        except _Broken:
            if attempt == _ATTEMPTS:
                raise


def _transfer(url: str, part: Path, identity: Identity | None, progress: Progress) -> None:
    """Append to ``part`` what it lacks; raises ``_Broken``, ``_Useless``, ``URLError``."""
    have = part.stat().st_size if part.exists() else 0
    if identity is not None and have == identity.size:
        return
    if identity is not None and have > identity.size:
        have = 0
    with _open(url, part, have) as answer:
        _receive(answer, part, have, progress)


def _open(url: str, part: Path, have: int) -> Any:
    request = urllib.request.Request(url, headers={"User-Agent": "graphc", **_range(have)})
    try:
        return urllib.request.urlopen(request, timeout=_SECONDS)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # no such range: what is there is not the beginning of this file
            part.unlink(missing_ok=True)
            raise _Broken("the file there is shorter than what is here already") from None
        raise _Useless(f"HTTP {error.code} {error.reason}") from None
    except urllib.error.URLError:
        raise
    except (http.client.HTTPException, OSError) as error:
        raise _Broken(f"no answer: {error or type(error).__name__}") from None


def _range(have: int) -> dict[str, str]:
    return {"Range": f"bytes={have}-"} if have else {}


def _receive(answer: Any, part: Path, have: int, progress: Progress) -> None:
    continues = answer.status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
    length = answer.headers.get("Content-Length")
    done = have if continues else 0
    total = done + int(length) if length else None
    with part.open("ab" if continues else "wb") as file:
        progress(done, total)
        while block := _read(answer):
            file.write(block)
            done += len(block)
            progress(done, total)
    if total is not None and done < total:
        raise _Broken(f"the transfer broke off after {done:,} of {total:,} bytes")


def _read(answer: Any) -> bytes:
    try:
        block: bytes = answer.read(_BLOCK)
    except (http.client.HTTPException, OSError) as error:
        raise _Broken(f"the transfer broke off: {error or type(error).__name__}") from None
    return block


def _check(path: Path, identity: Identity | None) -> None:
    """The file is what its name says, and the one that is known; raises ``_Useless``."""
    kind = _other_kind(path, path.name.removesuffix(".part"))
    if kind:
        raise _Useless(f"it sent {kind}")
    if identity is None:
        return
    size = path.stat().st_size
    if size != identity.size:
        raise _Useless(f"it sent {size:,} bytes, the zoo's file has {identity.size:,}")
    digest = sha256_of(path)
    if digest != identity.sha256:
        raise _Useless(f"it sent another file: SHA-256 {digest[:16]}..., the zoo's is {identity.sha256[:16]}...")


def _other_kind(path: Path, name: str) -> str:
    """What a file is instead of a net or JSON; empty if it is what it should be."""
    if path.stat().st_size == 0:
        return "an empty file"
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
        memoryview(data) as view,
    ):
        kind = detect(view)
    if name.endswith(".pb"):
        return "" if kind.is_net else kind.name
    try:
        json.loads(path.read_bytes())
    except ValueError:
        return kind.name
    return ""


def _reason(error: urllib.error.URLError) -> str:
    return str(getattr(error.reason, "strerror", None) or error.reason)


def _remedy(reasons: list[str]) -> str:
    if all(": HTTP " in reason or ": it sent" in reason for reason in reasons):
        return "the mirrors do not have the file as it was; name another (--mirror URL, or GRAPHC_MODEL_MIRRORS)"
    return (
        "is this machine online? Another mirror is named by --mirror URL or GRAPHC_MODEL_MIRRORS, and a folder is one, "
        "too; what has come is kept and continued next time"
    )
