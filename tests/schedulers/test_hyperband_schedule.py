"""Hyperband's tables and its plan, beside KerasTuner's, with instant trials."""

import keras
import numpy as np
import pytest

import keratune as kt
from keratune import algorithms
from keratune.oracles import HyperbandOracle
from keratune.parameters import Float
from keratune.rounds import PARENT, budget_of
from keratune.rounds import Rounds as Hyperband
from keratune.storage.base import TrialDiscarded
from keratune.storage.memory import MemoryStorage
from keratune.study import Study

TABLES = {
    (9, 3): [[(9, 1), (3, 3), (1, 9)], [(5, 3), (2, 9)], [(3, 9)]],
    (8, 2): [
        [(8, 1), (4, 2), (2, 4), (1, 8)],
        [(6, 2), (3, 4), (2, 8)],
        [(4, 4), (2, 8)],
        [(4, 8)],
    ],
    (100, 3): [
        [(98, 2), (33, 4), (11, 12), (4, 34), (2, 100)],
        [(41, 4), (14, 12), (5, 34), (2, 100)],
        [(18, 12), (6, 34), (2, 100)],
        [(9, 34), (3, 100)],
        [(6, 100)],
    ],
}


def space(declare=lambda hp: hp.Float("x", 0.0, 1.0)):
    hp = kt.HyperParameters()
    declare(hp)
    return hp


def make(max_epochs=9, factor=3, directory=None, declare=None, **kwargs):
    hp = space(declare) if declare else space()
    oracle = HyperbandOracle(
        kt.Objective("score", "max"), max_epochs, factor, seed=0, hyperparameters=hp, **kwargs
    )
    if directory is not None:
        oracle._set_project_dir(directory, "project")
    return oracle


def finish(oracle, trial, score=None, status="COMPLETED"):
    trial.status = status
    if status == "COMPLETED":
        values = trial.hyperparameters.values
        oracle.update_trial(trial.trial_id, {"score": values["x"] if score is None else score})
    oracle.end_trial(trial)


def run(oracle, fails=lambda number: False):
    """Run to the end; return (bracket, round) -> [(epochs trained in the end, trial)]."""
    rounds = {}
    number = 0
    while (trial := oracle.create_trial("tuner0")).status == "RUNNING":
        values = dict(trial.hyperparameters.values)
        place = values["tuner/bracket"], values["tuner/round"]
        rounds.setdefault(place, []).append((values["tuner/epochs"], trial))
        finish(oracle, trial, status="FAILED" if fails(number) else "COMPLETED")
        number += 1
    assert trial.status == "STOPPED"
    return rounds


@pytest.mark.parametrize(("max_epochs", "factor"), TABLES)
def test_the_tables_are_those_of_the_paper_as_kerastuner_rounds_them(max_epochs, factor):
    scheduler = Hyperband(max_epochs, factor)
    tables = [
        [(scheduler.size(b, r), scheduler.epochs(b, r)) for r in range(b + 1)]
        for b in reversed(range(scheduler.brackets))
    ]
    assert tables == TABLES[max_epochs, factor]


@pytest.mark.parametrize(("max_epochs", "factor"), TABLES)
def test_a_search_runs_every_round_to_its_full_size_and_epochs(max_epochs, factor):
    rounds = run(make(max_epochs, factor))
    brackets = TABLES[max_epochs, factor]
    expected = {
        (len(brackets) - 1 - place, r): (size, epochs)
        for place, rows in enumerate(brackets)
        for r, (size, epochs) in enumerate(rows)
    }
    found = {key: (len(rows), rows[0][0]) for key, rows in rounds.items()}
    assert found == expected


def test_the_total_that_is_announced_is_what_the_search_costs():
    oracle = make()
    rounds = run(oracle)
    trials = [trial for rows in rounds.values() for _, trial in rows]
    epochs = sum(
        t.hyperparameters.values["tuner/epochs"] - t.hyperparameters.values["tuner/initial_epoch"]
        for t in trials
    )
    assert (len(trials), epochs) == oracle.scheduler.total() == (23, 75)


def test_kerastuner_runs_the_same_brackets_on_the_same_scores(tmp_path):
    keras_tuner = pytest.importorskip("keras_tuner")
    theirs = keras_tuner.oracles.HyperbandOracle(
        keras_tuner.Objective("score", "max"),
        9,
        3,
        seed=0,
        hyperparameters=their_space(keras_tuner),
    )
    theirs._set_project_dir(tmp_path, "theirs")
    theirs.verbose = 0
    found = {}
    while (trial := theirs.create_trial("tuner0")).status == "RUNNING":
        values = trial.hyperparameters.values
        key = values["tuner/bracket"], values["tuner/round"]
        found.setdefault(key, []).append(values["tuner/epochs"])
        theirs.update_trial(trial.trial_id, {"score": values["x"]})
        trial.status = "COMPLETED"
        theirs.end_trial(trial)
    ours = {key: [epochs for epochs, _ in rows] for key, rows in run(make()).items()}
    assert ours == found


def their_space(keras_tuner):
    hp = keras_tuner.HyperParameters()
    hp.Float("x", 0.0, 1.0)
    return hp


def test_the_best_trials_of_a_round_are_promoted_with_their_values_and_name():
    rounds = run(make())
    first = sorted(rounds[2, 0], key=lambda row: -row[1].score)
    best = {trial.trial_id: trial.hyperparameters.values["x"] for _, trial in first[:3]}
    for _, promoted in rounds[2, 1]:
        values = promoted.hyperparameters.values
        assert best[values["tuner/trial_id"]] == values["x"]
        assert values["tuner/initial_epoch"] == 1


def test_failed_trials_never_starve_the_later_rounds():
    rounds = run(make(max_consecutive_failed_trials=None), fails=lambda number: number in (1, 4))
    assert [len(rounds[2, r]) for r in range(3)] == [9, 3, 1]


def test_a_round_in_which_nearly_all_fail_passes_on_what_is_left():
    rounds = run(make(max_consecutive_failed_trials=None), fails=lambda number: number < 8)
    assert [len(rounds[2, r]) for r in range(3)] == [9, 1, 1]


def test_a_promotion_that_is_rejected_is_not_planned_again():
    oracle = make()
    first = [oracle.create_trial(f"tuner{i}") for i in range(9)]
    for place, trial in enumerate(first):
        finish(oracle, trial, score=place)
    promoted = oracle.create_trial("rejected")
    assert promoted.hyperparameters.values["tuner/trial_id"] == first[8].trial_id
    oracle.study.reject(int(promoted.trial_id), "params 2 > 1")
    rounds = run(oracle)
    parents = [t.hyperparameters.values["tuner/trial_id"] for _, t in rounds[2, 1]]
    assert parents == [first[place].trial_id for place in (7, 6, 5)]
    assert len(rounds[2, 2]) == 1


def test_a_process_that_saw_a_promotion_before_it_was_given_up_plans_like_one_that_did_not():
    storage = MemoryStorage()
    objective = kt.Objective("loss", "min")
    writer, early, late = (
        Study.open(storage, objective, algorithms.create("random"), seed=0) for _ in range(3)
    )
    writer.declare([Float("x", 0.0, 1.0)])
    scheduler = Hyperband(4, 2)

    def source(number):
        plan = scheduler.plan(writer.history)
        parent = {} if plan.parent is None else {PARENT: writer.history[plan.parent].trial_id}
        return {"x": 0.01 * number, **parent, **budget_of(plan)}

    while PARENT not in (trial := writer.ask("me", source)).values:
        writer.tell(trial.number, {"loss": float(trial.number)})
    early.sync()
    scheduler.plan(early.history)
    writer._journal.write_at_once(TrialDiscarded(trial.number))
    for study in (early, late):
        study.sync()
    assert scheduler.plan(early.history) == scheduler.plan(late.history)
    assert scheduler.plan(early.history).parent == 0


def test_trials_that_keep_the_outcomes_are_promoted_before_those_that_do_not():
    objective = kt.Objective("score", "max").keeping(["recall >= 0.5"])
    oracle = HyperbandOracle(objective, 9, 3, seed=0, hyperparameters=space())
    promoted = []
    while (trial := oracle.create_trial("tuner0")).status == "RUNNING":
        values = trial.hyperparameters.values
        promoted += [values["x"]] * ("tuner/trial_id" in values and values["tuner/bracket"] == 2)
        oracle.update_trial(trial.trial_id, {"score": values["x"], "recall": 1.0 - values["x"]})
        trial.status = "COMPLETED"
        oracle.end_trial(trial)
    assert len(promoted) == 4 and all(x <= 0.5 for x in promoted)


def test_a_space_with_few_configurations_still_promotes():
    rounds = run(make(declare=lambda hp: hp.Choice("x", [1, 2, 3, 4, 5])))
    assert [len(rounds[2, r]) for r in range(3)] == [5, 3, 1]
    assert rounds[2, 2][0][1].hyperparameters.values["x"] == 5


def test_parallel_workers_fill_the_rounds_and_wait_for_promotions():
    oracle = make(4, 2)
    running = [oracle.create_trial(f"tuner{i}") for i in range(10)]
    assert {trial.status for trial in running} == {"RUNNING"}
    assert oracle.create_trial("late").status == "IDLE"
    for place, trial in enumerate(running):
        finish(oracle, trial, score=place)
    promoted = [oracle.create_trial(f"tuner{i}") for i in range(4)]
    assert all("tuner/trial_id" in trial.hyperparameters.values for trial in promoted)
    assert oracle.create_trial("late").status == "IDLE"
    for trial in promoted:
        finish(oracle, trial, score=1.0)
    last = oracle.create_trial("tuner0")
    assert last.hyperparameters.values["tuner/round"] == 2
    finish(oracle, last, score=2.0)
    assert oracle.create_trial("tuner0").status == "STOPPED"


@pytest.mark.parametrize("stop", [1, 8, 10, 12, 15, 22])
def test_a_resumed_search_is_the_search_that_was_never_interrupted(tmp_path, stop):
    whole = make(directory=tmp_path / "whole")
    run(whole)
    first = make(directory=tmp_path / "cut")
    for _ in range(stop):
        finish(first, first.create_trial("tuner0"))
    first.create_trial("tuner0")
    second = make(directory=tmp_path / "cut")
    second.reload()
    run(second)
    values = [
        [dict(trial.hyperparameters.values) for trial in oracle.trials.values()]
        for oracle in (whole, second)
    ]
    assert values[0] == values[1]


def test_a_promoted_finalist_is_confirmed_from_its_first_epoch_although_the_search_was_cut(
    tmp_path,
):
    features = np.linspace(-1.0, 1.0, 16, dtype="float32").reshape(16, 1)
    epochs = []

    class Killed(kt.Hyperband):
        """Comes to no deletion of states that nobody needs any more, as a killed process."""

        def _delete_states(self, numbers):
            pass

    class Cut(keras.callbacks.Callback):
        at = 6  # four trials of an epoch, a promoted one, and half of the next

        def __deepcopy__(self, memo):
            return self

        def on_epoch_end(self, epoch, logs=None):
            epochs.append(epoch)
            if len(epochs) == self.at:
                raise KeyboardInterrupt

    def build(hp):
        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        model.compile(keras.optimizers.SGD(hp.Float("rate", 1e-3, 1e-1)), "mse")
        return model

    tuner = Killed(build, "val_loss", max_epochs=4, factor=2, seed=0, directory=tmp_path)
    fit = {"validation_split": 0.25, "verbose": 0, "callbacks": [Cut()]}
    with pytest.raises(KeyboardInterrupt):
        tuner.search(features, features, **fit)
    promoted = [r for r in tuner.history.trials if PARENT in r.values and r.finished]
    assert len(promoted) == 1
    epochs.clear()
    Cut.at = None
    tuner.confirm(5, 1)
    assert epochs.count(0) == 5 and epochs.count(1) == 1


def test_two_iterations_run_all_brackets_twice():
    rounds = run(make(hyperband_iterations=2))
    assert {key: len(rows) for key, rows in rounds.items()} == {
        (2, 0): 18, (2, 1): 6, (2, 2): 2, (1, 0): 10, (1, 1): 4, (0, 0): 6,
    }  # fmt: skip


def test_the_arguments_are_checked():
    with pytest.raises(ValueError, match="factor needs"):
        Hyperband(9, 1)
    with pytest.raises(ValueError, match="max_epochs"):
        Hyperband(0)
