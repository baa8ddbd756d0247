"""The tuner of scikit-learn estimators: cross-validates each trial, refits the best on all data."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cloudpickle

from keratune import racing as races
from keratune._files import atomic_path
from keratune._random import derived_seed, numpy_seeded
from keratune._runtime import require
from keratune.base_tuner import BaseTuner
from keratune.errors import MissingPackageError
from keratune.history import Record, Result
from keratune.oracle import Oracle
from keratune.training import checkpoints as files
from keratune.training import keeping
from keratune.training import results as training_results
from keratune.training.checkpoints import Checkpoints
from keratune.trial import Trial, TrialStatus

MODEL_FILE = "model.pickle"


class SklearnTuner(BaseTuner):
    """Tunes scikit-learn estimators, `Pipeline` and all, by cross-validation.

    A trial's score is the mean over the folds of the objective, which is called "score". The
    best trials are fitted once more, to all data, and kept in `model.pickle`.

    Args:
        oracle: Decides what to try and keeps what was found; its objective is
            `Objective("score", "max")`, or the name of one of `metrics`.
        hypermodel: A `HyperModel` or a function `build(hp)` that returns an estimator.
        scoring: How a fitted estimator is scored: None for its own `score`, the name of a scorer of
            scikit-learn, or a function `(estimator, X, y, sample_weight=None)`.
        metrics: What else is measured: functions `(y_true, y_predicted, sample_weight=None)`, such
            as those of `sklearn.metrics`, or names of scorers; one or a list.
        cv: How data are split: a splitter of `sklearn.model_selection`, any object with `split`, a
            list of (train, test) positions, or a number of folds, taken as `cross_val_score` takes
            it; default: `KFold(5, shuffle=True, random_state=1)`.
        checkpoints: What is kept on disk: `Checkpoints`, a number of best trials, or False for
            nothing; default: the best 10.
        racing: Whether further folds of a trial are left out once it is clearly not going to be
            the best; see `keratune.racing`.
        **kwargs: See `BaseTuner`.

    Raises:
        ImportError: scikit-learn is not installed.
        ValueError: A scorer is unknown, two metrics have one name, or `cv` cannot split.

    Example:
        ```python
        def build_model(hp):
            if hp.Choice("model", ["forest", "ridge"]) == "forest":
                return ensemble.RandomForestClassifier(max_depth=hp.Int("depth", 3, 10))
            return linear_model.RidgeClassifier(hp.Float("alpha", 1e-3, 1, sampling="log"))

        tuner = keratune.SklearnTuner(
            keratune.oracles.RandomSearchOracle(keratune.Objective("score", "max"), max_trials=20),
            build_model,
            scoring="balanced_accuracy",
            cv=model_selection.StratifiedKFold(5),
        )
        tuner.search(X, y, sample_weight=weights)
        model = tuner.get_best_models()[0]
        ```
    """

    def __init__(
        self,
        oracle: Oracle,
        hypermodel: Any,
        scoring: Any = None,
        metrics: Any = None,
        cv: Any = None,
        *,
        checkpoints: Checkpoints | bool | int | None = None,
        racing: bool = False,
        **kwargs: Any,
    ) -> None:
        """Check how trials are evaluated, then start the project or continue it."""
        _require_sklearn()
        from keratune.training.sklearn import CrossValidation

        self.scoring = scoring
        self.metrics = _listed(metrics)
        self.cv = cv
        self.checkpoints = Checkpoints.of(checkpoints)
        self.racing = racing
        self._validation = CrossValidation(scoring, self.metrics, cv)
        super().__init__(oracle, hypermodel, **kwargs)

    def search(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        groups: Any = None,
        *,
        verbose: Any = None,
    ) -> None:
        """Run trials until the oracle has no more.

        Args:
            X: Features, one row for each sample: an array, a data frame, a sparse matrix or a list.
            y: Targets; None for estimators that need none.
            sample_weight: A weight for each sample, for fitting and for scoring. It reaches each
                step of a `Pipeline` whose `fit` takes weights; where scikit-learn's metadata
                routing is switched on, it goes where the steps request it.
            groups: A group for each sample, for splitters that keep groups together.
            verbose: 0: nothing is shown, 1: the search.

        Raises:
            RuntimeError: Too many trials have failed in a row.
            FatalError: A mistake that every trial would repeat, such as data that cannot be split.
        """
        if verbose is not None:
            self.oracle.verbose = verbose
        super().search(X, y, sample_weight=sample_weight, groups=groups)

    def run_trial(
        self,
        trial: Trial,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        groups: Any = None,
    ) -> list[dict[str, float]]:
        """Cross-validate a trial's estimator, and keep it, fitted to all data, if it is good.

        Folds that an interrupted run has finished are not repeated. All trials get the same folds,
        unless `cv` holds a random state of its own.

        Args:
            trial: The trial.
            X: See `search`.
            y: See `search`.
            sample_weight: See `search`.
            groups: See `search`.

        Returns:
            The metrics, a dict for each fold.
        """
        from keratune.training.sklearn import Data

        record, seed = self.oracle.record(trial), self.history.seed
        data = Data.of(X, y, sample_weight, groups)
        model = self._build(trial)
        self.oracle.settle(trial)
        with numpy_seeded(derived_seed(seed, "folds")):
            folds = self._validation.folds(data, model)
        out = None
        for fold, (train, test) in enumerate(folds):
            if fold in record.results:
                continue
            out = self._exit_of(trial, record, len(folds))
            if out is not None:
                break
            with numpy_seeded(derived_seed(seed, record.number, record.attempt, fold)):
                model = self._build(trial) if model is None else model
                self._fit(trial, model, data.take(train))
                metrics = self._validation.scores(model, data.take(test))
            self.oracle.settle(trial, late=True)
            training_results.validate(metrics, self.oracle.objective, "Tuner.run_trial()")
            self.oracle.study.complete_execution(record.number, fold, Result(0, metrics))
            model = None
        score = None if out is None else out.score
        if keeping.is_worth_keeping(self.history, record, self.checkpoints.keep, score):
            with numpy_seeded(derived_seed(seed, record.number, record.attempt, "all")):
                model = self._build(trial)
                self._fit(trial, model, data)
                self.save_model(trial.trial_id, model)
        return [record.results[fold].metrics for fold in sorted(record.results)]

    def _exit_of(self, trial: Trial, record: Record, folds: int) -> races.Exit | None:
        """Stop a trial whose further folds would not make it the best, and return its way out."""
        if not self.racing:
            return None
        out = races.exit_of(self.history, record.number, record.results, folds, folds=True)
        if out is not None:
            trial.status, trial.message = TrialStatus.STOPPED, out.reason
            self.oracle.mark_estimate(trial, out.score)
        return out

    def _build(self, trial: Trial) -> Any:
        model = self.hypermodel.build(trial.hyperparameters)
        self._validation.check(model)
        return model

    def _fit(self, trial: Trial, model: Any, data: Any) -> None:
        """Fit an estimator through `HyperModel.fit`."""
        from keratune.training.sklearn import fit_arguments

        weights = fit_arguments(model, data.sample_weight)
        self.hypermodel.fit(trial.hyperparameters, model, data.X, data.y, **weights)

    def on_trial_end(self, trial: Trial) -> None:
        """End the trial, then delete the models that are no longer among the best."""
        try:
            super().on_trial_end(trial)
        finally:
            if trial.trial_id in self.oracle.trials:
                record, keep = self.oracle.record(trial), self.checkpoints.keep
                self._delete_models(keeping.dispensable(self.history, record, keep))

    def reload(self) -> None:
        """Continue the project, and delete models that a killed process could not delete."""
        super().reload()
        history, keep = self.history, self.checkpoints.keep
        ended = [record for record in history.trials if record.finished]
        self._delete_models([r for r in ended if not keeping.is_kept(history, r, keep)])

    def _delete_models(self, records: Sequence[Record]) -> None:
        for record in records:
            folder = Path(self.project_dir) / f"trial_{record.trial_id}"
            files.remove(folder, (MODEL_FILE,))

    # ------------------------------------------------------------------ models

    def save_model(self, trial_id: str, model: Any, step: int = 0) -> None:
        """Save a fitted estimator as `model.pickle` in the trial's folder.

        An estimator that cannot be pickled is not kept, with a warning.

        Args:
            trial_id: The trial.
            model: The estimator.
            step: Not used; estimators have no steps.
        """
        target = Path(self.oracle._get_trial_dir(trial_id)) / MODEL_FILE
        try:
            with atomic_path(target) as draft, draft.open("wb") as file:
                cloudpickle.dump(model, file)
        except Exception as error:  # parts of an estimator may refuse in any way
            warnings.warn(
                f"The model of trial {trial_id} is not kept because it cannot be pickled: {error}",
                UserWarning,
                stacklevel=2,
            )

    def load_model(self, trial: Trial) -> Any:
        """Return a trial's estimator, fitted to all data.

        It is a pickle: load only what comes from a project that you trust.

        Args:
            trial: The trial.

        Raises:
            FileNotFoundError: The trial keeps no model: it is not among the best.
        """
        file = Path(self.oracle._get_trial_dir(trial.trial_id)) / MODEL_FILE
        if not file.exists():
            raise FileNotFoundError(
                f"There is no {MODEL_FILE} in {file.parent}: only the best trials keep theirs. "
                "Keep more with `checkpoints=keratune.Checkpoints(keep=...)`, or fit its "
                "hyperparameters again."
            )
        with file.open("rb") as stored:
            return pickle.load(stored)


def _require_sklearn() -> None:
    try:
        require("sklearn", extra="sklearn")
    except MissingPackageError as error:
        raise MissingPackageError(
            f"Please install sklearn before using the `SklearnTuner`. {error}"
        ) from error


def _listed(metrics: Any) -> list[Any]:
    """Return metrics as a list, however they were given."""
    if metrics is None:
        return []
    return list(metrics) if isinstance(metrics, (list, tuple)) else [metrics]
