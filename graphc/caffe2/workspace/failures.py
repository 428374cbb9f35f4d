"""Host operators whose purpose is to fail, for tests of what happens then.

``Fail`` gives false in Caffe2, which ``RunNet(allow_fail=True)`` hands on; the others throw, which it does not catch.
"""

from __future__ import annotations

from typing import NoReturn

from graphc.caffe2.workspace.host_operators import HostCall, host_operator


@host_operator("Fail")
def fail(call: HostCall) -> NoReturn:
    """Fail."""
    call.fail("it fails, whatever it is given", "remove it")


@host_operator("ThrowException", "ThrowChildThreadException")
def throw_exception(call: HostCall) -> NoReturn:
    """Raise ``RuntimeError`` of the text ``message``."""
    raise RuntimeError(f"{call.where} {call.op.type}: {call.arg('message', f'Exception from {call.op.type}Op')}")
