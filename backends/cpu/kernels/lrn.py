"""Local response normalisation across channels, plain and blocked."""
