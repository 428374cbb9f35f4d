"""``caffe2.python.layers.pairwise_similarity``: products of all pairs of vectors in a row."""

from __future__ import annotations

from typing import Any

from graphc.caffe2 import schema
from graphc.caffe2.layers._rules import require_scalar
from graphc.caffe2.layers.layers import ModelLayer, require


class PairwiseSimilarity(ModelLayer):
    """Products (``dot``), or cosines (``cosine_similarity``), of ``all_embeddings`` among themselves, or of x with y.

    Fields: all_embeddings, or x_embeddings and y_embeddings; indices_to_gather takes some of the products.
    """

    def __init__(
        self,
        model: Any,
        input_record: Any,
        output_dim: int,
        pairwise_similarity_func: str = "dot",
        name: str = "pairwise_similarity",
        **kwargs: Any,
    ) -> None:
        """output_dim: the number of products. Raises ``AssertionError`` for a record with other fields."""
        super().__init__(model, name, input_record, **kwargs)
        require(isinstance(input_record, schema.Struct), f"a Struct is needed, not {input_record}")
        pair = "x_embeddings" in input_record and "y_embeddings" in input_record
        one = "all_embeddings" in input_record
        require(one != pair, "either all_embeddings or x_embeddings and y_embeddings should be given")
        self.pairwise_similarity_func = pairwise_similarity_func
        self.x_embeddings = input_record["all_embeddings" if one else "x_embeddings"]
        self.y_embeddings = input_record["all_embeddings" if one else "y_embeddings"]
        self.indices_to_gather = input_record.get("indices_to_gather", None)
        for field in (self.x_embeddings, self.y_embeddings, self.indices_to_gather):
            if field is not None:
                require_scalar(field)
        dtype = self.x_embeddings.field_types()[0].base
        self.output_schema = schema.Scalar((dtype, (output_dim,)), self.get_next_blob_reference("output"))

    def add_ops(self, net: Any) -> None:
        """Add the products; raises ``NotImplementedError`` for another function."""
        x, y = self.x_embeddings(), self.y_embeddings()
        if self.pairwise_similarity_func == "cosine_similarity":
            x, y = net.Normalize(x, axis=1), net.Normalize(y, axis=1)
        elif self.pairwise_similarity_func != "dot":
            raise NotImplementedError(f"{self.pairwise_similarity_func} is not known: dot and cosine_similarity are")
        products = net.BatchMatMul([x, y], [self.get_next_blob_reference(x + "_matmul")], trans_b=1)
        if self.indices_to_gather is None:
            net.Flatten(products, self.output_schema())
        else:
            flat = net.Flatten(products, products + "_flatten")
            net.BatchGather([flat, self.indices_to_gather()], self.output_schema())
