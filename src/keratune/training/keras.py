"""Training Keras models: one trial from its build to the weights it leaves behind.

A `Run` is one trial being trained. Its executions are seeded by (study's seed, trial, attempt,
execution, epoch), so that they can be repeated and taken up again behind any epoch; the state for
that is read when user code calls `model.fit`, which the run watches.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from keratune._files import atomic_path
from keratune._random import derived_seed
from keratune._runtime import logger
from keratune.errors import FatalTypeError
from keratune.history import Record, Result
from keratune.objectives import Objective
from keratune.training import checkpoints, keras_state
from keratune.training import results as training_results
from keratune.training.checkpoints import Checkpoints
from keratune.training.keras_callbacks import (
    EpochSeeds,
    Recorder,
    SaveBestEpoch,
    build_config,
    refuse_oversized,
)
from keratune.trial import Trial


class Run:
    """One trial of a Keras model being trained.

    Args:
        trial: The trial as user code sees it.
        record: The trial as the journal tells it; curves and results of an interrupted run are
            taken from it.
        seed: The study's seed.
        objective: What is optimised.
        folder: The trial's folder.
        keep: What is kept on disk.
        report: Called with step, metrics and execution at each epoch's end.
        complete: Called with execution and result when an execution has ended.
    """

    def __init__(
        self,
        trial: Trial,
        record: Record,
        seed: int,
        objective: Objective,
        folder: Path,
        keep: Checkpoints,
        report: Callable[[int, Mapping[str, float], int], None],
        complete: Callable[[int, Result], None],
    ) -> None:
        """Start before the first execution."""
        self.trial = trial
        self.record = record
        self.objective = objective
        self.folder = folder
        self.keep = keep
        self.execution = 0
        self.max_model_size: int | None = None
        self.checks_objective = False
        self.model: Any = None
        self.best = SaveBestEpoch(objective, folder / checkpoints.BEST_FILE)
        self._recorder: Recorder | None = None
        self._fits = 0
        self._seed = seed
        self._report = report
        self._complete = complete
        if keep.keep or keep.resume:
            folder.mkdir(parents=True, exist_ok=True)
            self.best.recall()

    def seed_for(self, *names: int | str) -> int:
        """Return the seed of a part of the execution."""
        return derived_seed(
            self._seed, self.record.number, self.record.attempt, self.execution, *names
        )

    # ------------------------------------------------------------------ one execution

    def finished(self, execution: int) -> Result | None:
        """Return what an execution came to before a crash, None if it is to be run."""
        return self.record.results.get(execution)

    def callbacks(self, execution: int, peers: Sequence[Any], hooks: Any) -> list[Any]:
        """Start an execution and return the callbacks to train with.

        Args:
            execution: Its number.
            peers: The user's callbacks of this execution; their state is saved and restored.
            hooks: The callback that calls the tuner's hooks.
        """
        self.execution, self.model, self._fits = execution, None, 0
        self.best.saved = False
        self._recorder = Recorder(
            lambda step, metrics: self._report(step, metrics, execution),
            list(peers),
            self.folder / checkpoints.STATE_FILE if self.keep.resume else None,
        )
        seeds = EpochSeeds(lambda epoch: self.seed_for("epoch", self._fits, epoch))
        keeper = [self.best] if self.keep.keep else []
        return [seeds, *peers, hooks, *keeper, self._recorder]

    def watch(self, model: Any) -> None:
        """Take up the model that was built: size, objective and resuming hang on its `fit`."""
        self.model = model
        if not isinstance(model, keras.Model) or self._recorder is None:
            return
        fit = model.fit
        model.__dict__["fit"] = lambda *args, **kwargs: self._fit(fit, args, kwargs)

    def _fit(self, fit: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call `fit`, going on where an interrupted first call has stopped."""
        recorder = self._recorder
        self._fits += 1
        if kwargs.get("verbose", "auto") in ("auto", 1):
            kwargs["verbose"] = 0  # the tuner shows progress; Keras's bars would tear it apart
        if recorder is None or self._fits > 1:
            return fit(*args, **kwargs)
        recorder.has_validation = _has_validation(args, kwargs)
        recorder.max_model_size = self.max_model_size
        recorder.objective = self.objective if self.checks_objective else None
        recorder.stored = stored = self._stored_state()
        if stored is None:
            return fit(*args, **kwargs)
        done = int(stored[1]["epochs"])
        kwargs["initial_epoch"] = done
        if stored[1]["stop_training"]:
            kwargs["epochs"] = done
        return self._with_earlier_epochs(fit(*args, **kwargs), done)

    def _stored_state(self) -> tuple[checkpoints.Arrays, dict[str, Any]] | None:
        """Return the state behind the last epoch of an interrupted run of this execution."""
        file = self.folder / checkpoints.STATE_FILE
        if not file.exists() or not self.keep.resume:
            return None
        arrays, notes = checkpoints.read_arrays(file)
        curve = self.record.curves.get(self.execution, {})
        whole = all(step in curve for step in range(1, int(notes["epochs"]) + 1))
        return (arrays, notes) if whole else None

    def _with_earlier_epochs(self, history: Any, done: int) -> Any:
        """Put the epochs before the interruption in front of a `History`."""
        if not training_results.is_history(history):
            return history
        curve = self.record.curves.get(self.execution, {})
        earlier: dict[str, list[float]] = {}
        for step in range(1, done + 1):
            for name, value in curve[step].items():
                earlier.setdefault(name, []).append(value)
        names = list(dict.fromkeys([*earlier, *history.history]))
        history.history = {
            name: earlier.get(name, []) + list(history.history.get(name, [])) for name in names
        }
        history.epoch = list(range(done)) + list(history.epoch)
        return history

    def end(self, results: Any) -> Result:
        """End an execution: record its result, keep its weights if nothing better was kept.

        Args:
            results: What `HyperModel.fit` returned.
        """
        result = training_results.result_of(results, self.objective)
        if self.model is not None:
            self.model.__dict__.pop("fit", None)
            self.best.set_model(self.model)
            if self.keep.keep and not self.best.saved and not self.best.filepath.exists():
                self.best.save(max(result.step - 1, 0))
        self._complete(self.execution, result)
        checkpoints.remove(self.folder, (checkpoints.STATE_FILE,))
        return result

    # ------------------------------------------------------------------ what it leaves behind

    def export(self) -> None:
        """Write the best weights where they are looked for, in Keras's two formats."""
        if self.model is None or not self.best.filepath.exists():
            return
        arrays, _ = checkpoints.read_arrays(self.best.filepath)
        weights = {key: value for key, value in arrays.items() if key.startswith("v/")}
        keras_state.restore(self.model, weights)
        with atomic_path(self.folder / checkpoints.BUILD_FILE) as draft:
            draft.write_text(json.dumps(build_config(self.model)), encoding="utf-8")
        self._save(checkpoints.WEIGHTS_FILE, lambda path: self.model.save_weights(path))
        self._save(checkpoints.MODEL_FILE, lambda path: self.model.save(path))

    def _save(self, name: str, write: Callable[[str], None]) -> None:
        """Write a file of Keras's; a model that cannot be written so goes without it."""
        try:
            with atomic_path(self.folder / name) as draft:
                write(str(draft))
        except Exception as error:  # user-defined layers may refuse in any way
            logger.debug("%s was not written: %s", self.folder / name, error)


def _has_validation(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    return (
        kwargs.get("validation_data") is not None
        or bool(kwargs.get("validation_split"))
        or len(args) > 5  # positional up to validation_split
    ) and kwargs.get("validation_freq", 1) == 1


def checked(model: Any, max_model_size: int | None) -> Any:
    """Return a model that a build returned, after checking that it is one and not too large.

    Raises:
        FatalTypeError: It is not a Keras model.
        OversizedModelError: It has more parameters than allowed.
    """
    if not isinstance(model, keras.Model):
        raise FatalTypeError(
            "Expected the model-building function, or HyperModel.build() to return a valid Keras "
            f"Model instance. Received: {model} of type {type(model)}."
        )
    refuse_oversized(model, max_model_size)
    return model


def load(folder: Path, rebuild: Callable[[], Any]) -> Any:
    """Return the best model that a trial has left in its folder.

    Args:
        folder: The trial's folder.
        rebuild: Builds the model from its hyperparameters; called only where Keras cannot load the
            whole model without the user's code.

    Raises:
        FileNotFoundError: The trial has left no weights.
    """
    whole, weights = folder / checkpoints.MODEL_FILE, folder / checkpoints.WEIGHTS_FILE
    if whole.exists():
        try:
            return keras.saving.load_model(whole)
        except Exception as error:  # unregistered objects may refuse in any way
            logger.debug("%s is rebuilt: %s", whole, error)
    if not weights.exists():
        raise FileNotFoundError(
            f"There are no weights in {folder}: only the best trials keep them. Keep more with "
            "`checkpoints=keratune.Checkpoints(keep=...)`, or train its hyperparameters again."
        )
    model = rebuild()
    if not model.built:
        config = json.loads((folder / checkpoints.BUILD_FILE).read_text(encoding="utf-8"))
        if config:
            model.build_from_config(config)
    model.load_weights(str(weights))
    return model


def recompile(model: Any, optimizer: Any, loss: Any, metrics: Any) -> None:
    """Compile a model again with some arguments replaced and all others as they were.

    Args:
        model: A model; compiled or not.
        optimizer: Name, object or None to keep the model's; an object is copied.
        loss: Any Keras loss, or None.
        metrics: List of metrics, or None.
    """
    if optimizer is None and loss is None and metrics is None:
        return
    compiled = dict(getattr(getattr(model, "_compile_config", None), "config", None) or {})
    if optimizer is not None:
        described = keras.optimizers.serialize(keras.optimizers.get(optimizer))
        compiled["optimizer"] = keras.optimizers.deserialize(described)
    if loss is not None:
        compiled["loss"] = loss
    if metrics is not None:
        compiled["metrics"] = metrics
    model.compile(**compiled)
