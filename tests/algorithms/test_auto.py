"""The algorithm that learns from trials of any length: from whom, what, and how far apart."""

from __future__ import annotations

import math

import numpy as np
import pytest

from keratune import algorithms, schedulers
from keratune._random import stream
from keratune.history import Observation
from keratune.objectives import Objective
from keratune.parameters import Choice, Float
from keratune.priors import Prior
from keratune.schedulers import Action
from keratune.storage.memory import MemoryStorage
from keratune.study import Limits, Study, Verdict
from keratune.surrogates.observations import observe
from keratune.surrogates.spacing import nearest
from keratune.testing.schedulers import refolded

SQUARE = (Float("x", 0.0, 1.0), Float("y", 0.0, 1.0))


def bowl(values, epoch):
    """Falls towards the squared distance from (0.3, 0.7)."""
    return (values["x"] - 0.3) ** 2 + (values["y"] - 0.7) ** 2 + math.exp(-epoch)


class Search:
    """A study in memory whose trainings are functions of values and epoch."""

    def __init__(
        self, curve=bowl, space=SQUARE, scheduler="auto", epochs=9, seed=0, limit=None, **options
    ):
        self.storage = MemoryStorage()
        self.algorithm = algorithms.create("auto", **options)
        objective = Objective("loss", "min")
        self.study = Study.open(
            self.storage, objective, self.algorithm, seed=seed, limits=Limits(limit)
        )
        self.study.planner.defaults_first = False
        self.study.declare(space)
        self.study.planner.scheduler = schedulers.create(scheduler).bound(epochs)
        self.curve, self.epochs = curve, epochs

    @property
    def history(self):
        return self.study.history

    def train(self, record):
        """Train a trial until it is paused or ends."""
        while record.trained < self.epochs:
            loss = self.curve(record.values, record.trained + 1)
            self.study.report(record.number, record.trained + 1, {"loss": loss})
            decision = self.study.decide(record.number)
            if decision.action is Action.PAUSE:
                self.study.pause(record.number, decision.reason)
                return
            if decision.action is Action.STOP:
                break
        self.end(record)

    def end(self, record):
        best = min(record.losses, key=record.losses.get)
        if math.isfinite(record.losses[best]):
            self.study.tell_score(record.number, record.losses[best], best - 1, record.values)
        else:
            self.study.fail(record.number, "not_finite", "no good", retry=False)

    def run(self, trials):
        """Run until there are so many trials."""
        while len(self.history) < trials:
            record = self.study.ask("worker")
            if isinstance(record, Verdict):
                break
            self.train(record)
        return self

    def suggestion(self, history=None):
        history = history or self.history
        rng = stream(history.seed, history.next_number, "suggest", 0)
        return self.algorithm.suggest(history, rng)

    def points(self):
        return np.array([[r.values["x"], r.values["y"]] for r in self.history.trials])


def test_a_history_read_anew_gets_the_same_suggestion():
    search = Search()
    for trials in range(8, 40, 4):
        search.run(trials)
        assert search.suggestion(refolded(search.storage)) == search.suggestion()


@pytest.mark.parametrize("seed", range(3))
def test_short_trainings_lead_to_the_best_configuration(seed):
    search = Search(seed=seed).run(40)
    away = np.hypot(*(search.points() - (0.3, 0.7)).T)
    assert (away[10:] < 0.3).mean() > 0.5  # 0.26 by chance
    assert away.min() < 0.05


@pytest.mark.parametrize("seed", range(3))
def test_what_long_trainings_say_counts_for_more_than_what_short_ones_do(seed):
    def late(values, epoch):
        """Is better for a large x at first, for a small one in the end."""
        early = math.exp(-epoch)
        return early * (1.0 - values["x"]) + (1.0 - early) * 0.5 * values["x"]

    search = Search(late, seed=seed, scheduler="none").run(12)  # all in full
    assert (search.points()[4:, 0] < 0.3).mean() >= 0.5


def test_new_trials_keep_their_distance_where_one_promises_as_much_as_the_other():
    """All are equal, so that distance costs nothing."""
    search = Search(lambda values, epoch: 1.0).run(40)
    for n in range(5, 40):
        gaps = np.hypot(*(search.points()[:n] - search.points()[n]).T)
        assert gaps.min() >= 0.35 * math.sqrt(2) * n**-0.5 - 1e-9


def test_distance_is_given_up_where_all_that_is_left_to_be_won_is_near():
    search = Search().run(40)
    away = np.hypot(*(search.points() - (0.3, 0.7)).T)
    assert np.sort(away)[3] < 0.35 * math.sqrt(2) * 40**-0.5


def test_several_workers_are_sent_to_different_places():
    search = Search().run(12)
    running = [search.study.ask(f"worker {place}") for place in range(6)]
    fresh = [r for r in running if not r.trained]
    assert len(fresh) >= 4
    rows = np.array([[r.values["x"], r.values["y"]] for r in fresh])
    gaps = np.hypot(*(rows[:, None] - rows[None]).transpose(2, 0, 1))
    assert gaps[np.triu_indices(len(rows), 1)].min() > 0.1


def test_a_region_where_trials_fail_is_left():
    def half_bad(values, epoch):
        return math.nan if values["x"] < 0.5 else values["x"] + math.exp(-epoch)

    search = Search(half_bad).run(40)
    assert (search.points()[10:, 0] > 0.4).mean() >= 0.7  # the border is where the best ones are
    assert search.history.best()[0].values["x"] < 0.6


def test_a_search_goes_on_when_nothing_has_a_finite_loss():
    search = Search(lambda values, epoch: math.nan)
    assert len(search.run(20).history) == 20


def test_trials_without_epochs_are_learnt_from():
    search = Search()
    for _ in range(15):
        record = search.study.ask("worker")
        search.study.tell(record.number, {"loss": record.values["x"] + record.values["y"]})
    assert (search.points()[4:].sum(axis=1) < 0.5).mean() >= 0.5  # an eighth by chance


def test_a_search_goes_on_when_the_first_epochs_have_no_validation():
    search = Search()
    for trials in range(12):
        record = search.study.ask("worker")
        for epoch in range(1, 4):
            search.study.report(record.number, epoch, {})
        if trials > 4:
            search.study.tell(record.number, {"loss": record.values["x"]})
    assert 0.0 <= search.suggestion()["x"] <= 1.0


def test_observations_from_elsewhere_are_learnt_from():
    rng = np.random.default_rng(0)
    elsewhere = [{"x": float(x), "y": float(y)} for x, y in rng.random((20, 2))]
    search = Search()
    search.study.give([Observation(str(k), v, v["x"] + v["y"]) for k, v in enumerate(elsewhere)])
    found = search.suggestion()
    assert found["x"] + found["y"] < 0.3


def test_proposals_are_allowed_by_the_constraint_at_once(monkeypatch):
    search, asked = Search(scheduler="none"), []
    suggest = type(search.algorithm).suggest
    monkeypatch.setattr(
        type(search.algorithm), "suggest", lambda *args: asked.append(1) or suggest(*args)
    )
    search.study.constrain(lambda hp: hp["x"] + hp["y"] <= 0.6)
    search.run(25)
    assert len(asked) == 25
    assert search.history.best()[0].score < 0.1  # 0.08 is the best that is allowed


def test_proposals_keep_away_from_what_was_rejected():
    search = Search(scheduler="none")
    while len(search.history) < 25:
        record = search.study.ask("worker")
        if record.values["x"] < 0.5:  # the better half
            search.study.reject(record.number, "params 2 > 1", {"params": 2.0})
        else:
            search.train(record)
    rejected = [[r.values["x"], r.values["y"]] for r in search.history.rejected]
    points = np.vstack([rejected, search.points()])
    gaps = np.hypot(*(points[:, None] - points[None]).transpose(2, 0, 1))
    assert gaps[np.triu_indices(len(points), 1)].min() > 0.002


def test_a_right_belief_finds_sooner():
    def best(prior):
        space = [Float(name, 0.0, 1.0, prior=prior) for name in "abcde"]
        found = []
        for seed in range(4):
            search = Search(distance, space, scheduler="none", epochs=1, seed=seed).run(12)
            found.append(search.history.best()[0].score)
        return np.mean(found)

    def distance(values, epoch):
        return sum((value - 0.85) ** 2 for value in values.values())

    assert best(Prior(0.9, "strong")) < 0.3 * best(None)


def test_the_nearest_of_mixed_rows_is_that_of_all_pairs():
    space = (*SQUARE, Choice("c", ["u", "v", "w"]))
    encoding = observe(Search(space=space).history).encoding
    rows, taken = (encoding.spread(np.random.default_rng(s).random((100, 3))) for s in (0, 1))
    taken[0] = rows[0]
    differ = rows[:, None, 2] != taken[None, :, 2]
    squares = ((rows[:, None, :2] - taken[None, :, :2]) ** 2).sum(axis=2) + differ
    found = nearest(encoding, rows, taken)
    assert np.allclose(found, np.sqrt(squares.min(axis=1)), atol=1e-6) and found[0] == 0.0


def test_a_space_with_no_room_left_is_tried_to_its_last_configuration():
    space = [Choice("x", ["a", "b", "c"]), Choice("y", [1, 2, 4])]
    search = Search(lambda values, epoch: float(values["y"]), space, scheduler="none").run(99)
    assert len({tuple(r.values.items()) for r in search.history.trials}) == 9


def test_the_budget_of_trials_is_kept_and_the_winner_trained_in_full():
    search = Search(limit=15).run(99)
    while not isinstance(record := search.study.ask("worker"), Verdict):
        search.train(record)
    assert len(search.history) == 15
    assert search.history.best()[0].trained == search.epochs
