"""Writers of a benchmark net, one module a format: ``write(net, files)``; each needs packages of its own."""
