"""``caffe2.python.layers.sparse_feature_hash``: identifiers below a limit."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.caffe2 import core, schema
from graphc.caffe2.layers.layers import IdList, IdScoreList, ModelLayer, require
from graphc.caffe2.layers.tags import Tags


class SparseFeatureHash(ModelLayer):
    """Identifiers of a list, hashed, or divided, modulo a limit; lengths and scores stay.

    modulo: the limit; without it the hash size that the features ask for, or their own limit.
    """

    def __init__(
        self,
        model: Any,
        input_record: Any,
        seed: int = 0,
        modulo: int | None = None,
        use_hashing: bool = True,
        use_divide_mod: bool = False,
        divisor: int | None = None,
        name: str = "sparse_feature_hash",
        **kwargs: Any,
    ) -> None:
        """Raises ``AssertionError`` for another record, and where no limit is known."""
        super().__init__(model, name, input_record, **kwargs)
        require(not (use_hashing and use_divide_mod), "use_hashing and use_divide_mod exclude each other")
        if use_divide_mod:
            require(divisor is not None and divisor >= 1, f"a divisor from 1 is needed, not {divisor}")
            fill = ("GivenTensorInt64Fill", {"values": np.array([divisor])})
            self.divisor = self.create_param("divisor", [1], fill, model.NoOptim)
        self.seed, self.use_hashing, self.use_divide_mod = seed, use_hashing, use_divide_mod
        self._has_scores = schema.equal_schemas(input_record, IdScoreList)
        known_kind = self._has_scores or schema.equal_schemas(input_record, IdList)
        require(known_kind, "Input type must be one of (IdList, IdScoreList)")
        known = self._identifiers(input_record).metadata
        self.modulo = modulo or self.extract_hash_size(known)
        require(self.modulo >= 1, f"Unexpected modulo: {self.modulo}")
        with core.NameScope(name):
            record = schema.NewRecord(model.net, IdScoreList if self._has_scores else IdList)
        self._identifiers(record).set_metadata(
            schema.Metadata(
                categorical_limit=self.modulo,
                feature_specs=known.feature_specs if known else None,
                expected_value=known.expected_value if known else None,
            )
        )
        if input_record.lengths.metadata:
            record.lengths.set_metadata(input_record.lengths.metadata)
        self.output_schema = record
        self.tags.add(Tags.CPU_ONLY)

    def _identifiers(self, record: Any) -> Any:
        return record.keys if self._has_scores else record.items

    def extract_hash_size(self, metadata: Any) -> int:
        """The limit that is known of the features; raises ``AssertionError`` without one."""
        specs = metadata.feature_specs if metadata else None
        size = (specs.desired_hash_size if specs else None) or (metadata.categorical_limit if metadata else None)
        if size is None:
            raise AssertionError("desired_hash_size or categorical_limit must be set")
        return int(size)

    def add_ops(self, net: Any) -> None:
        """Add the operators."""
        net.Copy(self.input_record.lengths(), self.output_schema.lengths())
        keys, output = self._identifiers(self.input_record)(), self._identifiers(self.output_schema)()
        if self._has_scores:
            net.Copy(self.input_record.values(), self.output_schema.values())
        if self.use_hashing:
            net.IndexHash(keys, output, seed=self.seed, modulo=self.modulo)
            return
        if self.use_divide_mod:
            keys = net.Div([keys, self.divisor], [net.NextScopedBlob("quotient")])
        net.Mod(keys, output, divisor=self.modulo, sign_follow_divisor=True)
