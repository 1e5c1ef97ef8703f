"""What a subcommand printed, and how it ended."""

import json

from click.testing import Result


def rows(result: Result) -> list[dict]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def one_error_line(result: Result) -> str:
    """A usage error: exit code 2, nothing on stdout, one line without a traceback on stderr."""
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.stderr
    return result.stderr
