"""What `search_space_summary` and `results_summary` print, in KerasTuner's format."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keratune._runtime import say
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
    project: str, objective: Any, count: int, trials: Sequence[Trial], failed: Sequence[Trial]
) -> None:
    """Print the best trials, then the failed ones with what went wrong.

    Args:
        project: The project's folder.
        objective: What is optimised.
        count: How many trials were asked for.
        trials: The best trials, the best first.
        failed: Trials that failed.
    """
    say("Results summary")
    say(f"Results in {project}")
    say(f"Showing {count} best trials")
    say(str(objective))
    for trial in (*trials, *failed):
        say()
        trial.summary()
