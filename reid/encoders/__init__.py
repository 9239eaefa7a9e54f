"""Gait encoders, one file each."""
