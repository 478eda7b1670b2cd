"""Commands in the process of a test."""

from __future__ import annotations

from click.testing import CliRunner

from d6tstore.cli import cli


def invoke(*words, code: int = 0):
    """Run a command, which has to end with this code: what it returns has `exit_code`, `stdout` and `stderr`."""
    result = CliRunner().invoke(cli, list(map(str, words)), prog_name="d6tstore")
    assert result.exit_code == code, (result.output, result.exception)
    return result
