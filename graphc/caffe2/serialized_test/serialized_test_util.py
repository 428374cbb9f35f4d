"""``caffe2.python.serialized_test.serialized_test_util``: the test case of Caffe2's operator tests.

Caffe2's compares an example of each test with a file of earlier results as well. graphc has no such files and compares
with the reference of the test alone.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
import unittest

import hypothesis

from graphc.caffe2 import hypothesis_test_util as hu

operator_test_type = "operator_test"
TOP_DIR = os.path.dirname(os.path.realpath(__file__))
DATA_SUFFIX = "data"
DATA_DIR = os.path.join(TOP_DIR, DATA_SUFFIX)
_output_context = threading.local()
"""What the command line of a test run asked for; tests' own ``conftest.py`` sets it."""

given = hypothesis.given


class SerializedTestCase(hu.HypothesisTestCase):
    """A ``HypothesisTestCase``: its example is the test's own, without a file."""

    should_serialize = False


def testWithArgs() -> None:
    """Run the tests of the main module; the options of Caffe2's files are understood, writing them is refused."""
    parser = argparse.ArgumentParser()
    parser.add_argument("-G", "--generate-serialized", action="store_true", dest="generate", help="not in graphc")
    parser.add_argument("-O", "--output", default=DATA_DIR, help="folder of the files, which are not read")
    parser.add_argument("-D", "--disable-serialized-check", action="store_true", help="is always so")
    parser.add_argument("-C", "--disable-gen-coverage", action="store_true", help="is always so")
    parser.add_argument("unittest_args", nargs="*")
    found = parser.parse_args()
    if found.generate:
        parser.error("graphc writes no files of operators' results; run the tests without -G")
    sys.argv[1:] = found.unittest_args
    unittest.main()
