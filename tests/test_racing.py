"""Racing: what cannot win is not trained to its end, and what may win is."""

import keras
import numpy as np
import pytest

import keratune as kt
from keratune import noise, racing
from keratune.algorithms import create
from keratune.history import Result
from keratune.objectives import Objective, ParetoObjective
from keratune.oracles import RandomSearchOracle
from keratune.parameters import Float
from keratune.storage.memory import MemoryStorage
from keratune.study import Study

COMPLETED, STOPPED = "COMPLETED", "STOPPED"


def study_of(direction="min"):
    study = Study.open(MemoryStorage(), Objective("score", direction), create("random"), seed=0)
    study.declare([Float("x", 0.0, 1.0)])
    return study


def results_of(values):
    return {e: Result(1, {"score": float(value)}) for e, value in enumerate(values)}


def trial_with(study, values, tell=True):
    """Run a trial whose executions score these values; told, it is completed."""
    record = study.ask("me")
    for execution, result in results_of(values).items():
        study.complete_execution(record.number, execution, result)
    return study.tell(record.number) if tell else record


def race(scores, folds=False):
    """Run trials, a row of scores each, as a racing tuner does; return the study."""
    study = study_of()
    for row in scores:
        record, out = study.ask("me"), None
        for execution, result in results_of(row).items():
            study.complete_execution(record.number, execution, result)
            out = racing.exit_of(
                study.history, record.number, record.results, len(row), folds=folds
            )
            if out is not None:
                break
        if out is None:
            study.tell(record.number)
        else:
            study.tell_score(record.number, out.score, 0, record.values, out.reason, stopped=True)
    return study


def trained(study):
    return sum(len(record.results) for record in study.history.trials)


# The decision


def test_on_a_noisy_problem_executions_are_saved_and_the_winner_stays():
    same, used, most = 0, 0, 0
    for seed in range(10):
        rng = np.random.default_rng(seed)
        scores = rng.uniform(0, 1, (20, 1)) + rng.normal(0, 0.1, (20, 5))
        study = race(scores)
        same += study.history.best()[0].number == int(scores.mean(axis=1).argmin())
        used, most = used + trained(study), most + scores.size
    assert same >= 9
    assert used <= 0.75 * most


def test_folds_are_compared_with_the_same_folds():
    same, used, most = 0, 0, 0
    for seed in range(10):
        rng = np.random.default_rng(seed)
        hard = rng.normal(0, 2.0, (1, 5))  # some folds are hard for every configuration
        scores = rng.uniform(0, 1, (20, 1)) + hard + rng.normal(0, 0.1, (20, 5))
        study = race(scores, folds=True)
        same += study.history.best()[0].number == int(scores.mean(axis=1).argmin())
        used, most = used + trained(study), most + scores.size
    assert same >= 9
    assert used <= 0.65 * most


def test_one_that_is_as_good_as_the_best_is_left_out_as_seldom_as_the_level_says():
    left = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        study = study_of()
        trial_with(study, rng.normal(size=5))
        record = study.ask("me")
        for n in range(2, 5):
            results = results_of(rng.normal(size=5)[:n])
            if racing.exit_of(study.history, record.number, results, 5) is not None:
                left += 1
                break
    assert left <= 0.08 * 300


@pytest.mark.parametrize("direction", ["min", "max"])
def test_the_score_of_one_that_leaves_is_what_it_lags_behind_and_not_the_mean_of_easy_folds(
    direction,
):
    sign = 1.0 if direction == "min" else -1.0
    study = study_of(direction)
    trial_with(study, sign * np.array([0.1, 0.1, 0.9, 0.9]))  # mean 0.5; two folds are easy
    record = study.ask("me")
    results = results_of(sign * np.array([0.3, 0.31]))  # better than 0.5 on average, and worse
    out = racing.exit_of(study.history, record.number, results, 4, folds=True)
    assert out.score == pytest.approx(sign * 0.705)
    assert "2 of 4 executions" in out.reason
    assert "trial 0" in out.reason


def test_a_single_execution_ends_a_race_of_folds_only_where_the_spread_is_known():
    study = study_of()
    trial_with(study, [0.1, 0.2, 0.3, 0.4])
    record = study.ask("me")
    hopeless = results_of([9.0])
    assert racing.exit_of(study.history, record.number, hopeless, 4, folds=True) is None
    study.tell(record.number, {"score": 1.0})
    trial_with(study, [0.21, 0.29, 0.42, 0.5])
    record = study.ask("me")
    assert (
        racing.exit_of(study.history, record.number, hopeless, 4) is None
    )  # repeats: two at least
    assert racing.exit_of(study.history, record.number, hopeless, 4, folds=True) is not None
    assert racing.exit_of(study.history, record.number, results_of([0.13]), 4, folds=True) is None


@pytest.mark.parametrize(
    "values",
    [[0.3, 0.05], [0.0, 0.0], [5.0, float("nan")], [5.0, 5.1, 5.2, 5.3]],
    ids=["doubtful", "better", "failing", "done"],
)
def test_what_may_win_or_is_done_stays(values):
    study = study_of()
    trial_with(study, [0.1, 0.1, 0.2, 0.2])
    record = study.ask("me")
    assert racing.exit_of(study.history, record.number, results_of(values), 4) is None


def test_only_a_trial_with_all_its_executions_is_raced_against():
    study = study_of()
    trial_with(study, [0.1, 0.1])
    record = study.ask("me")
    assert racing.exit_of(study.history, record.number, results_of([5.0, 5.1]), 4) is None


@pytest.mark.parametrize(("recall", "leaves"), [(0.9, True), (0.5, False)])
def test_one_that_breaks_an_outcome_is_nothing_to_race_against(recall, leaves):
    objective = Objective("score", "min").keeping(["recall >= 0.8"])
    study = Study.open(MemoryStorage(), objective, create("random"), seed=0)
    study.declare([Float("x", 0.0, 1.0)])
    record = study.ask("me")
    for execution, score in enumerate([0.1, 0.2, 0.3]):
        result = Result(1, {"score": score, "recall": recall})
        study.complete_execution(record.number, execution, result)
    study.tell(record.number)
    other = study.ask("me")
    out = racing.exit_of(study.history, other.number, results_of([5.1, 5.2]), 3)
    assert (out is not None) == leaves


def test_of_several_objectives_nobody_is_left_out():
    objective = ParetoObjective([Objective("score", "min"), Objective("size", "min")])
    study = Study.open(MemoryStorage(), objective, create("random"), seed=0)
    study.declare([Float("x", 0.0, 1.0)])
    record = study.ask("me")
    for execution, score in enumerate([0.1, 0.2, 0.3]):
        study.complete_execution(record.number, execution, Result(1, {"score": score, "size": 9.0}))
    study.tell(record.number)
    other = study.ask("me")
    results = {e: Result(1, {"score": 5.0 + e / 10, "size": 1.0}) for e in range(2)}
    assert racing.exit_of(study.history, other.number, results, 3) is None


# In a search


class Noisy(kt.HyperModel):
    """Trains nothing: the loss is x and some noise that the trial's seed decides."""

    def __init__(self, fail_at=None):
        super().__init__()
        self.calls, self.fail_at = 0, fail_at

    def build(self, hp):
        hp.Float("x", 0.0, 1.0)
        return keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])

    def fit(self, hp, model, *args, **kwargs):
        if self.calls == self.fail_at:
            raise KeyboardInterrupt
        self.calls += 1
        return hp["x"] + 0.1 * float(np.std(model.get_weights()[0]))


def tuner_of(hypermodel, folder, cls=kt.RandomSearch, folds=False, **arguments):
    return cls(
        hypermodel,
        max_trials=8,
        seed=1,
        executions_per_trial=1 if folds else 4,
        checkpoints=False,
        directory=str(folder),
        project_name="project",
        **arguments,
    )


def told(tuner):
    return [
        (record.values, record.status, record.score, record.message, record.results)
        for record in tuner.history.trials
    ]


def test_a_search_that_races_finds_the_same_best_trial_in_fewer_trainings(tmp_path, capsys):
    slow, fast = Noisy(), Noisy()
    without = tuner_of(slow, tmp_path / "without")
    without.search(verbose=0)
    raced = tuner_of(fast, tmp_path / "raced", racing=True)
    raced.search(verbose=1)
    assert fast.calls < slow.calls == 32
    assert raced.get_best_hyperparameters()[0].values == (
        without.get_best_hyperparameters()[0].values
    )
    left = [record for record in raced.history.trials if record.status == STOPPED]
    assert left
    assert all(2 <= len(record.results) < 4 for record in left)
    shown = capsys.readouterr().out
    assert "stopped after 2 executions" in shown
    raced.results_summary()
    assert "Left out of the race after 2 of 4 executions" in capsys.readouterr().out


def test_an_interrupted_race_comes_to_the_same(tmp_path):
    whole = tuner_of(Noisy(), tmp_path / "whole", racing=True)
    whole.search(verbose=0)
    calls = sum(len(record.results) for record in whole.history.trials)
    for fail_at in range(4, calls, 3):
        folder = tmp_path / str(fail_at)
        with pytest.raises(KeyboardInterrupt):
            tuner_of(Noisy(fail_at), folder, racing=True).search(verbose=0)
        again = tuner_of(Noisy(), folder, racing=True)
        again.search(verbose=0)
        assert told(again) == told(whole)


def test_one_that_left_and_was_interrupted_at_its_end_leaves_again_untrained(tmp_path):
    class Interrupted(kt.RandomSearch):
        def on_trial_end(self, trial):
            if trial.status == STOPPED:
                raise KeyboardInterrupt
            super().on_trial_end(trial)

    whole = tuner_of(Noisy(), tmp_path / "whole", racing=True)
    whole.search(verbose=0)
    with pytest.raises(KeyboardInterrupt):
        tuner_of(Noisy(), tmp_path / "again", Interrupted, racing=True).search(verbose=0)
    model = Noisy()
    again = tuner_of(model, tmp_path / "again", racing=True)
    before = sum(len(record.results) for record in again.history.trials)
    again.search(verbose=0)
    assert told(again) == told(whole)
    assert model.calls == sum(len(record.results) for record in whole.history.trials) - before


def test_folds_of_keras_models_race_from_the_first_on(tmp_path):
    x = np.zeros((12, 2))
    whole, model = Noisy(), Noisy()
    tuner_of(whole, tmp_path / "whole", folds=True).search(x, x, cv=4, verbose=0)
    tuner = tuner_of(model, tmp_path / "raced", folds=True, racing=True)
    tuner.search(x, x, cv=4, verbose=0)
    assert model.calls < whole.calls == 32
    left = [record for record in tuner.history.trials if record.status == STOPPED]
    assert {len(record.results) for record in left} >= {1}
    for record in left:  # scored by what it lags behind the trial that its message names
        rival = next(r for r in tuner.history.trials if f"trial {r.trial_id} by" in record.message)
        lags = noise.differences(tuner.history, record.results, rival.results)
        assert record.score == pytest.approx(rival.score + np.mean(lags))
        assert tuner.oracle.get_trial(record.trial_id).score == record.score


class Table(Noisy):
    """Trains nothing: each trial's losses are those of a table."""

    losses = (  # the third lags less behind the first, and its mean so far is worse
        (10.0, 0.1, 0.1, 0.1, 0.1),
        (21.4, 11.51, 11.5, 11.5, 11.5),
        (20.0, 10.11, 10.1, 10.1, 10.1),
    )

    def __init__(self):
        super().__init__()
        self.rows = {}

    def build(self, hp):
        hp.Choice("row", [0, 1, 2])
        return keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])

    def fit(self, hp, model, *args, **kwargs):
        return next(self.rows.setdefault(hp["row"], iter(self.losses[hp["row"]])))


def test_weights_are_kept_by_the_score_that_one_leaves_with_and_not_by_its_mean(tmp_path):
    tuner = kt.RandomSearch(
        Table(),
        max_trials=3,
        executions_per_trial=5,
        racing=True,
        checkpoints=2,
        seed=0,
        directory=str(tmp_path),
        project_name="project",
    )
    tuner.enqueue({"row": 0}, {"row": 1}, {"row": 2})
    tuner.search(verbose=0)
    left = {r.values["row"]: r for r in tuner.history.trials if r.status == STOPPED}
    assert set(left) == {1, 2} and left[2].score < left[1].score
    assert [record.values["row"] for record in tuner.history.best(2)] == [0, 2]
    folders = [tmp_path / "project" / f"trial_{r.trial_id}" for r in tuner.history.best(2)]
    assert all((folder / "checkpoint.weights.h5").exists() for folder in folders)
    assert len(tuner.get_best_models(2)) == 2


def test_folds_of_estimators_race_too(tmp_path):
    linear_model = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 3))
    y = x @ [1.0, 2.0, 3.0] + rng.normal(size=200)
    trainings = {}
    for races in (False, True):
        oracle = RandomSearchOracle(Objective("score", "max"), max_trials=15, seed=0)
        tuner = kt.SklearnTuner(
            oracle,
            lambda hp: linear_model.Ridge(hp.Float("alpha", 1e-3, 1e5, sampling="log")),
            racing=races,
            directory=str(tmp_path),
            project_name=str(races),
        )
        tuner.search(x, y, verbose=0)
        trainings[races] = sum(len(record.results) for record in tuner.history.trials)
        best = tuner.oracle.get_best_trials()[0]
        trainings["best", races] = best.trial_id
        assert len(tuner.oracle.record(best).results) == 5
        assert len(tuner.get_best_models(10)) == 10
    assert trainings[True] < 0.7 * trainings[False]
    assert trainings["best", True] == trainings["best", False]
