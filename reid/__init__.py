"""Skeleton sequences to identities: encoders, losses, matching, metrics. Knows arrays, not files."""
