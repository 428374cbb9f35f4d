"""Decoders by hand and by their definition; lists of ids; windows; features; strings, maps and dictionaries."""

from __future__ import annotations

import itertools
from collections import defaultdict

import numpy as np
import pytest
from operator_calls import answer, answers, f32, refusal

from graphc.ir.errors import GraphcError, RunError


def lengths(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int32)


def test_best_path_of_all_paths() -> None:
    rng = np.random.default_rng(0)
    scores, steps = rng.normal(size=(4, 3)).astype(np.float32), rng.normal(size=(3, 3)).astype(np.float32)

    def total(path: tuple[int, ...]) -> float:
        return float(
            sum(scores[t, j] for t, j in enumerate(path)) + sum(steps[a, b] for a, b in itertools.pairwise(path))
        )

    best = max(itertools.product(range(3), repeat=4), key=total)
    assert tuple(answer("ViterbiPath", scores, steps)) == best
    with pytest.raises(RunError, match="BESTPATH"):
        answer("SwapBestPath", scores, lengths(0, 1, 2, 3))


def _all_alignments(x: np.ndarray) -> tuple[int, ...]:
    """The labels with the largest sum over all alignments."""
    chances: dict[tuple[int, ...], float] = defaultdict(float)
    for path in itertools.product(range(x.shape[1]), repeat=len(x)):
        labels = tuple(c for c, before in zip(path, (0, *path)) if c and c != before)
        chances[labels] += float(np.prod([x[t, c] for t, c in enumerate(path)]))
    return max(chances, key=lambda k: chances[k])


@pytest.mark.parametrize("seed", range(4))
def test_a_wide_beam_finds_the_most_probable_labels(seed: int) -> None:
    x = np.random.default_rng(seed).dirichlet([1, 1, 1], size=5).astype(np.float32)
    count, values, chance = answers("CTCBeamSearchDecoder", x[:, None], outputs=3, beam_width=200, prune_threshold=0.0)
    assert tuple(values) == _all_alignments(x)
    assert count.tolist() == [len(values)]
    assert 0 < chance[0] <= 1


def test_candidates_of_sequences_of_unequal_length() -> None:
    x = f32([[[0.6, 0.4], [0.3, 0.7]]])
    count, values, chance = answers("CTCBeamSearchDecoder", x, lengths(1, 0), outputs=3, beam_width=2, num_candidates=2)
    assert count.tolist() == [0, 1, 0, 0]
    assert values.tolist() == [1]
    np.testing.assert_allclose(chance, [0.6, 0.4, 0, 0])
    for op in ("CTCBeamSearchDecoder", "CTCGreedyDecoder"):
        with pytest.raises(RunError, match="SEQ_LEN"):
            answers(op, x, lengths(1, 2), outputs=2)


def test_repeated_labels_count_once() -> None:
    labels = [1, 1, 0, 1, 2]
    x = np.eye(3, dtype=np.float32)[labels][:, None]
    assert answers("CTCGreedyDecoder", x, outputs=2)[1].tolist() == [1, 1, 2]
    assert answers("CTCGreedyDecoder", x, outputs=2, merge_repeated=0)[1].tolist() == [1, 1, 1, 2]


def test_ids_of_several_lists() -> None:
    found = answers("MergeIdLists", lengths(2, 1), lengths(5, 3, 5), lengths(1, 0), lengths(3), outputs=2)
    assert [a.tolist() for a in found] == [[2, 1], [3, 5, 5]]
    with pytest.raises(RunError, match="LENGTHS"):
        answers("MergeIdLists", lengths(2, 2), lengths(5, 3, 5), outputs=2)


def test_rows_and_pairs_that_are_not_there() -> None:
    x = f32([[1, 2], [3, 4]])
    with pytest.raises(RunError, match="INDICES"):
        answer("RemoveDataBlocks", x, lengths(2))
    with pytest.raises(RunError, match="INDICES"):
        answer("ConcatBatchMatMulBatchGatherOp", lengths(4), x, x)
    assert answer("ConcatBatchMatMulBatchGatherOp", lengths(1), x, 2 * x).tolist() == [[10], [50]]


def test_a_window_of_rows() -> None:
    window, cursor, seen = np.zeros((0, 1), np.float32), np.array(0, np.int32), np.array(0, np.int64)
    for batch, wanted in (([1, 2], [1, 2]), ([3, 4], [4, 2, 3]), ([], [4, 2, 3]), ([5, 6, 7, 8], [6, 7, 8])):
        x = np.array(batch, np.float32).reshape(-1, 1)
        mutex = np.zeros((), np.float32)
        window, cursor, seen = answers(
            "LastNWindowCollector", window, cursor, x, mutex, seen, outputs=3, num_to_collect=3
        )
        assert window.ravel().tolist() == wanted
    assert (int(cursor), int(seen)) == (0, 8)
    with pytest.raises(RunError, match="NEXT"):
        answers("LastNWindowCollector", window, np.array(3, np.int32), window, outputs=2, num_to_collect=3)


def test_digits_of_categories() -> None:
    args = {"col_ids": (1, 0), "categorical_limits": (2, 3), "vals": (7, 8, 1, 2, 3)}
    assert answer("NGramFromCategorical", f32([[3, 8], [2.4, 7], [9, 9]]), **args).tolist() == [1 + 2 * 2, 2, 0]
    assert "vals" in refusal("NGramFromCategorical", "float[2,2]", col_ids=(0,), categorical_limits=(2,), vals=(1,))


def test_features_that_are_there() -> None:
    there = np.array([True, False]), np.array([True, True])
    found = answers(
        "MergeSingleMapFeatureTensors",
        *(lengths(2, 9), np.array([1, 2], np.int64), f32(0.1, 0.2), there[0]),
        *(lengths(0, 1), np.array([3], np.int64), f32([0.3]), there[1]),
        outputs=5,
        feature_ids=(11, 12),
    )
    assert [a.tolist() for a in found[:4]] == [[2, 1], [11, 12, 12], [2, 0, 1], [1, 2, 3]]
    gradients = answers(
        "MergeSingleMapFeatureTensorsGradient", lengths(2, 9), there[0], lengths(0, 1), there[1], found[4], outputs=2
    )
    np.testing.assert_allclose(gradients[0], [0.1, 0.2])
    np.testing.assert_allclose(gradients[1], [0.3])


def test_lengths_of_features_are_checked() -> None:
    there, ids = np.array([True]), {"feature_ids": (1,)}
    with pytest.raises(RunError, match="LENGTHS"):
        answers("MergeSingleListFeatureTensors", lengths(3), f32([1, 2]), there, outputs=4, **ids)
    with pytest.raises(RunError, match="LENGTHS"):
        answers("MergeMultiScalarFeatureTensors", lengths(3), np.array([1, 2], np.int64), f32([1, 2]), outputs=3)
    with pytest.raises(RunError, match="VALUES_GRAD"):
        answers("MergeSingleScalarFeatureTensorsGradient", there, f32([]), outputs=1)
    assert "feature_ids" in refusal("MergeDenseFeatureTensors", "float[2,3]", "bool[2,3]", outputs=3, **ids)


def test_text() -> None:
    words = np.array([b"abc", b""], object)
    assert answer("StringSuffix", words, length=2).tolist() == [b"bc", b""]
    assert answer("StringStartsWith", words, prefix="a").tolist() == [True, False]
    assert answer("StringJoin", f32([[1.5, 1e7]])).tolist() == [b"1.5,1e+07,"]


def test_maps() -> None:
    keys, values = np.array([3, 1, 3], np.int64), lengths(5, 6, 7)
    found = answers("MapToKeyValue", answer("KeyValueToMap", keys, values), outputs=2)
    assert [a.tolist() for a in found] == [[3, 1], [5, 6]]
    assert [a.dtype for a in found] == [np.int64, np.int32]
    with pytest.raises(GraphcError, match="is no map"):
        answers("MapToKeyValue", np.array([b"a"], object), outputs=2)


def test_a_dictionary_grows_until_it_is_frozen() -> None:
    handle = answer("StringIndexCreate", max_elements=4)
    words = np.array([b"a", b"b", b"a"], object)
    assert answer("IndexGet", handle, words).tolist() == [1, 2, 1]
    assert answer("IndexStore", handle).tolist() == [b"a", b"b"]
    assert answer("IndexSize", handle) == 3
    frozen = answer("IndexFreeze", handle)
    assert answer("IndexGet", frozen, np.array([b"b", b"z"], object)).tolist() == [2, 0]
    loaded = answer("IndexLoad", handle, words[:2], skip_first_entry=1)
    assert answer("IndexGet", loaded, words[1:2]).tolist() == [1]
    with pytest.raises(GraphcError, match="max_elements"):
        answer("IndexGet", handle, np.array([b"c", b"d"], object))
    with pytest.raises(GraphcError, match="do not fit"):
        answer("IndexGet", handle, lengths(1))


def test_datasets() -> None:
    fields = (b"a:lengths", b"a:values", b"b")
    arrays = lengths(2, 0, 1), f32([1, 2, 3]), f32([4, 5, 6])
    trimmed = answers("TrimDataset", *arrays, outputs=3, fields=fields, multiple_of=2)
    assert [a.tolist() for a in trimmed] == [[2, 0], [1, 2], [4, 5]]
    with pytest.raises(GraphcError, match="field 'a:values' has 2 rows"):
        answers("CheckDatasetConsistency", arrays[0], arrays[1][:2], arrays[2], outputs=0, fields=fields)
