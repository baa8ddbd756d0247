"""The shortest halving: where it starts, whom it takes up again, when it does not trust epoch 1."""

import pytest
from histories import Table

from keratune.rungs import FEWEST_PAIRS
from keratune.schedulers import create
from keratune.schedulers.base import Action

CONTINUE, PAUSE, STOP = Action.CONTINUE, Action.PAUSE, Action.STOP
START, RESUME = Action.START, Action.RESUME


def table(max_epochs=9, **options):
    return Table(create("auto", **options), max_epochs)


@pytest.mark.parametrize(
    ("epochs", "first"), [(1, 1), (3, 1), (50, 1), (51, 2), (100, 2), (1000, 20)]
)
def test_the_first_rung_is_at_1_epoch_or_2_percent(epochs, first):
    assert table(epochs).plan() == (START, None, first)


def test_the_first_rung_may_be_given():
    assert table(50, min_epochs=5).plan() == (START, None, 5)


def test_a_trial_that_was_paused_is_taken_up_when_worse_ones_have_come():
    made = table()
    for loss in (0.1, 0.2, 0.9):
        made.enter(loss)
    assert made.resume() == (0, 3)
    made.go(0, 0.1, 0.1)
    assert made.plan() == (START, None, 1)
    for loss in (0.8, 0.7, 0.6):
        assert made.enter(loss) is PAUSE
    assert made.resume() == (1, 3)  # from where it stood: two epochs are all that it costs
    assert made.go(1, 0.1) is CONTINUE


def test_a_score_from_before_training_is_no_rung():
    made = table()
    number = made.start()
    made.again(number, 0, 0.001)
    for loss in (0.5, 0.6):
        made.enter(loss)
    assert made.go(number, 0.9) is PAUSE


def test_a_trial_that_a_callback_ends_at_epoch_7_is_never_resumed_and_keeps_its_place():
    made = table()
    for loss in (0.1, 0.5, 0.6):
        made.enter(loss, epochs=1)
    number, _ = made.resume()
    made.go(number, 0.1, 0.1)
    for loss in (0.2, 0.3, 0.4):
        made.enter(loss, loss, loss, epochs=3)
    assert made.resume() == (0, 9)
    for _ in range(4):
        made.again(0, made.history[0].trained + 1, 0.05)
    made.end(0)
    assert made.history[0].trained == 7
    assert made.scheduler.rungs(made.history)[2].losses[0] == 0.05
    assert made.plan()[1] != 0


def test_trials_skip_a_rung_that_says_nothing_about_the_next():
    made = table()
    for k in range(FEWEST_PAIRS):
        loss = 0.5 + 0.01 * k
        made.enter(loss, loss, 1.0 - loss, epochs=3)
    assert made.plan() in ((START, None, 3), (RESUME, FEWEST_PAIRS - 1, 9))
    while made.plan()[0] is RESUME:
        number, _ = made.resume()
        made.go(number, *[0.1] * 6)
    assert made.plan() == (START, None, 3)
