"""The command `keratune`, also `python -m keratune`: what is said when something goes wrong.

The commands themselves are in `keratune.commands`; they need the package typer.
"""

from __future__ import annotations

import sys

from keratune import _runtime
from keratune.training import failures

FAILED = 1


def main() -> None:
    """Run a command.

    Raises:
        SystemExit: Always, with the exit code; a failure's cause is the last line of the errors.
    """
    try:
        _runtime.require("typer", extra="cli")
        from keratune.commands import app

        app()
    except Exception as error:
        sys.stderr.write(f"{told(error)}\n")
        raise SystemExit(FAILED) from None


def told(error: Exception) -> str:
    """Return what a person needs to know of an error, the cause in the last line."""
    first = (str(error).splitlines() or [""])[0]
    cause = f"{type(error).__name__}: {first}".rstrip(": ")
    lines = failures.excerpt(error).splitlines()
    shown = lines[:-1] if lines[-1].endswith(cause) else lines
    return "\n".join([*shown, cause])
