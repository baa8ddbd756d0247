"""The callbacks that every trial of a Keras model is trained with.

`TunerCallback` calls the tuner's hooks, `SaveBestEpoch` keeps the best epoch's weights, `Recorder`
reports each epoch to the study, `Resume` goes on where a crashed or paused training has stopped,
`Decider` ends a training that the scheduler pauses or stops.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from keratune._runtime import logger
from keratune.errors import FatalValueError, OversizedModelError, TrialPausedError
from keratune.halt import Halt, Urgency
from keratune.objectives import Objective
from keratune.schedulers.base import CONTINUE, Action, Decision
from keratune.training import (
    checkpoints,
    keras_callback_state,
    keras_state,
    keras_variables,
    results,
)

# Attribute of a model whose variables are elsewhere while it is trained: a function that takes
# whether the optimizer's are wanted, and captures them.
CAPTURE = "_keratune_capture"


def numeric(logs: Mapping[str, Any] | None) -> dict[str, float]:
    """Return the numbers among a callback's logs."""
    found = {}
    for name, value in (logs or {}).items():
        try:
            found[name] = float(value)
        except (TypeError, ValueError):
            continue  # an array-valued metric has no place on a curve
    return found


def captured(model: Any, *, optimizer: bool = True) -> dict[str, Any]:
    """Return a model's variables as `keras_variables.capture` does.

    A model that is trained together with others may have them elsewhere, and says where.
    """
    capture = vars(model).get(CAPTURE)
    if capture is None:
        return keras_variables.capture(model, optimizer=optimizer)
    found: dict[str, Any] = capture(optimizer)
    return found


class TunerCallback(keras.callbacks.Callback):
    """Calls a tuner's epoch hooks, and its batch hooks where the tuner has any of its own.

    Args:
        tuner: Has `on_epoch_begin`, `on_epoch_end`, `on_batch_begin` and `on_batch_end`.
        trial: Passed to the hooks.
    """

    def __init__(self, tuner: Any, trial: Any) -> None:
        """Keep both."""
        super().__init__()
        self.tuner = tuner
        self.trial = trial

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Call the hook."""
        self.tuner.on_epoch_begin(self.trial, self.model, epoch, logs=logs)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Call the hook."""
        self.tuner.on_epoch_end(self.trial, self.model, epoch, logs=logs)


class TunerBatchCallback(TunerCallback):
    """Calls the batch hooks too; a callback that has them costs time at every batch."""

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Call the hook."""
        self.tuner.on_batch_begin(self.trial, self.model, batch, logs)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Call the hook."""
        self.tuner.on_batch_end(self.trial, self.model, batch, logs=logs)


class SaveBestEpoch(keras.callbacks.Callback):
    """Saves the weights whenever the objective improves; at every epoch where it is not in the
    logs.

    Args:
        objective: What is compared.
        filepath: `*.weights.h5` for Keras's format, `*.npz` for a running trial's.

    Attributes:
        best_value: The best value so far; it goes on over several executions.
        saved: Whether anything was saved.
        attached: Whether a training has taken it up.
    """

    def __init__(self, objective: Objective, filepath: str | Path) -> None:
        """Start with the worst value."""
        super().__init__()
        self.objective = objective
        self.filepath = Path(filepath)
        self.best_value = objective.worst
        self.saved = False
        self.attached = False

    def set_model(self, model: Any) -> None:
        """Take up the model that is trained."""
        super().set_model(model)
        self.attached = True

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Save if the epoch is the best so far."""
        values = numeric(logs)
        if self.objective.has_value(values):
            value = float(self.objective.get_value(values))
            if not self.objective.better_than(value, self.best_value):
                return
            self.best_value = value
        elif self.best_value != self.objective.worst:
            return  # validated every few epochs: the best of those counts
        self.save()

    def save(self) -> None:
        """Save the model's weights as they are."""
        self.saved = True
        if self.filepath.suffix != ".npz":
            self.model.save_weights(str(self.filepath))
            return
        notes = {"value": repr(float(self.best_value))}
        weights = captured(self.model, optimizer=False)
        checkpoints.write_arrays(self.filepath, weights, notes)

    def recall(self) -> None:
        """Take up the best value that a crashed run has left."""
        stored = checkpoints.read_if_whole(self.filepath)
        if stored is not None:
            self.best_value, self.saved = float(stored[1]["value"]), True


class EpochSeeds(keras.callbacks.Callback):
    """Seeds every epoch by its number, so that a resumed training shuffles as it would have.

    Args:
        seed_of: Returns the seed of an epoch of the n-th call of `fit`, n from 1.
    """

    def __init__(self, seed_of: Callable[[int, int], int]) -> None:
        """Start before the first call of `fit`."""
        super().__init__()
        self.seed_of = seed_of
        self.fits = 0

    def on_train_begin(self, logs: Any = None) -> None:
        """Count the calls of `fit`."""
        self.fits += 1

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Set the random state of everything that training draws from."""
        keras_state.seeded(self.seed_of(self.fits, epoch))


class Checks(keras.callbacks.Callback):
    """Refuses a training that cannot end well: before its first epoch where that can be known.

    Args:
        max_model_size: Largest number of parameters; checked here for models that only training
            builds.
        objective: Must be among the metrics; None where the metrics are not the model's own.
        peers: The user's callbacks, which may add metrics.

    Attributes:
        has_validation: Whether there is validation data.
        validates_always: Whether every epoch is validated.
    """

    def __init__(
        self, max_model_size: int | None, objective: Objective | None, peers: Sequence[Any]
    ) -> None:
        """Keep the limits."""
        super().__init__()
        self.max_model_size = max_model_size
        self.objective = objective
        self.peers = peers
        self.has_validation = False
        self.validates_always = True

    def on_train_begin(self, logs: Any = None) -> None:
        """Check the size, and the objective where the model can tell its metrics."""
        refuse_oversized(self.model, self.max_model_size)
        if self.objective is not None and self._model_knows_metrics():
            self._check_objective(_metric_names(self.model, self.has_validation))

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Check the objective against the metrics of the first epoch."""
        if self.objective is not None:
            validated = self.validates_always or not self.has_validation
            self._check_objective(sorted(numeric(logs)), validated)

    def _model_knows_metrics(self) -> bool:
        """Whether the logs will hold the model's own metrics and nothing else."""
        own = all(type(peer).__module__.split(".")[0] == "keras" for peer in self.peers)
        return own and type(self.model).train_step in _keras_train_steps()

    def _check_objective(self, names: Sequence[str], validated: bool = True) -> None:
        objective, self.objective = self.objective, None
        if objective is None or not names:
            return
        measured = {*names, *objective.cost_names}
        missing = [name for name in objective.required if name not in measured]
        frequency_hides_it = not validated and all(n.startswith("val_") for n in missing)
        if missing and not frequency_hides_it:
            raise FatalValueError(
                results.missing_objective(objective, sorted(names), results.TRAINING)
            )


class Recorder(keras.callbacks.Callback):
    """Reports every epoch; those of several calls of `fit` are counted on.

    Args:
        report: Called with the step (trained epochs, from 1) and the epoch's metrics.
    """

    def __init__(self, report: Callable[[int, dict[str, float]], None]) -> None:
        """Start at step 0."""
        super().__init__()
        self.report = report
        self.step = 0
        self._offset = 0

    def on_train_begin(self, logs: Any = None) -> None:
        """Count on from the former calls of `fit`."""
        self._offset = self.step

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Report the epoch."""
        self.step = self._offset + epoch + 1
        self.report(self.step, numeric(logs))


class Decider(keras.callbacks.Callback):
    """Ends a training when the scheduler pauses or stops the trial. Stands behind `Resume`.

    Only the first call of `fit` is decided about, as only that one can be gone on with; a loop of
    the user's own that does not heed `stop_training` is left alone.

    Args:
        decide: Returns what becomes of the trial, whose epoch has been reported.
        recorder: Knows how far the training has come.

    Attributes:
        decision: The last one.
    """

    def __init__(self, decide: Callable[[], Decision], recorder: Recorder) -> None:
        """Start with a training that goes on."""
        super().__init__()
        self.decide = decide
        self.recorder = recorder
        self.decision = CONTINUE
        self._fits = 0

    def on_train_begin(self, logs: Any = None) -> None:
        """Count the calls of `fit`; behind one that was paused there is no other.

        A training that goes on behind an epoch is decided about first: the process may have been
        killed between the epoch's report and the decision.

        Raises:
            TrialPausedError: The trial was paused in the former one.
        """
        self._fits += 1
        if self.decision.action is Action.PAUSE:
            raise TrialPausedError(self.decision.reason)
        if self._fits == 1 and self.recorder.step:
            self._decide(self.recorder.step)
            if self.decision.action is not Action.CONTINUE:
                self.model._initial_epoch = self.params["epochs"]

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Ask, unless the training ends here anyway."""
        if self.decision.action is not Action.CONTINUE:
            self.decision, self._fits = CONTINUE, 2
        if self._fits == 1:
            self._decide(epoch + 1)

    def _decide(self, epochs: int) -> None:
        """Ask what becomes of the trial, unless that is known."""
        last = epochs >= ((self.params or {}).get("epochs") or 0)
        if not last and not getattr(self.model, "stop_training", False):
            self.decision = self.decide()
            self.model.stop_training = self.decision.action is not Action.CONTINUE


class Halter(keras.callbacks.Callback):
    """Cuts a training off where the search is to end; the last of all callbacks.

    It looks before batches, not behind them: Keras then neither waits for the device nor runs the
    callback in another thread.

    Args:
        halt: Asked whether to go on.
    """

    def __init__(self, halt: Halt) -> None:
        """Keep the halt."""
        super().__init__()
        self.halt = halt

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Look before an epoch; trainings in one program have no other moments."""
        self.halt.check(Urgency.BATCH)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Look before a training step."""
        self.halt.check(Urgency.BATCH)

    def on_test_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Look before a validation step."""
        self.halt.check(Urgency.BATCH)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Look behind an epoch, unless the training has come to its end with it."""
        last = (self.params or {}).get("epochs") == epoch + 1
        if not last and not getattr(self.model, "stop_training", False):
            self.halt.check(Urgency.EPOCH)


class Resume(keras.callbacks.Callback):
    """Makes the end of every epoch a place to go on from, and goes on from there. Stands last.

    Serves the first call of `fit` in an execution. A later one is trained again from its start,
    since user code between the calls may read the weights that the former has left. A `CSVLogger`
    of an execution that goes on appends to its file.

    Args:
        file: Where the state goes.
        identity: What the state belongs to, such as attempt and execution; others are not used.
        peers: The callbacks whose state belongs to the training.
        recorder: Told how far the training has come.
        curve: Returns the metrics that this execution has reported, by step.
        origin: Where the trial that this one goes on from has stopped; None for a new one.
        explores: Whether it goes on from there with other hyperparameters: the learning rate is
            then that of its own build.
    """

    def __init__(
        self,
        file: Path,
        identity: Sequence[int],
        peers: Sequence[Any],
        recorder: Recorder,
        curve: Callable[[], Mapping[int, Mapping[str, float]]],
        origin: Path | None = None,
        explores: bool = False,
    ) -> None:
        """Read where to go on from, and start before the first call of `fit`."""
        super().__init__()
        self.file = file
        self.identity = list(identity)
        self.peers = peers
        self.recorder = recorder
        self.curve = curve
        self.origin = origin
        self.explores = explores
        self._fits = 0
        self._first_epoch: int | None = None
        self._epochs_before = 0
        self._build: Any = None
        self._start = self._stored()
        if self._start is not None:
            for peer in peers:
                if isinstance(peer, keras.callbacks.CSVLogger):
                    peer.append = True

    def on_train_begin(self, logs: Any = None) -> None:
        """Go on behind the last epoch that was saved; the `on_train_begin` of all peers has run."""
        self._fits += 1
        self._epochs_before = 0
        stored, self._start = self._start, None
        if stored is not None:
            self._go_on(*stored)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Save the state behind the epoch."""
        if self._fits > 1:
            return
        if self._first_epoch is None:
            self._first_epoch = epoch
        if self._build is None:
            self._build = keras_variables.build_config(self.model)
        packed, arrays = keras_callback_state.pack(
            [[type(p).__name__, keras_callback_state.callback_state(p)] for p in self.peers]
        )
        notes = {
            "identity": self.identity,
            "first_epoch": self._first_epoch,
            "epochs": epoch + 1,
            "stop_training": bool(getattr(self.model, "stop_training", False)),
            "callbacks": packed,
            "build": self._build,
        }
        checkpoints.write_arrays(self.file, {**arrays, **captured(self.model)}, notes)

    def on_train_end(self, logs: Any = None) -> None:
        """Put the epochs before the interruption in front of the `History`."""
        if not self._epochs_before:
            return
        self.model._initial_epoch = None
        history, curve = self.model.history, self.curve()
        epochs = range(self._first_epoch or 0, self._epochs_before)
        earlier: dict[str, list[float]] = {}
        for epoch in epochs:
            for name, value in curve[epoch + 1].items():
                earlier.setdefault(name, []).append(value)
        for name, values in history.history.items():
            earlier.setdefault(name, []).extend(values)
        history.history, history.epoch = earlier, [*epochs, *history.epoch]

    def _stored(self) -> tuple[checkpoints.Arrays, dict[str, Any]] | None:
        """Return the state of this execution, None where there is none to go on from."""
        stored = checkpoints.read_if_whole(self.file)
        if stored is not None and stored[1]["identity"] == self.identity:
            curve, notes = self.curve(), stored[1]
            steps = range(notes["first_epoch"] + 1, notes["epochs"] + 1)
            if all(step in curve for step in steps):
                return stored
        origin = checkpoints.read_if_whole(self.origin) if self.origin else None
        if origin is None:
            return None
        arrays, notes = origin  # a longer budget was given: having been stopped does not count
        news = {"first_epoch": notes["epochs"], "stop_training": False, "explores": self.explores}
        return arrays, {**notes, **news}

    def _go_on(self, arrays: checkpoints.Arrays, notes: Mapping[str, Any]) -> None:
        """Give model and callbacks a stored state, and have `fit` start behind it."""
        keras_variables.ensure_built(self.model, notes["build"])
        variables = {key: value for key, value in arrays.items() if key[:2] in ("v/", "o/")}
        rate = keras_variables.learning_rate(self.model) if notes.get("explores") else None
        try:
            keras_variables.restore(self.model, variables)
            if rate is not None:
                self.model.optimizer.learning_rate = rate
        except ValueError as error:
            logger.warning("The model is built otherwise now, it is trained anew: %s", error)
            if self.origin is not None:
                self.model._initial_epoch = 0
            return
        states = keras_callback_state.unpack(notes["callbacks"], arrays)
        for peer, (kind, state) in zip(self.peers, states, strict=False):
            if type(peer).__name__ == kind and not isinstance(peer, keras.callbacks.CSVLogger):
                keras_callback_state.set_callback_state(peer, state)
        self._first_epoch, self._epochs_before = notes["first_epoch"], notes["epochs"]
        self.recorder.step = notes["epochs"]
        # Keras reads `_initial_epoch` behind `on_train_begin`, for callbacks such as this one.
        stopped = notes["stop_training"]
        self.model._initial_epoch = self.params["epochs"] if stopped else notes["epochs"]
        self.model.stop_training = stopped


def _keras_train_steps() -> tuple[Any, ...]:
    bases = [cls for cls in keras.Model.__mro__ if "train_step" in vars(cls)]
    return tuple(vars(cls)["train_step"] for cls in bases)


def _metric_names(model: Any, has_validation: bool) -> list[str]:
    """Return the names that the logs of an epoch will have, [] where the model cannot tell yet."""
    compiled = getattr(model, "_compile_metrics", None)
    if compiled is not None and not compiled.built:
        return []  # TensorFlow builds them with the first batch
    try:
        names = list(model.get_metrics_result())
    except (AttributeError, ValueError, TypeError):
        return []
    return names + [f"val_{name}" for name in names] * has_validation


def refuse_oversized(model: Any, max_model_size: int | None) -> None:
    """Give a model up that has more parameters than allowed; one that is not built yet passes.

    Raises:
        OversizedModelError: It has.
    """
    if max_model_size is None or not getattr(model, "built", False):
        return
    size = int(model.count_params())
    if size > max_model_size:
        raise OversizedModelError(
            f"Oversized model: {size} parameters, `max_model_size` is {max_model_size}. Skip model."
        )
