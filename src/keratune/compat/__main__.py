"""Run a script that imports `keras_tuner` on keratune: `python -m keratune.compat script.py`."""

from __future__ import annotations

import os
import sys
import types

from keratune import install_as_keras_tuner


def run(arguments: list[str]) -> None:
    """Run a script as `python script.py ...` does, with keratune as `keras_tuner`.

    Args:
        arguments: The script and what it finds behind itself in `sys.argv`.

    Raises:
        SystemExit: No script was given, or it cannot be read.
    """
    if not arguments:
        raise SystemExit("Usage: python -m keratune.compat script.py [arguments of the script]")
    path = arguments[0]
    try:
        with open(path, "rb") as file:
            source = file.read()
    except OSError as error:
        raise SystemExit(f"{path} cannot be read: {error}") from None
    install_as_keras_tuner()
    main = types.ModuleType("__main__")
    main.__file__ = os.path.abspath(path)
    sys.modules["__main__"] = main
    sys.argv[:] = arguments
    sys.path[0] = os.path.dirname(main.__file__)
    _execute(source, main)


def _execute(source: bytes, main: types.ModuleType) -> None:
    """Run a module's code; of an error only the script's own frames are shown."""
    try:
        exec(compile(source, str(main.__file__), "exec"), main.__dict__)
    except Exception as error:
        frames = error.__traceback__
        shown = error.with_traceback(frames.tb_next if frames else None)
        sys.excepthook(type(shown), shown, shown.__traceback__)
        raise SystemExit(1) from None


if __name__ == "__main__":
    run(sys.argv[1:])
