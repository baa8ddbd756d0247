"""The callbacks that every trial of a Keras model is trained with.

`TunerCallback` calls the tuner's hooks, `SaveBestEpoch` keeps the best epoch's weights, `Recorder`
reports each epoch to the study and saves what a crashed training needs to go on.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from keratune.errors import FatalValueError, OversizedModelError
from keratune.objectives import Objective
from keratune.training import checkpoints, keras_state, results


def numeric(logs: Mapping[str, Any] | None) -> dict[str, float]:
    """Return the numbers among a callback's logs."""
    found = {}
    for name, value in (logs or {}).items():
        try:
            found[name] = float(value)
        except (TypeError, ValueError):
            continue  # an array-valued metric has no place on a curve
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
        saved: Whether anything was saved since `on_train_begin`.
    """

    def __init__(self, objective: Objective, filepath: str | Path) -> None:
        """Start with the worst value."""
        super().__init__()
        self.objective = objective
        self.filepath = Path(filepath)
        self.best_value = objective.worst
        self.saved = False

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Save if the epoch is the best so far."""
        values = numeric(logs)
        if self.objective.has_value(values):
            value = float(self.objective.get_value(values))
            if not self.objective.better_than(value, self.best_value):
                return
            self.best_value = value
        self.save(epoch)

    def save(self, epoch: int) -> None:
        """Save the model's weights as they are."""
        self.saved = True
        if self.filepath.suffix != ".npz":
            self.model.save_weights(str(self.filepath))
            return
        notes = {"epoch": epoch, "value": repr(float(self.best_value))}
        checkpoints.write_arrays(self.filepath, keras_state.capture(self.model), notes)

    def recall(self) -> None:
        """Take up the best value that the file holds, behind a crash or a former execution."""
        if self.filepath.exists():
            _, notes = checkpoints.read_arrays(self.filepath)
            self.best_value = float(notes["value"])
            self.saved = True


class EpochSeeds(keras.callbacks.Callback):
    """Seeds every epoch by its number, so that a resumed training shuffles as it would have.

    Args:
        seed_of: Returns the seed of an epoch.
    """

    def __init__(self, seed_of: Callable[[int], int]) -> None:
        """Keep the function."""
        super().__init__()
        self.seed_of = seed_of

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Set the random state of everything that training draws from."""
        keras_state.seeded(self.seed_of(epoch))


class Recorder(keras.callbacks.Callback):
    """Reports every epoch and makes every epoch's end a place to go on from. Stands last.

    Args:
        report: Called with the step (trained epochs, from 1) and the epoch's metrics.
        peers: The callbacks whose state belongs to the training.
        state_file: Where the state goes; None saves none.

    Attributes:
        objective: When set, it must be among the metrics: found before the first epoch where the
            model itself can tell, at the first epoch's end otherwise.
        max_model_size: Largest number of parameters, checked here for models that only training
            builds.
        offset: Steps of former calls of `fit` in the same execution.
    """

    def __init__(
        self,
        report: Callable[[int, dict[str, float]], None],
        peers: Sequence[Any],
        state_file: Path | None,
    ) -> None:
        """Keep the parts."""
        super().__init__()
        self.report = report
        self.peers = peers
        self.state_file = state_file
        self.objective: Objective | None = None
        self.max_model_size: int | None = None
        self.has_validation = False
        self.offset = 0
        self.last_step = 0
        self.stored: tuple[checkpoints.Arrays, dict[str, Any]] | None = None

    def on_train_begin(self, logs: Any = None) -> None:
        """Check what can be checked before anything is trained, and go on from a stored state."""
        refuse_oversized(self.model, self.max_model_size)
        self.offset = self.last_step
        if self.objective is not None and self._model_knows_metrics():
            self._check_objective(_metric_names(self.model, self.has_validation))
        if self.stored is not None:
            self._put_back(*self.stored)
            self.stored = None

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Report the epoch, then save the state behind it."""
        metrics = numeric(logs)
        if self.objective is not None:
            self._check_objective(sorted(metrics), self.has_validation)
        self.last_step = self.offset + epoch + 1
        self.report(self.last_step, metrics)
        ends_here = epoch + 1 >= (self.params or {}).get("epochs", 0)
        if self.state_file is not None and not self.offset and not ends_here:
            self._save(epoch + 1)

    def _save(self, epochs: int) -> None:
        states = [keras_state.callback_state(peer) for peer in self.peers]
        packed, arrays = keras_state.pack(states)
        notes = {
            "epochs": epochs,
            "stop_training": bool(self.model.stop_training),
            "callbacks": packed,
            "build": build_config(self.model),
        }
        arrays = {**arrays, **keras_state.capture(self.model)}
        if self.state_file is not None:
            checkpoints.write_arrays(self.state_file, arrays, notes)

    def _put_back(self, arrays: checkpoints.Arrays, notes: Mapping[str, Any]) -> None:
        """Give model and callbacks a stored state; the others' `on_train_begin` has run."""
        if not self.model.built and notes["build"]:
            self.model.build_from_config(notes["build"])
        variables = {key: value for key, value in arrays.items() if key[:2] in ("v/", "o/")}
        keras_state.restore(self.model, variables)
        states = keras_state.unpack(notes["callbacks"], arrays)
        for peer, state in zip(self.peers, states, strict=False):
            keras_state.set_callback_state(peer, state)
        self.last_step = self.offset = 0

    def _model_knows_metrics(self) -> bool:
        """Whether the logs will hold the model's own metrics and nothing else."""
        own = all(type(peer).__module__.split(".")[0] == "keras" for peer in self.peers)
        return own and type(self.model).train_step in _keras_train_steps()

    def _check_objective(self, names: Sequence[str], validated: bool = True) -> None:
        objective, self.objective = self.objective, None
        if objective is None or not names:
            return
        missing = [name for name in objective.names if name not in names]
        frequency_hides_it = not validated and all(n.startswith("val_") for n in missing)
        if missing and not frequency_hides_it:
            raise FatalValueError(
                results.missing_objective(objective, sorted(names), "HyperModel.fit()")
            )


def _keras_train_steps() -> tuple[Any, ...]:
    bases = [cls for cls in keras.Model.__mro__ if "train_step" in vars(cls)]
    return tuple(vars(cls)["train_step"] for cls in bases)


def _metric_names(model: Any, has_validation: bool) -> list[str]:
    """Return the names that the logs of an epoch will have, [] where the model cannot tell yet."""
    try:
        names = list(model.get_metrics_result())
    except (AttributeError, ValueError, TypeError):
        return []
    return names + [f"val_{name}" for name in names] * has_validation


def build_config(model: Any) -> Any:
    """Return what `build_from_config` needs, None for models that cannot tell it in JSON."""
    try:
        config = model.get_build_config()
        json.dumps(config)
    except (AttributeError, TypeError, NotImplementedError):
        return None
    return config


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
