"""Memory planning: liveness and arena offsets."""
