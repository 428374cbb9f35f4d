"""What memonger says: its logger and the error that it raises."""

from __future__ import annotations

import logging

from graphc.ir import NetError

log = logging.getLogger("memonger")
"""Caffe2's name for it, so that scripts which set its level or handlers do so here."""


class MemongerError(NetError, AssertionError, ValueError, RuntimeError):
    """A net or an argument that memonger cannot work with.

    Caffe2 asserts in Python and in C++, so scripts may expect an ``AssertionError`` or a ``RuntimeError``; a wrong
    argument is a ``ValueError`` besides.
    """
