"""The library's logger and its door to optional packages."""

from __future__ import annotations

import importlib
import logging
import sys
from types import ModuleType

from keratune.errors import MissingPackageError

logger = logging.getLogger("keratune")


def say(text: str = "") -> None:
    """Write a line that the user has asked for to standard output."""
    sys.stdout.write(f"{text}\n")


def require(package: str, *, extra: str) -> ModuleType:
    """Import an optional package, or say how to install it.

    Args:
        package: Dotted name of the module to import, for example `"plotly"`.
        extra: Name of the keratune extra that installs it.

    Returns:
        The imported module.

    Raises:
        MissingPackageError: The package is not installed. The message holds the pip line.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        name = package.split(".")[0]
        raise MissingPackageError(
            f"`{name}` is needed here and could not be imported ({error}). "
            f'Install it with: pip install "keratune[{extra}]"'
        ) from error
