"""Claims about losses of trials that were not trained to their end."""

from __future__ import annotations

import numpy as np
import pytest

from keratune.history import History, Record
from keratune.objectives import Objective
from keratune.space import HyperParameters
from keratune.surrogates.observations import observe
from keratune.surrogates.short_trainings import in_the_end
from keratune.trial import TrialStatus

WHOLE = 27


def empty():
    history = History(Objective("loss", "min"), seed=0)
    history.space = HyperParameters()
    history.space.begin({}, None)
    history.space.Float("x", 0.0, 1.0)
    return history


def train(history, epochs, quality, *, status=None):
    """Train a trial whose loss is its quality and, at first, three quarters more."""
    number = len(history)
    history.create(Record(number, str(number), {"x": quality}))
    history.start(number, "worker", 0.0)
    for epoch in range(1, epochs + 1):
        history.report(number, 0, epoch, {"loss": quality * (1.0 + 0.75 / epoch)})
    score = quality * (1.0 + 0.75 / epochs) if epochs else quality
    if status is None:
        status = TrialStatus.COMPLETED if epochs in (0, WHOLE) else "paused"
    if status == "paused":
        history.pause(number, score, epochs - 1, "rung")
    else:
        history.finish(number, status, 0.0, score)


def search(history, pairs=30):
    rng = np.random.default_rng(0)
    for _ in range(pairs):
        train(history, WHOLE, float(rng.uniform(0.5, 1.0)))
        train(history, 3, float(rng.uniform(0.5, 1.0)))


@pytest.mark.parametrize("status", ["paused", TrialStatus.STOPPED])
def test_a_trial_that_was_cut_short_has_the_loss_that_it_would_come_to(status):
    history = empty()
    search(history)
    train(history, 3, 0.8, status=status)
    seen = observe(history)
    (place,) = np.flatnonzero(seen.X[:, 0] == 0.8)
    assert history[len(history) - 1].score == pytest.approx(1.0)
    assert seen.losses[place] == pytest.approx(0.8 * (1.0 + 0.75 / WHOLE), abs=0.03)
    assert 0.0 < np.sqrt(seen.noise[place]) < 0.1


def test_a_trial_that_a_callback_has_ended_stands_as_it_is():
    history = empty()
    search(history)
    train(history, 3, 0.8, status=TrialStatus.COMPLETED)
    losses, variances = in_the_end(history, [len(history) - 1], np.array([1.0]))
    assert losses.tolist() == [1.0]
    assert variances.tolist() == [0.0]


def test_without_reports_losses_stand_as_they_are():
    history = empty()
    for quality in (0.1, 0.2):
        train(history, 0, quality)
    losses, variances = in_the_end(history, [0, 1], np.array([0.1, 0.2]))
    assert losses.tolist() == [0.1, 0.2]
    assert not variances.any()


def test_losses_followed_step_by_step_are_those_of_a_history_read_at_once():
    followed, at_once = empty(), empty()
    rng = np.random.default_rng(1)
    for _ in range(12):
        epochs, quality = int(rng.choice([1, 3, 9, 20, WHOLE])), float(rng.uniform(0.5, 1.0))
        for history in (followed, at_once):
            train(history, epochs, quality)
        observe(followed)
    for history in (followed, at_once):
        history.create(Record(12, "12", {"x": 0.1}))
        history.start(12, "worker", 0.0)
        history.report(12, 0, 1, {"loss": 0.2})
        if history is followed:
            observe(history)
        history.discard(12)
    for part in ("X", "losses", "noise"):
        np.testing.assert_array_equal(
            getattr(observe(followed), part), getattr(observe(at_once), part)
        )
