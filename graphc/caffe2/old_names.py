"""Names that Python and NumPy had when Caffe2's scripts were written, and have no more.

Scripts of 2017 say ``np.float``, ``np.asscalar``, ``inspect.getargspec``, ``collections.Iterable``, ``assertEquals``. A
process in which ``caffe2`` means graphc's API gets them back; names that exist are left as they are.
"""

from __future__ import annotations

import collections
import collections.abc
import inspect
import unittest
from collections.abc import Mapping
from typing import Any

import numpy as np

_NUMPY: dict[str, Any] = {
    "bool": bool,
    "int": int,
    "long": int,
    "float": float,
    "complex": complex,
    "object": object,
    "str": str,
    "unicode": str,
    "float_": np.float64,
    "complex_": np.complex128,
    "string_": np.bytes_,
    "unicode_": np.str_,
    "Inf": np.inf,
    "Infinity": np.inf,
    "infty": np.inf,
    "NaN": np.nan,
    "asscalar": lambda a: np.asarray(a).item(),
    "alltrue": np.all,
    "sometrue": np.any,
    "product": np.prod,
    "cumproduct": np.cumprod,
    "round_": np.round,
    "in1d": lambda ar1, ar2, **kwargs: np.isin(np.ravel(ar1), ar2, **kwargs),
    "row_stack": np.vstack,
}
_UNITTEST: dict[str, Any] = {
    "assertEquals": unittest.TestCase.assertEqual,
    "assertNotEquals": unittest.TestCase.assertNotEqual,
    "assertAlmostEquals": unittest.TestCase.assertAlmostEqual,
    "assertNotAlmostEquals": unittest.TestCase.assertNotAlmostEqual,
    "assertRegexpMatches": unittest.TestCase.assertRegex,
    "assertNotRegexpMatches": unittest.TestCase.assertNotRegex,
    "assertRaisesRegexp": unittest.TestCase.assertRaisesRegex,
    "assertItemsEqual": unittest.TestCase.assertCountEqual,
    "assert_": unittest.TestCase.assertTrue,
}
PACKAGES = ("future", "past", "six", "mock")
"""Packages that scripts import to run on Python 2 as well: the extra ``scripts`` installs them."""


def restore() -> None:
    """Give modules back the names that they lack."""
    _add(np, _NUMPY)
    _add(unittest.TestCase, _UNITTEST)
    _add(collections, {name: getattr(collections.abc, name) for name in collections.abc.__all__})
    _add(inspect, {"getargspec": _getargspec})


def _add(owner: Any, names: Mapping[str, Any]) -> None:
    for name, value in names.items():
        if name not in vars(owner):
            setattr(owner, name, value)


ArgSpec = collections.namedtuple("ArgSpec", ["args", "varargs", "keywords", "defaults"])


def _getargspec(function: Any) -> ArgSpec:
    """The first four parts of ``inspect.getfullargspec``."""
    return ArgSpec(*inspect.getfullargspec(function)[:4])
