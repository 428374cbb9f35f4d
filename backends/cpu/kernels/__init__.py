"""The kernel templates of the CPU backend, one family a file."""
