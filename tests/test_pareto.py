"""Several objectives: the trials that no other trial beats."""

import time

import numpy as np
import pytest

import keratune as kt
from keratune.numerics import pareto
from keratune.oracles import RandomSearchOracle

hypothesis = pytest.importorskip("hypothesis")
from hypothesis import strategies as st  # noqa: E402
from hypothesis.extra import numpy as arrays  # noqa: E402

POINTS = st.tuples(st.integers(1, 30), st.integers(1, 4)).flatmap(
    lambda shape: arrays.arrays(float, shape, elements=st.integers(0, 4).map(float))
)


def beaten(row, others):
    return any(np.all(other <= row) and np.any(other < row) for other in others)


@hypothesis.given(POINTS)
def test_the_front_is_what_the_definition_says(losses):
    expected = [not beaten(row, losses) for row in losses]
    assert pareto.front(losses).tolist() == expected


def test_equal_points_are_all_kept():
    assert pareto.front(np.array([[1.0, 2.0], [1.0, 2.0], [2.0, 2.0]])).tolist() == [1, 1, 0]


@hypothesis.given(POINTS)
def test_a_points_rank_counts_the_fronts_that_come_before_it(losses):
    left, rank = np.arange(len(losses)), np.zeros(len(losses), dtype=int)
    for place in range(len(losses)):
        rank[left] = place
        left = left[~pareto.front(losses[left])]
    assert pareto.ranks(losses).tolist() == rank.tolist()


@hypothesis.given(POINTS)
def test_the_order_is_by_rank_and_loses_no_point(losses):
    order = pareto.order(losses)
    assert sorted(order) == list(range(len(losses)))
    assert (np.diff(pareto.ranks(losses)[order]) >= 0).all()


def test_of_one_front_the_ends_come_first_and_the_most_crowded_last():
    losses = np.array([[0.5, 0.5], [0.0, 1.0], [0.52, 0.48], [1.0, 0.0], [0.2, 0.8], [0.54, 0.46]])
    order = pareto.order(losses).tolist()
    assert set(order[:2]) == {1, 3}
    assert order[-1] == 2


def test_one_loss_is_ordered_by_its_size():
    losses = np.array([[3.0], [1.0], [2.0], [1.0]])
    assert pareto.order(losses).tolist() == [1, 3, 2, 0]


def test_five_thousand_points_are_ranked_in_seconds():
    losses = np.random.default_rng(0).random((5000, 2))
    began = time.perf_counter()
    ranks = pareto.ranks(losses)
    assert time.perf_counter() - began < 5.0
    assert np.array_equal(ranks == 0, pareto.front(losses))


def test_the_knee_is_the_point_of_the_front_nearest_to_the_ideal_in_any_units():
    losses = np.array([[0.0, 1.0], [0.1, 0.2], [0.6, 0.1], [1.0, 0.0], [0.05, 5.0]])
    assert pareto.knee(losses) == 1
    assert pareto.knee(losses * [1e6, 1e-3] + 3.0) == 1
    assert pareto.knee(np.array([[4.0, 4.0], [3.0, 3.0]])) == 1


class TwoSided(kt.Tuner):
    """Each trial reports the next pair of an error, to be minimised, and a score."""

    pairs = [(0.3, 0.9), (0.1, 0.2), (0.3, 0.8), (0.5, 0.9), (0.2, 0.5)]

    def run_trial(self, trial, *args, **kwargs):
        trial.hyperparameters.Int("x", 0, 100)
        error, score = self.pairs[int(trial.trial_id)]
        return {"error": error, "score": score, "other": 1.0}


OBJECTIVES = [kt.Objective("error", "min"), kt.Objective("score", "max")]


def test_the_trials_that_no_other_beats_are_returned_with_the_best_sum_first(project):
    tuner = TwoSided(RandomSearchOracle(OBJECTIVES, max_trials=5, seed=0), **project)
    assert tuner.get_pareto_trials() == []
    tuner.search(verbose=0)
    assert [trial.trial_id for trial in tuner.get_pareto_trials()] == ["0", "4", "1"]


def test_a_resumed_search_has_the_same_front(project):
    make = lambda: TwoSided(RandomSearchOracle(OBJECTIVES, 5, seed=0), **project)  # noqa: E731
    make().search(verbose=0)
    assert [trial.trial_id for trial in make().get_pareto_trials()] == ["0", "4", "1"]


def test_one_objective_has_the_best_trials_as_its_front(project):
    tuner = TwoSided(RandomSearchOracle(OBJECTIVES[1], max_trials=5, seed=0), **project)
    tuner.search(verbose=0)
    assert {trial.trial_id for trial in tuner.get_pareto_trials()} == {"0", "3"}


def test_directions_are_respected_when_trials_are_asked_for_and_told():
    hp = kt.HyperParameters()
    hp.Int("x", 0, 100)
    oracle = RandomSearchOracle(OBJECTIVES, max_trials=5, seed=0, hyperparameters=hp)
    for error, score in TwoSided.pairs:
        trial = oracle.create_trial("tuner0")
        oracle.update_trial(trial.trial_id, {"error": error, "score": score})
        oracle.end_trial(trial)
        assert trial.metrics.get_direction("error") == "min"
        assert trial.metrics.get_direction("score") == "max"
        assert trial.score == pytest.approx(error - score)
    assert oracle.get_best_trials()[0].trial_id == "0"
