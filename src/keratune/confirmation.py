"""Confirmation: the finalists of a search are trained again, with fresh seeds.

The best of many noisy scores is too good: it was chosen for its luck too (the winner's curse). What
the same configuration comes to with seeds that had no part in the choice is not. So the finalists
are chosen by their expected true means (`spread.shrunken`, Efron and Morris 1975), trained again,
and ranked by what that came to alone, shrunken in the same way.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from keratune import noise
from keratune.history import History, Record, Result
from keratune.numerics import spread
from keratune.numerics.spread import Spread
from keratune.trial import Trial

# The posterior mean may put a trial before others that scored better: so many times the finalists
# that are wanted are looked at.
LOOKED_AT = 10


@dataclasses.dataclass(frozen=True)
class Confirmed:
    """A finalist and what it came to with fresh seeds.

    Attributes:
        trial: The trial; its `score` is still that of the search.
        scores: The objective of each repeat.
    """

    trial: Trial
    scores: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean of the scores."""
        return sum(self.scores) / len(self.scores)

    @property
    def std(self) -> float:
        """Standard deviation of one score; NaN for a single one."""
        finite = all(map(math.isfinite, self.scores))
        return statistics.stdev(self.scores) if len(self.scores) > 1 and finite else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """95 % confidence interval of the mean, by Student's t; NaN for a single score."""
        return spread.interval(self.scores)


def amounts(confirm: Any) -> tuple[int, int]:
    """Return how many finalists and repeats `search(confirm=...)` means.

    Raises:
        ValueError: It is neither a number of finalists nor a pair of numbers.
    """
    pair = confirm if isinstance(confirm, (tuple, list)) else (confirm, 5)
    whole = all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in pair)
    if len(pair) != 2 or not whole:
        raise ValueError(
            "`confirm` must be a number of finalists, 1 or more, or a pair (finalists, repeats). "
            f"Received: confirm={confirm!r}."
        )
    return pair[0], pair[1]


def finalists(history: History, top: int) -> list[Record]:
    """Return the trials that are expected to be the best, the best first.

    Without repeats or folds, these are the trials with the best scores. With them, scores of few
    executions are drawn further to the mean of all than those of many. What keeps all outcomes
    comes before what breaks one; of several objectives, the order is that of the search.
    """
    if history.objective.count > 1:
        return history.best(top)
    candidates = history.best(LOOKED_AT * top)
    lags = noise.difference_spread(history, candidates[0], candidates) if candidates else None
    within = Spread(lags.variance / 2, lags.freedom) if lags else None  # each difference has two
    return _ordered(
        candidates,
        [history.objective.violation(record.metrics) for record in candidates],
        [noise.score_loss(history, record) for record in candidates],
        [max(len(record.results), 1) for record in candidates],
        within,
    )[:top]


def ranked(history: History, count: int) -> list[Record]:
    """Return the best trials: the confirmed ones by what they were confirmed at, then the others.

    One whose training did not come to a finite score again stands behind all others. Of several
    objectives, the order stays that of the search.
    """
    if not history.confirmed or history.objective.count > 1:
        return history.best(count)
    samples = {n: _losses(history, history[n].confirmed) for n in sorted(history.confirmed)}
    sound = [n for n, sample in samples.items() if all(map(math.isfinite, sample))]
    confirmed = _ordered(
        [history[n] for n in sound],
        [history.objective.violation(_mean_metrics(history[n].confirmed)) for n in sound],
        [statistics.fmean(samples[n]) for n in sound],
        [len(samples[n]) for n in sound],
        spread.pooled(samples[n] for n in sound),
    )
    others = [r for r in history.best(len(history)) if r.number not in history.confirmed]
    unsound = [history[n] for n in samples if n not in sound]
    return [*confirmed, *others, *unsound][:count]


def _ordered(
    records: Sequence[Record],
    violations: Sequence[float],
    means: Sequence[float],
    counts: Sequence[int],
    within: Spread | None,
) -> list[Record]:
    """Return trials by what they break, then by their shrunken mean losses, then by the means."""
    expected = spread.shrunken(means, counts, within)
    places = sorted(range(len(records)), key=lambda i: (violations[i], expected[i], means[i]))
    return [records[place] for place in places]


def _mean_metrics(results: Mapping[int, Result]) -> dict[str, float]:
    names = dict.fromkeys(name for result in results.values() for name in result.metrics)
    told = {
        name: [r.metrics[name] for r in results.values() if name in r.metrics] for name in names
    }
    return {name: statistics.fmean(values) for name, values in told.items()}


def _losses(history: History, results: Mapping[int, Result]) -> list[float]:
    """Return the losses of repeats, inf for what is not finite."""
    known = noise.losses(history, results)
    return [known.get(repeat, math.inf) for repeat in sorted(results)]


def missing(record: Record, repeats: int) -> list[int]:
    """Return the repeats that a trial still lacks."""
    return [repeat for repeat in range(repeats) if repeat not in record.confirmed]


def scores(history: History, record: Record) -> tuple[float, ...]:
    """Return a trial's confirmed scores, in order."""
    to_loss = history.objective.to_loss
    return tuple(float(to_loss(loss)) for loss in _losses(history, record.confirmed))


def train_again(
    history: History,
    top: int,
    repeats: int,
    train: Callable[[Record, int], Result],
    write: Callable[[int, int, Result], None],
    say: Callable[[str], None],
) -> list[Record]:
    """Train the finalists until each has its repeats, repeat by repeat.

    Args:
        history: The study's history.
        top: How many finalists.
        repeats: How often each is trained.
        train: Trains a trial once, with the fresh seed of a repeat.
        write: Keeps a repeat's result, so that it is not trained twice.
        say: Shows a line.

    Returns:
        The finalists by what they were confirmed at, the best first.
    """
    chosen = finalists(history, top)
    for repeat in range(repeats):  # round by round: interrupted, all have as many
        for record in chosen:
            if repeat in missing(record, repeats):
                write(record.number, repeat, train(record, repeat))
                score = scores(history, record)[sorted(record.confirmed).index(repeat)]
                name = history.objective.name
                place = f"repeat {repeat + 1} of {repeats}"
                say(f"Confirming trial {record.trial_id}, {place}: {name} {score:.5g}")
    numbers = {record.number for record in chosen}
    return [record for record in ranked(history, len(history)) if record.number in numbers]


def fresh_trial(history: History, record: Record) -> Trial:
    """Return a trial of a record's configuration that nobody else holds."""
    trial = Trial(history.space.copy(), record.trial_id)
    trial.hyperparameters.begin(history.space.live(record.values), None)
    return trial
