"""2D to 3D lifters, one file each."""
