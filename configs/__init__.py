"""Shipped configurations: YAML only, read as data."""
