"""The display of a running search.

A live table in a terminal and in a notebook, one line per trial elsewhere, nothing when the search
is quiet. Each display is a view: it is told what has happened and reads the history.
"""

from __future__ import annotations

import contextlib
import datetime
import math
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from keratune.history import History, Record
from keratune.limits import Limits
from keratune.trial import TrialStatus

REFRESHES_PER_SECOND = 4  # as often as a person reads; each costs about a millisecond
MOST_LINES = 12  # running trials that a table shows; more would push it off a small terminal
WIDEST_VALUE = 38  # characters of a value that a table shows


def duration(seconds: float) -> str:
    """Return seconds as `1h 02m 03s`, without leading zero parts."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h {minutes:02d}m {rest:02d}s"
    return f"{minutes}m {rest:02d}s" if minutes else f"{rest}s"


def shown(value: Any) -> str:
    """Return a value as text: numbers to five digits, long texts cut."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return f"{value:.5g}" if isinstance(value, float) else str(value)
    text = getattr(value, "__name__", None) or str(value)
    return text if len(text) <= WIDEST_VALUE else text[: WIDEST_VALUE - 3] + "..."


def counted(number: int, thing: str, total: int | None = None) -> str:
    """Return a number of things in words: `1 trial`, `3 of 10 trials`."""
    plural = "" if (total or number) == 1 else "s"
    return f"{number} of {total} {thing}{plural}" if total else f"{number} {thing}{plural}"


class Progress:
    """A display that shows nothing; the others say more.

    Args:
        history: The study's history.
        limits: How much the search may do.
    """

    def __init__(self, history: History, limits: Limits) -> None:
        """Start the clock."""
        self.history = history
        self.limits = limits
        self.began = time.monotonic()
        self.last_end = self.began
        self.done_before = self.done()

    @contextlib.contextmanager
    def shown(self) -> Iterator[None]:
        """Show the display while the block runs."""
        yield

    def trial_began(self, record: Record) -> None:
        """A worker has taken a trial."""

    def decided(self, record: Record, reason: str) -> None:
        """Something was decided about a trial, for a reason."""

    def epoch_ended(self, record: Record, step: int, metrics: Mapping[str, float]) -> None:
        """An epoch of a trial has ended."""

    def trial_ended(self, record: Record) -> None:
        """A trial has ended, or goes back to the queue."""
        self.last_end = time.monotonic()

    def trial_failed(self, record: Record, kind: str, excerpt: str) -> None:
        """A trial has raised; `excerpt` is what the user needs to see of it."""

    def say(self, text: str) -> None:
        """Show a line that the search has to say."""

    # ------------------------------------------------------------------ figures

    def done(self) -> float:
        """Return how much of what the search may do is done, from 0; 1 is all."""
        trials = self.history.tried_count / (self.limits.max_trials or math.inf)
        return max(trials, self.limits.spent(self.history))

    def seconds_left(self) -> float | None:
        """Return how long the search will still take, by what was done since it began."""
        done = self.done()
        if done <= self.done_before:
            return None
        whole = (self.last_end - self.began) / (done - self.done_before) * max(1.0 - done, 0.0)
        return max(whole - (time.monotonic() - self.last_end), 0.0)

    def standing(self) -> str:
        """Return one line on how the search stands."""
        parts = [counted(self.history.tried_count, "trial", self.limits.max_trials)]
        if self.limits.max_epochs is not None:
            parts.append(counted(self.history.epochs, "epoch", self.limits.max_epochs))
        if self.history.paused:
            parts.append(f"{len(self.history.paused)} of them paused")
        best = self.history.best()
        if best:
            front = self.history.front() if self.history.objective.count > 1 else []
            among = f"front of {len(front)}, compromise" if front else "best"
            parts.append(f"{among} {self.figures(best[0])} (trial {best[0].trial_id})")
        parts.append(duration(time.monotonic() - self.began))
        left = self.seconds_left()
        if left is not None and left >= 1:
            parts.append(f"about {duration(left)} left")
        return " · ".join(parts)

    def figures(self, record: Record) -> str:
        """Return what a trial with a score has come to, in each objective."""
        objective, metrics = self.history.objective, record.metrics
        if objective.count == 1 or not objective.has_value(metrics):
            return f"{objective.name} {shown(record.score)}"
        return ", ".join(f"{name} {shown(metrics[name])}" for name in objective.names)

    def outcome(self, record: Record) -> str:
        """Return one line on how a trial ended."""
        took = duration((record.ended or time.time()) - (record.started or time.time()))
        if record.score is not None:
            scores = [
                float(self.history.objective.get_value(result.metrics))
                for result in record.results.values()
                if self.history.objective.has_value(result.metrics)
            ]
            mean = sum(scores) / len(scores) if scores else record.score
            exact = math.isclose(mean, record.score, rel_tol=1e-6)
            estimated = record.status == TrialStatus.STOPPED and not exact  # it has left a race
            several = len(scores) > 1 and not estimated
            spread = f" ({min(scores):.5g} to {max(scores):.5g})" if several else ""
            result = f"{self.figures(record)}{spread}"
            if record.status in (TrialStatus.PAUSED, TrialStatus.STOPPED):
                repeated = len(scores) > 1 or estimated or not record.trained
                done = (len(record.results), "execution") if repeated else (record.trained, "epoch")
                result += f", {record.status.lower()} after {counted(*done)}"
        else:
            result = "failed" if record.finished else "failed, will be tried again"
            if record.kind == "not_finite":
                result += f" ({(record.message or '').strip().rstrip('.')})"
        return f"Trial {record.trial_id}: {result} in {took} | {self.standing()}"


class Lines(Progress):
    """One plain line per trial, for pipes and logs.

    Args:
        history: See `Progress`.
        limits: See `Progress`.
        explains: Whether decisions are shown with their reasons.
    """

    def __init__(self, history: History, limits: Limits, explains: bool = False) -> None:
        """Keep whether to explain."""
        super().__init__(history, limits)
        self._explains = explains

    def decided(self, record: Record, reason: str) -> None:
        """Write the reason, where reasons are wanted."""
        if self._explains and reason:
            self.say(f"Trial {record.trial_id}: {reason}")

    def trial_ended(self, record: Record) -> None:
        """Write the trial's line."""
        super().trial_ended(record)
        self.say(self.outcome(record))

    def trial_failed(self, record: Record, kind: str, excerpt: str) -> None:
        """Write what the user needs to see."""
        self.say(f"Trial {record.trial_id} failed ({kind}). Configuration: {record.values}")
        self.say(excerpt)

    def say(self, text: str) -> None:
        """Write a line at once."""
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()


class LiveTable(Progress):
    """A live table: the running trial's values beside the best ones, its epoch, the time left.

    Where several trials run, it has a line for each.
    """

    def __init__(self, history: History, limits: Limits, console: Console) -> None:
        """Prepare the table; `shown` starts it."""
        super().__init__(history, limits)
        self._console = console
        self._epochs: dict[int, str] = {}  # what is known of each running trial, by its number
        self._live = Live(
            get_renderable=self._render,
            console=console,
            refresh_per_second=REFRESHES_PER_SECOND,
            transient=True,
        )

    @contextlib.contextmanager
    def shown(self) -> Iterator[None]:
        """Show the table while the block runs; it is gone behind it."""
        with self._live:
            yield

    def trial_began(self, record: Record) -> None:
        """Show the trial."""
        self._epochs[record.number] = "building, then its first epoch"

    def epoch_ended(self, record: Record, step: int, metrics: Mapping[str, float]) -> None:
        """Show the epoch."""
        figures = "  ".join(f"{name} {value:.4g}" for name, value in metrics.items())
        self._epochs[record.number] = f"epoch {step}  {figures}"

    def trial_ended(self, record: Record) -> None:
        """Leave the trial's line above the table."""
        super().trial_ended(record)
        self._epochs.pop(record.number, None)
        self.say(self.outcome(record))

    def trial_failed(self, record: Record, kind: str, excerpt: str) -> None:
        """Leave what the user needs to see above the table."""
        self.say(f"Trial {record.trial_id} failed ({kind}). Configuration: {record.values}")
        self.say(excerpt)

    def say(self, text: str) -> None:
        """Leave a line above the table."""
        self._console.print(Text(text))

    def _render(self) -> Group:
        heading = Text(f"Search: {self.standing()}", style="bold")
        running = [(self.history[n], text) for n, text in self._epochs.items() if n in self.history]
        if not running:
            return Group(heading)
        if len(running) > 1:
            return Group(heading, self._several(running))
        (record, epoch), best = running[0], next(iter(self.history.best()), None)
        table = _table(f"Trial {record.trial_id}", "Best so far", "Hyperparameter")
        for name, value in record.values.items():
            best_value = shown(best.values[name]) if best and name in best.values else "?"
            table.add_row(shown(value), best_value, name)
        return Group(heading, Text(epoch, style="dim"), table)  # long tables lose their end

    def _several(self, running: Sequence[tuple[Record, str]]) -> Table:
        """Return a table with a line for each running trial."""
        table = _table("Trial", "Training")
        for record, text in running[:MOST_LINES]:
            table.add_row(record.trial_id, text)
        if len(running) > MOST_LINES:
            table.add_row("...", f"and {len(running) - MOST_LINES} more")
        return table


def _table(*titles: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for title in titles:
        table.add_column(title, no_wrap=True)
    return table


def progress_for(verbose: Any, history: History, limits: Limits) -> Progress:
    """Return the display for a verbosity: 0 is quiet, everything else shows.

    Args:
        verbose: 0, 1, 2 or "auto"; with 2 and more Keras writes lines of its own, so that a live
            table would be torn.
        history: The study's history.
        limits: How much the search may do.
    """
    if verbose in (0, "0", False):
        return Progress(history, limits)
    console = Console()
    if (console.is_terminal or console.is_jupyter) and verbose in (1, "auto", True):
        return LiveTable(history, limits, console)
    return Lines(history, limits, explains=verbose == 2)


class Display:
    """KerasTuner's display, for code that formats durations with it.

    Args:
        oracle: An oracle.
        verbose: 0, 1, 2 or "auto".
    """

    def __init__(self, oracle: Any, verbose: Any = 1) -> None:
        """Keep both."""
        self.oracle = oracle
        self.verbose = 1 if verbose == "auto" else verbose

    def format_duration(self, elapsed: datetime.timedelta) -> str:
        """Return a duration as `1d 02h 03m 04s`, the days where there are any."""
        minutes, seconds = divmod(round(elapsed.total_seconds()), 60)
        hours, minutes = divmod(minutes, 60)
        days, hours = divmod(hours, 24)
        clock = f"{hours:02d}h {minutes:02d}m {seconds:02d}s"
        return f"{days}d {clock}" if days else clock
