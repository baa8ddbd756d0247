"""What a command line names in a user's script: `script.py:build_model`.

The script is imported under its own name and not as `__main__`, so that what stands below
`if __name__ == "__main__"` does not run, and worker processes can import it too.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from keratune.errors import FatalValueError


def named(target: str) -> Any:
    """Return what a target names.

    Args:
        target: `script.py:name`, or `package.module:name` of what Python finds from here.

    Raises:
        FatalValueError: It names nothing; whatever the script raises goes through.

    Example:
        ```python
        build_model = named("script.py:build_model")
        ```
    """
    module, name = _parts(target)
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            raise FatalValueError(
                f"{module.__name__} has no {name!r}. Received: {target!r}. Name a function, a "
                "class or an object that the script defines outside of its main block."
            )
        found = getattr(found, part)
    return found


def beside(target: str, name: str) -> Any:
    """Return what a name means in the script of a target; None where it means nothing."""
    return getattr(_parts(target)[0], name, None)


def _parts(target: str) -> tuple[ModuleType, str]:
    where, colon, name = target.rpartition(":")
    if not colon or not where or not name:
        raise FatalValueError(
            "What is tuned is named by its script and its name there, such as "
            f"script.py:build_model. Received: {target!r}."
        )
    return (_of_file(Path(where)) if where.endswith(".py") else _of_name(where)), name


def _of_file(path: Path) -> ModuleType:
    path = path.absolute()
    present = sys.modules.get(path.stem)
    if present is not None and getattr(present, "__file__", None) == str(path):
        return present
    if not path.is_file():
        raise FatalValueError(f"There is no script {path}. Give its path as seen from here.")
    if present is not None or not _leads_to(path):
        raise FatalValueError(
            f"The script {path} has the name of a module that Python finds elsewhere, and would "
            f"hide it: {path.stem}. Rename the script."
        )
    sys.path.insert(0, str(path.parent))
    sys.argv[:] = [str(path)]  # what the command was told is not for the script
    return importlib.import_module(path.stem)


def _leads_to(path: Path) -> bool:
    """Tell whether nothing else is found under a script's name."""
    spec = importlib.util.find_spec(path.stem)
    return spec is None or Path(spec.origin or "").resolve() == path.resolve()


def _of_name(name: str) -> ModuleType:
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    return importlib.import_module(name)
