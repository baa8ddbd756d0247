"""What trials of any length teach: which losses, at which epochs, and in which order."""

import math

import numpy as np
import pytest

from keratune.history import History
from keratune.objectives import Objective
from keratune.parameters import Float
from keratune.storage import base as events
from keratune.surrogates.curve_observations import observe_curves, rows_of
from keratune.surrogates.encoding import Encoding


class Trials:
    """A history of trials that report what a table says, and the observations of it."""

    def __init__(self):
        self.history = History(Objective("loss", "min"), 0)
        self.history.space.merge([Float("x", 0.0, 1.0)])
        self.encoding = Encoding(self.history.space)

    def happens(self, event):
        events.fold(self.history, events.Entry(0, 0.0, event))

    def report(self, *losses, first=1, number=None):
        """Have a new trial report losses, None for an epoch without validation."""
        if number is None:
            number = self.history.next_number
            self.happens(events.TrialCreated(number, str(number), {"x": 0.1 * number}))
            self.happens(events.TrialStarted(number, "worker"))
        for step, loss in enumerate(losses, start=first):
            metrics = {} if loss is None else {"loss": loss}
            self.happens(events.Reported(number, 0, step, metrics))
        return number

    def end(self, number, score, stopped=False):
        self.happens(events.TrialCompleted(number, score, 0, {}, stopped=stopped))

    def observed(self, reports=None, most=1000):
        count = len(self.history.reports) if reports is None else reports
        rows = rows_of(self.history, self.encoding)
        return observe_curves(self.history, self.encoding, rows, count, most)

    def of(self, number):
        """Return a trial's losses by the epochs that they are observed at."""
        seen = self.observed()
        mine = seen.trials == number
        return dict(zip(seen.epochs[mine].tolist(), seen.losses[mine].tolist(), strict=True))


def test_a_trial_is_known_by_its_best_loss_at_each_milestone():
    made = Trials()
    made.report(0.9, 0.5, 0.7, 0.8, 0.4)
    assert made.of(0) == {1: 0.9, 3: 0.5, 5: 0.4}


def test_a_loss_from_before_training_is_not_learnt_from():
    made = Trials()
    made.report(0.001, 0.9, first=0)
    assert made.of(0) == {1: 0.9}


def test_a_trial_that_a_callback_ends_at_epoch_7_has_its_score_at_the_end():
    made = Trials()
    made.report(*[0.5] * 50)
    made.end(made.report(*[0.3] * 7), 0.3)
    assert made.of(1) == {1: 0.3, 3: 0.3, 7: 0.3, 50: 0.3}


def test_a_trial_that_the_scheduler_stops_is_known_no_further_than_it_came():
    made = Trials()
    made.report(*[0.5] * 50)
    made.end(made.report(*[0.3] * 7), 0.3, stopped=True)
    assert max(made.of(1)) == 7


def test_a_failed_trial_is_infinitely_bad_wherever_it_came():
    made = Trials()
    for losses in ([0.1, 0.1], []):
        made.happens(events.TrialFailed(made.report(*losses), "error", "no good", {}))
    assert made.of(0) == {1: math.inf, 2: math.inf}
    assert made.of(1) == {1: math.inf}


def test_epochs_that_diverge_are_bad_and_those_without_validation_unknown():
    made = Trials()
    made.report(math.nan, math.nan, 0.5)
    made.report(None, None, 0.5)
    assert made.of(0) == {1: math.inf, 3: 0.5}
    assert made.of(1) == {3: 0.5}


def test_a_trial_without_epochs_has_its_score_at_the_end():
    made = Trials()
    made.end(made.report(), 0.7)
    made.report(*[0.5] * 9)
    assert made.of(0) == {9: 0.7}


def test_a_trial_whose_epochs_lack_the_objective_has_its_score_at_the_end():
    made = Trials()
    made.end(made.report(None, None, None), 0.7)
    assert made.of(0) == {3: 0.7}


def test_an_objective_that_is_maximised_is_turned():
    made = Trials()
    made.history.objective = Objective("loss", "max")
    made.end(made.report(), 0.7)
    assert made.of(0) == {1: -0.7}


def test_the_longest_trained_come_first_then_the_newest_and_no_trial_is_parted():
    made = Trials()
    for count in (1, 3, 1, 3):
        made.report(*[0.5] * count)
    assert made.observed().trials.tolist() == [3, 3, 1, 1, 2, 0]
    assert made.observed(most=3).trials.tolist() == [3, 3, 1, 1]


@pytest.mark.parametrize("reports", [1, 4, 5])
def test_what_was_known_earlier_can_be_told_later(reports):
    made = Trials()
    made.report(0.9, 0.8, 0.7, 0.6)
    then = Trials()
    then.report(*[0.9, 0.8, 0.7, 0.6][:reports])
    if reports > 4:
        then.report(0.5)
    made.report(0.5)
    made.report(0.1, number=0, first=5)
    earlier, known = made.observed(reports), then.observed()
    np.testing.assert_array_equal(earlier.rows, known.rows)
    np.testing.assert_array_equal(earlier.epochs, known.epochs)
    np.testing.assert_array_equal(earlier.losses, known.losses)


def test_rows_follow_the_values_that_a_build_has_read():
    made = Trials()
    made.report(0.5)
    assert rows_of(made.history, made.encoding)[0].tolist() == [0.0]
    made.happens(events.TrialSettled(0, {"x": 0.75}))
    assert rows_of(made.history, made.encoding)[0].tolist() == [0.75]
