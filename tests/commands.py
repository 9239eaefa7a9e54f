"""The commands in this process, which need not import everything anew."""

from typer.testing import CliRunner, Result

from gaitreid.cli import app
from gaitreid.pose.errors import GaitReidError, UsageError


def run(*words: object, expect: int = 0) -> Result:
    """A command whose exit code is as expected."""
    result = CliRunner().invoke(app, list(map(str, words)))
    if isinstance(result.exception, GaitReidError):
        assert expect == (2 if isinstance(result.exception, UsageError) else 3), result.exception
    else:
        assert result.exit_code == expect, result.output
    return result


def output(*words: object) -> str:
    """What a command says; whatever it raises."""
    result = CliRunner().invoke(app, list(map(str, words)))
    if result.exception:
        raise result.exception
    return result.output
