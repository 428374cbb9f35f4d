"""Shapes, parts, images, reductions and indices by hand: the rules that a re-implementation gets wrong first."""

from __future__ import annotations

import numpy as np
import pytest
from operator_calls import answer, answers, call, f32, refusal, types

from graphc.ir.errors import RunError
from graphc.ir.opdef import Trait

CUBE = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def test_reshape() -> None:
    y, old = answers("Reshape", CUBE, outputs=2, shape=[0, -1])
    assert y.shape == (2, 12)
    assert (old.dtype, old.tolist()) == (np.int64, [2, 3, 4])
    assert answer("Reshape", CUBE, ints(4, 6), outputs=2).shape == (4, 6)
    assert types("Reshape", "float[N,64,7,7]", outputs=2, shape=[0, -1]) == ["float[N,3136]", "int64[4]"]
    assert types("Reshape", "float[N,64,7,7]", shape=[-1, 3136]) == ["float[N,3136]"]
    assert types("Reshape", "float[N,6]", "int64[3]") == ["float[?,?,?]"]
    assert types("Reshape", "float[*]", shape=[2, -1]) == ["float[2,?]"]
    for before, new, want in (((2, 0), [-1, 0], (0, 0)), ((0, 0), [0, 0, 0], (0, 0, 0)), ((1, 0), [4, 0], (4, 0))):
        assert answer("Reshape", np.zeros(before, np.float32), outputs=2, shape=new).shape == want
    assert "must stay" in refusal("Reshape", "float[0,2]", shape=[2, 3])


@pytest.mark.parametrize("shape", [[5, 5], [-1, 5], [-1, -1], [-2, 12], [0, 0, 0, 0], [2**40]])
def test_wrong_shapes_are_refused(shape: list[int]) -> None:
    assert refusal("Reshape", "float[2,3,4]", shape=shape)


def test_views() -> None:
    assert types("Flatten", "float[N,3,4]") == ["float[N,12]"]
    assert types("Flatten", "float[2,3,4]", axis=0) == ["float[1,24]"]
    assert types("Flatten", "float[2,3,4]", axis=3) == ["float[24,1]"]
    assert types("FlattenToVec", "float[2,3,4]") == ["float[24]"]
    assert types("Squeeze", "float[1,3,1,N]", dims=[2, 0, 2]) == ["float[3,N]"]
    assert types("ExpandDims", "float[3,4]", dims=[2, 0]) == ["float[1,3,1,4]"]
    assert answer("Squeeze", CUBE[:1], dims=[0]).tolist() == CUBE[0].tolist()
    assert answer("ExpandDims", CUBE, dims=[0, 4]).shape == (1, 2, 3, 4, 1)
    assert "axis" in refusal("Flatten", "float[2,3]", axis=3)
    assert "squeezed" in refusal("Squeeze", "float[1,3]", dims=[1])
    assert "dims" in refusal("ExpandDims", "float[3]", dims=[3])
    made = call("Flatten", CUBE)
    assert Trait.VIEW in made.opdef.traits_of(made)


def test_transpositions() -> None:
    assert answer("Transpose", CUBE).shape == (4, 3, 2)
    assert types("Transpose", "float[N,3,4]", axes=[0, 2, 1]) == ["float[N,4,3]"]
    assert types("NCHW2NHWC", "float[N,3,H,W]") == ["float[N,H,W,3]"]
    assert types("NHWC2NCHW", "float[N,H,W,3]") == ["float[N,3,H,W]"]
    x = CUBE.reshape(1, 2, 3, 4)
    np.testing.assert_array_equal(answer("NCHW2NHWC", x), x.transpose(0, 2, 3, 1))
    np.testing.assert_array_equal(answer("NHWC2NCHW", answer("NCHW2NHWC", x)), x)
    assert "axes" in refusal("Transpose", "float[2,3]", axes=[0, 0])


def test_what_a_shape_is() -> None:
    assert answer("Shape", CUBE).tolist() == [2, 3, 4]
    assert answer("Shape", CUBE, axes=[2, 0]).tolist() == [4, 2]
    assert answer("Size", CUBE).tolist() == 24
    assert answer("IsEmpty", CUBE[:0]).tolist() is True


def test_cast() -> None:
    x = f32(-1.7, 0, 1.7)
    assert answer("Cast", x, to=2).tolist() == [-1, 0, 1]
    assert answer("Cast", x, to="INT32").dtype == np.int32
    assert answer("Cast", x, to="int64").dtype == np.int64
    assert answer("Cast", x, to=5).tolist() == [True, False, True]
    assert answer("Cast", np.array([3], np.int32)).dtype == np.float32
    assert answer("Cast", f32([1.5, -2e-7, 1e10]), to=4).tolist() == [b"1.500000", b"-0.000000", b"10000000000.000000"]
    assert answer("Cast", np.array([[-3], [7]], np.int8), to="string").tolist() == [[b"-3"], [b"7"]]
    assert answer("Cast", np.array([True, False]), to=4).tolist() == [b"1", b"0"]
    assert "strings" in refusal("Cast", np.array([b"1"], object), to=1)
    assert "to=" in refusal("Cast", "float[2]", to=99)
    assert "to=" in refusal("Cast", "float[2]", to="complex")


def test_concat() -> None:
    y, info = answers("Concat", CUBE, CUBE[:, :1], outputs=2, axis=1)
    assert y.shape == (2, 4, 4)
    assert (info.dtype, info.tolist()) == (np.int32, [3, 1])
    assert types("Concat", "float[N,3,H,W]", "float[N,C,H,W]", outputs=2) == ["float[N,C+3,H,W]", "int32[2]"]
    assert types("Concat", "float[1,2,2,3]", "float[1,2,2,4]", order="NHWC") == ["float[1,2,2,7]"]
    stacked, info = answers("Concat", CUBE, CUBE, outputs=2, axis=0, add_axis=1)
    assert (stacked.shape, info.tolist()) == ((2, 2, 3, 4), [1, 1])
    assert "exclude" in refusal("Concat", "float[1,2]", "float[1,2]", axis=1, order="NCHW")
    assert "dimension 0" in refusal("Concat", "float[1,2]", "float[2,2]", axis=1)
    assert "axis" in refusal("Concat", "float[1,2]", axis=2)
    assert "Cast" in refusal("Concat", "float[1,2]", "int32[1,2]", axis=1)


def test_split() -> None:
    a, b = answers("Split", CUBE, outputs=2, axis=2)
    assert (a.shape, b[0, 0].tolist()) == ((2, 3, 2), [2, 3])
    a, b = answers("Split", CUBE, outputs=2, axis=1, split=[2, 1])
    assert (a.shape, b.shape) == ((2, 2, 4), (2, 1, 4))
    assert answers("Split", CUBE, np.array([1, 2], np.int32), outputs=2, axis=1)[1].shape == (2, 2, 4)
    assert types("Split", "float[2,3]", outputs=2, axis=0, add_axis=1) == ["float[3]", "float[3]"]
    assert "equal parts" in refusal("Split", "float[2,3]", outputs=2, axis=1)
    assert "split" in refusal("Split", "float[2,3]", outputs=2, axis=1, split=[1, 1])


def test_slice_ends_count_from_behind_the_end() -> None:
    x = np.arange(10, dtype=np.float32)
    assert answer("Slice", x, starts=[2], ends=[-1]).tolist() == list(range(2, 10))
    assert answer("Slice", x, starts=[0], ends=[-3]).tolist() == list(range(8))
    assert answer("Slice", x, starts=[-4], ends=[-1]).tolist() == [7, 8, 9]
    assert answer("Slice", x, starts=[8], ends=[100]).tolist() == [8, 9]
    assert answer("Slice", CUBE, starts=[0, 1, 0], ends=[-1, 2, -1]).shape == (2, 1, 4)
    assert answer("Slice", x, ints(3), ints(5)).tolist() == [3, 4]
    assert types("Slice", "float[N,8]", starts=[0, 2], ends=[-1, 4]) == ["float[N,2]"]
    assert types("Slice", "float[N,8]", "int64[2]", "int64[2]") == ["float[?,?]"]
    assert "start" in refusal("Slice", "float[4]", starts=[3], ends=[1])
    assert "starts" in refusal("Slice", "float[4]", starts=[0, 0], ends=[1, 1])


def test_tile_and_expand() -> None:
    assert answer("Tile", f32([[1, 2]]), tiles=2, axis=1).tolist() == [[1, 2, 1, 2]]
    assert types("Tile", "float[N,2]", tiles=3) == ["float[N*3,2]"]
    assert answer("Expand", f32([[1], [2]]), shape=[1, 2]).tolist() == [[1, 1], [2, 2]]
    assert "tiles" in refusal("Tile", "float[2]", tiles=-1)
    assert "tiles" in refusal("Tile", "float[2]", tiles=2**40)


def test_resize_nearest() -> None:
    x = CUBE.reshape(1, 2, 3, 4)
    got = answer("ResizeNearest", x, width_scale=2.0, height_scale=1.5)
    np.testing.assert_array_equal(got, x[:, :, [0, 0, 1, 2]].repeat(2, axis=3))
    assert answer("ResizeNearest", x, f32(1, 0.5)).shape == (1, 2, 3, 2)
    assert types("ResizeNearest", "float[N,3,H,W]", width_scale=2.0, height_scale=2.0) == ["float[N,3,H*2,W*2]"]
    assert types("ResizeNearest", "float[N,3,4,4]", "float[2]") == ["float[N,3,?,?]"]
    assert "scale" in refusal("ResizeNearest", "float[1,1,4,4]", width_scale=0.0)
    assert "scale" in refusal("ResizeNearest", "float[1,1,4,4]", width_scale=0.1)


def test_upsampling() -> None:
    x = f32([[[[1, 2]]]])
    assert answer("UpsampleNearest", x).tolist() == [[[[1, 1, 2, 2], [1, 1, 2, 2]]]]
    got = answer("UpsampleBilinear", f32([[[[0, 3]]]]), width_scale=2.0, height_scale=1.0)
    np.testing.assert_allclose(got, [[[[0, 1, 2, 3]]]], atol=1e-6)
    assert "scale" in refusal("UpsampleNearest", "float[1,1,2,2]", scale=0)


def test_borders() -> None:
    x = f32([[[[1, 2, 3]]]])
    assert answer("PadImage", x, pad_t=0, pad_l=2, pad_b=0, pad_r=1, mode="reflect").tolist() == [
        [[[3, 2, 1, 2, 3, 2]]]
    ]
    assert answer("PadImage", x, pads=[0, 1, 0, 1], mode="edge").tolist() == [[[[1, 1, 2, 3, 3]]]]
    assert answer("PadImage", x, pads=[0, 1, 0, 0], value=7.0).tolist() == [[[[7, 1, 2, 3]]]]
    assert "reflected" in refusal("PadImage", "float[1,1,1,3]", pads=[0, 3, 0, 0], mode="reflect")
    assert "mode" in refusal("PadImage", "float[1,1,1,3]", mode="wrap")


def test_channel_shuffle_and_blocks() -> None:
    x = np.arange(6, dtype=np.float32).reshape(1, 6, 1, 1)
    assert answer("ChannelShuffle", x, group=2).ravel().tolist() == [0, 3, 1, 4, 2, 5]
    assert answer("ChannelShuffle", x.reshape(1, 1, 1, 6), group=2, order="NHWC").ravel().tolist() == [0, 3, 1, 4, 2, 5]
    assert "groups" in refusal("ChannelShuffle", "float[1,5,2,2]", group=2)
    square = CUBE[0, :2, :2].reshape(1, 1, 2, 2)
    assert answer("SpaceToBatch", square).ravel().tolist() == square.ravel().tolist()
    np.testing.assert_array_equal(answer("BatchToSpace", answer("SpaceToBatch", square)), square)
    assert "block_size" in refusal("SpaceToBatch", "float[1,1,3,3]")


def test_stylizer_conversions() -> None:
    photo, mean = np.full((1, 1, 1, 4), 10, np.uint8), f32(1, 2, 3)
    planes = answer("PackedInt8BGRANHWCToNCHWCStylizerPreprocess", photo, mean, noise_std=0.0)
    assert planes.ravel().tolist() == [9, 8, 7]
    noisy = answer("PackedInt8BGRANHWCToNCHWCStylizerPreprocess", photo, mean)
    assert noisy.tolist() == answer("PackedInt8BGRANHWCToNCHWCStylizerPreprocess", photo, mean).tolist()
    back = answer("BRGNCHWCToPackedInt8BGRAStylizerDeprocess", f32([[[[-9.0]], [[300.0]], [[4.9]]]]), mean)
    assert back.ravel().tolist() == [0, 255, 7, 255]


def test_reductions() -> None:
    assert answer("ReduceSum", CUBE).shape == (1, 1, 1)
    assert answer("ReduceSum", CUBE, axes=[0, 2]).ravel().tolist() == CUBE.sum(axis=(0, 2)).tolist()
    assert types("ReduceMax", "float[N,3,4]", axes=[-1], keepdims=0) == ["float[N,3]"]
    assert answer("ReduceMax", CUBE, axes=[1], keepdims=0).tolist() == CUBE.max(axis=1).tolist()
    mean, variance = answers("Moments", CUBE, outputs=2, axes=[2], keepdims=0)
    np.testing.assert_allclose(mean, CUBE.mean(axis=2))
    np.testing.assert_allclose(variance, CUBE.var(axis=2))
    assert answer("ReduceFrontSum", CUBE).tolist() == CUBE.sum(axis=0).tolist()
    assert answer("ReduceBackMean", CUBE, num_reduce_dim=2).tolist() == CUBE.mean(axis=(1, 2)).tolist()
    lengths = np.array([1, 2, 3], np.int32)
    assert answer("ReduceBackSum", CUBE[0], lengths).tolist() == [0, 9, 27]
    assert "axes" in refusal("ReduceSum", "float[2]", axes=[1])
    assert "num_reduce_dim" in refusal("ReduceBackSum", "float[2]", num_reduce_dim=2)


def test_arg_max_and_top_k() -> None:
    x = f32([[3, 1, 3], [0, 5, 4]])
    assert answer("ArgMax", x).tolist() == [[0], [1]]
    assert answer("ArgMin", x, axis=0, keepdims=0).tolist() == [1, 0, 0]
    values, indices, flat = answers("TopK", x, outputs=3, k=2)
    assert (values.tolist(), indices.tolist(), flat.tolist()) == ([[3, 3], [5, 4]], [[0, 2], [1, 2]], [0, 2, 4, 5])
    assert answers("TopK", x, outputs=2, k=1, axis=0)[1].tolist() == [[0, 1, 1]]
    assert types("TopK", "float[N,9]", outputs=3, k=4) == ["float[N,4]", "int64[N,4]", "int64[N*4]"]
    assert "k" in refusal("TopK", "float[3]", outputs=2)
    assert "k" in refusal("TopK", "float[3]", outputs=2, k=2**40)


def test_gather() -> None:
    assert answer("Gather", CUBE, ints(1, 0, 1))[:, 0, 0].tolist() == [12, 0, 12]
    assert types("Gather", "float[V,8]", "int32[N,T]") == ["float[N,T,8]"]
    assert answer("Gather", CUBE, ints(-1), wrap_indices=1)[0, 0, 0] == 12
    assert answer("BatchGather", CUBE, ints(2, 0)).shape == (2, 2, 4)
    inner = answer("Gather", CUBE, np.array([[0, 1], [2, 2]], np.int64), axis=1, match_outer=1)
    np.testing.assert_array_equal(inner[1], CUBE[1, [2, 2]])
    for bad in (2, -1):
        with pytest.raises(RunError, match="Gather"):
            answer("Gather", CUBE, ints(bad))


def test_one_hot() -> None:
    assert answer("OneHot", ints(0, 2), ints(3)).tolist() == [[1, 0, 0], [0, 0, 1]]
    assert types("OneHot", "int64[N]", "int64[1]") == ["float[N,?]"]
    with pytest.raises(RunError, match="OneHot"):
        answer("OneHot", ints(3), ints(3))


def test_the_other_name_is_given() -> None:
    assert types("AliasWithName", "float[3]", name="other") == ["float[3]"]
    assert "'name' is missing" in refusal("AliasWithName", "float[3]")
