"""The operator families, in the order in which ``graphc ops`` lists them: the modules that declare records."""

FAMILIES = (
    "activation",
    "internal",
    "fill",
    "random",
    "loss",
    "metric",
)
