"""``caffe2.python.layers.tags``: marks of layers, which decide into which nets they go."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from graphc.caffe2 import context


class TagContext(context.DefaultManaged):
    """The tags that new layers get."""

    def __init__(self, tags: list[str] | None = None) -> None:
        self.tags: list[str] = tags or []

    def add_tags(self, tags: Sequence[str]) -> None:
        """Begin a block."""
        self.tags.extend(tags)

    def remove_tags(self, tags: Sequence[str]) -> None:
        """End a block; raises ``AssertionError`` unless it is the last one that began."""
        if self.tags[len(self.tags) - len(tags) :] != list(tags):
            raise AssertionError(f"tags {list(tags)} are not the last ones of {self.tags}")
        self.tags = self.tags[: len(self.tags) - len(tags)]


class Tags:
    """``with Tags(Tags.EXCLUDE_FROM_TRAIN)``: layers made in the block, or in a function so decorated, are marked.

    ``EXCLUDE_FROM_...`` and the combinations of them are followed. Everything else is for those who place layers on
    machines.
    """

    EXCLUDE_FROM_TRAIN = "exclude_from_train"
    EXCLUDE_FROM_EVAL = "exclude_from_eval"
    EXCLUDE_FROM_PREDICTION = "exclude_from_prediction"
    EXCLUDE_FROM_ACCUMULATE_PRED = "exclude_from_accumulate_pred"
    PREPROCESSING = "preprocessing"
    HANDLE_AS_SPARSE_LAYER = "handle_as_sparse_layer"
    PREFER_GPU = "prefer_gpu"
    CPU_ONLY = "cpu_only"
    LOCAL = "local"
    SPARSE_SHARDED = "sparse_sharded"
    SPARSE_DONT_SHARD = "sparse_dont_shard"
    COMPONENT = "component:"
    PIPELINE = "pipeline:"
    HOGWILD_DENSE = "hogwild_dense"
    EXTRA_INFO = "extra_info:"
    EMPTY_TAG = "empty_tag"
    DT_TAGS = (SPARSE_SHARDED, SPARSE_DONT_SHARD, COMPONENT, HOGWILD_DENSE)
    PREDICTION_SCHEMA = "prediction_schema"
    FEATURE_TRANSFORM = "feature_transform"
    FEATURE_TRANSFORM_SCHEMA = "feature_transform_schema"
    TRAIN_ONLY: ClassVar = [EXCLUDE_FROM_PREDICTION, EXCLUDE_FROM_EVAL, EXCLUDE_FROM_ACCUMULATE_PRED]
    EVAL_ONLY: ClassVar = [EXCLUDE_FROM_PREDICTION, EXCLUDE_FROM_TRAIN, EXCLUDE_FROM_ACCUMULATE_PRED]
    PREDICTION_ONLY: ClassVar = [EXCLUDE_FROM_TRAIN, EXCLUDE_FROM_EVAL, EXCLUDE_FROM_ACCUMULATE_PRED]

    def __init__(self, tags: str | list[str]) -> None:
        self.tags = tags if isinstance(tags, list) else [tags]

    def __enter__(self) -> Tags:
        TagContext.current().add_tags(self.tags)
        return self

    def __exit__(self, *exception: object) -> None:
        TagContext.current().remove_tags(self.tags)

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function in which new layers get the tags."""

        @functools.wraps(function)
        def marked(*args: Any, **kwargs: Any) -> Any:
            with self:
                return function(*args, **kwargs)

        return marked
