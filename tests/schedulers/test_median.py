"""The median rule: who stops, and who is too early or too alone to be judged."""

import math

import pytest
from histories import Table

from keratune.schedulers import Median
from keratune.schedulers.base import Action

CONTINUE, STOP, START = Action.CONTINUE, Action.STOP, Action.START


def table(*losses, epochs=3, max_epochs=9, **kwargs):
    """A history of trials that have trained some epochs and gone on."""
    made = Table(Median(**kwargs), max_epochs)
    for loss in losses:
        made.enter(*[loss] * epochs)
    return made


FIVE = (0.1, 0.2, 0.3, 0.4, 0.5)


@pytest.mark.parametrize(
    ("loss", "action"), [(0.05, CONTINUE), (0.25, CONTINUE), (0.35, STOP), (0.9, STOP)]
)
def test_the_worse_half_stops(loss, action):
    made = table(*FIVE)
    assert made.enter(loss, loss, loss) is action


@pytest.mark.parametrize(("loss", "action"), [(0.15, CONTINUE), (0.25, STOP)])
def test_a_percentile_of_25_lets_the_best_quarter_go_on(loss, action):
    assert table(*FIVE, percentile=25).enter(loss, loss, loss) is action


def test_equals_of_the_median_go_on():
    made = table(*[0.5] * 5)
    assert [made.enter(0.5, 0.5, 0.5) for _ in range(4)] == [CONTINUE] * 4


def test_the_best_loss_so_far_counts():
    made = table(*FIVE)
    assert made.enter(0.2, 0.9, 0.9) is CONTINUE


def test_nobody_stops_before_min_epochs_or_beside_too_few_others():
    assert table(*FIVE).enter(0.9, 0.9) is CONTINUE
    assert table(*FIVE[:4]).enter(0.9, 0.9, 0.9) is CONTINUE
    assert table(*FIVE[:4], min_trials=4).enter(0.9, 0.9, 0.9) is STOP
    assert table(*FIVE, min_epochs=2).enter(0.9, 0.9) is STOP


def test_a_stopped_trial_is_not_resumed_and_new_ones_are_started():
    made = table(*FIVE)
    made.enter(0.9, 0.9, 0.9)
    assert made.history[5].status == "STOPPED"
    assert made.plan()[0] is START
    assert made.plan(exhausted=True)[0] is STOP


def test_nan_stops_and_epochs_without_validation_do_not():
    made = table(*FIVE)
    number = made.start()
    for step in (1, 2, 3):
        made.again(number, step, math.nan)
    assert made.scheduler.decide(made.history, number).action is STOP
    assert made.enter(None, None, None) is CONTINUE


def test_a_trial_ends_at_max_epochs_though_its_training_would_go_on():
    made = table()
    assert made.enter(*[0.1] * 8) is CONTINUE
    assert made.go(0, 0.1) is STOP


def test_the_reason_names_place_number_and_epochs():
    made = table(*FIVE)
    number = made.start()
    for step in (1, 2, 3):
        made.again(number, step, 0.9)
    reason = made.scheduler.decide(made.history, number).reason
    assert reason == "number 6 of 6 after 3 epochs: stopped, the best 50 % go on"


@pytest.mark.parametrize(
    "arguments", [{"percentile": 0}, {"percentile": 100}, {"min_epochs": 0}, {"min_trials": 0}]
)
def test_arguments_out_of_range_are_refused(arguments):
    [name] = arguments
    with pytest.raises(ValueError, match=f"`{name}` must .* Received: {name}="):
        Median(**arguments)
