"""Modules of one function or two: operators as functions, tensor trains, trees of words, tags of sentences."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import interpreted_nets
import numpy as np
import pytest

from graphc.caffe2 import core, crf, hsm_util, lazy_dyndep, model_helper, tt_core, workspace
from graphc.caffe2.crf_predict import crf_update_predictions
from graphc.caffe2.functional import Functional
from graphc.caffe2.proto import hsm_pb2
from graphc.ir import VerifyError

RANDOM = np.random.default_rng(3)


def test_functional() -> None:
    x = np.array([[-1.0, 2.0]], np.float32)
    found = Functional.Relu(x)
    np.testing.assert_array_equal(found["output_0"], [[0, 2]])
    np.testing.assert_array_equal(found[0], found.output_0)
    both, sizes = Functional.Concat(x, x, axis=1)
    assert (both.shape, sizes.tolist()) == ((1, 4), [2, 2])
    parts = Functional.Split(both, num_output=4, axis=1)
    assert [part.item() for part in parts] == [-1, 2, -1, 2]
    assert not workspace.Blobs()


def test_functional_in_place() -> None:
    found = Functional.Iter(np.array([4], np.int64))
    assert found["input_0"].tolist() == [5]


def test_functional_refuses() -> None:
    with pytest.raises(ValueError, match="Relu takes 1 to 1 inputs, 0 are given"):
        Functional.Relu()
    with pytest.raises(ValueError, match="say how many, num_output=n"):
        Functional.Split(np.zeros(4, np.float32))
    with pytest.raises(ValueError, match="num_output is 3"):
        Functional.Relu(np.zeros(4, np.float32), num_output=3)
    with pytest.raises(VerifyError, match="Rellu"):
        Functional.Rellu(np.zeros(4, np.float32))


@pytest.mark.parametrize(("inputs", "outputs", "ranks"), [([2, 3], [3, 2], [1, 6, 1]), ([4, 2], [2, 3], [1, 6, 1])])
def test_tensor_train_of_a_matrix(inputs: list[int], outputs: list[int], ranks: list[int]) -> None:
    w = RANDOM.normal(size=(np.prod(outputs), np.prod(inputs))).astype(np.float32)
    x = RANDOM.normal(size=(1, w.shape[1])).astype(np.float32)
    bias = RANDOM.normal(size=len(w)).astype(np.float32)
    cores = tt_core.matrix_to_tt(w, inputs, outputs, ranks)
    net = core.Net("tt")
    net.TT(["x", "b", "cores"], "y", inp_sizes=inputs, out_sizes=outputs, tt_ranks=ranks)
    found = interpreted_nets.run(net, {"x": x, "b": bias, "cores": cores}, ["y"])["y"]
    np.testing.assert_allclose(found, x @ w.T + bias, rtol=1e-4, atol=1e-4)


def test_tensor_train_from_scratch() -> None:
    cores = tt_core.init_tt_cores([2, 3], [3, 2], [1, 4, 1], seed=5)
    assert cores.shape == (6 * 4 + 4 * 6,)
    first = cores[:24].reshape(6, 4)
    gram = first.T @ first
    np.testing.assert_allclose(gram, np.eye(4) * gram[0, 0], atol=1e-7)
    np.testing.assert_array_equal(cores, tt_core.init_tt_cores([2, 3], [3, 2], [1, 4, 1], seed=5))


def test_tensor_trains_refuse() -> None:
    with pytest.raises(AssertionError, match="2 input sizes and 1 output sizes"):
        tt_core.init_tt_cores([2, 3], [3], [1, 4, 1])
    with pytest.raises(AssertionError, match="2 sizes need 3 ranks"):
        tt_core.matrix_to_tt(np.eye(6), [2, 3], [3, 2], [1, 1])
    with pytest.raises(AssertionError, match=r"W is \(6, 5\)"):
        tt_core.matrix_to_tt(np.zeros((6, 5)), [2, 3], [3, 2], [1, 4, 1])
    with pytest.raises(AssertionError, match="rank 1 is 9"):
        tt_core.matrix_to_tt(np.eye(6), [2, 3], [3, 2], [1, 9, 1])


def test_hierarchies() -> None:
    """A root with a node of the words 7 and 8, and the words 5 and 6."""
    low = hsm_util.create_node_with_words([7, 8], "low")
    root = hsm_util.create_node_with_nodes([low], "root")
    root.word_ids.extend([5, 6])
    tree = hsm_pb2.TreeProto(root_node=root)
    found = hsm_util.create_hierarchy(tree)
    paths = {path.word_id: [(n.index, n.length, n.target) for n in path.path_nodes] for path in found.paths}
    assert found.size == 5
    assert paths == {
        7: [(0, 3, 0), (3, 2, 0)],
        8: [(0, 3, 0), (3, 2, 1)],
        5: [(0, 3, 1)],
        6: [(0, 3, 2)],
    }
    assert tree.root_node.children[0].offset == 3
    assert [p.word_id for p in found.paths] == [7, 8, 5, 6]


CLASSES, WORDS = 3, 4
SCORES = RANDOM.normal(size=(WORDS, CLASSES)).astype(np.float32)
TRANSITIONS = RANDOM.uniform(-1, 1, size=(CLASSES + 2, CLASSES + 2)).astype(np.float32)


def path_score(path: tuple[int, ...]) -> float:
    """Scores of the classes, and transitions from the begin through them to the end."""
    whole = (CLASSES, *path, CLASSES + 1)
    steps = sum(TRANSITIONS[a, b] for a, b in itertools.pairwise(whole))
    return float(steps + sum(SCORES[i, c] for i, c in enumerate(path)))


ALL = {path: path_score(path) for path in itertools.product(range(CLASSES), repeat=WORDS)}


def field() -> tuple[Any, crf.CRFWithLoss]:
    """A model with a field, its scores and transitions in the workspace."""
    model = model_helper.ModelHelper(name="tagger")
    _, transitions, _ = model.net.AddExternalInputs("scores", "transitions", "labels")
    workspace.FeedBlob("scores", SCORES)
    workspace.FeedBlob("transitions", TRANSITIONS)
    return model, crf.CRFWithLoss(model, CLASSES, transitions)


def test_best_paths() -> None:
    """Both ways give each word its class of the best of all 81 paths."""
    model, layer = field()
    by_operators = crf_update_predictions(model, layer, "scores")
    by_python = layer.update_predictions("scores")
    workspace.RunNetOnce(model.param_init_net)
    workspace.RunNetOnce(model.net)
    found = workspace.FetchBlob(by_operators)
    np.testing.assert_allclose(found, workspace.FetchBlob(by_python), rtol=1e-6)
    assert tuple(found.argmax(1)) == max(ALL, key=lambda path: ALL[path])
    np.testing.assert_allclose(np.sort(found, axis=1), np.sort(SCORES, axis=1))


def test_loss_of_a_field() -> None:
    """The log of the sum over all paths, less the score of the labels."""
    labels = (2, 0, 1, 1)
    model, layer = field()
    loss = str(layer.crf_loss("scores", "labels"))
    fed = {"scores": SCORES, "transitions": TRANSITIONS, "labels": np.array(labels, np.int32)}
    initial = interpreted_nets.initial(model.param_init_net)
    found = interpreted_nets.run(model.net, {**fed, **initial}, [loss])[loss]
    total = np.log(np.exp(np.array(list(ALL.values()))).sum())
    np.testing.assert_allclose(found, total - ALL[labels], rtol=1e-5)


def test_lazy_libraries(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    library = tmp_path / "mine.so"
    library.write_bytes(b"")
    errors: list[BaseException] = []
    lazy_dyndep.SetErrorHandler(errors.append)
    lazy_dyndep.RegisterOpsLibrary(str(library))
    assert not errors
    core.RefreshRegisteredOperators(trigger_lazy=False)
    assert not errors
    core.RefreshRegisteredOperators()
    assert "cannot load operators" in str(errors[0])
    lazy_dyndep.RegisterOpsLibrary("absent.so")
    assert "Ignoring absent.so" in capsys.readouterr().out
    assert str(library) not in lazy_dyndep.GetImportedOpsLibraries()
