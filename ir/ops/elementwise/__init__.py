"""Element by element: arithmetic, comparison, activations, and their gradients."""
