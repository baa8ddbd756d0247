"""The tuner of Keras models: builds, trains, keeps the best weights, goes on after a crash."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import importlib.util
import numbers
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from keratune import confirmation, together
from keratune import racing as races
from keratune._files import YOUNG_DRAFT, remove_drafts
from keratune._random import derived_seed
from keratune.base_tuner import BaseTuner, resolved_arguments, takes_only_hp
from keratune.confirmation import Confirmed
from keratune.errors import FatalValueError, StudyMismatchError, TrialPausedError
from keratune.history import Record, Result
from keratune.model_limits import ModelLimits
from keratune.oracle import Oracle
from keratune.parameters import Choice, HyperParameter, Int
from keratune.reporting import progress, summaries
from keratune.schedulers import Action, Scheduler, scheduler_of
from keratune.space import HyperParameters
from keratune.training import checkpoints as files
from keratune.training import jax_cache, keeping
from keratune.training import results as training_results
from keratune.training.base import HyperModel
from keratune.training.checkpoints import Checkpoints
from keratune.training.folds import Folds, described, listed
from keratune.trial import Trial, TrialStatus

CODE = ("optimizer", "loss", "metrics", "distribution_strategy")  # arguments that no text tells
CONFIRM = "`tuner.confirm()` tells them apart"


class Tuner(BaseTuner):
    """Tunes Keras models with an oracle.

    Args:
        oracle: Decides what to try and keeps what was found.
        hypermodel: A `HyperModel` or a function `build(hp)`; may be missing where `run_trial` is
            overridden.
        max_model_size: Largest number of parameters; larger models are not trained, and the trial
            is recorded as failed.
        optimizer: Replaces the optimizer that the build compiled with.
        loss: Replaces the loss.
        metrics: Replaces the metrics.
        distribution_strategy: A `tf.distribute` strategy under which models are built and loaded.
        directory: Folder of projects; default: the working directory.
        project_name: Folder of this project; default: `untitled_project`.
        logger: Kept and not used, as old code passes it.
        tuner_id: Name of this worker.
        overwrite: Whether a project that exists is deleted; otherwise it is continued.
        executions_per_trial: How often each configuration is trained, from different weights; the
            score is the mean.
        checkpoints: What is kept on disk: `Checkpoints`, a number of best trials, or False for
            nothing; default: the best 10.
        scheduler: Decides who trains how long: the name of a scheduler ("asha", "hyperband",
            "median"), one out of `keratune.schedulers`, or None: every trial is trained to its end.
        racing: Whether further executions, or folds, of a trial are left out once it is clearly
            not going to be the best; for three executions and more. See `keratune.racing`.
        micro_batches: Whether a trial that runs out of memory is trained again with its batches in
            two parts, in four, and so on, whose gradients are added up before a step
            (`gradient_accumulation_steps`). The result is the same up to rounding where batches
            divide the rows (else the last step of an epoch takes in rows of the next one), except
            for layers that look at a whole batch, such as BatchNormalization.
        vectorize: How many trials are trained at a time in one compiled program, on JAX: a number,
            or True for as many as pay where models are small. "auto": one at a time, in programs
            that are used again; False: each by Keras's own loop. See `docs/vectorized.md`.
        limits: What a model may cost: a largest value for `"params"`, `"flops"` (of one sample,
            forward), `"memory"` (bytes while training, or a text such as `"8GB"`) and `"latency"`
            (seconds for a batch). A model that breaks one is not trained, and costs no trial.
        **kwargs: See `BaseTuner`.

    Raises:
        ValueError: There is neither a hypermodel nor an overridden `run_trial`.
    """

    def __init__(
        self,
        oracle: Oracle,
        hypermodel: Any = None,
        max_model_size: int | None = None,
        optimizer: Any = None,
        loss: Any = None,
        metrics: Any = None,
        distribution_strategy: Any = None,
        directory: Any = None,
        project_name: str | None = None,
        logger: Any = None,
        tuner_id: str | None = None,
        overwrite: bool = False,
        executions_per_trial: int = 1,
        *,
        checkpoints: Checkpoints | bool | int | None = None,
        scheduler: str | Scheduler | None = None,
        racing: bool = False,
        limits: Mapping[str, float | str] | None = None,
        micro_batches: bool = False,
        vectorize: together.Vectorize = "auto",
        **kwargs: Any,
    ) -> None:
        """Keep how models are trained, then start the project or continue it."""
        if hypermodel is None and type(self).run_trial is Tuner.run_trial:
            raise ValueError(
                "Received `hypermodel=None`. Pass a `HyperModel` or a function `build(hp)`, or "
                "override `Tuner.run_trial()`."
            )
        if executions_per_trial < 1:
            raise ValueError(
                "`executions_per_trial` must be 1 or more. "
                f"Received: executions_per_trial={executions_per_trial}."
            )
        self.max_model_size = max_model_size
        self.optimizer = optimizer
        self.loss = loss
        self.metrics = metrics
        self.distribution_strategy = distribution_strategy
        self.executions_per_trial = executions_per_trial
        self.checkpoints = Checkpoints.of(checkpoints)
        self.scheduler = scheduler_of(scheduler)
        self.racing = racing
        self.limits = ModelLimits(limits)
        self.micro_batches = micro_batches
        self.vectorize = together.checked(vectorize)
        self.together: Any = None  # trains models, while it runs
        self._run: Any = None
        self._repeat: int | None = None  # of the trial that is being confirmed
        self._arguments: tuple[tuple[Any, ...], dict[str, Any]] | None = None
        if logger is not None:
            kwargs["logger"] = logger
        super().__init__(
            oracle,
            hypermodel,
            directory=directory,
            project_name=project_name,
            overwrite=overwrite,
            tuner_id=tuner_id,
            **kwargs,
        )

    # ------------------------------------------------------------------ hooks

    def on_epoch_begin(self, trial: Trial, model: Any, epoch: int, logs: Any = None) -> None:
        """Called at the beginning of an epoch."""

    def on_epoch_end(self, trial: Trial, model: Any, epoch: int, logs: Any = None) -> None:
        """Called at the end of an epoch."""

    def on_batch_begin(self, trial: Trial, model: Any, batch: int, logs: Any = None) -> None:
        """Called at the beginning of a batch."""

    def on_batch_end(self, trial: Trial, model: Any, batch: int, logs: Any = None) -> None:
        """Called at the end of a batch."""

    def on_trial_end(self, trial: Trial) -> None:
        """End the trial, then delete the checkpoints that nobody needs any more."""
        try:
            super().on_trial_end(trial)
        finally:
            self._run = None
            if trial.trial_id in self.oracle.trials:
                record = self.oracle.record(trial)
                if record.finished:
                    self._delete_unneeded(record)
                for other in keeping.dispensable(self.history, record, self.checkpoints.keep):
                    self._delete_unneeded(other)

    # ------------------------------------------------------------------ searching

    def search(
        self,
        *fit_args: Any,
        cv: Any = None,
        groups: Any = None,
        confirm: Any = None,
        **fit_kwargs: Any,
    ) -> None:
        """Run trials until the oracle has no more; see `BaseTuner.search`.

        The other arguments are those of `model.fit`. Callbacks are a list, copied for each
        execution, or a function of `hp` that returns one. The user's global Keras settings and
        random states are afterwards what they were before.

        Args:
            *fit_args: For `model.fit`.
            cv: Cross-validates every trial, its score is the mean over the folds: a number of
                folds, a splitter with `split(x, y, groups)`, or a list of (train, test) positions.
                Takes the place of `validation_data`.
            groups: A group for each sample, for splitters that keep groups together.
            confirm: How many finalists are trained again at the end, or a pair of how many and how
                often; see `confirm`.
            **fit_kwargs: For `model.fit`.

        Raises:
            ValueError: `groups` are given without `cv`.
            StudyMismatchError: Interrupted trials were trained on the folds of another `cv`.
        """
        amounts = confirmation.amounts(confirm) if confirm else None
        given = {"cv": listed(cv), "groups": groups}
        fit_kwargs.update({name: value for name, value in given.items() if value is not None})
        self._refuse_stray_groups(fit_kwargs)
        self.oracle.verbose = fit_kwargs.get("verbose", self.oracle.verbose)
        self._take_up_folds(fit_kwargs.get("cv"))
        self._arguments = fit_args, fit_kwargs
        self._remedy = "" if amounts else CONFIRM
        with self._global_state():
            super().search(*fit_args, **fit_kwargs)
        if amounts and not self._follows:
            self.confirm(*amounts)

    def join(self, *fit_args: Any, **fit_kwargs: Any) -> None:
        """Work on a search that another process leads; see `BaseTuner.join`."""
        with self._global_state():
            super().join(*fit_args, **fit_kwargs)

    @contextlib.contextmanager
    def _global_state(self) -> Iterator[None]:
        """Leave Keras's settings and random states as they were; keep compiled programs."""
        from keratune.training.initial_jax import quick_initial_values

        with (
            self._keras_state().preserved_global_state(),
            jax_cache.compilation_cache(Path(self.project_dir)),
            quick_initial_values(),
        ):
            yield

    def confirm(
        self,
        top: int = 3,
        repeats: int = 5,
        *fit_args: Any,
        cv: Any = None,
        groups: Any = None,
        **fit_kwargs: Any,
    ) -> list[Confirmed]:
        """Train the finalists again, with seeds that no training before has had.

        The best score of a search is too good, because it was chosen for its luck too. Afterwards
        `get_best_trials`, `get_best_hyperparameters` and `get_best_models` return the confirmed
        trials before all others, by what they were confirmed at; the models are those that the
        search has trained. Repeats that were done before, by an interrupted call too, are not done
        again. With a number of folds for `cv`, each repeat has other folds.

        Args:
            top: How many trials, those that are expected to be the best.
            repeats: How often each is trained; 2 or more tell their spread.
            *fit_args: As for `search`. Without any, those of this process's last search count, and
                arguments that are given by name replace theirs.
            cv: As for `search`.
            groups: As for `search`.
            **fit_kwargs: As for `search`.

        Returns:
            The finalists with their scores, mean, standard deviation and the 95 % interval of the
            mean, the best first; they are printed as a table unless `verbose=0`.

        Raises:
            ValueError: `top` or `repeats` is not positive, there are no arguments to train with,
                or `groups` are given without `cv`.

        Example:
            ```python
            tuner.search(x, y, epochs=20, validation_split=0.2)
            best = tuner.confirm(top=3, repeats=5)[0]
            print(best.trial.trial_id, best.mean, best.interval)
            ```
        """
        confirmation.amounts((top, repeats))
        given = {"cv": listed(cv), "groups": groups}
        fit_kwargs.update({name: value for name, value in given.items() if value is not None})
        if self._arguments is not None and not fit_args and "x" not in fit_kwargs:
            fit_args, fit_kwargs = self._arguments[0], {**self._arguments[1], **fit_kwargs}
        elif not fit_args and not fit_kwargs:
            raise ValueError(
                "`confirm()` needs the arguments of `search` to train with. Received none, and "
                "this process has not searched. Pass them, `confirm(3, 5, x, y, epochs=10)`, or "
                "call `search` first: it trains nothing that is done."
            )
        self._refuse_stray_groups(fit_kwargs)
        verbose = self.oracle.verbose = fit_kwargs.get("verbose", self.oracle.verbose)
        history = self.history
        self._warn_of_lost_weights(confirmation.finalists(history, top))
        shown = progress.progress_for(verbose, history, self._limits())
        with self._global_state():
            records = confirmation.train_again(
                history,
                top,
                repeats,
                lambda record, repeat: self._train_again(record, repeat, fit_args, fit_kwargs),
                self.oracle.study.confirm,
                shown.say,
            )
        trials = self.oracle.trials
        confirmed = [
            Confirmed(trials[record.trial_id], confirmation.scores(history, record))
            for record in records
        ]
        if verbose:
            summaries.confirmed(history.objective, confirmed)
        return confirmed

    def _refuse_stray_groups(self, fit_kwargs: Mapping[str, Any]) -> None:
        own = type(self).run_trial is not Tuner.run_trial or self._fits_by_itself()
        if not own and fit_kwargs.get("groups") is not None and fit_kwargs.get("cv") is None:
            raise ValueError(
                "`groups` say which samples `cv` keeps together. Received: groups without cv. Pass "
                "a splitter that keeps groups together, such as `cv=GroupKFold(5)`, or leave "
                "`groups` out."
            )

    def _fits_by_itself(self) -> bool:
        """Tell whether user code replaces `HyperModel.fit`."""
        return type(self.hypermodel).fit is not HyperModel.fit

    def _take_up_folds(self, cv: Any) -> None:
        """Remember the folds of the search, so that executions of different ones are not mixed.

        Raises:
            StudyMismatchError: Interrupted trials were trained on other folds.
        """
        study, now = self.oracle.study, described(cv)
        study.sync()
        before = study.settings.get("cv")
        if before == now:
            return
        trained = [r for r in self.history.trials if r.curves or r.results]
        begun = [record.trial_id for record in trained if not record.finished]
        if begun:
            raise StudyMismatchError(
                f"Trials that have not ended ({', '.join(begun)}) were trained with cv: {before}. "
                f"Received: {now}. Their folds cannot be mixed: pass the same `cv` until they "
                "have ended, change the `project_name`, or pass `overwrite=True` to start anew."
            )
        if trained:
            self._say(
                f"`cv` was {before} and is {now} from now on; the scores of the {len(trained)} "
                "trials so far are those of the former folds."
            )
        study.change_settings({**study.settings, "cv": now})

    def _warn_of_lost_weights(self, records: Sequence[Record]) -> None:
        """Warn of finalists whose weights were not kept: `get_best_models` cannot return them."""
        if not self.checkpoints.keep or type(self).run_trial is not Tuner.run_trial:
            return
        folders = {r.trial_id: Path(self.project_dir) / f"trial_{r.trial_id}" for r in records}
        lost = [name for name, folder in folders.items() if not files.has_weights(folder)]
        if lost:
            warnings.warn(
                f"Finalists {', '.join(lost)} keep no weights, as they are not among the best "
                f"{self.checkpoints.keep} of the search: should one be confirmed as the best, "
                "`get_best_models` cannot return it. Search with "
                f"`checkpoints=keratune.Checkpoints(keep={len(self.history)})`.",
                UserWarning,
                stacklevel=3,
            )

    def _train_again(
        self, record: Record, repeat: int, fit_args: tuple[Any, ...], fit_kwargs: Any
    ) -> Result:
        """Run a trial once more from a fresh seed, and return the mean over its folds."""
        trial = confirmation.fresh_trial(self.history, record)
        args, kwargs = resolved_arguments(trial.hyperparameters, fit_args, fit_kwargs)
        self._repeat = repeat
        try:
            seed = derived_seed(self.history.seed, "confirm", repeat, record.number)
            self._keras_state().seeded(seed)  # for a `run_trial` that builds and trains by itself
            results = self.run_trial(trial, *args, **kwargs)
        finally:
            self._run = self._repeat = None
        training_results.validate(results, self.oracle.objective, training_results.RUN_TRIAL)
        return training_results.result_of(results, self.oracle.objective)

    def run_trial(self, trial: Trial, *args: Any, **kwargs: Any) -> Any:
        """Train a trial's model, `executions_per_trial` times, or as often on each fold.

        Args:
            trial: The trial.
            *args: For `model.fit`.
            **kwargs: For `model.fit`, with `cv` and `groups` if they were given to `search`.

        Returns:
            What `HyperModel.fit` returned, one entry for each execution.
        """
        callbacks = kwargs.pop("callbacks", None)
        folds = self._folds(args, kwargs)
        repeats = self.executions_per_trial if self._repeat is None else 1
        executions = repeats * (len(folds) if folds else 1)
        self._run = run = self._new_run(trial)
        results = []
        for execution in range(executions):
            done = run.finished(execution)
            if done is not None:
                results.append(done.metrics)
                if run.record.stopped is not None:
                    trial.status, trial.message = TrialStatus.STOPPED, run.record.stopped
                    break
                if self._leaves_race(trial, execution, done, executions, bool(folds)):
                    break
                continue
            if folds:
                args, kwargs = folds.arguments(execution % len(folds))
            result, boards = self._train(trial, execution, callbacks, args, kwargs)
            results.append(result)
            self.oracle.settle(trial, late=True)
            self._follow(run, trial)
            outcome = training_results.result_of(result, self.oracle.objective)
            out = self._leaves_race(trial, execution, outcome, executions, bool(folds))
            last = execution == executions - 1 or trial.status == TrialStatus.STOPPED
            leaves_weights = last and self._repeat is None
            # A race is decided again.
            decided = trial.status == TrialStatus.STOPPED and out is None
            stopped = trial.message if decided else None
            score = None if out is None else out.score
            worth_keeping = leaves_weights and self._is_worth_keeping(run.record, outcome, score)
            run.end(outcome, worth_keeping, stopped)
            self._write_hparams(boards, trial, outcome.metrics)
            if last:
                break
        if self._run.model is None:  # all was trained before a crash: what was read then counts
            trial.hyperparameters.begin(dict(trial.hyperparameters.values), None)
        return results

    def _train(
        self, trial: Trial, execution: int, callbacks: Any, args: Any, kwargs: Any
    ) -> tuple[Any, list[str]]:
        """Train one execution; return what `HyperModel.fit` has, and the TensorBoard folders."""
        run, own = self._run, self._own_callbacks(callbacks, trial)
        boards = self._configure_tensorboard_dir(own, trial, execution)
        called = {**kwargs, "callbacks": self._with_tuners_callbacks(own, trial, execution)}
        result = run.costs.told(self._build_and_fit_model(trial, *args, **called), run.model)
        training_results.validate(result, self.oracle.objective, "HyperModel.fit()")
        return result, boards

    def _folds(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Folds | None:
        """Take `cv` and `groups` out of the arguments and return the folds that they mean."""
        cv = kwargs.pop("cv", None)
        if cv is None:
            return None
        seed = self.history.seed
        if self._repeat is not None:
            seed = derived_seed(seed, "confirm", self._repeat)
        return Folds.of(cv, args, kwargs, kwargs.pop("groups", None), seed)

    def _leaves_race(
        self, trial: Trial, execution: int, result: Result, executions: int, folds: bool
    ) -> races.Exit | None:
        """Stop a trial whose further executions would not make it the best; return its way out."""
        record = self.oracle.record(trial)
        if not self.racing or self._repeat is not None or trial.status == TrialStatus.STOPPED:
            return None
        results = {e: r for e, r in record.results.items() if e < execution}
        results[execution] = result
        out = races.exit_of(self.history, record.number, results, executions, folds=folds)
        if out is not None:
            trial.status, trial.message = TrialStatus.STOPPED, out.reason
            self.oracle.mark_estimate(trial, out.score)
        return out

    def _follow(self, run: Any, trial: Trial) -> None:
        """Do what the scheduler has decided about an execution that has ended.

        Raises:
            TrialPausedError: The trial is put aside.
        """
        if run.decision.action is Action.PAUSE:
            run.pause()
            raise TrialPausedError(run.decision.reason)
        if run.decision.action is Action.STOP:
            trial.status, trial.message = TrialStatus.STOPPED, run.decision.reason

    def _loop(self, fit_args: tuple[Any, ...], fit_kwargs: dict[str, Any]) -> None:
        width = together.width_of(self.vectorize, learns=self._learns())
        if width:
            together.work(self, fit_args, fit_kwargs, width)
        else:
            super()._loop(fit_args, fit_kwargs)

    def _learns(self) -> bool:
        """Tell whether what is suggested depends on how trials have gone."""
        return self.oracle._source is not None or self.oracle.study.planner.algorithm.learns

    def _may_split(self, trial: Trial) -> bool:
        run = self._run
        return self.micro_batches and run is not None and run.may_split()

    def _put_down(self, trial: Trial) -> None:
        if self._run is not None:
            self._run.pause()

    def _bound_scheduler(self, fit_args: tuple[Any, ...], fit_kwargs: Any) -> Scheduler:
        epochs = fit_args[3] if len(fit_args) > 3 else fit_kwargs.get("epochs")
        return self.scheduler.bound(int(epochs) if isinstance(epochs, numbers.Integral) else None)

    def _build_and_fit_model(self, trial: Trial, *args: Any, **kwargs: Any) -> Any:
        """Build a trial's model and train it once; return what `HyperModel.fit` returns."""
        hp = trial.hyperparameters
        model = self._try_build(hp)
        return self.hypermodel.fit(hp, model, *args, **kwargs)

    def _new_run(self, trial: Trial) -> Any:
        from keratune.training import keras as training

        study, record = self.oracle.study, self.oracle.record(trial)
        folder = Path(self.oracle._get_trial_dir(trial.trial_id))
        if self._repeat is not None:
            seed = derived_seed(study.history.seed, "confirm", self._repeat)
            run = training.rehearsal(trial, record, seed, self.oracle.objective, folder)
            return self._limited(run)

        def report(step: int, metrics: Mapping[str, float], execution: int) -> None:
            study.report(record.number, step, metrics, execution)
            if self.progress is not None:
                self.progress.epoch_ended(record, step, metrics)

        run = training.Run(
            trial,
            record,
            study.history.seed,
            self.oracle.objective,
            folder,
            self.checkpoints,
            report,
            lambda *ended: study.complete_execution(record.number, *ended),
            lambda: study.decide(record.number),
            self._origin_of(trial),
            self._leaves_state,
            self.limits,
            self.halt,
            self.together,
        )
        return self._limited(run)

    def _limited(self, run: Any) -> Any:
        """Have a run refuse models that are too large or lack the objective."""
        run.max_model_size = self.max_model_size
        run.checks_objective = not self._fits_by_itself()
        return run

    def _settings(self) -> dict[str, Any]:
        return {
            "tuner": type(self).__name__,
            "executions_per_trial": self.executions_per_trial,
            "max_model_size": self.max_model_size,
            "scheduler": repr(self.scheduler),
            "racing": self.racing,
            "limits": self.limits.bounds,
            "micro_batches": self.micro_batches,
            "code": [name for name in CODE if getattr(self, name) is not None],
        }

    _leaves_state = False  # whether ended trials may be trained further

    def _origin_of(self, trial: Trial) -> Any:
        """Return where a promoted trial goes on from; None for a trial that begins."""
        return None

    # ------------------------------------------------------------------ callbacks

    def _own_callbacks(self, callbacks: Any, trial: Trial) -> list[Any]:
        """Return the user's callbacks for one execution: made afresh, or copied."""
        if takes_only_hp(callbacks):
            return list(callbacks(trial.hyperparameters))
        if callbacks is None:
            return []
        listed = list(callbacks) if isinstance(callbacks, (list, tuple)) else [callbacks]
        return self._deepcopy_callbacks(listed)

    def _deepcopy_callbacks(self, callbacks: list[Any]) -> list[Any]:
        """Return copies of callbacks.

        Raises:
            FatalValueError: One cannot be copied; the message names it and the way out.
        """
        copies = []
        for callback in callbacks:
            try:
                copies.append(copy.deepcopy(callback))
            except Exception as error:
                raise FatalValueError(
                    "All callbacks used during a search should be deep-copyable (since they are "
                    "reused across trials). It is not possible to do `copy.deepcopy("
                    f"{type(callback).__name__})`: {error}. Pass a function that makes them: "
                    f"`callbacks=lambda hp: [{type(callback).__name__}(...)]`."
                ) from error
        return copies

    def _with_tuners_callbacks(self, own: list[Any], trial: Trial, execution: int) -> list[Any]:
        from keratune.training import keras_callbacks

        batches = any(
            getattr(type(self), name) is not getattr(Tuner, name)
            for name in ("on_batch_begin", "on_batch_end")
        )
        kind = keras_callbacks.TunerBatchCallback if batches else keras_callbacks.TunerCallback
        return self._run.callbacks(execution, own, kind(self, trial))

    def _configure_tensorboard_dir(
        self, callbacks: list[Any], trial: Trial, execution: int
    ) -> list[str]:
        """Give each execution a TensorBoard folder of its own, and return these folders."""
        folders = []
        for place, callback in enumerate(callbacks):
            if type(callback).__name__ != "TensorBoard":
                continue
            name = f"execution{execution}"
            if self._repeat is not None:
                name = f"confirm{self._repeat}-{execution}"
            folder = Path(str(callback.log_dir)) / trial.trial_id / name
            callback.log_dir = str(folder)
            folders.append(str(folder))
            if importlib.util.find_spec("tensorflow") is None:
                from keratune.reporting import tensorboard

                callbacks[place] = tensorboard.without_tensorflow(callback)
        return folders

    def _write_hparams(
        self, folders: list[str], trial: Trial, metrics: Mapping[str, float]
    ) -> None:
        """Write an execution's hyperparameters and metrics for TensorBoard's HParams page."""
        if not folders:
            return
        from keratune.reporting import tensorboard

        domains = {p.name: _domain(p) for p in self.oracle.get_space().space}
        for folder in folders:
            tensorboard.write_hparams(
                folder, trial.trial_id, dict(trial.hyperparameters.values), domains, metrics
            )

    # ------------------------------------------------------------------ building and loading

    def _try_build(self, hp: HyperParameters) -> Any:
        """Build a model, and check that it is one and not too large.

        Raises:
            FatalTypeError: The build did not return a Keras model.
            OversizedModelError: It has more parameters than `max_model_size`.
        """
        from keratune.training import keras as training

        state = self._keras_state()
        state.free_memory(alive=1 if self.together is None else self.together.count)
        state.fresh_names()
        run = self._run
        if run is not None:
            state.seeded(run.seed_for("build"))
        model = self._build_hypermodel(hp)
        if run is not None and run.trial.hyperparameters is hp:
            self.oracle.settle(run.trial)
            run.watch(model)
        return training.checked(model, self.max_model_size)

    def _build_hypermodel(self, hp: HyperParameters) -> Any:
        """Build a model and compile it with the tuner's arguments."""
        with maybe_distribute(self.distribution_strategy):
            model = self.hypermodel.build(hp)
            self._override_compile_args(model)
            return model

    def _override_compile_args(self, model: Any) -> None:
        from keratune.training import keras as training

        training.recompile(model, self.optimizer, self.loss, self.metrics)

    def _build_quietly(self, hp: HyperParameters) -> None:
        state = self._keras_state()
        with state.preserved_global_state():
            state.fresh_names()
            with maybe_distribute(self.distribution_strategy):
                self.hypermodel.build(hp)

    def load_model(self, trial: Trial) -> Any:
        """Return a trial's best model: as Keras saved it, rebuilt where Keras cannot load it.

        Args:
            trial: The trial.

        Raises:
            FileNotFoundError: The trial keeps no weights: it is not among the best.
        """
        from keratune.training import keras as training

        folder = Path(self.oracle._get_trial_dir(trial.trial_id))
        with (
            self._keras_state().preserved_global_state(),
            maybe_distribute(self.distribution_strategy),
        ):
            return training.load(folder, lambda: self._try_build(trial.hyperparameters))

    def get_best_models(self, num_models: int = 1) -> list[Any]:
        """Return the best models, with the weights of their best epoch, the best first.

        With several executions a model has the weights of its best execution.

        Args:
            num_models: How many; fewer are returned where fewer trials are completed.

        Raises:
            FileNotFoundError: A trial keeps no weights; see `checkpoints`.
        """
        return super().get_best_models(num_models)

    def _keras_state(self) -> Any:
        from keratune.training import keras_state

        return keras_state

    # ------------------------------------------------------------------ disk

    def _get_checkpoint_fname(self, trial_id: str) -> str:
        """Return where a trial's best weights are."""
        return str(Path(self.oracle._get_trial_dir(trial_id)) / files.WEIGHTS_FILE)

    def _is_worth_keeping(self, record: Record, outcome: Result, score: float | None) -> bool:
        """Tell whether a trial that ends with this outcome is among the best.

        `score` is what it will have; None: the mean over its executions.
        """
        results = {**record.results, len(record.results): outcome}
        if type(self.oracle).score_trial is not Oracle.score_trial:
            return self.checkpoints.keep > 0  # known only when the trial has ended
        ended = dataclasses.replace(record, results=results)
        return keeping.is_worth_keeping(self.history, ended, self.checkpoints.keep, score)

    def reload(self) -> None:
        """Continue the project, and delete what a killed process could not."""
        super().reload()
        remove_drafts(Path(self.project_dir), older_than=YOUNG_DRAFT)
        for record in self.history.trials:
            if record.finished:
                self._delete_unneeded(record, older_than=YOUNG_DRAFT)
            elif record.status == TrialStatus.PAUSED:
                folder = Path(self.project_dir) / f"trial_{record.trial_id}"
                remove_drafts(folder, older_than=YOUNG_DRAFT)

    def _delete_unneeded(self, record: Record, older_than: float = 0.0) -> None:
        """Delete what an ended trial needed to go on, and weights that are not among the best."""
        kept = keeping.is_kept(self.history, record, self.checkpoints.keep)
        folder = Path(self.project_dir) / f"trial_{record.trial_id}"
        if kept and not files.is_exported(folder):
            files.remove(folder, (files.STATE_FILE,))
        else:
            files.remove(folder, files.RUNNING_FILES if kept else files.ALL_FILES)
        remove_drafts(folder, older_than)


@contextlib.contextmanager
def maybe_distribute(distribution_strategy: Any) -> Iterator[None]:
    """Run the block under a distribution strategy's scope, where there is one."""
    if distribution_strategy is None or not hasattr(distribution_strategy, "scope"):
        yield
    else:
        with distribution_strategy.scope():
            yield


def _domain(parameter: HyperParameter) -> Any:
    """Return a hyperparameter's values for TensorBoard: a list, or the ends of a range."""
    if (
        isinstance(parameter, Choice)
        or parameter.size is not None
        and not isinstance(parameter, Int)
    ):
        return list(parameter.values)
    if isinstance(parameter, Int) and parameter.lattice and parameter.step != 1:
        return list(parameter.values)
    return (parameter.min_value, parameter.max_value)  # type: ignore[attr-defined]
