"""``caffe2.python.crf``: a conditional random field on top of the scores of a tagger, one sentence at a time.

Scores are words x classes. Two more classes, the begin and the end of a sentence, are added to them; the transitions
are a matrix of classes + 2 squared, from row to column.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphc.caffe2 import brew, core, model_helper, recurrent

LOW_SCORE = -1000.0
"""The score of classes that a padded word cannot have, and of begin and end for a real word."""


class CRFWithLoss:
    """The layer: its transitions, a parameter of the model, its loss, and its answers."""

    def __init__(self, model: Any, num_classes: int, transitions_blob: Any = None) -> None:
        """transitions_blob: they are drawn from [-1, 1] without it."""
        self.model = model
        self.num_classes = num_classes
        self.num_classes_padded = num_classes + 2
        if not transitions_blob:
            transitions_blob = model.param_init_net.UniformFill(
                [],
                [core.ScopedBlobReference("crf_transitions")],
                shape=[self.num_classes_padded, self.num_classes_padded],
                min=-1.0,
                max=1.0,
            )
        self.transitions = transitions_blob
        model.params.append(transitions_blob)

    def crf_loss(self, predictions: Any, labels: Any, seq_lengths: Any = None) -> Any:
        """How far the labels are from certain: log of the sum over all paths of exp(score), less the labels' score.

        The transitions are copied first, because another thread may update them meanwhile.
        """
        net, init = self.model.net, self.model.param_init_net
        transitions = net.Copy(self.transitions, core.ScopedBlobReference("transitions_snapshot"))
        unary = self._gather_entries_sum(predictions, labels, self.num_classes)
        padded = self.pad_predictions(predictions, init, net, self.num_classes)
        padded_labels = self.pad_labels(labels, init, net, self.num_classes)
        binary = self._path_binary_scores(padded_labels, transitions, seq_lengths)
        path = net.Add([binary, unary], core.ScopedBlobReference("path_total"))
        zero = init.ConstantFill([], shape=[1], value=0)
        first = net.Gather([padded, zero], core.ScopedBlobReference("rnn_initial"), dense_gradient=True)
        rest, _ = net.RemovePadding([padded], padding_width=1, end_padding_width=0, outputs=2)
        steps = net.ExpandDims([rest], core.ScopedBlobReference("rnn_input_data"), dims=[1])
        copied = net.Copy(transitions, core.ScopedBlobReference("transitions_copy"))
        paths = self._crf_forward(steps, first, copied)
        return net.Sub([paths, path], core.ScopedBlobReference("crf_loss"))

    def _path_binary_scores(self, labels: Any, transitions: Any, seq_lengths: Any = None) -> Any:
        """The sum of the transitions between neighbours: entries (before, after) of the flattened matrix."""
        net = self.model.net
        after, _ = net.RemovePadding([labels], outputs=2, padding_width=1, end_padding_width=0)
        before, _ = net.RemovePadding([labels], outputs=2, padding_width=0, end_padding_width=1)
        width = net.ConstantFill([before], value=self.num_classes_padded)
        places = net.Add([net.Mul([before, width]), after])
        flat = net.FlattenToVec([transitions])
        return self.model.ReduceFrontSum(net.Gather([flat, places], dense_gradient=True))

    def _gather_entries_sum(self, in_data: Any, indices: Any, index_size: int) -> Any:
        """The sum of one entry a row."""
        net = self.model.net
        numbers = net.Cast([indices], to="int64")
        size = self.model.param_init_net.ConstantFill([], shape=[1], value=index_size)
        chosen = net.FlattenToVec(net.OneHot([numbers, size]))
        scores = net.DotProduct([chosen, net.FlattenToVec(in_data)])
        return net.ReduceFrontSum([scores])

    def _crf_forward(self, input_blob: Any, initial_state: Any, transitions_copy: Any, seq_lengths: Any = None) -> Any:
        """Log of the sum over all paths: the last step of the recursion, summed over classes."""
        net = self.model.net
        last = self.build_crf_net(input_blob, initial_state, transitions_copy)
        last, _ = net.Reshape([last], outputs=2, shape=(self.num_classes_padded,))
        one_segment = self.model.param_init_net.ConstantFill(
            [], value=0, shape=[self.num_classes_padded], dtype=core.DataType.INT32
        )
        total = net.SortedSegmentRangeLogSumExp([last, one_segment])
        total, _ = net.Reshape(total, outputs=2, shape=())
        return total

    def build_crf_net(self, input_blob: Any, initial_state: Any, transitions: Any) -> Any:
        """Add the recursion over words (input: words x 1 x classes); gives the state after the last one."""
        scope = "crf_net"
        step = model_helper.ModelHelper(name="crf_step", param_model=self.model)
        input_t, before, _ = step.net.AddExternalInputs(
            core.ScopedBlobReference("input_t"), core.ScopedBlobReference("cell_t_prev"), transitions
        )
        after = self._crf_step(step, scope, input_t, before, transitions)
        step.net.AddExternalOutputs(after)
        _, last = recurrent.recurrent_net(
            net=self.model.net,
            cell_net=step.net,
            inputs=[(input_t, input_blob)],
            initial_cell_inputs=[(before, initial_state)],
            links={before: after},
            scope=scope,
            outputs_with_grads=(1,),
        )
        return last

    def _crf_step(self, step: Any, scope: str, input_t: Any, before: Any, transitions: Any) -> Any:
        """One step: for each class the log-sum-exp over classes before of state, transition and score."""
        net, n = step.net, self.num_classes_padded

        def named(name: str) -> list[str]:
            return [f"{scope}/{name}"]

        one_segment = step.param_init_net.ConstantFill(
            [], named("zero_segment_id"), value=0, shape=[n], dtype=core.DataType.INT32
        )
        step.param_init_net.AddExternalOutput(one_segment)
        column = brew.transpose(step, before, named("prev_transpose"), axes=(0, 2, 1))
        tiled = net.Tile(column, named("prev_tiled"), tiles=n, axis=2)
        scores = net.Tile(input_t, named("input_t_tiled"), tiles=n, axis=1)
        both = net.Add([tiled, scores], named("input_with_prev"))
        total = net.Add([both, transitions], named("prev_with_transitions"), broadcast=1, use_grad_hack=1)
        names = named("all_with_transitions_reshaped") + named("all_with_transitions_orig")
        matrix, _ = net.Reshape(total, names, shape=(n, n))
        return net.SortedSegmentRangeLogSumExp([matrix, one_segment], named("cell_t"))

    def update_predictions(self, classes: Any) -> Any:
        """Add an operator of Python that changes the scores so that the best path has the highest one of each word."""
        net = self.model.net
        padded = self.pad_predictions(classes, self.model.param_init_net, net, self.num_classes)
        name = core.ScopedBlobReference("post_crf_classes")
        return net.Python(_swap_to_best_path)([padded, self.transitions], name)

    @staticmethod
    def pad_labels(labels: Any, init_net: Any, net: Any, num_classes: int) -> Any:
        """The labels, int64, with begin before and end behind them."""
        begin = init_net.ConstantFill([], shape=[1], value=num_classes)
        end = init_net.ConstantFill([], shape=[1], value=num_classes + 1)
        numbers = net.Cast([labels], to="int64")
        padded, _ = net.Concat([begin, numbers, end], axis=0, outputs=2)
        return padded

    @staticmethod
    def pad_predictions(predictions: Any, init_net: Any, net: Any, num_classes: int) -> Any:
        """The scores with a word before that can only be the begin, one behind that can only be the end."""

        def word(name: str, certain: int) -> Any:
            scores = np.full((1, num_classes + 2), LOW_SCORE, np.float32)
            scores[0, certain] = 0
            return init_net.GivenTensorFill([], name, shape=[1, num_classes + 2], values=scores)

        begin, end = word("b_scores", num_classes), word("e_scores", num_classes + 1)
        zero = net.ConstantFill([], shape=[1], value=0)
        length = net.Cast(net.Gather([net.Shape([predictions]), zero]), to="int32")
        column = net.ConstantFill([net.LengthsRangeFill(length)], value=LOW_SCORE)
        column = net.ExpandDims(column, dims=[1])
        wide, _ = net.Concat([predictions, column, column], outputs=2, axis=1)
        padded, _ = net.Concat([begin, wide, end], outputs=2, axis=0)
        return padded


def _swap_to_best_path(inputs: Any, outputs: Any) -> None:
    """Swap, in each word, the highest score with that of the class on the best path; without begin and end."""
    scores, transitions = np.array(inputs[0].data), inputs[1].data
    rows = np.arange(len(scores))
    path, highest = _best_path(scores, transitions), scores.argmax(1)
    scores[rows, path], scores[rows, highest] = scores[rows, highest], scores[rows, path]
    found = scores[1:-1, :-2]
    outputs[0].reshape(found.shape)
    outputs[0].data[...] = found


def _best_path(scores: NDArray[Any], transitions: NDArray[Any]) -> NDArray[np.int64]:
    """Viterbi's path of highest score."""
    total, origins = scores[0].astype(np.float64), []
    for row in scores[1:]:
        reached = total[:, None] + transitions
        origins.append(reached.argmax(0))
        total = row + reached.max(0)
    path = [int(total.argmax())]
    for origin in reversed(origins):
        path.append(int(origin[path[-1]]))
    return np.array(path[::-1])
