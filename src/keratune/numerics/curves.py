"""Learning curves as data: what the epochs that a trial has trained say about where they lead.

t: epochs trained, from 1   y_t: loss after epoch t   eta: factor between milestones

    m_t = min over s <= t of y_s                       best so far
    milestones of a curve of t epochs                  1, eta, eta^2, ... below t, and t itself
    place(t) = log t / log SPAN                        a coordinate beside the hyperparameters

Losses of finished epochs alone count: the untrained model, step 0, is no part of a curve. Curves
flatten, so what happens between two milestones is worth about the same all along the logarithm
of t; halving by rungs rests on the same (Li et al., 2018, JMLR 18(185)).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

Array = NDArray[np.float64]

FACTOR = 3
# Trainings that differ by this factor in length lie one unit apart, as far as the two ends of a
# hyperparameter's range: a surrogate's length scales begin at the same prior.
SPAN = 50.0


def milestones(trained: int, factor: int = FACTOR) -> list[int]:
    """Return the epochs by which a curve is summarised, in ascending order.

    Args:
        trained: Epochs trained; none for 0.
        factor: How many times later each milestone is.

    Example:
        ```python
        milestones(20)  # [1, 3, 9, 20]
        ```
    """
    found, epoch = [], 1
    while epoch < trained:
        found.append(epoch)
        epoch *= factor
    return [*found, trained] if trained > 0 else []


def best_so_far(losses: Mapping[int, float], epochs: Sequence[int]) -> Array:
    """Return the smallest loss up to each of some epochs; infinite where there is none.

    Args:
        losses: Loss by epoch, from 1; epochs without validation are missing. What is not finite
            counts as infinite.
        epochs: Ascending.
    """
    steps = sorted(step for step in losses if step > 0)
    best, place = math.inf, 0
    found = []
    for epoch in epochs:
        while place < len(steps) and steps[place] <= epoch:
            loss = losses[steps[place]]
            best = min(best, loss) if math.isfinite(loss) else best
            place += 1
        found.append(best)
    return np.array(found, dtype=float)


def place(epochs: ArrayLike) -> Array:
    """Return where numbers of epochs lie on the coordinate of time, of their shape."""
    return np.asarray(np.log(epochs) / math.log(SPAN))


def levelled(epochs: NDArray[np.int_], trials: NDArray[np.int_], losses: Array) -> Array:
    """Return losses less what is usually still gained from their epochs to the longest curve's end.

    The usual gain from a milestone to the next is the median over the trials that have come to
    both; in between, it grows with log t. So early losses of trials compare with late ones of
    others, which a rank among all of them needs.

    Args:
        epochs: (N,) epoch of each observation.
        trials: (N,) the trial that it belongs to.
        losses: (N,) best losses so far; infinite ones stay.
    """
    levels = milestones(int(epochs.max()))
    keys = zip(trials.tolist(), epochs.tolist(), strict=True)
    known = dict(zip(keys, losses.tolist(), strict=True))
    gains = []
    for k in range(len(levels) - 1):
        drops = [
            known.get((n, levels[k]), math.nan) - known.get((n, levels[k + 1]), math.nan)
            for n in set(trials.tolist())
        ]
        finite = [drop for drop in drops if math.isfinite(drop)]
        gains.append(float(np.median(finite)) if finite else 0.0)
    to_come = np.append(np.cumsum(gains[::-1])[::-1], 0.0)
    return np.asarray(losses - np.interp(np.log(epochs), np.log(levels), to_come))


def better_half_by_rank(losses: Array, trials: NDArray[np.int_]) -> Array:
    """Return losses by their rank among trials, the worse half at one value, standardised.

    The better half lies at the quantiles of a normal law. The worse one is at its median: which of
    two bad trials is worse does not matter, and a surrogate that need not tell them apart has its
    detail where it counts. Equal losses stay equal.

    Args:
        losses: (N,) losses, smaller is better; infinite ones are in the worse half.
        trials: (N,) the trial that each belongs to; its last one stands for it in the ranking.

    Returns:
        (N,) with mean 0 and standard deviation 1; zeros where all are equal.
    """
    last = dict(zip(trials.tolist(), losses.tolist(), strict=True))
    ranking = np.sort(list(last.values()))
    below = np.searchsorted(ranking, losses, "left") + np.searchsorted(ranking, losses, "right")
    ranks = np.clip(0.5 * below, 0.5, 0.5 * len(ranking)) / len(ranking)
    quantiles = np.where(np.isinf(losses), 0.0, ndtri(ranks))
    centred = quantiles - quantiles.mean()
    deviation = float(centred.std())
    return np.asarray(centred / deviation) if deviation > 0.0 else np.zeros(len(losses))
