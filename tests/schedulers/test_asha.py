"""Successive halving by promotion: who pauses, who goes on, who is taken up again later."""

import math

import numpy as np
import pytest
from histories import Table

from keratune.schedulers import ASHA
from keratune.schedulers.base import Action
from keratune.testing import schedulers as contract

CONTINUE, PAUSE, STOP = Action.CONTINUE, Action.PAUSE, Action.STOP
START, RESUME, WAIT = Action.START, Action.RESUME, Action.WAIT


def table(max_epochs=9, **kwargs):
    """Rungs at 1, 3 and 9 epochs unless told otherwise."""
    return Table(ASHA(**{"min_epochs": 1, **kwargs}), max_epochs)


def test_the_rungs_of_50_epochs_are_2_6_17_and_50():
    made = Table(ASHA(), 50)
    assert made.scheduler.rungs(made.history).levels == (2, 6, 17, 50)


@pytest.mark.parametrize(("epochs", "first"), [(1, 1), (2, 2), (99, 2), (200, 4), (1000, 20)])
def test_the_first_rung_is_at_2_epochs_or_2_percent(epochs, first):
    made = Table(ASHA(), epochs)
    assert made.plan() == (START, None, first)


def test_the_first_trials_pause_until_there_are_factor_of_them():
    made = table()
    assert [made.enter(loss) for loss in (0.5, 0.6)] == [PAUSE, PAUSE]
    assert made.plan() == (START, None, 1)
    assert made.enter(0.7) is PAUSE
    assert made.plan() == (RESUME, 0, 3)


def test_a_trial_that_is_among_the_best_third_at_once_goes_on_without_a_pause():
    made = table()
    assert [made.enter(loss) for loss in (0.5, 0.6, 0.4)] == [PAUSE, PAUSE, CONTINUE]
    assert made.go(2, 0.3) is CONTINUE
    assert made.go(2, 0.3) is PAUSE  # alone on the second rung


def test_no_trial_is_decided_about_between_rungs():
    made = table()
    for loss in (0.5, 0.6):
        made.enter(loss)
    number = made.start()
    assert made.go(number, 0.1) is CONTINUE
    assert made.go(number, 9.9) is CONTINUE


def test_a_trial_that_started_on_a_higher_rung_does_not_pause_below_it():
    made = table()
    assert made.enter(0.9, epochs=3) is CONTINUE
    assert made.go(0, 0.9) is CONTINUE
    assert made.go(0, 0.9) is PAUSE


def test_the_highest_rung_that_has_someone_to_promote_comes_first():
    made = table()
    for loss in (0.7, 0.8, 0.9):
        made.enter(loss)
    for loss in (0.4, 0.5, 0.6):
        made.enter(0.95, 0.95, loss, epochs=3)
    assert made.resume() == (3, 9)
    assert made.resume() == (0, 3)


def test_equals_are_promoted_in_the_order_in_which_they_came():
    made = table()
    for _ in range(6):
        made.enter(0.5)
    assert made.resume() == (0, 3)
    assert made.resume() == (1, 3)
    assert made.plan() == (START, None, 1)


def test_a_trial_that_was_not_among_the_best_third_is_taken_up_when_more_have_come():
    made = table()
    for loss in (0.1, 0.2, 0.9):
        made.enter(loss)
    assert made.resume() == (0, 3)
    assert made.plan() == (START, None, 1)  # 0.2 waits: one of three may go on
    for loss in (0.8, 0.7, 0.6):
        assert made.enter(loss) is PAUSE
    assert made.resume() == (1, 3)


def test_running_and_queued_trials_are_not_promoted():
    made = table()
    for loss in (0.1, 0.5, 0.9):
        made.enter(loss)
    made.resume()
    assert made.plan() == (START, None, 1)


def test_at_the_end_the_best_of_each_rung_goes_on_until_the_winner_is_trained_in_full():
    made = table()
    for loss in (0.3, 0.4):  # not a third of three
        made.enter(loss)
    assert made.plan(exhausted=False) == (START, None, 1)
    assert made.resume(exhausted=True) == (0, 3)
    made.go(0, 0.2, 0.2)
    assert made.resume(exhausted=True) == (0, 9)
    made.go(0, *[0.1] * 6)
    assert made.history[0].status == "COMPLETED"
    assert made.plan(exhausted=True) == (STOP, None, None)


def test_workers_wait_for_the_trials_that_still_run_at_the_end():
    made = table()
    made.enter(0.3)
    made.resume(exhausted=True)
    assert made.plan(exhausted=True) == (WAIT, None, None)


def test_a_failed_trial_does_not_keep_the_second_best_from_the_end():
    made = table()
    for loss in (0.1, 0.4):
        made.enter(loss)
    made.resume(exhausted=True)
    made.fail(0)
    assert made.plan(exhausted=True) == (RESUME, 1, 3)


def test_the_best_trial_goes_on_though_one_before_it_has_ended_worse():
    made = table()
    for loss in (0.1, 0.2):
        made.enter(loss)
    made.resume(exhausted=True)
    made.end(0, score=0.7)  # the mean over executions of which the first was lucky
    assert made.plan(exhausted=True) == (RESUME, 1, 3)


def test_a_trial_ends_at_max_epochs_though_its_training_would_go_on():
    made = table()
    assert made.enter(*[0.1] * 8, epochs=9) is CONTINUE
    assert made.go(0, 0.1) is STOP


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_trial_without_a_finite_loss_ends_at_its_rung(loss):
    made = table()
    number = made.start()
    made.again(number, 1, loss)
    decision = made.scheduler.decide(made.history, number)
    assert decision.action is STOP and "finite" in decision.reason


def test_an_epoch_without_validation_is_decided_about_at_the_next_one_with_it():
    made = table()
    assert made.enter(None) is CONTINUE
    assert made.go(0, 0.5) is PAUSE


def test_a_trial_that_a_callback_has_ended_is_never_resumed_and_fills_its_place():
    made = table()
    made.enter(0.1, 0.1, epochs=9)
    made.end(0)
    for loss in (0.2, 0.3):
        made.enter(loss)
    assert made.plan() == (START, None, 1)
    assert made.plan(exhausted=True) == (STOP, None, None)


def test_losses_of_a_maximised_objective_count_the_other_way():
    made = Table(ASHA(min_epochs=1), 9, direction="max")
    for value in (0.5, 0.9, 0.1):
        made.enter(value)
    assert made.plan() == (RESUME, 1, 3)


def test_reasons_name_place_number_and_epochs():
    made = table()
    for loss in (0.5, 0.6):
        made.enter(loss)
    assert made.history[1].reason == "number 2 of 2 after 1 epoch: pauses"
    made.enter(0.7)
    assert made.scheduler.plan(made.history).reason == (
        "number 1 of 3 after 1 epoch: goes on to 3 epochs"
    )


# The first rung


def searched(predicts, trials=120, seed=0):
    """Simulate trials whose first epoch says everything or nothing about the later ones."""

    def curve(record, epoch):
        level = float(record.values["level"])
        early = level if predicts else float(np.random.default_rng(record.number).random())
        return early + 1.0 if epoch < 3 else level

    simulation = contract.Simulation(
        lambda: ASHA(min_epochs=1), max_trials=trials, max_epochs=9, seed=seed, curve=curve
    )
    simulation.run()
    return simulation.study


def first_epochs(study):
    """How long each trial was planned to train when it was started, read from the journal."""
    created = [e.event for e in study._journal._storage.read(0)]
    return [event.epochs for event in created if type(event).__name__ == "TrialCreated"]


@pytest.mark.parametrize("seed", range(3))
def test_new_trials_start_on_the_next_rung_when_early_ranks_say_nothing(seed):
    epochs = first_epochs(searched(predicts=False, seed=seed))
    assert epochs[0] == 1
    assert epochs[-1] == 3


@pytest.mark.parametrize("seed", range(3))
def test_new_trials_start_on_the_first_rung_while_early_ranks_predict(seed):
    assert set(first_epochs(searched(predicts=True, seed=seed))) == {1}


def test_halving_finds_the_best_of_many_for_a_fraction_of_the_epochs():
    study = searched(predicts=True)
    best = min(float(record.values["level"]) for record in study.history.trials)
    assert study.history.best()[0].values["level"] == best
    assert study.history.epochs < 120 * 9 / 2


@pytest.mark.parametrize(
    "arguments", [{"factor": 1}, {"min_epochs": 0}, {"max_epochs": 0}], ids=str
)
def test_arguments_out_of_range_are_refused(arguments):
    [name] = arguments
    with pytest.raises(ValueError, match=f"`{name}` must be . or more. Received: {name}="):
        ASHA(**arguments)
