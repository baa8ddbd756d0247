"""Constraints on a configuration that are known before anything is built: `b <= a`."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any

from keratune._runtime import logger
from keratune.errors import FatalError, FatalRuntimeError
from keratune.space import HyperParameters

_REQUIRED = object()


class Configuration(dict[str, Any]):
    """A configuration as a constraint sees it: read by `hp["name"]` or `hp.get("name")`."""

    def get(self, name: str, default: Any = _REQUIRED) -> Any:
        """Return a value; KeyError where there is neither it nor a default."""
        return self[name] if default is _REQUIRED else super().get(name, default)


class Constraint:
    """Tells whether a configuration may be tried.

    A configuration that lacks a name which the function reads is allowed: the hyperparameter is not
    active in it.

    Args:
        holds: Called with a configuration, returns whether it may be tried.
        space: The study's space, to tell misspelt names by.

    Raises:
        FatalRuntimeError: The function raises something else than a KeyError, when it is called.

    Example:
        ```python
        allowed = Constraint(lambda hp: hp["units_2"] <= hp["units_1"], space)
        allowed({"units_1": 64, "units_2": 128})  # False
        ```
    """

    def __init__(self, holds: Callable[[Any], Any], space: HyperParameters) -> None:
        """Keep both."""
        self.holds = holds
        self.space = space
        self._missing: set[Any] = set()

    def __call__(self, values: Mapping[str, Any]) -> bool:
        """Tell whether a configuration may be tried."""
        try:
            return bool(self.holds(Configuration(values)))
        except KeyError as error:
            self._note(error.args[0] if error.args else None)
            return True
        except FatalError:
            raise
        except Exception as error:
            raise FatalRuntimeError(
                f"`constraint` raised {type(error).__name__}: {error}. It was called with one "
                f"argument, the configuration {dict(values)}. It must return whether that may be "
                'tried: `lambda hp: hp["units_2"] <= hp["units_1"]`.'
            ) from error

    def _note(self, name: Any) -> None:
        """Say once that a name is unknown, as a misspelt one is."""
        known = sorted({parameter.name for parameter in self.space.space})
        if name in self._missing or name in known or not known:
            return
        self._missing.add(name)
        near = difflib.get_close_matches(str(name), known, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        logger.warning(
            "`constraint` reads the hyperparameter %r, which no build has declared so far; the "
            "constraint does not count without it. Known: %s.%s",
            name,
            known,
            hint,
        )
