"""Training Keras models: one trial from its build to the weights it leaves behind.

A `Run` is one trial being trained. Its executions are seeded by (study's seed, trial, attempt,
execution, epoch), so that they can be repeated, and taken up again behind any epoch.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from keratune._files import atomic_path, remove_drafts
from keratune._random import derived_seed
from keratune._runtime import logger
from keratune.errors import FatalTypeError
from keratune.halt import Halt
from keratune.history import Record, Result
from keratune.model_limits import UNLIMITED, ModelLimits
from keratune.objectives import Objective
from keratune.schedulers.base import CONTINUE, Action, Decision
from keratune.training import checkpoints, keras_variables
from keratune.training.checkpoints import Checkpoints
from keratune.training.keras_callbacks import (
    Checks,
    Decider,
    EpochSeeds,
    Halter,
    Recorder,
    Resume,
    SaveBestEpoch,
    refuse_oversized,
)
from keratune.training.keras_costs import CostMetrics, ModelCosts
from keratune.training.keras_threads import StepThreads
from keratune.trial import Trial


@dataclasses.dataclass(frozen=True)
class Origin:
    """Where a promoted trial goes on from.

    Attributes:
        first: The trial with which the training began; its seeds go on to count.
        folder: Folder of the trial that was promoted, which has left its state there.
        explores: Whether this one goes on with other hyperparameters.
    """

    first: Record
    folder: Path
    explores: bool = False


KERAS_BATCH = 32  # rows of a batch where `fit` is not told


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
        complete: Called with execution, result, and why it was stopped, when one has ended.
        decide: Called behind each report of the first execution: whether the trial goes on.
        origin: The trial that this one goes on from.
        leaves_state: Whether it may be trained further when it has ended.
        limits: What its model may cost.
        halt: Asked between batches and epochs whether to go on.
        together: Trains the model together with those of other trials, see
            `keratune.execution.side_by_side`; None: it is trained by itself.

    Attributes:
        max_model_size: Largest number of parameters, None for no limit.
        checks_objective: Whether the metrics are those of `model.fit`, so that one which lacks the
            objective can be refused early.
        costs: What its model costs.
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
        complete: Callable[[int, Result, str | None], None],
        decide: Callable[[], Decision],
        origin: Origin | None = None,
        leaves_state: bool = False,
        limits: ModelLimits = UNLIMITED,
        halt: Halt | None = None,
        together: Any = None,
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
        known = next(iter(record.curves.get(0, {}).values()), {})
        self.costs = ModelCosts(limits, objective, known)
        self.model: Any = None
        self._best = SaveBestEpoch(objective, folder / checkpoints.BEST_FILE)
        self._checks: Checks | None = None
        self._seed = seed
        self._origin = origin
        self._leaves_state = leaves_state
        self._report = report
        self._complete = complete
        self._decide = decide
        self._decider: Decider | None = None
        self._is_fitting = False
        self._batch_size: int | None = None  # as the user wants it; None where it cannot be split
        self._accumulating: Any = None  # the model that adds up the gradients of parts
        self._together = together
        self._threads = StepThreads()
        self._halter = Halter(halt or Halt())
        if keep.keep or keep.resume:
            folder.mkdir(parents=True, exist_ok=True)
            remove_drafts(folder)
            if not record.curves and not record.results:  # files are of another attempt
                checkpoints.remove(folder, checkpoints.RUNNING_FILES)
            self._best.recall()

    def seed_for(self, *names: int | str) -> int:
        """Return the seed of a part of the execution."""
        first, attempt = self.record, self.record.attempt
        if self._origin is not None:
            first, attempt = self._origin.first, self._origin.first.attempt + attempt
        return derived_seed(self._seed, first.number, attempt, self.execution, *names)

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
        self.execution, self.model, self._best.attached = execution, None, False
        seeds = EpochSeeds(lambda fit, epoch: self.seed_for("epoch", fit, epoch))
        objective = self.objective if self.checks_objective else None
        self._checks = Checks(self.max_model_size, objective, peers)
        recorder = Recorder(lambda step, metrics: self._report(step, metrics, execution))
        keeper = [self._best] if self.keep.keep else []
        resume = [self._resume(peers, recorder)] if self.keep.resume else []
        self._decider = None
        if execution == 0:
            self._decider = Decider(lambda: self._decision(recorder.step), recorder)
        decider = [self._decider] if self._decider else []
        costs = [CostMetrics(self.costs)] if self.costs.names else []
        # The report comes first: a worker that has lost its trial learns it there, and writes none.
        own = [self._checks, recorder, *keeper, *resume, *decider, self._threads, self._halter]
        return [seeds, *costs, *peers, hooks, *own]

    def _resume(self, peers: Sequence[Any], recorder: Recorder) -> Resume:
        execution = self.execution
        final = checkpoints.final_file(execution)
        return Resume(
            self.folder / checkpoints.STATE_FILE,
            [self.record.attempt, execution],
            peers,
            recorder,
            lambda: self.record.curves.get(execution, {}),
            self._origin.folder / final if self._origin is not None else None,
            self._origin is not None and self._origin.explores,
        )

    def watch(self, model: Any) -> None:
        """Take up the model that was built, and what its `fit` is called with.

        Raises:
            TrialRejectedError: It breaks a limit.
        """
        self.costs.built(model)
        self.model = model
        if isinstance(model, keras.Model):
            fit = model.fit
            model.__dict__["fit"] = lambda *args, **kwargs: self._fit(fit, args, kwargs)

    def _fit(self, fit: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if kwargs.get("verbose", "auto") in ("auto", 1) and _takes(fit, "verbose"):
            kwargs["verbose"] = 0  # the tuner shows progress; Keras's bars would tear it apart
        if self._checks is not None:
            self._checks.has_validation = _has_validation(args, kwargs)
            self._checks.validates_always = kwargs.get("validation_freq", 1) == 1
        args, kwargs = self._in_parts(args, kwargs)
        x, batch_size = (*args, *[None] * 3)[:3:2]
        self.costs.fitted(self.model, kwargs.get("x", x), kwargs.get("batch_size", batch_size))
        self._is_fitting = True
        try:
            history = None
            if self._together is not None:
                history = self._together.fit(self.model, args, kwargs)
            if history is None:
                history = fit(*args, **kwargs)
        finally:
            self._is_fitting = False
            self._threads.release()
        if self.decision.action is Action.PAUSE:
            self.pause()  # what follows in user code may not come to its end
        return history

    def _in_parts(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Have batches trained in parts, as often halved as the trial has run out of memory."""
        x, whole = (*args, *[None] * 3)[:3:2]
        whole = kwargs.get("batch_size", whole)
        is_array = hasattr(kwargs.get("x", x), "shape")
        self._batch_size = int(whole or KERAS_BATCH) if is_array else None
        if not self.record.splits or self._batch_size is None:
            return args, kwargs
        parts = parts_of(self._batch_size, self.record.splits)
        if self._accumulating is not self.model:  # user code may call `fit` more than once
            accumulate(self.model, parts)
            self._accumulating = self.model
        size = self._batch_size // parts
        if len(args) > 2:
            return (*args[:2], size, *args[3:]), kwargs
        return args, {**kwargs, "batch_size": size}

    def may_split(self) -> bool:
        """Tell whether the batches can be trained in parts half as large as now."""
        if self._batch_size is None:
            return False
        now, next_time = (parts_of(self._batch_size, self.record.splits + n) for n in (0, 1))
        return next_time > now

    def _decision(self, step: int) -> Decision:
        """Ask the scheduler what becomes of the trial behind an epoch.

        An epoch that is trained again was decided about before. In a loop of the user's own no
        trial pauses: such a loop would begin at its first epoch again, with trained weights.
        """
        if step < self.record.trained:
            return CONTINUE
        decision = self._decide()
        pauses = decision.action is Action.PAUSE
        return CONTINUE if pauses and not self._is_fitting else decision

    @property
    def decision(self) -> Decision:
        """What the scheduler has decided last about the execution."""
        return CONTINUE if self._decider is None else self._decider.decision

    def pause(self) -> None:
        """Leave what loading the best epoch's model needs; the state to go on from is there."""
        if self._best.attached and self._best.saved:
            self._describe_build(self._best.model)

    def end(self, result: Result, is_worth_keeping: bool, stopped: str | None = None) -> None:
        """End an execution: leave the weights behind, then record its result.

        Args:
            result: What it came to.
            is_worth_keeping: Whether the trial ends with it and its weights are to be kept.
            stopped: Why it was not trained to its end; None: it was.
        """
        if self.model is not None:
            self.model.__dict__.pop("fit", None)
            if self.keep.keep and not self._best.attached:
                self._keep_if_best(result)
            if is_worth_keeping and self._best.saved:  # no epoch is where none had a finite value
                self._export()  # before the result is recorded: behind that, nothing is repeated
        if self._leaves_state:
            checkpoints.keep_final(self.folder, self.execution)
        self._complete(self.execution, result, stopped)
        if self.keep.resume:
            checkpoints.remove(self.folder, (checkpoints.STATE_FILE,))

    def _keep_if_best(self, result: Result) -> None:
        """Save the model of a training loop that has called no callbacks, if it is the best."""
        self._best.set_model(self.model)
        has_value = self.objective.has_value(result.metrics)
        value = float(self.objective.get_value(result.metrics)) if has_value else None
        if self._best.saved and value is not None:
            if not self.objective.better_than(value, self._best.best_value):
                return
        self._best.best_value = self._best.best_value if value is None else value
        self._best.save()

    # ------------------------------------------------------------------ what it leaves behind

    def _export(self) -> None:
        """Write the best weights where they are looked for, in Keras's two formats."""
        model = self._best.model  # the one that was trained, if user code has trained another
        keras_variables.restore(model, checkpoints.read_arrays(self._best.filepath)[0])
        self._describe_build(model)
        self._save(checkpoints.WEIGHTS_FILE, lambda path: model.save_weights(path))
        self._save(checkpoints.MODEL_FILE, lambda path: model.save(path))

    def _describe_build(self, model: Any) -> None:
        """Write how the model was built, for a model that Keras cannot load without its code."""
        with atomic_path(self.folder / checkpoints.BUILD_FILE) as draft:
            config = keras_variables.build_config(model)
            draft.write_text(json.dumps(config), encoding="utf-8")

    def _save(self, name: str, write: Callable[[str], None]) -> None:
        """Write a file of Keras's; a model that cannot be written so goes without it."""
        try:
            with checkpoints.quick_saving(), atomic_path(self.folder / name) as draft:
                write(str(draft))
        except OSError as error:  # the disk is full: `best.npz` stays, and is loaded instead
            logger.warning("%s was not written: %s", self.folder / name, error)
        except Exception as error:  # user-defined layers may refuse in any way
            logger.debug("%s was not written: %s", self.folder / name, error)


def rehearsal(trial: Trial, record: Record, seed: int, objective: Objective, folder: Path) -> Run:
    """Return a run that trains a trial that has ended once more, and leaves nothing behind."""
    return Run(
        trial,
        dataclasses.replace(record, curves={}, results={}),
        seed,
        objective,
        folder,
        Checkpoints(keep=0, resume=False),
        report=lambda step, metrics, execution: None,
        complete=lambda execution, result, stopped: None,
        decide=lambda: CONTINUE,
    )


def _takes(function: Callable[..., Any], argument: str) -> bool:
    parameters = inspect.signature(function).parameters
    return argument in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def _has_validation(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    return (
        kwargs.get("validation_data") is not None
        or bool(kwargs.get("validation_split"))
        or len(args) > 5  # positional up to validation_split
    )


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
    best = checkpoints.read_if_whole(folder / checkpoints.BEST_FILE)
    if not weights.exists() and best is None:
        raise FileNotFoundError(
            f"There are no weights in {folder}: only the best trials of models that the tuner "
            "trains keep them. Keep more with `checkpoints=keratune.Checkpoints(keep=...)`, or "
            "train its hyperparameters again."
        )
    model = rebuild()
    described = folder / checkpoints.BUILD_FILE
    if not model.built and not described.exists():
        raise FileNotFoundError(
            f"The weights in {folder} cannot be loaded: {described.name} is missing, which says "
            "how the model was built. It is written when a trial ends or pauses; this one was "
            "interrupted, or the file was deleted. Train its hyperparameters again."
        )
    config = json.loads(described.read_text(encoding="utf-8")) if described.exists() else None
    keras_variables.ensure_built(model, config)
    if weights.exists():
        with warnings.catch_warnings():  # a model that was not trained has no optimizer state yet
            warnings.filterwarnings("ignore", "Skipping variable loading for optimizer")
            model.load_weights(str(weights))
    elif best is not None:
        keras_variables.restore(model, best[0])
    return model


def parts_of(batch_size: int, splits: int) -> int:
    """Return in how many equal parts a batch is trained that was split so often."""
    divisors = [parts for parts in range(1, batch_size + 1) if batch_size % parts == 0]
    return next((parts for parts in divisors if parts >= 2**splits), batch_size)


def accumulate(model: Any, steps: int) -> None:
    """Have a compiled model add up the gradients of several steps before it changes a weight."""
    described = keras.optimizers.serialize(model.optimizer)
    before = described["config"].get("gradient_accumulation_steps") or 1
    described["config"]["gradient_accumulation_steps"] = before * steps
    recompile(model, keras.optimizers.deserialize(described), None, None)


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
