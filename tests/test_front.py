"""Several objectives as such: the front, its thresholds, what models cost, and what is kept."""

import keras
import numpy as np
import pytest

import keratune as kt
from keratune.errors import FatalValueError
from keratune.objectives import MultiObjective, ParetoObjective, create_objective
from keratune.ranking import FrontRanking, LossRanking
from keratune.storage import base as events

RNG = np.random.default_rng(0)
X = RNG.random((64, 4)).astype("float32")
Y = (X[:, 0] * X[:, 1] > 0.25).astype("float32")
FIT = {"batch_size": 64, "verbose": 0, "validation_data": (X, Y)}
OBJECTIVES = ["val_accuracy", "params"]


def build(hp):
    units = hp.Choice("units", [1, 2, 4, 8])
    rate = hp.Float("rate", 0.01, 0.5, sampling="log")
    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(units, "relu"), keras.layers.Dense(1, "sigmoid")]
    )
    model.compile(keras.optimizers.Adam(rate), "binary_crossentropy", metrics=["accuracy"])
    return model


def random_search(project, objectives=OBJECTIVES, max_trials=6, **arguments):
    return kt.RandomSearch(
        build, objectives=objectives, max_trials=max_trials, seed=0, **project, **arguments
    )


def points(tuner):
    """(accuracy, parameters) by trial id, of all completed trials."""
    told = {record.trial_id: record.metrics for record in tuner.history.trials}
    return {name: (m["val_accuracy"], m["params"]) for name, m in told.items()}


def unbeaten(points):
    def beaten(a, b):
        return b[0] >= a[0] and b[1] <= a[1] and a != b

    return {name for name, a in points.items() if not any(beaten(a, b) for b in points.values())}


def test_a_keras_search_finds_the_front_of_accuracy_against_parameters(project):
    tuner = random_search(project)
    tuner.search(X, Y, epochs=2, **FIT)
    told = points(tuner)
    assert len(told) == 6
    for trial in tuner.oracle.trials.values():
        assert told[trial.trial_id][1] == 6 * trial.hyperparameters["units"] + 1
    front = [trial.trial_id for trial in tuner.get_pareto_trials()]
    assert set(front) == unbeaten(told)
    assert front[0] == tuner.get_knee_trial().trial_id
    assert [trial.trial_id for trial in tuner.oracle.get_best_trials(len(front))] == front
    assert tuner.get_best_models()[0].count_params() == told[front[0]][1]


def test_a_resumed_search_has_the_same_front_and_the_journal_holds_the_objectives(project):
    def front(tuner):
        return [(t.trial_id, t.metrics_at_best()) for t in tuner.get_pareto_trials()]

    whole = random_search(project, max_trials=4)
    whole.search(X, Y, epochs=1, **FIT)
    parts_of = {**project, "project_name": "parts"}
    for most in (2, 4):
        parts = random_search(parts_of, max_trials=most)
        parts.search(X, Y, epochs=1, **FIT)
    assert front(parts) == front(whole)
    opened = whole.oracle.study._journal._storage.read(0)[0].event
    assert opened.objective == {
        "pareto": [
            {"name": "val_accuracy", "direction": "max"},
            {"name": "params", "direction": "min"},
        ]
    }
    reports = [
        entry.event.metrics
        for entry in whole.oracle.study._journal._storage.read(0)
        if isinstance(entry.event, events.Reported)
    ]
    assert reports and all("params" in metrics for metrics in reports)


def test_what_misses_a_threshold_is_not_on_the_front_and_comes_last(project):
    loose = random_search(project)
    loose.search(X, Y, epochs=2, **FIT)
    told = points(loose)
    bound = sorted(size for _, size in told.values())[1]
    strict = random_search(
        {**project, "project_name": "strict"},
        objectives=["val_accuracy", kt.Objective("params", "min", threshold=bound)],
    )
    strict.search(X, Y, epochs=2, **FIT)
    assert points(strict) == told
    front = {trial.trial_id for trial in strict.get_pareto_trials()}
    useful = {name: point for name, point in told.items() if point[1] <= bound}
    assert front == unbeaten(useful)
    ranked = [trial.trial_id for trial in strict.oracle.get_best_trials(6)]
    assert set(ranked[: len(useful)]) == set(useful)


class Loop(kt.HyperModel):
    """Trains in a way of its own: the larger, the better."""

    def build(self, hp):
        return build(hp)

    def fit(self, hp, model, *args, **kwargs):
        return {"error": 1.0 / model.count_params() + (hp["rate"] > 0.1)}


def looped(project, **arguments):
    tuner = kt.RandomSearch(
        Loop(), objectives=["error", "flops"], max_trials=8, seed=0, **project, **arguments
    )
    tuner.search(X, Y)
    return tuner


def test_the_whole_front_keeps_its_weights_and_the_others_do_not(project):
    tuner = looped(project, checkpoints=1)
    front = tuner.get_pareto_trials()
    assert len(front) > 1
    for trial in tuner.oracle.trials.values():
        if trial in front:
            units = trial.hyperparameters["units"]
            assert tuner.load_model(trial).count_params() == 6 * units + 1
        else:
            with pytest.raises(FileNotFoundError):
                tuner.load_model(trial)


def test_a_training_loop_of_ones_own_need_not_know_the_costs(project):
    for trial in looped(project).oracle.trials.values():
        assert trial.metrics_at_best()["flops"] == 10.0 * trial.hyperparameters["units"]


def test_one_cost_may_be_the_only_objective(project):
    tuner = kt.GridSearch(build, "params", max_trials=2, **project)
    tuner.search(X, Y, epochs=1, **FIT)
    assert tuner.oracle.get_best_trials()[0].score == 7.0


def test_costs_are_minimised_without_saying_so_and_a_sum_stays_a_sum():
    assert create_objective("latency").direction == "min"
    sum_of = create_objective(["val_loss", "params"])
    front_of = ParetoObjective(["val_loss", "params"])
    logs = {"val_loss": 0.5, "params": 100.0}
    assert (sum_of.get_value(logs), front_of.get_value(logs)) == (100.5, 0.5)
    assert front_of.get_losses(logs) == [0.5, 100.0]
    assert isinstance(sum_of, MultiObjective) and sum_of != front_of


def test_both_arguments_at_once_are_refused(project):
    with pytest.raises(ValueError, match="Received both"):
        kt.RandomSearch(build, "val_loss", objectives=OBJECTIVES, **project)


def test_a_study_of_a_sum_is_not_continued_as_a_front(project):
    kt.RandomSearch(build, [*OBJECTIVES], max_trials=1, seed=0, **project).search(
        X, Y, epochs=1, **FIT
    )
    with pytest.raises(RuntimeError, match="pareto"):
        random_search(project)


def test_a_metric_that_is_neither_measured_nor_a_cost_is_named(project):
    tuner = random_search(project, objectives=["val_auc", "params"])
    with pytest.raises(FatalValueError, match="objective, val_auc"):
        tuner.search(X, Y, epochs=1, **FIT)


def test_rankings_put_what_breaks_something_last_by_how_much():
    ranking = FrontRanking()
    for number, losses, violation in [
        (0, (0.0, 3.0), 0.0),
        (1, (3.0, 0.0), 0.0),
        (2, (1.0, 1.0), 0.0),
        (3, (2.0, 2.0), 0.0),
        (4, (-9.0, -9.0), 2.0),
        (5, (-9.0, -9.0), 1.0),
        (6, (float("nan"), 0.0), 0.0),
    ]:
        ranking.add(number, losses, violation)
    assert ranking.best(9) == [2, 0, 1, 3, 5, 4, 6]
    assert ranking.front() == [2, 0, 1]
    ranking.remove(2)
    assert ranking.front() == [3, 0, 1] and ranking.place(0) == 1 and ranking.place(2) is None


def test_a_ranking_by_one_loss_is_a_sorted_list():
    ranking, losses = LossRanking(), RNG.integers(0, 9, 50) / 4.0
    for number, loss in enumerate(losses):
        ranking.add(number, [loss])
    for number in range(0, 50, 3):
        ranking.remove(number)
    left = [n for n in range(50) if n % 3]
    assert ranking.best(99) == sorted(left, key=lambda n: (losses[n], n))
    assert [ranking.place(n) for n in ranking.best(99)] == list(range(len(left)))


def test_a_scheduler_and_several_objectives_go_together(project):
    tuner = random_search(project, max_trials=8, scheduler="asha")
    tuner.search(X, Y, epochs=4, **FIT)
    trained = [record.trained for record in tuner.history.trials]
    assert max(trained) == 4 > min(trained)
    front = {trial.trial_id for trial in tuner.get_pareto_trials()}
    assert front == unbeaten(points(tuner))
    assert tuner.get_knee_trial().trial_id in front
    assert tuner.get_best_models(1)[0].count_params() in {7, 13, 25, 49}


def test_all_of_it_together_holds_and_a_resumed_search_equals_the_uninterrupted_one(tmp_path):
    def make(name, most):
        return kt.BayesianOptimization(
            Loop(),
            objectives=[kt.Objective("error", "min", threshold=1.0), "params"],
            limits={"params": 20},
            constraint=lambda hp: hp["rate"] * hp["units"] < 1.5,
            outcomes=["flops <= 15"],
            max_trials=most,
            seed=0,
            directory=tmp_path,
            project_name=name,
        )

    def told(tuner):
        trials = tuner.oracle.trials.values()
        rejected = [(r.number, r.values, r.reason) for r in tuner.history.rejected]
        return [(t.hyperparameters.values, t.metrics_at_best()) for t in trials], rejected

    whole = make("whole", 9)
    whole.search(X, Y)
    for most in (3, 7, 9):
        parts = make("parts", most)
        parts.search(X, Y)
    assert told(parts) == told(whole)
    metrics = [record.metrics for record in whole.history.trials]
    assert len(metrics) == 9 and max(m["params"] for m in metrics) <= 20
    values = [record.values for record in whole.history.trials]
    assert all(v["rate"] * v["units"] < 1.5 for v in values)
    front = [record.metrics for record in whole.history.front()]
    assert front and all(m["flops"] <= 15 and m["error"] <= 1.0 for m in front)
    assert whole.history.rejected
