"""One training among those that share a program: its model, its callbacks, its epochs.

A `Member` does what `fit` does around the batches: it calls the callbacks in Keras's order, draws
the order of the rows, fills the history. The model's variables are brought up to date only when a
callback looks at them. Keras has a call for that on JAX, `jax_state_sync`, which `callback.model`
makes; here it leads to the member's slice of the stacked state. A callback that is known to want
no more than `stop_training` and the learning rate is served without, and one of the user's own,
which may know the model by another way, finds it up to date always.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keratune.training import keras_callbacks, keras_variables
from keratune.vectorized.anatomy import Anatomy, dissect, state_variables
from keratune.vectorized.feeding import Feed, Feeds, UnsuitableError, bound

# Callbacks that look at nothing of the model but `stop_training`, `history` and a learning rate
# that is a variable, which only callbacks change; or that ask for the variables by name, as
# `EarlyStopping` does, and those of keratune that save them.
CONTENT = (
    keras.callbacks.CSVLogger,
    keras.callbacks.EarlyStopping,
    keras.callbacks.History,
    keras.callbacks.LearningRateScheduler,
    keras.callbacks.ReduceLROnPlateau,
    keras.callbacks.TerminateOnNaN,
    keras_callbacks.Checks,
    keras_callbacks.Decider,
    keras_callbacks.EpochSeeds,
    keras_callbacks.Halter,
    keras_callbacks.Recorder,
    keras_callbacks.Resume,
    keras_callbacks.SaveBestEpoch,
)

BATCH_HOOKS = (
    "on_batch_begin",
    "on_batch_end",
    "on_train_batch_begin",
    "on_train_batch_end",
    "on_test_batch_begin",
    "on_test_batch_end",
)

# Hooks by which a tuner is told of epochs; those of keratune's own tuners do nothing.
TUNER_HOOKS = ("on_epoch_begin", "on_epoch_end")

# What a model is asked for its variables by, beside `jax_state_sync`.
_WEIGHTS = ("get_weights", "save_weights", "save")

# Methods of a model that Keras's loop consists of: with one of its own it is not Keras's loop.
_LOOP = ("fit", "evaluate", "make_train_function", "make_test_function")


class Member:
    """One training.

    Args:
        model: A compiled model, just built: what its first data will build of it is drawn from the
            random state of the moment.
        args: Positional arguments of `fit`.
        kwargs: Its keyword arguments, callbacks among them.
        tag: Anything of the caller's.
        context: What the callbacks are called in.

    Attributes:
        obstacle: Why it cannot be trained together with others; None where it can.
        error: What its callbacks, or its device, have raised.
        history: What `fit` returns, once it has ended.
        anatomy: What its program depends on.
        program: Its program, see `keratune.vectorized.program`; None before it has one.
        train: Rows to train with.
        test: Rows to validate with, if any.
        epoch: The epoch that it is in, from 0.
        order: Of the rows in this epoch; None before it has begun.
        rows: State of the variables while it waits for a place; None in the stack.
    """

    def __init__(
        self,
        model: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        tag: Any = None,
        context: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext,
    ) -> None:
        """Take up a training; `prepare` looks into it."""
        self.model = model
        self.tag = tag
        self.obstacle: str | None = None
        self.error: BaseException | None = None
        self.history: Any = None
        self.anatomy: Anatomy
        self.program: Any = None
        self.train: Feed
        self.test: Feed | None = None
        self.epoch = 0
        self.order: np.ndarray | None = None
        self.rows: list[Any] | None = None
        self._context = context
        self._call = (args, kwargs or {})
        self._arguments: dict[str, Any] = {}
        self._callbacks: list[Any] = []
        self._logs: dict[str, Any] = {}
        self._look: Callable[[], list[Any]] | None = None
        self._variables: list[Any] = []
        self._assigned: list[Any] = []
        self._is_content = False
        self._shadowed = False

    # ------------------------------------------------------------------ before the training

    def prepare(self, feeds: Feeds) -> None:
        """Build what the data build, and look at what the program will depend on.

        Args:
            feeds: Knows the data of the members before.

        Raises:
            UnsuitableError: It cannot be trained together with others.
        """
        try:
            self._arguments = bound(self.model, *self._call)
            self._refuse_unusual()
            self.train, self.test = feeds.of(self._arguments)
            self.model._symbolic_build(data_batch=_three(self.train.sample()))
            self.anatomy = dissect(self.model)
        except UnsuitableError as error:
            self.obstacle = str(error)
            raise
        except Exception as error:  # the ordinary training will say it better
            self.obstacle = f"it cannot be looked into: {error}"
            raise UnsuitableError(self.obstacle) from error

    def _refuse_unusual(self) -> None:
        model, callbacks = self.model, self._arguments["callbacks"]
        if keras.backend.backend() != "jax":
            raise UnsuitableError(f"Keras's backend is {keras.backend.backend()}, not JAX")
        if not getattr(model, "compiled", False):
            raise UnsuitableError("the model is not compiled")
        if model.run_eagerly or not model.jit_compile:
            raise UnsuitableError("the model is not to be compiled by XLA")
        if self._arguments["verbose"] == 2:
            raise UnsuitableError("`verbose=2` asks for Keras's own lines")
        if isinstance(callbacks, keras.callbacks.CallbackList):
            raise UnsuitableError("its callbacks come as a `CallbackList`")
        if getattr(keras.config, "is_nnx_enabled", bool)():
            raise UnsuitableError("Keras's variables are those of NNX")
        for name in _LOOP:
            if getattr(type(model), name) is not getattr(keras.Model, name):
                raise UnsuitableError(f"{type(model).__name__} has a `{name}` of its own")
        for callback in keras.tree.flatten(callbacks):
            if callback is not None and _needs_batches(callback):
                raise UnsuitableError(f"{type(callback).__name__} has to see every batch")

    @property
    def epochs(self) -> int:
        """The epoch behind the last one."""
        return int(self._arguments["epochs"])

    @property
    def halts(self) -> bool:
        """Whether a loss that is not finite ends it at once."""
        return any(isinstance(c, keras.callbacks.TerminateOnNaN) for c in self._callbacks)

    def begin(self) -> None:
        """Start the training: its callbacks are told, its state is ready to be taken."""
        model, epochs = self.model, self.epochs
        held = keras.callbacks.CallbackList(
            self._arguments["callbacks"],
            add_history=True,
            model=model,
            verbose=0,
            epochs=epochs,
            steps=self.train.full + bool(self.train.rest),
        )
        self._callbacks = list(held.callbacks)
        self._variables = [v for group in state_variables(model) for v in group]
        model.stop_training = False
        self._tell("on_train_begin", {})
        self.epoch = model._initial_epoch or self._arguments["initial_epoch"]
        self.rows = self.values()
        self._assigned = list(self.rows)

    def values(self) -> list[Any]:
        """Return the variables' values as the model holds them."""
        return [variable.value for variable in self._variables]

    # ------------------------------------------------------------------ an epoch

    def look_through(self, look: Callable[[], list[Any]] | None) -> None:
        """Say how the values of the variables are got, None where the model holds them."""
        self._look = look

    def begin_epoch(self) -> None:
        """Tell the callbacks and draw the order of the rows."""
        self._tell("on_epoch_begin", {}, self.epoch)
        self.order = self.train.order()

    def is_tested(self) -> bool:
        """Tell whether this epoch is validated."""
        frequency = self._arguments["validation_freq"]
        if self.test is None:
            return False
        if isinstance(frequency, int):
            return (self.epoch + 1) % frequency == 0
        return self.epoch + 1 in frequency

    def end_epoch(self, logs: dict[str, Any], test_logs: dict[str, Any] | None) -> None:
        """Tell the callbacks what the epoch has measured, and go on to the next.

        Args:
            logs: Of the rows to train with.
            test_logs: Of those to validate with, if it was validated.
        """
        if self.halts:
            step = self.train.full + bool(self.train.rest) - 1
            for callback in self._callbacks:
                if isinstance(callback, keras.callbacks.TerminateOnNaN):
                    callback.on_batch_end(step, logs)
        if test_logs is not None:
            self._tell("on_test_begin", {})
            self._tell("on_test_end", test_logs)
            logs |= {f"val_{name}": value for name, value in test_logs.items()}
        self._logs = dict(sorted(logs.items()))
        self._tell("on_epoch_end", dict(self._logs), self.epoch)
        self.epoch += 1
        self.order = None

    @property
    def is_over(self) -> bool:
        """Whether it has been finished, or has failed."""
        return self.history is not None or self.error is not None

    @property
    def has_ended(self) -> bool:
        """Whether no epoch is left."""
        return self.epoch >= self.epochs or bool(self.model.stop_training)

    def changes(self) -> dict[int, Any]:
        """Return the variables that callbacks have set since they were last looked at."""
        found = {
            index: variable.value
            for index, (variable, known) in enumerate(
                zip(self._variables, self._assigned, strict=True)
            )
            if variable.value is not known
        }
        for index, value in found.items():
            self._assigned[index] = value
        return found

    # ------------------------------------------------------------------ its end

    def finish(self) -> None:
        """End the training as `fit` ends it."""
        self._settle()
        self._tell("on_train_end", self._logs)
        self.history = self.model.history
        self._forget()

    def fail(self, error: BaseException) -> None:
        """End the training with an error of its own."""
        self.error = error
        self._settle()
        self._forget()

    def _settle(self) -> None:
        self._sync()
        self._look = None
        if isinstance(self.model.optimizer, keras.optimizers.Optimizer) and self.epochs > 0:
            self.model.optimizer.finalize_variable_values(self.model.trainable_weights)

    def _forget(self) -> None:
        self._callbacks, self._arguments, self._call = [], {}, ((), {})
        self._variables, self._assigned, self.rows = [], [], None

    # ------------------------------------------------------------------ callbacks and the model

    def _tell(self, hook: str, logs: dict[str, Any], *epoch: int) -> None:
        """Call a hook of all callbacks."""
        with self._context(), self._lazily():
            for callback in self._callbacks:
                method = getattr(callback, hook)
                if getattr(method, "_is_default", False):
                    continue
                self._is_content = _is_content(callback) and self._has_plain_rate()
                if not self._is_content and not _is_known(callback):
                    self._sync()
                method(*epoch, logs)

    def _has_plain_rate(self) -> bool:
        """Tell whether the learning rate does not change from step to step."""
        rate = getattr(self.model.optimizer, "_learning_rate", None)
        return isinstance(rate, keras.Variable)

    @contextlib.contextmanager
    def _lazily(self) -> Iterator[None]:
        """Have the model bring its variables up to date when it is asked for them."""
        if self._look is None or self._shadowed:
            yield
            return
        model, shadows = self.model, self.model.__dict__
        sync = model.jax_state_sync

        def synced() -> None:
            sync()
            if not self._is_content:
                self._sync()

        def asked(method: Callable[..., Any]) -> Callable[..., Any]:
            def ask(*args: Any, **kwargs: Any) -> Any:
                self._sync()
                return method(*args, **kwargs)

            return ask

        shadows["jax_state_sync"] = synced
        shadows.update({name: asked(getattr(model, name)) for name in _WEIGHTS})
        shadows[keras_callbacks.CAPTURE] = self._captured
        self._shadowed = True
        try:
            yield
        finally:
            self._shadowed = False
            for name in ("jax_state_sync", *_WEIGHTS, keras_callbacks.CAPTURE):
                del shadows[name]

    def _captured(self, optimizer: bool) -> dict[str, np.ndarray]:
        """Do what `keras_variables.capture` does, without bringing the model up to date."""
        model = self.model
        slots = [] if model.optimizer is None else model.optimizer.variables
        if self._look is None or not self._are_ours([*model.variables, *slots]):
            return keras_variables.capture(model, optimizer=optimizer)
        rows = self._look()
        now = {
            id(variable): row if variable.value is known else variable.value
            for variable, known, row in zip(self._variables, self._assigned, rows, strict=True)
        }
        groups = {"v": model.variables} | ({"o": slots} if optimizer else {})
        return {
            f"{group}/{place:04d}": keras_variables.to_numpy(now[id(variable)])
            for group, variables in groups.items()
            for place, variable in enumerate(variables)
        }

    def _are_ours(self, variables: Sequence[Any]) -> bool:
        """Tell whether variables are all part of the state."""
        return {id(v) for v in variables} <= {id(v) for v in self._variables}

    def _sync(self) -> None:
        """Bring the model's variables up to date, but those that callbacks have set since."""
        if self._look is None:
            return
        values, self._look = self._look(), None
        for index, (variable, value) in enumerate(zip(self._variables, values, strict=True)):
            if variable.value is self._assigned[index]:
                variable.assign(value)
                self._assigned[index] = variable.value


def _three(batch: Any) -> tuple[Any, Any, Any]:
    three: tuple[Any, Any, Any] = keras.utils.unpack_x_y_sample_weight(batch)
    return three


def _needs_batches(callback: Any) -> bool:
    """Tell whether a callback does anything at batches that a whole epoch cannot make up for."""
    if type(callback) in (keras.callbacks.TerminateOnNaN, keras_callbacks.Halter):
        return False
    if getattr(callback, "save_freq", None) == "epoch":
        return False
    if type(callback) is keras.callbacks.TensorBoard:
        per_step = callback.update_freq != "epoch" or callback.write_steps_per_second
        return bool(per_step or callback._should_trace)
    hooks = [getattr(callback, name, None) for name in BATCH_HOOKS]
    return any(hook is not None and not getattr(hook, "_is_default", False) for hook in hooks)


def _is_content(callback: Any) -> bool:
    """Tell whether a callback wants no variable but the learning rate."""
    if type(callback) is keras_callbacks.TunerCallback:
        hooks = [getattr(type(callback.tuner), name) for name in TUNER_HOOKS]
        return all(hook.__module__.partition(".")[0] == "keratune" for hook in hooks)
    return type(callback) in CONTENT


def _is_known(callback: Any) -> bool:
    """Tell whether a callback is known to come by the model through `callback.model` alone."""
    if isinstance(callback, keras.callbacks.LambdaCallback):
        return False
    return type(callback).__module__.partition(".")[0] in ("keras", "keratune")
