"""Claims about Bayesian optimisation: what it learns from, avoids, and how much it computes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import approx_fprime

from keratune.algorithms import bayesian
from keratune.history import History, Record
from keratune.numerics import gp
from keratune.objectives import Objective
from keratune.space import HyperParameters
from keratune.storage import MemoryStorage
from keratune.study import Limits, Study
from keratune.surrogates import candidates, spacing, surrogate
from keratune.surrogates.encoding import ABSENT_NUMBER, Encoding
from keratune.surrogates.observations import observe
from keratune.trial import TrialStatus


def build(hp, dimensions=3):
    for j in range(dimensions):
        hp.Float(f"x{j}", 0.0, 1.0)


def space(declare=build):
    hp = HyperParameters()
    hp.begin({}, None)
    declare(hp)
    return hp


def study(declare=build, seed=0, **settings):
    opened = Study.open(
        MemoryStorage(),
        Objective("loss", "min"),
        bayesian.BayesianOptimization(**settings),
        seed=seed,
        limits=Limits(max_consecutive_failures=None),
    )
    opened.declare(space(declare).space)
    return opened


def bowl(values):
    return sum((value - 0.7) ** 2 for value in values.values())


def run(opened, count, loss=bowl, fails=lambda values: False):
    """Run trials; return their values."""
    tried = []
    for _ in range(count):
        record = opened.ask("worker")
        tried.append(dict(record.values))
        if fails(record.values):
            opened.fail(record.number, "error", "no")
        else:
            opened.tell(record.number, {"loss": loss(record.values)})
    return tried


def make_history(X, losses):
    history = History(Objective("loss", "min"), seed=0)
    history.space = space(lambda hp: build(hp, X.shape[1]))
    for number, (row, loss) in enumerate(zip(X, losses, strict=True)):
        record = Record(number, str(number), {f"x{j}": float(u) for j, u in enumerate(row)})
        history.create(record)
        history.start(number, "worker", 0.0)
        history.finish(number, TrialStatus.COMPLETED, 0.0, float(loss))
    return history


def mixed_surrogate(failed=0):
    rng = np.random.default_rng(0)
    features = gp.Features(np.array([0, 0, 3]))
    X = np.column_stack([rng.random((20, 2)), rng.integers(3, size=20)])
    losses = (X[:, 0] - 0.3) ** 2 + (X[:, 2] == 1)
    away = np.column_stack([rng.random((failed, 2)) / 2 + 0.5, np.zeros(failed)])
    return surrogate.fit(features, X, losses, np.zeros(20), away, 1e-4), X, losses


def test_it_comes_close_to_the_best_within_thirty_trials():
    assert min(map(bowl, run(study(), 30))) < 1e-3


@pytest.mark.parametrize("beta", [None, 2.0])
@pytest.mark.parametrize("failed", [0, 8])
def test_the_gradient_of_the_acquisition_is_that_of_finite_differences(beta, failed):
    model, X, _ = mixed_surrogate(failed)
    acquisition = surrogate.Acquisition(model, beta).measured_by(X)
    point = np.array([0.41, 0.62, 1.0])
    value, slope = acquisition.slopes(point[None])
    assert value[0] == pytest.approx(acquisition(point[None])[0])
    numeric = approx_fprime(point[:2], lambda u: acquisition(np.r_[u, 1.0][None])[0], 1e-6)
    np.testing.assert_allclose(slope[0, :2], numeric, rtol=2e-2, atol=1e-2)
    assert slope[0, 2] == 0.0


def test_insight_is_large_where_order_can_be_foreseen_and_none_where_it_cannot():
    rng = np.random.default_rng(1)
    features, X = gp.Features(np.zeros(2, dtype=int)), rng.random((30, 2))
    nothing = np.zeros((0, 2))

    def insight(losses):
        model = surrogate.fit(features, X, losses, np.zeros(30), nothing, 1e-4)
        return model.insight(losses)

    assert insight(X[:, 0] + X[:, 1] ** 2) > 0.5
    assert insight(rng.random(30)) < 0.15
    assert insight(np.ones(30)) == 0.0


def test_filling_goes_on_while_nothing_can_be_foreseen():
    def noise(values):
        return float(np.random.default_rng(int(1e9 * values["x0"])).random())

    even = run(study(num_initial_points=100), 12)
    assert run(study(), 12, noise)[:8] == even[:8]
    assert run(study(), 12)[:8] != even[:8]


def test_trials_that_run_are_part_of_the_filling_once_half_of_it_has_ended():
    opened, even = study(seed=3, num_initial_points=8), study(seed=3, num_initial_points=100)
    for ended in range(4):
        for other in (opened, even):
            values = other.ask("worker").values
            other.tell(ended, {"loss": bowl(values)})
    asked = [[dict(other.ask("worker").values) for _ in range(6)] for other in (opened, even)]
    assert asked[0][:4] == asked[1][:4]
    assert asked[0][4] != asked[1][4]


def test_close_to_trials_that_run_less_is_expected_and_what_they_promise_is_no_improvement():
    model, X, _ = mixed_surrogate()
    promising = np.array([[0.3, 0.5, 0.0]])
    believed = model.with_pending(promising)
    for before, after in zip(model.members, believed.members, strict=True):
        expected, deviation = before.process.predict(promising)
        assert after.process.predict(promising)[0] > expected
        assert after.process.predict(promising)[1] < 0.5 * deviation
        assert after.best <= min(before.best, after.process.predict(promising)[0][0])


def test_eight_workers_do_not_try_nearly_the_same():
    opened = study(seed=1)
    run(opened, 15)
    asked = np.array([list(opened.ask(f"worker {i}").values.values()) for i in range(8)])
    gaps = np.linalg.norm(asked[:, None] - asked[None], axis=2)[np.triu_indices(8, 1)]
    assert gaps.min() > 0.01


def test_few_failures_count_as_the_worst_loss_and_more_have_a_model_of_their_own():
    assert mixed_surrogate(2)[0].viability is None
    assert len(mixed_surrogate(2)[0].members[0].process.y) == 22
    many = mixed_surrogate(8)[0]
    assert many.viability is not None
    assert len(many.members[0].process.y) == 20


@pytest.mark.parametrize(
    "fails", [lambda values: values["x0"] > 0.5, lambda values: values["x1"] < 0.5]
)
def test_where_trials_fail_few_further_ones_are_proposed(fails):
    tried = [run(study(seed=seed), 40, fails=fails)[20:] for seed in (0, 1)]
    assert np.mean([fails(values) for last in tried for values in last]) < 0.25


def test_what_is_paused_or_stopped_with_a_score_is_learnt_from_and_what_has_none_is_pending():
    rng = np.random.default_rng(3)
    history = make_history(rng.random((3, 2)), [0.1, 0.2, 0.3])
    for number, score in ((3, 0.4), (4, None)):
        history.create(Record(number, str(number), {"x0": 0.5, "x1": 0.1 * number}))
        history.start(number, "worker", 0.0)
        history.pause(number, score, 0, "rung")
    seen = observe(history)
    assert list(seen.losses) == [0.1, 0.2, 0.3, 0.4]
    assert len(seen.pending) == 1
    assert len(seen.failed) == 0


def test_workers_at_once_get_configurations_apart_from_each_other():
    opened = study()
    run(opened, 12)
    rows = np.array([list(opened.ask(f"worker {k}").values.values()) for k in range(4)])
    gaps = np.abs(rows[:, None] - rows[None]).max(axis=2)[np.triu_indices(4, 1)]
    assert gaps.min() > 0.01


def test_a_process_never_holds_more_trials_than_it_may():
    X = np.random.default_rng(2).random((900, 3))
    losses = ((X - 0.5) ** 2).sum(axis=1)
    seen = observe(make_history(X, losses))
    chosen = bayesian._chosen(seen, np.random.default_rng(0))
    assert len(chosen) == len(set(chosen)) == bayesian.MOST_TRIALS
    best = np.argsort(losses)[: bayesian.BEST_TRIALS]
    assert set(best) <= set(chosen[: surrogate.FIT_MOST])


def test_only_changed_trials_are_encoded_again(monkeypatch):
    opened = study()
    run(opened, 8)
    observe(opened.history)
    encoded = []
    encode = Encoding.encode

    def counted(self, configurations):
        encoded.append(len(configurations))
        return encode(self, configurations)

    monkeypatch.setattr(Encoding, "encode", counted)
    run(opened, 1)
    observe(opened.history)
    assert sum(encoded) <= 2  # once created, once ended


def test_rules_of_plain_python_branches_are_learnt_from_what_builds_have_read():
    def layers(hp):
        hp.Int("layers", 1, 4)
        hp.Choice("kind", ["a", "b"])
        for j in range(1, 4):
            hp.Float(f"u{j}", 0.0, 1.0)
        hp.Float("rate", 0.0, 1.0)

    encoding = Encoding(space(layers))
    rows = []
    for count in (1, 2, 3, 4, 2, 3):
        kind = "ab"[count % 2]
        row = {"layers": count, "kind": kind, **{f"u{j}": 0.9 for j in range(1, count)}}
        rows.append({**row, "rate": 0.9} if kind == "b" else row)
    X, present = encoding.encode(rows), encoding.present(rows)
    encoding.learn_activity(X, present)
    np.testing.assert_array_equal(encoding.active(X), present)
    full = encoding.snap(np.array([[X[1, 0], 0.0, 0.9, 0.9, 0.9, 0.9]]))[0]
    assert list(full[2:]) == [0.9, ABSENT_NUMBER, ABSENT_NUMBER, ABSENT_NUMBER]


def test_discrete_coordinates_are_moved_to_their_best_values():
    def declare(hp):
        hp.Choice("kind", ["a", "b", "c"])
        hp.Int("units", 1, 40)

    class Peak:
        def __call__(self, rows):
            return -10.0 * (rows[:, 0] != 2.0) - np.abs(rows[:, 1] - 0.5)

        def slopes(self, rows):
            return self(rows), np.zeros(rows.shape)

    encoding = Encoding(space(declare))
    start = encoding.spread(np.array([[0.1, 0.45]]))
    found = candidates.maximise(Peak(), encoding, start, lambda row: False)
    assert found[0] == 2.0
    assert abs(found[1] - 0.5) < 0.02
    other = candidates.maximise(Peak(), encoding, start, lambda row: bool((row == found).all()))
    assert (other != found).any()


@pytest.mark.parametrize("dimensions", [1, 30])
def test_a_constant_objective_is_no_problem(dimensions):
    opened = study(lambda hp: build(hp, dimensions))
    tried = run(opened, 26, lambda values: 1.0)
    assert len({tuple(values.values()) for values in tried}) == 26


class Slope:
    """Promises most at the origin, by a trial; `steepness` is what a unit of distance costs."""

    def __init__(self, steepness):
        self.steepness = steepness

    def __call__(self, rows):
        return -self.steepness * rows.sum(axis=1)

    def slopes(self, rows):
        return self(rows), np.full(rows.shape, -self.steepness)


@pytest.mark.parametrize(("steepness", "keeps"), [(1.0, True), (1e4, False)])
def test_a_distance_is_kept_where_it_costs_little(steepness, keeps):
    encoding = Encoding(space(lambda hp: build(hp, 2)))
    rows = np.random.default_rng(0).random((500, 2))
    taken = np.array([[0.0, 0.0], [0.9, 0.9]])

    def found(*kept):
        return candidates.maximise(Slope(steepness), encoding, rows, lambda row: False, *kept)

    assert spacing.nearest(encoding, found()[None], taken)[0] < 1e-6
    wide = spacing.wanted(2, 2)
    assert (spacing.nearest(encoding, found(taken)[None], taken)[0] >= wide) == keeps


def test_without_insight_proposals_do_not_crowd_around_the_best_trial():
    def cells(values):  # a loss of its own in each cell, flat within
        cell = tuple(int(3 * value) for value in values.values())
        return float(np.random.default_rng(cell).random())

    rows = np.array([list(values.values()) for values in run(study(), 32, cells)])
    gaps = [np.linalg.norm(rows[:i] - rows[i], axis=1).min() for i in range(20, 32)]
    assert np.mean(gaps) > 0.2


def test_rows_that_are_pinned_share_values_and_what_hangs_on_them():
    space = HyperParameters()
    space.Choice("model", ["a", "b"])
    space.Int("units", 1, 9)
    space.Float("rate", 0.0, 1.0)
    with space.conditional_scope("model", ["b"]):
        space.Float("depth", 0.0, 1.0)
    encoding, points = Encoding(space), np.random.default_rng(0).random((50, 4))
    encoding.pin({"model": "a", "units": 7})
    found = [encoding.decode(row) for row in encoding.spread(points)]
    assert {(f["model"], f["units"]) for f in found} == {("a", 7)}
    assert len({f["rate"] for f in found}) == 50 and all("depth" not in f for f in found)
    encoding.pin({})
    assert len({encoding.decode(row)["units"] for row in encoding.spread(points)}) == 9
