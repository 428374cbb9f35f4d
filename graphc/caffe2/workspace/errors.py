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


def missing_blob(name: str, known: Iterable[str], message: str = "", help: str = "") -> EnforceError:
    """The error for a blob that the workspace does not have.

    message: other words than those of ``FetchBlob``. help: a better remedy than names of almost the same spelling.
    """
    near = near_names(name, known)
    hint = f"near names: {near}" if near else "feed it (FeedBlob), or run the net that makes it"
    return EnforceError(message or f"Can't find blob: {name}", help or hint)


def near_names(name: str, known: Iterable[str]) -> str:
    """Up to three names of almost the same spelling, in words; empty where there are none."""
    return ", ".join(difflib.get_close_matches(name, list(known), 3))


def enforce_error(error: GraphcError, net: str = "") -> EnforceError:
    """An error of graphc as ``EnforceError``; that of a net says where in Python the operator was created."""
    found = re.search(r"op #(\d+)", str(error))
    created = creation_text(net, int(found[1])) if found and net else ""
    return EnforceError(error.message + created, error.help, error.excerpt)


@contextmanager
def enforced() -> Iterator[None]:
    """Errors of graphc come out as ``EnforceError``."""
    try:
        yield
    except EnforceError:
        raise
    except GraphcError as error:
        raise enforce_error(error) from error
