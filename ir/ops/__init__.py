"""The operator families, in the order in which ``graphc ops`` lists them: the modules that declare records."""

FAMILIES = (
    "activation",
    "elementwise",
    "conv",
    "pool",
    "norm",
    "linalg",
    "internal",
    "fill",
    "random",
    "loss",
    "metric",
    "optimizer",
)
