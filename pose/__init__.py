"""Video to skeletons: people found, tracked, posed and lifted to 3D. Knows arrays, not our files."""
