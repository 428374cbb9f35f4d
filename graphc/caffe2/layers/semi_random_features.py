"""``caffe2.python.layers.semi_random_features``: random features times learned ones.

Kawaguchi, Xie and Song 2017, "Deep Semi-Random Features for Nonlinear Function Approximation".
"""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.caffe2 import schema
from graphc.caffe2.layers._rules import Fill, require_fields
from graphc.caffe2.layers.arc_cosine_feature_map import ArcCosineFeatureMap
from graphc.caffe2.layers.layers import require


class SemiRandomFeatures(ArcCosineFeatureMap):
    """``h(x) x^s`` of random ``x``, times a learned linear function of the input.

    Layers in a row hand on both: the record is a tensor, or has the fields ``full`` and ``random``; the output has.
    """

    def __init__(
        self,
        model: Any,
        input_record: Any,
        output_dims: int,
        s: int = 1,
        scale_random: float = 1.0,
        scale_learned: float = 1.0,
        weight_init_random: Fill | None = None,
        bias_init_random: Fill | None = None,
        weight_init_learned: Fill | None = None,
        bias_init_learned: Fill | None = None,
        weight_optim: Any = None,
        bias_optim: Any = None,
        set_weight_as_global_constant: bool = False,
        name: str = "semi_random_features",
        **kwargs: Any,
    ) -> None:
        """The optimizers are those of the learned part. Raises ``AssertionError`` for another record."""
        if isinstance(input_record, schema.Struct):
            require_fields(input_record, "full", "random")
            self.input_record_full, self.input_record_random = input_record.full, input_record.random
        else:
            self.input_record_full = self.input_record_random = input_record
        super().__init__(
            model,
            self.input_record_full,
            output_dims,
            s=s,
            scale=scale_random,
            weight_init=weight_init_random,
            bias_init=bias_init_random,
            set_weight_as_global_constant=set_weight_as_global_constant,
            initialize_output_schema=False,
            name=name,
            **kwargs,
        )
        self.output_schema = schema.Struct(
            *(
                (part, schema.Scalar((np.float32, output_dims), model.net.NextScopedBlob(f"{name}_{part}_output")))
                for part in ("full", "random")
            )
        )
        require(scale_learned > 0.0, f"Expected scale (learned) > 0, got {scale_learned}")
        self.stddev = scale_learned * np.sqrt(1.0 / self.input_dims)
        self.learned_w, self.learned_b = self._initialize_params(
            "learned_w", "learned_b", weight_init_learned, bias_init_learned, weight_optim, bias_optim
        )

    def add_ops(self, net: Any) -> None:
        """Add both products, the step, and their product."""
        learned_inputs = [*self.input_record_full.field_blobs(), self.learned_w, self.learned_b]
        learned = net.FC(learned_inputs, net.NextScopedBlob("learned_features"))
        random_inputs = [*self.input_record_random.field_blobs(), self.random_w, self.random_b]
        random = net.FC(random_inputs, net.NextScopedBlob("random_features"))
        stepped = self._heaviside_with_power(net, random, self.output_schema.random.field_blobs(), self.s)
        net.Mul([stepped, learned], self.output_schema.full.field_blobs())
