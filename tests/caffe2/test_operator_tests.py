"""Tests of operators as Caffe2's own are written: the assertions pass what is right and fail what is wrong."""

from __future__ import annotations

import subprocess
import sys
import unittest

import hypothesis.extra.numpy
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from graphc.caffe2 import core, device_checker, gradient_checker, ideep_test_util, mkl_test_util, test_util, workspace
from graphc.caffe2 import hypothesis_test_util as hu
from graphc.caffe2.hip_test_util import run_in_hip
from graphc.caffe2.serialized_test import serialized_test_util as serial

OP = core.CreateOperator("Sqr", ["X"], ["Y"])
X = np.array([[1.0, -2.0, 0.5]], np.float32)


class Case(hu.HypothesisTestCase):
    """The assertions, outside of a test run."""

    def runTest(self) -> None:
        """Nothing."""


@pytest.fixture
def case() -> Case:
    found = Case()
    found.setUp()
    return found


def test_references(case):
    case.assertReferenceChecks(hu.cpu_do, OP, [X], lambda x: [x * x], ensure_outputs_are_inferred=True)
    with pytest.raises(AssertionError, match="Output Y is not matching the reference"):
        case.assertReferenceChecks(hu.cpu_do, OP, [X], lambda x: [x * x + 0.1])
    with pytest.raises(RuntimeError, match="tuple/list"):
        case.assertReferenceChecks(hu.cpu_do, OP, [X], lambda x: x * x)
    with pytest.raises(ValueError, match="an input for each input"):
        case.assertReferenceChecks(hu.cpu_do, OP, [], list)
    assert workspace.CurrentWorkspace() == "default"


def test_gradients_against_a_reference(case):
    def gradient(dy, outputs, inputs):
        return [2 * inputs[0] * dy]

    case.assertReferenceChecks(
        hu.cpu_do, OP, [X], lambda x: [x * x], output_to_grad="Y", grad_reference=gradient, threshold=1e-3
    )
    with pytest.raises(AssertionError, match="X_grad"):
        case.assertReferenceChecks(
            hu.cpu_do, OP, [X], lambda x: [x * x], output_to_grad="Y", grad_reference=lambda *_: [X]
        )


def test_gradients_against_differences(case, capsys):
    given_before = X.copy()
    case.assertGradientChecks(hu.cpu_do, OP, [X], 0, [0], stepsize=0.01, threshold=0.01)
    np.testing.assert_array_equal(X, given_before)
    wrong = [core.CreateOperator("Copy", ["Y_grad"], ["X_grad"])]
    with pytest.raises(AssertionError, match="Gradient check failed for input X"):
        case.assertGradientChecks(hu.cpu_do, OP, [X], 0, [0], grad_ops=wrong)
    assert "[idx, grad, grad_estimate]" in capsys.readouterr().out


def test_sparse_gradients_are_compared_as_dense_ones(case):
    op = core.CreateOperator("Gather", ["DATA", "INDICES"], ["ROWS"])
    data, indices = np.arange(6, dtype=np.float32).reshape(3, 2), np.array([2, 0, 2], np.int32)
    case.assertGradientChecks(hu.cpu_do, op, [data, indices], 0, [0], threshold=0.01)


def test_devices_and_validators(case):
    case.assertDeviceChecks(ideep_test_util.device_options, OP, [X], [0])
    case.assertValidationChecks(hu.cpu_do, OP, [X], lambda X, Y: np.testing.assert_array_equal(Y, X * X))
    case.assertRunOpRaises(hu.cpu_do, core.CreateOperator("MatMul", ["a", "b"], ["c"]), [X, X], regexp="MatMul")
    assert hu.runOpOnInput(hu.cpu_do, OP, [X])[0].tolist() == [[1.0, 4.0, 0.25]]
    checker = device_checker.DeviceChecker(0.01, [hu.cpu_do, ideep_test_util.ideep_do])
    net = core.Net("checked")
    net.Sqr("X", "Y")
    assert checker.CheckNet(net.Proto(), {"X": X}, ignore={"Z"})
    assert not run_in_hip(hu.cpu_do, mkl_test_util.device_options)


def test_nets_against_differences_and_each_other():
    workspace.ResetWorkspace()
    square, product = core.Net("square"), core.Net("product")
    square.Sqr("X", "Y")
    product.Mul(["X", "X"], "Z")
    checker = gradient_checker.NetGradientChecker
    checker.CompareNets([square, product], [["Y"], ["Z"]], [0], ["X"], {"X": X}, threshold=1e-5)
    mean, largest = checker.Check(square, ["Y"], {"X": X}, "X", step_size=0.01, threshold=0.01)
    assert mean <= largest < 0.01
    with pytest.raises(AssertionError, match="has no gradient"):
        checker.Check(square, ["Y"], {"X": X, "W": X}, "W")


def test_tests_have_no_deadline():
    class Slow(serial.SerializedTestCase):
        @serial.given(x=hu.tensor(), **hu.gcs)
        @settings(deadline=1, max_examples=3)
        def test_it(self, x, gc, dc):
            assert x.dtype == np.float32

    class SlowToo(test_util.TestCase):
        @given(x=hu.tensor())
        @settings(deadline=1)
        def test_it(self, x):
            pass

    kept = Slow.test_it._hypothesis_internal_use_settings
    assert (kept.deadline, kept.max_examples) == (None, 3)
    assert SlowToo.test_it._hypothesis_internal_use_settings.deadline is None
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(Slow).run(result)
    assert result.wasSuccessful()
    assert result.testsRun == 1


@given(x=hypothesis.extra.numpy.arrays(np.int64, 3, st.integers(4, 5)))
@settings(max_examples=3, database=None)
def test_elements_of_arrays_may_come_by_place(x):
    assert set(x.tolist()) <= {4, 5}


def test_random_blobs():
    workspace.ResetWorkspace()
    test_util.randBlobsFloat32(["a", "b"], 2, 3, offset=5.0)
    a = workspace.FetchBlob("a")
    assert (a.dtype, a.shape) == (np.float32, (2, 3))
    assert ((a >= 5) & (a <= 6)).all()
    assert test_util.rand_array().shape == ()
    assert test_util.str_compare("a", b"a")
    net = core.Net("counted")
    net.Relu("a", "c")
    assert test_util.numOps(net) == 1


QUICK = settings(max_examples=40, deadline=None, database=None, derandomize=True)


@QUICK
@given(hu.lengths_tensor(min_segments=1, max_segments=4, allow_empty=True))
def test_lengths_sum_to_the_rows(drawn):
    data, lengths = drawn
    assert lengths.dtype == np.int32
    assert 1 <= len(lengths) <= 4
    assert lengths.sum() == len(data)


@QUICK
@given(hu.sparse_segmented_tensor(allow_empty=True), hu.segmented_tensor(is_sorted=True, dtype=np.int64))
def test_segments_and_rows_are_inside(sparse, dense):
    data, rows, segments = sparse
    assert rows.dtype == np.int64
    assert len(rows) == len(segments)
    assert ((rows >= 0) & (rows < len(data))).all()
    ids = dense[1]
    assert ids[0] == 0
    assert set(np.diff(ids)) <= {0, 1}


@QUICK
@given(hu.floats(0.1, max_value=0.7), hu.arrays([3], elements=st.floats(0.1, 0.3)), hu.tensors(2, dtype=np.float64))
def test_floats_fit_their_type(number, array, pair):
    assert float(np.float32(number)) == number
    assert array.dtype == np.float32
    assert pair[0].shape == pair[1].shape
    assert max(np.abs(p).max() for p in pair) <= 1


def test_strategies_refuse_what_they_cannot_draw():
    with pytest.raises(ValueError, match="Unexpected dtype"):
        hu.elements_of_type(np.complex64)
    assert hypothesis.settings.get_profile("sandcastle").derandomize


def test_old_names_come_back_with_the_alias(tmp_path):
    script = tmp_path / "old.py"
    script.write_text(
        "import collections, inspect, unittest\nimport numpy as np\n"
        "print(np.float(1), np.asscalar(np.array([2])), inspect.getargspec(lambda a, b=1: a).args)\n"
        "print(issubclass(list, collections.Iterable), np.bool is np.bool_, np.in1d([1, 2], [2]).tolist())\n"
        "unittest.TestCase().assertEquals(1, 1)\n"
    )
    run = [sys.executable, "-W", "ignore", "-m", "graphc.caffe2", str(script)]
    out = subprocess.run(run, capture_output=True, text=True, timeout=120, check=True).stdout
    assert out == "1.0 2 ['a', 'b']\nTrue True [False, True]\n"


def test_expressions_that_hold_a_size_are_compiled_for_each():
    op = core.CreateOperator("SumElementsGradient", ["X", "d"], ["dX"], average=1)
    for n in (3, 4):
        found = hu.runOpOnInput(hu.cpu_do, op, [np.ones(n, np.float32), np.ones(1, np.float32)])[0]
        np.testing.assert_allclose(found, np.full(n, 1 / n, np.float32))


def test_shapes_that_follow_from_sizes_of_inputs():
    net = core.Net("sizes")
    net.ConstantFill([], "a", shape=[2, 3])
    net.ConstantFill([], "b", shape=[2, 4])
    net.ConstantFill([], "ranges", shape=[3, 5, 2], dtype=core.DataType.INT32)
    net.Concat(["a", "b"], ["both", "info"], axis=1)
    net.Split(["both", "info"], ["a_again", "b_again"], axis=1)
    net.ConstantFill([], "data", shape=[64])
    net.GatherRanges(["data", "ranges"], ["values", "lengths"])
    net.IndexHash("ranges", "hashed")
    net.LastNWindowCollector(["last", "next", "a"], ["last", "next"], num_to_collect=7)
    workspace.CreateBlob("last")
    shapes, types = workspace.InferShapesAndTypes([net], {})
    assert (shapes["a_again"], shapes["b_again"]) == ([2, 3], [2, 4])
    assert (shapes["values"], shapes["lengths"], shapes["hashed"]) == ([64], [3], [3, 5, 2])
    assert (types["hashed"], shapes["last"]) == (core.DataType.INT32, [7, 3])
