"""``caffe2.python.test_util``: what unit tests of operators begin with."""

from __future__ import annotations

import os
import shutil
import tempfile
import unittest
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from graphc.caffe2 import workspace

Test = TypeVar("Test", bound=Callable[..., Any])


def rand_array(*dims: int) -> np.ndarray:
    """Random float32 numbers from -0.5 to 0.5; without dimensions an array of none."""
    return np.array(np.random.rand(*dims) - 0.5).astype(np.float32)


def randBlob(name: Any, type: Any, *dims: int, **kwargs: Any) -> None:
    """Put random numbers from 0 to 1, plus ``offset``, into a blob of an element type."""
    workspace.FeedBlob(name, np.asarray(np.random.rand(*dims)).astype(type) + kwargs.get("offset", 0.0))


def randBlobFloat32(name: Any, *dims: int, **kwargs: Any) -> None:
    """``randBlob`` of float32."""
    randBlob(name, np.float32, *dims, **kwargs)


def randBlobsFloat32(names: Iterable[Any], *dims: int, **kwargs: Any) -> None:
    """``randBlobFloat32`` of each name."""
    for name in names:
        randBlobFloat32(name, *dims, **kwargs)


def numOps(net: Any) -> int:
    """The number of a net's operators."""
    return len(net.Proto().op)


def str_compare(a: str | bytes, b: str | bytes, encoding: str = "utf8") -> bool:
    """Two texts are equal, whether they come as characters or as bytes."""
    texts = [t.decode(encoding) if isinstance(t, bytes) else t for t in (a, b)]
    return texts[0] == texts[1]


def get_default_test_flags() -> list[str]:
    """The flags that tests give to ``GlobalInit``."""
    return [
        "caffe2",
        "--caffe2_log_level=0",
        "--caffe2_cpu_allocator_do_zero_fill=0",
        "--caffe2_cpu_allocator_do_junk_fill=1",
    ]


def caffe2_flaky(test_method: Test) -> Test:
    """A decorator: the test runs only where ``CAFFE2_RUN_FLAKY_TESTS`` is 1, and all others do not run there."""
    test_method.__caffe2_flaky__ = True  # type: ignore[attr-defined]
    return test_method


def is_flaky_test_mode() -> bool:
    """``CAFFE2_RUN_FLAKY_TESTS`` is 1."""
    return os.getenv("CAFFE2_RUN_FLAKY_TESTS", "0") == "1"


_SETTINGS = "_hypothesis_internal_use_settings"
"""Where hypothesis keeps the settings of a test."""


def _without_deadline(test: Any) -> None:
    settings = getattr(test, _SETTINGS, None)
    if settings is not None and settings.deadline is not None:
        setattr(test, _SETTINGS, type(settings)(settings, deadline=None))


class TestCase(unittest.TestCase):
    """A test that starts and ends with an empty workspace, and has one of its own in ``ws``.

    Tests on random inputs, by the package hypothesis, have no deadline, not even where they ask for it: the first run
    of an operator compiles it.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for member in vars(cls).values():
            _without_deadline(member)

    @classmethod
    def setUpClass(cls) -> None:
        """Start with the flags of tests."""
        workspace.GlobalInit(get_default_test_flags())

    def setUp(self) -> None:
        """Empty the workspace; skips the test where flaky tests, or all others, are not to run."""
        flaky = getattr(getattr(self, self._testMethodName), "__caffe2_flaky__", False)
        if flaky != is_flaky_test_mode():
            raise unittest.SkipTest("this run is of flaky tests" if not flaky else "this run is without flaky tests")
        self.ws = workspace.Workspace()
        workspace.ResetWorkspace()

    def make_tempdir(self) -> Path:
        """A new folder that is removed after the test."""
        folder = tempfile.mkdtemp(prefix="graphc_test_")
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        return Path(folder)

    def tearDown(self) -> None:
        """Empty the workspace."""
        workspace.ResetWorkspace()
