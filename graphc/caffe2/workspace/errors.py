"""The exceptions of a workspace: Caffe2's types, graphc's texts."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from graphc.caffe2.workspace.tracebacks import creation_text
from graphc.ir import GraphcError


class EnforceError(GraphcError, RuntimeError):
    """What Caffe2 calls an enforce failure: a ``RuntimeError`` that names operator, blob and remedy."""

    def __str__(self) -> str:
        return f"[enforce fail] {GraphcError.__str__(self)}"


def missing_blob(name: str, known: Iterable[str], where: str = "") -> EnforceError:
    """The error for a blob that the workspace does not have."""
    near = difflib.get_close_matches(name, list(known), 3)
    hint = f"near names: {', '.join(near)}" if near else "feed it (FeedBlob), or run the net that makes it"
    return EnforceError(where.format(name) if where else f"Can't find blob: {name}", hint)


@contextmanager
def enforced(net: str = "") -> Iterator[None]:
    """Errors of graphc come out as ``EnforceError``; those of a net say where in Python the operator was created."""
    try:
        yield
    except EnforceError:
        raise
    except GraphcError as error:
        found = re.search(r"op #(\d+)", str(error))
        created = creation_text(net, int(found[1])) if found and net else ""
        raise EnforceError(error.message + created, error.help, error.excerpt) from error
