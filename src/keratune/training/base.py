"""What is tuned: the hypermodel, a builder of models from hyperparameters."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from keratune.errors import FatalValueError
from keratune.space import HyperParameters


class HyperModel:
    """A model with hyperparameters: subclass it and write `build`, and `fit` if need be.

    Args:
        name: Any name.
        tunable: Whether hyperparameters that `build` declares join the search space.

    Example:
        ```python
        class MyHyperModel(keratune.HyperModel):
            def build(self, hp):
                model = keras.Sequential([keras.layers.Dense(hp.Int("units", 8, 64, step=8))])
                model.compile(loss="mse")
                return model

            def fit(self, hp, model, *args, **kwargs):
                return model.fit(*args, batch_size=hp.Choice("batch_size", [16, 32]), **kwargs)
        ```
    """

    name: str | None = None
    tunable: bool = True

    def __init__(self, name: str | None = None, tunable: bool = True) -> None:
        """Keep the name and whether the space is open."""
        self.name = name
        self.tunable = tunable

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Lead calls of a subclass's `build` through `_build_wrapper`."""
        super().__init_subclass__(**kwargs)
        if "build" in vars(cls):
            cls.build = _led_through_wrapper(vars(cls)["build"])  # type: ignore[method-assign]

    def build(self, hp: HyperParameters) -> Any:
        """Return a compiled model.

        Args:
            hp: Declares hyperparameters and returns their values.
        """
        raise NotImplementedError(
            f"`build(hp)` must be written in {type(self).__name__}: it returns a compiled model."
        )

    def _build_wrapper(self, hp: HyperParameters, *args: Any, **kwargs: Any) -> Any:
        """Call `build`, on a copy of `hp` when not tunable. AutoKeras overrides it."""
        build = type(self).build.__wrapped__  # type: ignore[attr-defined]
        return build(self, hp if self.tunable else hp.copy(), *args, **kwargs)

    def declare_hyperparameters(self, hp: HyperParameters) -> None:
        """Declare hyperparameters ahead of the first build."""

    def fit(self, hp: HyperParameters, model: Any, *args: Any, **kwargs: Any) -> Any:
        """Train the model.

        Args:
            hp: The trial's hyperparameters; more may be declared here.
            model: The model that `build` returned.
            *args: As given to `search`.
            **kwargs: As given to `search`, with the trial's callbacks.

        Returns:
            A `History`, a dict of metrics that has the objective, a float to minimise, or a list
            of these.
        """
        return model.fit(*args, **kwargs)


def _led_through_wrapper(build: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(build)
    def led(self: HyperModel, hp: HyperParameters, *args: Any, **kwargs: Any) -> Any:
        if type(self).build is not led:  # a subclass calls `super().build(hp)`: once is enough
            return build(self, hp, *args, **kwargs)
        return self._build_wrapper(hp, *args, **kwargs)

    return led


class DefaultHyperModel(HyperModel):
    """A hypermodel whose `build` is a function.

    Args:
        build: Function from `hp` to a compiled model.
        name: Any name.
        tunable: Whether hyperparameters that `build` declares join the search space.
    """

    def __init__(
        self,
        build: Callable[[HyperParameters], Any],
        name: str | None = None,
        tunable: bool = True,
    ) -> None:
        """Keep the function."""
        super().__init__(name, tunable)
        self.build = build  # type: ignore[method-assign,assignment]


def get_hypermodel(x: Any) -> HyperModel | None:
    """Return the hypermodel of what a user passed for one.

    Args:
        x: A `HyperModel`, a function `build(hp)`, or None.

    Raises:
        FatalValueError: It is neither; or the class was passed instead of an instance.
    """
    if x is None or isinstance(x, HyperModel):
        return x
    if inspect.isclass(x) and issubclass(x, HyperModel):
        raise FatalValueError(
            "The `hypermodel` argument should be either a callable with signature `build(hp)` or "
            f"an instance of `HyperModel`. Received the class {x.__name__}: pass {x.__name__}()."
        )
    if callable(x):
        return DefaultHyperModel(x)
    raise FatalValueError(
        "The `hypermodel` argument should be either a callable with signature `build(hp)` "
        f"returning a model, or an instance of `HyperModel`. Received: {x!r}."
    )
