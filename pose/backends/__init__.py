"""2D pose estimators, one file each."""
