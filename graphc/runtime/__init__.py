"""Running plans: opening files, binding buffers, calling kernels. Imports no pass and no compiler."""
