"""Rungs: ladders, places, early ends, trials that start again, and how well ranks agree."""

import math
import random

import numpy as np
import pytest
from histories import Table

from keratune.rungs import FEWEST_PAIRS, Rungs, ladder, rungs_of
from keratune.schedulers import ASHA, Median


@pytest.mark.parametrize(
    ("arguments", "levels"),
    [
        ((2, 50, 3), [2, 6, 17, 50]),
        ((1, 81, 3), [1, 3, 9, 27, 81]),
        ((2, 100, 4), [2, 7, 27, 100]),
        ((1, 2, 3), [1, 2]),
        ((2, 2, 3), [2]),
        ((1, 1, 2), [1]),
    ],
)
def test_ladders_are_geometric_from_the_first_rung_to_the_whole_training(arguments, levels):
    assert ladder(*arguments) == levels


def test_every_ladder_climbs():
    for first in range(1, 6):
        for whole in range(first, 200):
            for factor in (2, 3, 4, 8):
                levels = ladder(first, whole, factor)
                assert levels[0] == first and levels[-1] == whole
                assert levels == sorted(set(levels))


def table(max_epochs=9):
    return Table(ASHA(min_epochs=1), max_epochs)


def rungs_in(table, levels=(1, 3, 9)):
    return rungs_of(table.history, levels)


def test_a_trial_enters_a_rung_with_the_best_loss_so_far():
    made = table()
    made.enter(0.5, 0.2, 0.4, epochs=9)
    rungs = rungs_in(made)
    assert rungs[0].losses == {0: 0.5}
    assert rungs[1].losses == {0: 0.2}


def test_losses_of_an_objective_that_is_maximised_are_its_negatives():
    made = Table(ASHA(min_epochs=1), 9, direction="max")
    made.enter(0.5)
    made.enter(0.7)
    assert rungs_in(made)[0].ranking == [(0.0, -0.7, 1), (0.0, -0.5, 0)]


def test_a_rung_without_validation_is_entered_at_the_next_one_that_has_it():
    made = table()
    made.enter(None, None, None, 0.3, epochs=9)
    rungs = rungs_in(made)
    assert rungs[0].losses == rungs[1].losses == {0: 0.3}
    assert rungs.arrived(made.history, 0) == 1


def test_a_trial_that_ends_early_stands_in_all_higher_rungs_with_its_best_loss():
    made = table()
    made.enter(0.5, 0.2, epochs=9)
    made.end(0)
    rungs = rungs_in(made)
    assert [rungs[k].losses for k in range(3)] == [{0: 0.5}, {0: 0.2}, {0: 0.2}]
    assert not rungs[2].reached
    assert not any(rung.waiting for rung in rungs.rungs)


def test_nan_and_infinity_come_last():
    made = table()
    for loss in (math.nan, 0.5, math.inf, 9.0):
        made.enter(loss, epochs=9)
    assert [number for *_, number in rungs_in(made)[0].ranking] == [1, 3, 0, 2]


def test_a_failed_trial_leaves_all_rungs():
    made = table()
    made.enter(0.5, 0.4, 0.3, epochs=9)
    made.enter(0.6, epochs=9)
    made.fail(0)
    rungs = rungs_in(made)
    assert rungs[0].ranking == [(0.0, 0.6, 1)] and not rungs[1].ranking


def test_a_trial_that_starts_anew_counts_anew():
    made = table()
    made.enter(0.1, 0.1, 0.1, epochs=9)
    rungs_in(made)
    made.anew(0)
    assert not len(rungs_in(made)[0])
    made.go(0, 0.7)
    assert rungs_in(made)[0].losses == {0: 0.7} and not len(rungs_in(made)[1])


def test_an_epoch_that_is_trained_again_replaces_what_it_had_come_to():
    made = table()
    made.enter(0.1, 0.1, 0.1, epochs=9)
    assert rungs_in(made)[1].losses == {0: 0.1}
    for step, loss in ((1, 0.6), (2, 0.5), (3, 0.4)):
        made.again(0, step, loss)
        assert tables(rungs_in(made)) == tables(Rungs((1, 3, 9)), made.history)
    assert rungs_in(made)[0].losses == {0: 0.6}
    assert rungs_in(made)[1].losses == {0: 0.4}


def tables(rungs, history=None):
    if history is not None:
        rungs.update(history)
    return [(r.losses, list(r.reached), r.ranking, r.waiting) for r in rungs.rungs]


def test_in_whatever_pieces_a_history_is_read_the_rungs_are_the_same():
    for seed in range(20):
        rng = random.Random(seed)
        made = table()
        for _ in range(150):
            running = sorted(made.history.running)
            number = rng.choice(running) if running and rng.random() < 0.8 else made.start(9)
            chance = rng.random()
            if chance < 0.05:
                made.fail(number)
            elif chance < 0.1:
                made.anew(number)
            elif chance < 0.15 and made.history[number].losses:
                made.end(number, stopped=chance < 0.12)
            elif chance < 0.2 and made.history[number].trained > 1:
                step = rng.randint(1, made.history[number].trained)
                made.again(number, step, rng.random())
            else:
                made.go(number, rng.choice([rng.random(), None, math.nan]))
            warm = rungs_in(made)
            cold = Rungs((1, 3, 9))
            assert tables(warm) == tables(cold, made.history)


def agreeing(pairs, correlation, seed=0, factor=3):
    """Rungs to whose second so many trials have come, with losses that correlate so."""
    rng = np.random.default_rng(seed)
    made = Table(ASHA(min_epochs=1), 3)
    for first, noise in rng.normal(size=(pairs, 2)):
        second = correlation * first + math.sqrt(1.0 - correlation**2) * noise
        made.enter(first + 100.0, second, second, epochs=3)
    return rungs_of(made.history, (1, 3))


def test_agreement_is_judged_when_enough_trials_have_come_to_both_rungs():
    assert agreeing(FEWEST_PAIRS - 1, 0.9).agreement(0, 1 / 3) is None
    assert agreeing(FEWEST_PAIRS, 0.9).agreement(0, 1 / 3) is not None


def test_agreement_of_the_best_third_is_that_of_all_but_for_chance():
    rng = np.random.default_rng(1)
    for correlation in (0.0, 0.4, 0.8):
        first, noise = rng.normal(size=(2, 3000))
        second = correlation * first + math.sqrt(1.0 - correlation**2) * noise
        rungs = Rungs((1, 2))
        for number in np.flatnonzero(first <= np.quantile(first, 1 / 3)):
            for k, loss in enumerate((first[number], second[number])):
                rungs[k].add(int(number), float(loss))
                rungs[k].reached[int(number)] = None
        assert rungs.agreement(0, 1 / 3) == pytest.approx(correlation, abs=0.15)


def test_a_plateau_says_nothing_against_a_rung():
    made = Table(ASHA(min_epochs=1), 3)
    for _ in range(FEWEST_PAIRS):
        made.enter(0.7, 0.7, 0.7, epochs=3)
    assert rungs_of(made.history, (1, 3)).agreement(0, 1 / 3) == 1.0


def test_trials_that_a_callback_has_ended_say_nothing_on_the_agreement():
    made = table()
    for place in range(2 * FEWEST_PAIRS):
        made.enter(0.1 * place, epochs=9)
        made.end(place)
    assert rungs_in(made).agreement(0, 1 / 3) is None


def test_the_levels_of_a_rung_that_nobody_decides_about_cost_no_table():
    made = Table(Median(), 100)
    made.enter(0.5, 0.4)
    first = rungs_of(made.history, range(1, 101))
    assert rungs_of(made.history, range(1, 101)) is first
