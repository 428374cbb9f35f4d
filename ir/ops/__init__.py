"""The operator families, in the order in which ``graphc ops`` lists them. A family is a module that declares records."""

FAMILIES = ("activation",)
