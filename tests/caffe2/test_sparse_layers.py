"""Layers of lists of identifiers and of records, against NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import interpreted_nets
import numpy as np
import pytest
from layer_nets import Arrays, evaluated, net_of, new_model, record, types

from graphc.caffe2 import schema
from graphc.caffe2.helpers.arg_scope import arg_scope
from graphc.caffe2.layer_model_helper import LayerModelHelper
from graphc.caffe2.layers.layers import IdList, IdScoreList, InstantiationContext
from graphc.caffe2.layers.sparse_lookup import get_sparse_lookup_predictor_version
from graphc.caffe2.optimizer import AdagradOptimizer

RANDOM = np.random.default_rng(12)
X = RANDOM.normal(size=(6, 4)).astype(np.float32)
LABEL = np.array([0, 1, 1, 0, 1, 0], np.float32)
LENGTHS, IDS = np.array([2, 0, 3], np.int32), np.array([4, 1, 0, 3, 3], np.int64)
SCORES = np.array([0.5, 2.0, 1.0, -1.0, 0.25], np.float32)


def sparse(model: LayerModelHelper, kind: Any, limit: int = 5) -> tuple[Any, Arrays]:
    """A list of identifiers below a limit, perhaps with scores, and what to feed."""
    made = schema.NewRecord(model.net, kind)
    keys = made.items if kind is IdList else made.keys
    keys.set_metadata(schema.Metadata(categorical_limit=limit))
    return made, {str(blob): array for blob, array in zip(made.field_blobs(), (LENGTHS, IDS, SCORES))}


def reduced(rows: np.ndarray, reduce: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    ends = np.cumsum(LENGTHS)
    return np.array([reduce(rows[end - n : end]) if n else np.zeros(rows.shape[1:]) for n, end in zip(LENGTHS, ends)])


@pytest.mark.parametrize(
    ("kind", "reducer", "operators", "want"),
    [
        (IdList, "Sum", ["SparseLengthsSum"], lambda w: reduced(w[IDS], lambda r: r.sum(0))),
        (IdList, "WeightedMean", ["SparseLengthsMean"], lambda w: reduced(w[IDS], lambda r: r.mean(0))),
        (
            IdList,
            "Sqrt",
            ["LengthsToWeights", "SparseLengthsWeightedSum"],
            lambda w: reduced(w[IDS], lambda r: r.sum(0) / np.sqrt(len(r))),
        ),
        (IdList, "None", ["Gather"], lambda w: w[IDS]),
        (IdScoreList, "Mean", ["SparseLengthsMean"], lambda w: reduced(w[IDS], lambda r: r.mean(0))),
        (
            IdScoreList,
            "PositionWeighted",
            ["SparseLengthsWeightedSum"],
            lambda w: reduced(w[IDS] * SCORES[:, None], lambda r: r.sum(0)),
        ),
    ],
)
def test_look_ups(kind: Any, reducer: str, operators: list[str], want: Callable[[np.ndarray], np.ndarray]) -> None:
    model = new_model()
    lists, fed = sparse(model, kind)
    output = model.SparseLookup(lists, [3], reducer)
    assert types(net_of(model, InstantiationContext.TRAINING)) == operators
    found, initial = evaluated(model, output, fed)
    w = initial["sparse_lookup/w"]
    assert w.shape == (5, 3)
    np.testing.assert_allclose(found["sparse_lookup/output"], want(w), rtol=1e-5, atol=1e-6)


def test_look_up_by_segments() -> None:
    model = new_model()
    lists, _ = sparse(model, IdList)
    model.SparseLookup(lists, [3], "Max")
    operators = types(net_of(model, InstantiationContext.TRAINING))
    assert operators == ["Gather", "LengthsToSegmentIds", "SortedSegmentRangeMax"]


@pytest.mark.parametrize(
    ("version", "size", "operator", "inputs"),
    [
        ("fp16", 8, "SparseLengthsSum", 3),
        ("uint8rowwise", 8, "SparseLengthsSum8BitsRowwise", 4),
        ("fused_uint8rowwise", 8, "SparseLengthsSumFused8BitRowwise", 3),
        ("fused_uint4rowwise", 8, "SparseLengthsSumFused4BitRowwise", 3),
        ("fused_uint4rowwise", 9, "SparseLengthsSumFused8BitRowwise", 3),
        ("fused_uint8rowwise", 3, "SparseLengthsSum", 3),
    ],
)
def test_look_ups_of_few_bits(version: str, size: int, operator: str, inputs: int) -> None:
    model = new_model()
    lists, _ = sparse(model, IdList)
    model.SparseLookup(lists, [size], "Sum")
    with arg_scope([get_sparse_lookup_predictor_version], version=version, min_blob_size_4bits=10):
        (op,) = net_of(model, InstantiationContext.PREDICTION).Proto().op
    assert (op.type, len(op.input)) == (operator, inputs)
    assert model.layers[0].support_8bit() == (size >= 8)
    assert len(model.layers[0].get_8bits_compatible_parameters()) == (size >= 8)


def test_look_up_of_float16() -> None:
    model = new_model()
    lists, _ = sparse(model, IdScoreList)
    optimizer = AdagradOptimizer(alpha=0.1, engine="SIMD_Q_FP16")
    model.SparseLookup(lists, [8], "PositionWeighted", weight_optim=optimizer)
    assert model.layers[0].params[0].initializer.type == "Float16UniformFill"
    (op,) = net_of(model, InstantiationContext.TRAINING).Proto().op
    assert op.engine == "FP16"
    with pytest.raises(AssertionError, match="float16 has no reducer WeightedMean"):
        model.SparseLookup(lists, [8], "WeightedMean", weight_optim=optimizer)


def test_weights_of_positions_and_buckets() -> None:
    model = new_model()
    lists, fed = sparse(model, IdScoreList)
    positions = model.PositionWeighted(lists)
    net = net_of(model, InstantiationContext.TRAINING)
    weights = {"position_weights/pos_w": np.arange(5, dtype=np.float32)}
    blob = positions.position_weights()
    found = interpreted_nets.run(net, {**fed, **weights}, [blob])[str(blob)]
    np.testing.assert_array_equal(found, [0, 1, 0, 1, 2])
    model = new_model()
    lists, fed = sparse(model, IdScoreList)
    buckets = model.BucketWeighted(lists, bucket_boundaries=[0.0, 0.75], hash_buckets=False)
    net = net_of(model, InstantiationContext.TRAINING)
    weights = {"bucket_weighted/bucket_w": np.array([10.0, 20.0, 30.0], np.float32)}
    blob = buckets.bucket_weights()
    found = interpreted_nets.run(net, {**fed, **weights}, [blob])[str(blob)]
    np.testing.assert_array_equal(found, [20, 30, 30, 10, 20])


@pytest.mark.parametrize(
    ("arguments", "want"),
    [
        ({"use_hashing": False, "modulo": 3}, IDS % 3),
        ({"use_hashing": False}, IDS % 5),
        ({"use_hashing": False, "use_divide_mod": True, "divisor": 2}, IDS // 2 % 5),
    ],
)
def test_hashes(arguments: dict[str, Any], want: np.ndarray) -> None:
    model = new_model()
    lists, fed = sparse(model, IdScoreList)
    output = model.SparseFeatureHash(lists, **arguments)
    found, _ = evaluated(model, output, fed)
    lengths, keys, scores = (found[str(blob)] for blob in output.field_blobs())
    np.testing.assert_array_equal(keys, want)
    np.testing.assert_array_equal(lengths, LENGTHS)
    np.testing.assert_array_equal(scores, SCORES)
    assert output.keys.metadata.categorical_limit == arguments.get("modulo", 5)
    assert model.layers[0].tags == {"cpu_only"}


def test_rows_of_records() -> None:
    """The third and the first row, of a tensor and of a list."""
    model = new_model()
    rows = schema.Struct(("a", schema.Scalar((np.float32, (2,)))), ("b", schema.List(np.int64)))
    fields = record(model, indices=np.int32, record=rows)
    output = model.GatherRecord(fields)
    a, lengths, items = (str(blob) for blob in fields.record.field_blobs())
    fed = {a: X[:3, :2], lengths: LENGTHS, items: IDS, "indices": np.array([2, 0], np.int32)}
    found, _ = evaluated(model, output, fed)
    arrays = [found[str(blob)] for blob in output.field_blobs()]
    np.testing.assert_array_equal(arrays[0], X[[2, 0], :2])
    np.testing.assert_array_equal(arrays[1], [3, 2])
    np.testing.assert_array_equal(arrays[2], [0, 3, 3, 4, 1])


def test_features_become_columns() -> None:
    model = new_model()
    specs = schema.FeatureSpec(feature_type="FLOAT", feature_names=["f", "g"], feature_ids=[3, 0])
    fields = schema.NewRecord(model.net, schema.Struct(("floats", schema.Map(np.int32, np.float32))))
    output = model.FeatureSparseToDense(fields, [("floats", specs)], default_dense_value=float("nan"))
    lengths, keys, values = (str(blob) for blob in fields.field_blobs())
    found, _ = evaluated(model, output, {lengths: LENGTHS, keys: IDS.astype(np.int32), values: SCORES})
    nan = np.nan
    np.testing.assert_array_equal(found["feature_sparse_to_dense/floats_output"], [[nan, nan], [nan, nan], [0.25, 1.0]])
    assert model.layers[0].get_accessed_features()["floats"][0].ids == {0, 3}
    ((known, _, _),) = model.layers[0].get_metadata()
    assert known["cardinality"] == 1
    specs = specs._replace(feature_type="GENERIC_FEATURE")
    with pytest.raises(TypeError, match="ParseGeneric"):
        model.FeatureSparseToDense(fields, [("floats", specs)])


def test_similarities() -> None:
    model = new_model()
    fields = record(model, x_embeddings=(np.float32, (2, 4)), y_embeddings=(np.float32, (3, 4)))
    output = model.PairwiseSimilarity(fields, 6)
    x, y = RANDOM.normal(size=(5, 2, 4)).astype(np.float32), RANDOM.normal(size=(5, 3, 4)).astype(np.float32)
    found, _ = evaluated(model, output, {"x_embeddings": x, "y_embeddings": y})
    want = np.einsum("bik,bjk->bij", x, y).reshape(5, 6)
    np.testing.assert_allclose(found["pairwise_similarity/output"], want, rtol=1e-5, atol=1e-6)
    with pytest.raises(AssertionError, match="either all_embeddings"):
        model.PairwiseSimilarity(record(model, z=np.float32), 6)


def test_labels_become_probabilities() -> None:
    model = new_model()
    label = record(model, label=np.int64).label
    matrix = np.array([[0.8, 0.2], [0.4, 0.6]])
    output = model.LabelSmooth(label, matrix)
    found, _ = evaluated(model, output, {"label": LABEL.astype(np.int64)})
    np.testing.assert_allclose(found["label_smooth/smoothed_label"], matrix[LABEL.astype(int)], rtol=1e-6)
    with pytest.raises(AssertionError, match="no square matrix"):
        model.LabelSmooth(label, [0.1, 0.2, 0.7])


def test_samples() -> None:
    """A layer of ten outputs is trained with the rows 1, 7 and others that are drawn."""
    model = new_model()
    given = record(model, indices=np.int32).indices
    sampled = model.UniformSampling(given, num_samples=4, num_elements=10)
    model.SamplingTrain(
        schema.Struct(
            ("input", model.input_feature_schema.x),
            ("indices", sampled.samples),
            ("sampling_prob", sampled.sampling_prob),
        ),
        "FC",
        10,
    )
    assert types(net_of(model, InstantiationContext.PREDICTION))[-1:] == ["FC"]
    tail = types(net_of(model, InstantiationContext.TRAINING))[-5:]
    assert tail == ["Gather", "Gather", "FC", "Log", "Sub"]
    assert model.layers[1].params[0].shape == [10, 4]
    found, _ = evaluated(model, sampled, {"x": X, "indices": np.array([1, 7], np.int32)})
    samples = found["uniform_sampling/samples"].tolist()
    assert samples[:2] == [1, 7]
    assert len(set(samples)) == 4
    np.testing.assert_allclose(found["uniform_sampling/prob"], [0.4] * 4)


def test_layers_of_operators_that_keep_things() -> None:
    model = new_model()
    x = model.input_feature_schema.x
    kept = model.LastNWindowCollector(x, 3)
    assert kept.last_n.field_blobs() == ["last_n_window_collector/last_n"]
    model.ReservoirSampling(record(model, data=(np.float32, (4,)), object_id=np.int64), 3)
    model.MapToRange(record(model, key=np.int32).key, 10)
    lists = [sparse(model, IdList, limit)[0] for limit in (5, 9)]
    merged = model.MergeIdLists(schema.NewRecord(model.net, schema.Tuple(*lists)))
    assert merged.items.metadata.categorical_limit == 9
    model.SparseDropoutWithReplacement(lists[0], 0.0, 0.5, 1.0, -1)
    operators = types(net_of(model, InstantiationContext.PREDICTION))
    keepers = ["LastNWindowCollector", "ReservoirSampling", "IndexFreeze", "Cast", "IndexGet", "StopGradient"]
    assert operators == [*keepers, "MergeIdLists", "SparseDropoutWithReplacement"]


def test_records_by_kind_of_net() -> None:
    model = new_model()
    fields = record(model, training=(np.float32, (2,)), prediction=(np.float32, (2,)))
    model.SelectRecordByContext(fields, default_output_record_field="prediction", use_copy=True)
    for context, blob in (("training", "training"), ("prediction", "prediction"), ("eval", "prediction")):
        (op,) = net_of(model, context).Proto().op
        assert (op.type, list(op.input)) == ("Copy", [blob])
