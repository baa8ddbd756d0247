"""Old names: libraries and scripts that import `keras_tuner` run on keratune.

`install_as_keras_tuner()` puts modules under KerasTuner's names into `sys.modules`: the paths of
its wheel (`keras_tuner.engine.hyperparameters`), those of its repository
(`keras_tuner.engine.tuner_utils`), and both again under `keras_tuner.src`. Each holds keratune's
own objects, looked up when they are used.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import sys
import types
from typing import Any

from keratune.compat import paths as _paths

__all__ = ["install_as_keras_tuner"]

ROOT = "keras_tuner"


def install_as_keras_tuner(*, replace: bool = False) -> None:
    """Make `import keras_tuner` mean keratune in this process.

    Call it before anything imports `keras_tuner`. Calling it again changes nothing.

    Args:
        replace: Whether a real KerasTuner that is imported already is replaced; whoever holds its
            objects keeps them.

    Raises:
        RuntimeError: KerasTuner itself is imported already, and `replace` is False.

    Example:
        ```python
        import keratune

        keratune.install_as_keras_tuner()
        import keras_tuner  # this is keratune
        ```
    """
    present = sys.modules.get(ROOT)
    if present is not None and not isinstance(present, _Alias):
        if not replace:
            raise RuntimeError(
                "`install_as_keras_tuner()` must be called before `keras_tuner` is imported. "
                f"Received: `keras_tuner` from {getattr(present, '__file__', 'somewhere')}. Move "
                "the call to the top of the script, or pass `replace=True`."
            )
        _forget_real_modules()
    for base in (ROOT, f"{ROOT}.src"):
        for path in _paths.MODULES:
            _add(f"{base}.{path}" if path else base, _paths.NAMES[path])


class _Alias(types.ModuleType):
    """A module of KerasTuner's whose names are found in keratune when they are used."""

    def __init__(self, name: str, names: dict[str, str]) -> None:
        super().__init__(name, f"`{name}`, as keratune has it.")
        self.__spec__ = importlib.machinery.ModuleSpec(name, None, is_package=True)
        self.__path__: list[str] = []
        self._names = names
        if _paths.EVERYTHING not in names:
            self.__all__ = [shown for shown in names if not shown.startswith("_")]

    def __getattr__(self, name: str) -> Any:
        if _paths.EVERYTHING in self._names:
            return self._of_everything(name)
        if name not in self._names:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        home, _, attribute = self._names[name].partition(":")
        module = importlib.import_module(home)
        value = getattr(module, attribute) if attribute else module
        setattr(self, name, value)
        return value

    def _of_everything(self, name: str) -> Any:
        module = importlib.import_module(self._names[_paths.EVERYTHING])
        if name == "__all__":
            return [shown for shown in dir(module) if not shown.startswith("_")]
        return getattr(module, name)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._names})


def _add(name: str, names: dict[str, str]) -> None:
    if isinstance(sys.modules.get(name), _Alias):
        return
    module = _Alias(name, names)
    sys.modules[name] = module
    parent, _, child = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], child, module)


def _forget_real_modules() -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == ROOT]:
        del sys.modules[name]
