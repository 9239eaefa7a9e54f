"""By what code each stage makes its files, as a number.

Raise a stage's number when the same input and settings give other results than before, be it by a mend: the files of that
stage, and all behind them, are then made again by the next run. Leave it where only speed, words or the order of code changed.
A file that has no number (attribute `code_version`) counts as 1.
"""

CODE = {
    "pose2d": 3,
    "silhouettes": 3,
    "pose3d": 3,
    "sequences": 4,
    "walks": 4,
    "model": 2,  # everything that is trained
    "embeddings": 3,
    "ranking": 2,
}
