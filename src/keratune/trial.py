"""A trial as user code sees it: one configuration being evaluated.

Hooks, `run_trial` and callbacks receive a `Trial`; its fields are KerasTuner's. What deciders see
of the same trial, and what the journal tells about it, is a `keratune.history.Record`.
"""

from __future__ import annotations

import json
import math
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from keratune import _json
from keratune._runtime import say
from keratune.metrics import MetricsTracker
from keratune.space import HyperParameters


class TrialStatus:
    """The states of a trial."""

    RUNNING = "RUNNING"
    IDLE = "IDLE"
    INVALID = "INVALID"
    STOPPED = "STOPPED"
    PAUSED = "PAUSED"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"


def generate_trial_id() -> str:
    """Return 32 random hexadecimal digits."""
    return secrets.token_hex(16)


class Trial:
    """One configuration being evaluated.

    Args:
        hyperparameters: The space and the configuration's values.
        trial_id: Name of the trial; default: 32 random hexadecimal digits.
        status: One of `TrialStatus`.
        message: What went wrong, for a failed trial.

    Attributes:
        metrics: `MetricsTracker` with each metric at its best step, one value per execution.
        score: Objective's value at the best step; None before the trial is completed.
        best_step: The epoch (from 0) of the score.
        confirmed: What further trainings with fresh seeds have scored; see `Tuner.confirm`.
    """

    def __init__(
        self,
        hyperparameters: HyperParameters,
        trial_id: str | None = None,
        status: str = TrialStatus.RUNNING,
        message: str | None = None,
    ) -> None:
        """Start without metrics and score."""
        self.hyperparameters = hyperparameters
        self.trial_id = generate_trial_id() if trial_id is None else trial_id
        self.metrics = MetricsTracker()
        self.score: float | None = None
        self.best_step: int | None = 0
        self.status = status
        self.message = message
        self.confirmed: tuple[float, ...] = ()

    def summary(self) -> None:
        """Print the trial's hyperparameters, score and message."""
        say(f"Trial {self.trial_id} summary")
        self.display_hyperparameters()
        if self.status in (TrialStatus.PAUSED, TrialStatus.STOPPED):
            say(f"Status: {self.status.lower()}, not trained to its end")
        if self.score is not None:
            say(f"Score: {self.score}{self._spread()}")
        if self.confirmed:
            mean = sum(self.confirmed) / len(self.confirmed)
            say(f"Confirmed: {mean:.5g}{_described(self.confirmed)}")
        if self.message is not None:
            say(self.message)

    def display_hyperparameters(self) -> None:
        """Print the values, a line each."""
        say("Hyperparameters:")
        for name, value in self.hyperparameters.values.items():
            say(f"{name}: {value}")
        if not self.hyperparameters.values:
            say("default configuration")

    def metrics_at_best(self) -> dict[str, float]:
        """Return each metric's mean at the best step; its last one where it has none there."""
        found = {}
        for name, history in self.metrics.metrics.items():
            means = {observation.step: observation.mean() for observation in history.get_history()}
            if means:
                found[name] = means.get(self.best_step or 0, list(means.values())[-1])
        return found

    def _spread(self) -> str:
        """Return what the executions scored one by one, where there were several."""
        for history in self.metrics.metrics.values():
            for observation in history.get_history():
                values = observation.value
                if len(values) > 1 and math.isclose(observation.mean(), self.score or math.nan):
                    return _described(values)
        return ""

    def get_state(self) -> dict[str, Any]:
        """Return the state as `trial.json` holds it."""
        return {
            "trial_id": self.trial_id,
            "hyperparameters": self.hyperparameters.get_config(),
            "metrics": self.metrics.get_config(),
            "score": self.score,
            "best_step": self.best_step,
            "status": self.status,
            "message": self.message,
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Take over the state that `get_state` returned."""
        self.trial_id = state["trial_id"]
        self.hyperparameters = HyperParameters.from_config(state["hyperparameters"])
        self.metrics = MetricsTracker.from_config(state["metrics"])
        self.score = state["score"]
        self.best_step = state["best_step"]
        self.status = state["status"]
        self.message = state.get("message")

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Trial:
        """Return the trial of a state."""
        trial = cls(HyperParameters())
        trial.set_state(state)
        return trial

    def save(self, fname: str | Path) -> None:
        """Write the state to a file."""
        Path(fname).write_text(_json.dumps(self.get_state()), encoding="utf-8")

    def reload(self, fname: str | Path) -> None:
        """Take over the state that a file holds."""
        self.set_state(json.loads(Path(fname).read_text(encoding="utf-8")))

    @classmethod
    def load(cls, fname: str | Path) -> Trial:
        """Return the trial that a file holds."""
        trial = cls(HyperParameters())
        trial.reload(fname)
        return trial


def _described(values: Sequence[float]) -> str:
    """Return what a mean is the mean of, "" for a single value."""
    if len(values) < 2:
        return ""
    mean = sum(values) / len(values)
    squares = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
    listed = ", ".join(f"{value:.5g}" for value in values)
    return f" (mean of {listed}; standard deviation {math.sqrt(squares):.3g})"
