"""gaitreid: who is who by how they walk, from ordinary video."""

__version__ = "0.1.0"
