"""What `search_space_summary` and `results_summary` print, in KerasTuner's format."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keratune._runtime import say
from keratune.confirmation import Confirmed
from keratune.parameters import HyperParameter
from keratune.trial import Trial


def search_space(space: Sequence[HyperParameter]) -> None:
    """Print a search space, two lines for each hyperparameter."""
    say("Search space summary")
    say(f"Default search space size: {len(space)}")
    for parameter in space:
        config: dict[str, Any] = parameter.get_config()
        say(f"{config.pop('name')} ({type(parameter).__name__})")
        say(str(config))


def results(
    project: str,
    objective: Any,
    count: int,
    trials: Sequence[Trial],
    failed: Sequence[Trial],
    rejected: Sequence[str] = (),
) -> None:
    """Print the best trials, then the failed ones with what went wrong.

    Args:
        project: The project's folder.
        objective: What is optimised.
        count: How many trials were asked for.
        trials: The best trials, the best first.
        failed: Trials that failed.
        rejected: Why configurations were rejected that were not trained.
    """
    say("Results summary")
    say(f"Results in {project}")
    say(f"Showing {count} best trials")
    say(str(objective))
    for trial in (*trials, *failed):
        say()
        trial.summary()
        if objective.count > 1:
            _objectives(objective, trial)
    if rejected:
        names = ", ".join(sorted({reason.split(" ")[0] for reason in rejected}))
        say()
        say(f"Not trained: {len(rejected)} ({names})")


def _objectives(objective: Any, trial: Trial) -> None:
    """Print what a trial has come to in each of several objectives."""
    metrics = trial.metrics_at_best()
    parts = [f"{name}: {metrics[name]:.5g}" for name in objective.names if name in metrics]
    if parts:
        say(", ".join(parts))


def confirmed(objective: Any, finalists: Sequence[Confirmed]) -> None:
    """Print a table of confirmed trials.

    Args:
        objective: What is optimised.
        finalists: The trials with their scores, the best first.
    """
    rows = [("Trial", "Mean", "Std", "95 % interval of the mean", "In the search", "Scores")]
    for entry in finalists:
        low, high = entry.interval
        several = len(entry.scores) > 1
        rows.append(
            (
                entry.trial.trial_id,
                f"{entry.mean:.5g}",
                f"{entry.std:.2g}" if several else "-",
                f"{low:.5g} to {high:.5g}" if several else "-",
                f"{entry.trial.score:.5g}",
                ", ".join(f"{score:.5g}" for score in entry.scores),
            )
        )
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    say(f"Confirmed with fresh seeds, by {objective.name}, the best first")
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        say("  ".join(cells).rstrip())
