"""The exception tree.

GaitReidError             anything that is the user's to mend: message names the thing, the place, the remedy
 +- UsageError            wrong usage or configuration (exit code 2)
 +- EmptyError            nothing usable came out (exit code 3)
 +- FullError             the disk is full; what was done before is kept (exit code 3)
 +- FormatError           a file is not what it should be: unknown schema, later version, missing field
 +- ShapeError            an array does not have the declared dims or dtype
 +- ItemError             one item of a batch failed; carries a reason code, the batch goes on (exit code 1)
"""


class GaitReidError(Exception):
    """Base of every error that this package raises on purpose."""


class UsageError(GaitReidError):
    """The command, an option or the configuration is wrong."""


class EmptyError(GaitReidError):
    """The work was done and nothing usable came out of it."""


class FullError(GaitReidError):
    """There is no room on the disk: the work stops, and what was done before is kept."""


class FormatError(GaitReidError):
    """A file is not what it should be."""


class ShapeError(GaitReidError):
    """An array does not have the declared dims or dtype."""


class ItemError(GaitReidError):
    """One item of a batch failed; the others go on.

    Attributes:
        reason: short code for programs, such as `unreadable` or `no-person`.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[type["ItemError"], tuple[str, str]]:
        # The default pickling calls the class with the message alone; workers send these errors to their parent.
        return type(self), (self.reason, str(self))
