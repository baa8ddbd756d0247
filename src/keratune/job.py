"""A tuner's search as the worker loop sees it, and as an executor does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from keratune.errors import TrialHaltedError, TrialRejectedError
from keratune.halt import Halt
from keratune.reporting.progress import Progress
from keratune.study import Study
from keratune.trial import Trial, TrialStatus


class TunersJob:
    """Fulfils `keratune.execution.worker.Job`.

    Args:
        tuner: The tuner.
        fit_args: For its `run_trial`.
        fit_kwargs: For its `run_trial`.
        name: Name of the worker.
    """

    def __init__(
        self, tuner: Any, fit_args: tuple[Any, ...], fit_kwargs: dict[str, Any], name: str
    ) -> None:
        """Keep all four."""
        self._tuner = tuner
        self._fit_args = fit_args
        self._fit_kwargs = fit_kwargs
        self._name = name

    def ask(self) -> Trial:
        tuner = self._tuner
        tuner.pre_create_trial()
        trial: Trial = tuner.oracle.create_trial(self._name)
        if trial.status == TrialStatus.RUNNING:
            record = tuner.oracle.record(trial)
            self._show(lambda shown: shown.trial_began(record))
            self._show(lambda shown: shown.decided(record, record.reason))
            tuner.halt.begin_trial(tuner.trial_timeout)
            tuner.on_trial_begin(trial)
        return trial

    def evaluate(self, trial: Trial) -> str:
        try:
            self._tuner._run_and_update_trial(trial, *self._fit_args, **self._fit_kwargs)
        except TrialHaltedError:
            self._tuner._put_down(trial)
            raise
        stopped = trial.status == TrialStatus.STOPPED
        return TrialStatus.STOPPED if stopped else TrialStatus.COMPLETED

    def tell(self, trial: Trial) -> None:
        try:
            self._tuner.on_trial_end(trial)
        finally:
            self._show_end(trial)

    def end_early(self, trial: Trial, kind: str, message: str) -> None:
        self._tuner.oracle.end_early(trial, kind, message)
        self.tell(trial)

    def split(self, trial: Trial) -> bool:
        if not self._tuner._may_split(trial):
            return False
        self._tuner.oracle.split(trial)
        self._show_end(trial)
        return True

    def show_failure(self, trial: Trial, kind: str, excerpt: str) -> None:
        oracle = self._tuner.oracle
        oracle.mark_failure(trial, kind)
        self._show(lambda shown: shown.trial_failed(oracle.record(trial), kind, excerpt))

    def reject(self, trial: Trial, rejected: TrialRejectedError) -> None:
        record = self._tuner.oracle.record(trial)
        self._show(lambda shown: shown.decided(record, f"not trained: {rejected}"))
        self._tuner.oracle.reject(trial, rejected)

    def release(self, trial: Trial, reason: str) -> None:
        self._tuner.oracle.release(trial, reason)

    def forget(self, trial: Trial) -> None:
        self._tuner.oracle.forget(trial)

    def _show_end(self, trial: Trial) -> None:
        record = self._tuner.oracle.record(trial)
        self._show(lambda shown: shown.trial_ended(record))
        if record.status in (TrialStatus.PAUSED, TrialStatus.STOPPED):
            why = record.message or record.reason
            self._show(lambda shown: shown.decided(record, why))

    def _show(self, tell: Callable[[Progress], None]) -> None:
        if self._tuner.progress is not None:
            tell(self._tuner.progress)


class TunersSearch:
    """Fulfils `keratune.execution.base.Search`.

    Args:
        tuner: The tuner.
        fit_args: For its `run_trial`.
        fit_kwargs: For its `run_trial`.
    """

    def __init__(self, tuner: Any, fit_args: tuple[Any, ...], fit_kwargs: dict[str, Any]) -> None:
        """Keep all three."""
        self._tuner = tuner
        self._fit_args = fit_args
        self._fit_kwargs = fit_kwargs

    @property
    def study(self) -> Study:
        return self._tuner.oracle.study

    @property
    def progress(self) -> Progress:
        return self._tuner.progress

    @property
    def halt(self) -> Halt:
        return self._tuner.halt

    @property
    def trial_timeout(self) -> float | None:
        return self._tuner.trial_timeout

    @property
    def folder(self) -> Path:
        return Path(self._tuner.project_dir)

    def parts(self) -> dict[str, Any]:
        return {"tuner": self._tuner, "fit_args": self._fit_args, "fit_kwargs": self._fit_kwargs}
