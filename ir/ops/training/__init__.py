"""Updates of parameters and learning rates."""
