"""Claims about knowledge from outside a study: enqueued configurations and initial trials."""

import json
import warnings

import numpy as np
import pytest

import keratune as kt
from keratune import algorithms
from keratune.errors import StudyMismatchError
from keratune.history import Observation, Record
from keratune.objectives import Objective
from keratune.oracles import (
    BayesianOptimizationOracle,
    GridSearchOracle,
    HyperbandOracle,
    RandomSearchOracle,
)
from keratune.parameters import Float
from keratune.storage import MemoryStorage
from keratune.study import Study
from keratune.transfer import Queue, key_of


class Model(kt.HyperModel):
    """Declares; nothing is built."""

    def __init__(self, declare):
        super().__init__()
        self.declare = declare

    def build(self, hp):
        self.declare(hp)


class ByHand(kt.Tuner):
    """Evaluates without Keras: the build declares, `of(hp)` returns the score."""

    of = staticmethod(lambda hp: float(hp["x"]))

    def run_trial(self, trial, *args, **kwargs):
        self._run = None
        self.hypermodel.build(trial.hyperparameters)
        self.oracle.settle(trial)
        self.epochs = [*getattr(self, "epochs", []), kwargs.get("epochs")]
        return self.of(trial.hyperparameters)


def flat(hp):
    hp.Float("x", 0.0, 1.0)
    hp.Int("units", 8, 64, step=8)
    hp.Choice("activation", ["relu", "tanh"])


def branches(hp):
    hp.Float("x", 0.0, 1.0)
    if hp.Boolean("norm"):
        hp.Float("momentum", 0.8, 0.99)
        if hp.Boolean("deep"):
            hp.Int("units", 100, 103)
    else:
        hp.Int("units", 1, 3)


def scopes(hp):
    hp.Float("x", 0.0, 1.0)
    hp.Choice("model", ["cnn", "mlp"])
    with hp.conditional_scope("model", "mlp"):
        hp.Int("units", 1, 9, default=4)


def make(declare=flat, oracle=RandomSearchOracle, objective=None, max_trials=4, seed=0, **kwargs):
    limits = {} if oracle is HyperbandOracle else {"max_trials": max_trials}
    kwargs.setdefault("directory", ".")
    options = kwargs.pop("options", {})
    chosen = oracle(objective=objective, seed=seed, **limits, **options)
    return ByHand(chosen, Model(declare), **kwargs)


def trials(tuner):
    return [dict(t.hyperparameters.values) for t in tuner.oracle.trials.values()]


def origins(tuner):
    return [record.origin for record in tuner.history.trials]


# Enqueued configurations


@pytest.mark.parametrize(
    "oracle", [RandomSearchOracle, GridSearchOracle, BayesianOptimizationOracle]
)
def test_enqueued_configurations_come_first_and_count_as_trials(oracle):
    tuner = make(oracle=oracle)
    whole = {"x": 0.25, "units": 16, "activation": "tanh"}
    tuner.enqueue({"x": 0.5}, [whole])
    tuner.search()
    found = trials(tuner)
    assert len(found) == 4
    assert found[0]["x"] == 0.5 and set(found[0]) == set(whole)
    assert found[1] == whole
    assert origins(tuner)[:2] == ["enqueued", "enqueued"] and "enqueued" not in origins(tuner)[2:]
    assert tuner.oracle.get_best_trials()[0].score <= 0.25


def test_a_search_may_be_told_more_when_it_has_ended():
    tuner = make(max_trials=2)
    tuner.search()
    tuner.enqueue({"x": 0.125})
    assert len(trials(tuner)) == 2
    tuner.oracle.max_trials = 3
    tuner.search()
    assert trials(tuner)[2]["x"] == 0.125


def test_hyperparameters_and_trials_of_another_tuner_are_taken():
    other = make(project_name="other")
    other.search()
    tuner = make()
    best = other.oracle.get_best_trials()[0]
    tuner.enqueue(best, other.get_best_hyperparameters(2)[1])
    tuner.search()
    assert trials(tuner)[0] == dict(best.hyperparameters.values)
    assert origins(tuner).count("enqueued") == 2


def test_the_defaults_can_be_enqueued():
    tuner = make()
    tuner.enqueue({"x": 0.5}, tuner.oracle.get_space())
    tuner.search()
    assert trials(tuner)[1] == {"x": 0.0, "units": 8, "activation": "relu"}


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ({"unitz": 16}, "Received: 'unitz'. Did you mean 'units'"),
        ({"zzz": 16}, r"Received: 'zzz'. Known: \['activation', 'units', 'x'\]"),
        ({"units": 17}, "Received: units=17 for Int.*widen the range"),
        ({"x": 1.5}, "Received: x=1.5 for Float"),
        ({"x": float("nan")}, "Received: x=nan"),
        ({"activation": "gelu"}, "Received: activation='gelu' for Choice"),
        ({"x": "0.5"}, "Received: x='0.5'"),
    ],
)
def test_a_mistake_is_named_and_nothing_is_queued(wish, message):
    tuner = make()
    with pytest.raises(ValueError, match=message):
        tuner.enqueue({"x": 0.5}, wish)
    assert not tuner.history.enqueued


def test_something_else_than_a_configuration_is_refused():
    with pytest.raises(TypeError, match="takes dicts of values.*Received: 3 of type int"):
        make().enqueue(3)


def test_numpy_values_become_pythons():
    tuner = make()
    tuner.enqueue({"x": np.float32(0.5), "units": np.int64(16)})
    assert tuner.history.enqueued == [{"x": 0.5, "units": 16}]
    assert type(tuner.history.enqueued[0]["units"]) is int


def test_names_of_branches_that_no_build_has_been_to_are_found():
    tuner = make(branches)
    wish = {"x": 0.5, "norm": True, "deep": True, "momentum": 0.9, "units": 102}
    tuner.enqueue(wish)
    tuner.search()
    assert trials(tuner)[0] == wish
    with pytest.raises(ValueError, match="units=2 for Int.*100"):
        tuner.enqueue({"norm": True, "deep": True, "units": 2})
    with pytest.raises(ValueError, match="units=102 for Int.*max_value: 3"):
        tuner.enqueue({"norm": False, "units": 102})


def test_declared_conditions_decide_what_is_filled_in():
    tuner = make(scopes)
    tuner.enqueue({"model": "mlp"}, {"model": "cnn"})
    tuner.search()
    assert [set(values) for values in trials(tuner)[:2]] == [
        {"x", "model", "units"},
        {"x", "model"},
    ]


def test_what_was_tried_is_skipped_with_a_line(capsys):
    tuner = make()
    tuner.search()
    known = trials(tuner)[1]
    capsys.readouterr()
    tuner.enqueue(known)
    assert "Tried already, and not queued again" in capsys.readouterr().out
    assert not tuner.history.enqueued


def test_what_turns_out_to_repeat_a_trial_is_skipped_with_a_line(capsys):
    tuner = make()
    wish = {"x": 0.5, "units": 16, "activation": "relu"}
    tuner.enqueue(wish, wish)
    tuner.search()
    assert trials(tuner).count(wish) == 1 and len(trials(tuner)) == 4
    assert "was tried already, and is skipped" in capsys.readouterr().out


def test_gaps_are_filled_so_that_nothing_is_repeated():
    def declare(hp):
        hp.Choice("x", [1.0, 2.0])
        hp.Int("units", 1, 3)

    tuner = make(declare, max_trials=6)
    tuner.enqueue([{"x": 2.0}] * 3)
    tuner.search()
    assert sorted(values["units"] for values in trials(tuner)[:3]) == [1, 2, 3]


def test_the_queue_outlives_the_process_and_the_script_may_say_it_again(capsys):
    wishes = [{"x": 0.5}, {"x": 0.25, "units": 16, "activation": "tanh"}, {"x": 0.5}]
    tuner = make()
    tuner.enqueue(wishes)
    again = make()
    assert len(again.history.enqueued) == 3
    again.enqueue(wishes)
    assert len(again.history.enqueued) == 3
    assert "Queued by an earlier run" in capsys.readouterr().out
    again.search()
    assert [values["x"] for values in trials(again)[:3]] == [0.5, 0.25, 0.5]
    once_more = make(max_trials=9)
    once_more.enqueue(wishes)
    assert not once_more.history.enqueued
    once_more.enqueue({"x": 0.5})  # one more than the script has ever said
    assert len(once_more.history.enqueued) == 1


def test_a_wish_counts_once_for_each_time_that_a_run_makes_it():
    study = Study.open(
        MemoryStorage(), Objective("loss", "min"), algorithms.create("random"), seed=0
    )
    study.enqueue({"x": 1}, {"x": 1})
    queue = Queue()
    assert [queue.knows({"x": 1}, study.history) for _ in range(3)] == [True, True, False]
    assert key_of({"a": 1, "b": (1, 2)}) == key_of({"b": [1, 2], "a": 1}) != key_of({"a": 1})


def test_hyperband_runs_a_wish_in_a_bracket_and_promotes_it():
    tuner = make(oracle=HyperbandOracle, options={"max_epochs": 9, "factor": 3})
    tuner.enqueue({"x": 0.0, "units": 16})
    tuner.search()
    first = tuner.history[0]
    assert first.origin == "enqueued" and first.values["tuner/epochs"] == 1
    longest = [
        r.values["tuner/epochs"]
        for r in tuner.history.trials
        if r.values["units"] == 16 and r.values["x"] == 0.0
    ]
    assert max(longest) == 9  # x = 0 is the best score there is
    trials_, _ = tuner.oracle.scheduler.total()
    assert len(tuner.history) == trials_


def test_without_a_hypermodel_names_are_known_from_trials_only():
    class Alone(kt.Tuner):
        def run_trial(self, trial, **kwargs):
            return trial.hyperparameters.Float("x", 0.0, 1.0)

    tuner = Alone(RandomSearchOracle(max_trials=3, seed=0), directory=".")
    tuner.enqueue({"x": 0.5})
    tuner.search()
    assert trials(tuner)[0] == {"x": 0.5}
    with pytest.raises(ValueError, match="Received: x=2"):
        tuner.enqueue({"x": 2})


def test_keras_models_are_trained_with_what_was_enqueued_and_learnt_from():
    keras = pytest.importorskip("keras")
    x = np.linspace(-1.0, 1.0, 8, dtype="float32").reshape(8, 1)

    def build(hp):
        model = keras.Sequential([keras.Input((1,))])
        for i in range(hp.Int("layers", 1, 2)):
            model.add(keras.layers.Dense(hp.Int(f"units_{i}", 1, 4)))
        model.add(keras.layers.Dense(1))
        model.compile(keras.optimizers.SGD(hp.Float("rate", 1e-3, 1e-1, sampling="log")), "mse")
        return model

    known = [({"layers": 2, "units_0": 2, "units_1": 3, "rate": 0.01}, 0.5)]
    tuner = kt.BayesianOptimization(
        build, "val_loss", 1, seed=0, initial_trials=known, directory="."
    )
    tuner.enqueue({"layers": 2, "units_1": 4})
    tuner.search(x, x, validation_data=(x, x), verbose=0)
    first = trials(tuner)[0]
    assert (first["layers"], first["units_1"]) == (2, 4) and len(tuner.oracle.trials) == 1
    assert tuner.history.given == known
    assert len(tuner.get_best_models(2)) == 1


# Initial trials


TABLE = [({"x": x, "units": 16, "activation": "relu"}, abs(x - 0.5)) for x in (0.1, 0.4, 0.9)]


def given(tuner):
    return [(values["x"], round(loss, 6)) for values, loss in tuner.history.given]


def test_initial_trials_are_no_trials_of_this_search():
    tuner = make(initial_trials=TABLE)
    assert given(tuner) == [(0.1, 0.4), (0.4, 0.1), (0.9, 0.4)]
    assert not tuner.oracle.trials and not tuner.oracle.get_best_trials(5)
    tuner.search()
    assert len(tuner.oracle.trials) == 4 and tuner.remaining_trials == 0
    assert all("imported" != origin for origin in origins(tuner))


def test_scores_of_something_to_be_maximised_become_losses():
    tuner = make(objective=Objective("acc", "max"), initial_trials=[{"x": 0.5, "acc": 0.9}])
    assert given(tuner) == [(0.5, -0.9)]


def test_the_same_initial_trials_again_add_nothing():
    make(initial_trials=TABLE)
    for _ in range(2):
        again = make(initial_trials=TABLE + TABLE[:1])
        assert len(again.history.given) == 3
    more = make(initial_trials=[*TABLE, ({"x": 0.6}, 0.1)])
    assert len(more.history.given) == 4


def test_what_the_space_cannot_express_is_left_out_with_one_line(capsys):
    rows = [
        *TABLE,
        ({"x": 1.5}, 0.1),
        ({"x": 0.5, "units": 17}, 0.1),
        ({"x": 0.5, "warmup": 3}, 0.1),
        ({"x": 0.5}, float("nan")),
        ({"x": 0.5}, None),
    ]
    tuner = make(initial_trials=rows)
    assert len(tuner.history.given) == 3
    [line] = [s for s in capsys.readouterr().out.splitlines() if s.startswith("Initial trials")]
    assert "3 are learnt from, 5 are left out" in line
    assert "2 with no finite score" in line
    assert "'x' outside of what it may be now" in line
    assert "the unknown hyperparameter 'warmup'" in line


def test_missing_hyperparameters_get_the_present_default():
    tuner = make(initial_trials=[({"x": 0.5}, 1.0)])
    [(values, _)] = tuner.history.given
    assert values == {"x": 0.5, "units": 8, "activation": "relu"}


def test_conditions_decide_what_an_initial_trial_has():
    rows = [({"x": 0.5, "model": "mlp"}, 1.0), ({"x": 0.5, "model": "cnn", "units": 3}, 1.0)]
    tuner = make(scopes, initial_trials=rows)
    assert [values for values, _ in tuner.history.given] == [
        {"x": 0.5, "model": "mlp", "units": 4},
        {"x": 0.5, "model": "cnn"},
    ]


def test_rows_of_branches_that_no_build_has_been_to_are_expressed():
    row = {"x": 0.5, "norm": True, "momentum": 0.9, "deep": False}
    tuner = make(branches, initial_trials=[(row, 1.0)])
    [(values, _)] = tuner.history.given
    assert {**values, **row} == values


def test_a_dataframe_is_read_by_the_names_of_its_columns():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        {
            "trial": ["a", "b", "c"],
            "x": [0.1, 0.2, 0.3],
            "model": ["mlp", "cnn", "mlp"],
            "units": [3, None, 5],
            "val_loss": [1.0, 2.0, np.nan],
            "seconds": [3, 4, 5],
        }
    )
    tuner = make(scopes, objective="val_loss", initial_trials=frame)
    assert tuner.history.given == [
        ({"x": 0.1, "model": "mlp", "units": 3}, 1.0),
        ({"x": 0.2, "model": "cnn"}, 2.0),
    ]
    assert type(tuner.history.given[0][0]["units"]) is int


def test_optunas_table_is_read(capsys):
    optuna = pytest.importorskip("optuna")
    pytest.importorskip("pandas")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))

    def objective(trial):
        x = trial.suggest_float("x", 0.0, 1.0)
        if trial.suggest_categorical("model", ["cnn", "mlp"]) == "mlp":
            return x * trial.suggest_int("units", 1, 9)
        if x < 0.2:
            raise optuna.TrialPruned
        return x

    study.optimize(objective, n_trials=12)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tuner = make(scopes, initial_trials=study.trials_dataframe())
    complete = [t for t in study.trials if t.state == optuna.trial.TrialState.COMPLETE]
    assert tuner.history.given == [(dict(t.params), t.value) for t in complete]
    assert {len(values) for values, _ in tuner.history.given} == {2, 3}
    assert "left out" not in capsys.readouterr().out


def sources(other):
    return [other, other.oracle, other.oracle.study, other.project_dir]


@pytest.mark.parametrize("place", range(4))
def test_another_tuner_or_its_folder_is_a_source(place):
    other = make(branches, project_name="other", max_trials=6)
    other.search()
    tuner = make(branches, initial_trials=sources(other)[place])
    assert tuner.history.given == [(r.values, r.score) for r in other.history.trials]
    assert {frozenset(values) for values, _ in tuner.history.given} >= {
        frozenset({"x", "norm", "units"}),
        frozenset({"x", "norm", "momentum", "deep"}),
    }


def test_failed_trials_of_a_source_are_not_taken():
    other = make(project_name="other")
    other.of = lambda hp: float("nan") if len(other.oracle.trials) == 2 else float(hp["x"])
    other.search()
    assert len(make(initial_trials=other).history.given) == 3


def test_of_a_promoted_configuration_the_longest_training_counts():
    other = make(
        oracle=HyperbandOracle, options={"max_epochs": 4, "factor": 2}, project_name="other"
    )
    other.search()
    tuner = make(initial_trials=other.project_dir)
    assert len(tuner.history.given) < len(other.history)
    assert not any(name.startswith("tuner/") for v, _ in tuner.history.given for name in v)


def test_a_folder_of_kerastuners_is_a_source():
    peer = pytest.importorskip("keras_tuner")

    class Theirs(peer.RandomSearch):
        def run_trial(self, trial, **kwargs):
            hp = trial.hyperparameters
            return {"val_loss": hp.get("x"), "size": 1.0}

    class Space(peer.HyperModel):
        def build(self, hp):
            scopes(hp)

    options = {"directory": "theirs", "project_name": "p", "max_trials": 5, "seed": 3}
    theirs = Theirs(Space(), peer.Objective("val_loss", "min"), **options)
    theirs.search(verbose=0)
    for source in (theirs.project_dir, theirs):
        tuner = make(scopes, objective="val_loss", initial_trials=source, overwrite=True)
        scores = sorted(trial.score for trial in theirs.oracle.trials.values())
        assert sorted(loss for _, loss in tuner.history.given) == scores
    with pytest.raises(StudyMismatchError, match="val_accuracy"):
        make(scopes, objective="val_accuracy", initial_trials=theirs.project_dir, overwrite=True)


def test_scores_by_another_objective_are_refused():
    other = make(project_name="other", objective=Objective("val_loss", "min"))
    for objective in (Objective("val_loss", "max"), Objective("loss", "min")):
        with pytest.raises(StudyMismatchError, match="scored by the objective of the search"):
            make(initial_trials=other, objective=objective, project_name=str(objective))


def test_a_search_for_a_front_takes_no_single_scores():
    with pytest.raises(ValueError, match="needs one score for each trial"):
        make(objectives=["val_loss", "params"], initial_trials=TABLE)


def test_what_is_no_source_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="holds neither study.db nor oracle.json"):
        make(initial_trials=str(tmp_path / "empty"))
    with pytest.raises(TypeError, match="`initial_trials` takes a tuner"):
        make(initial_trials=3)
    with pytest.raises(TypeError, match=r"pairs \(values, score\)"):
        make(initial_trials=[3])
    with pytest.raises(ValueError, match="must come from another search"):
        make(initial_trials=make().project_dir)


def test_another_objective_forgets_what_was_given_by_the_old_one():
    storage = MemoryStorage()
    tuner = make(storage=storage, objective=Objective("a", "min"), initial_trials=TABLE)
    assert len(tuner.history.given) == 3
    corrected = make(storage=storage, objective=Objective("b", "max"))
    assert corrected.history.given == []
    again = make(storage=storage, objective=Objective("b", "max"), initial_trials=TABLE)
    assert [loss for _, loss in again.history.given] == [-score for _, score in TABLE]


def test_what_is_given_is_plain_json_in_the_journal():
    def relu(x):
        return x

    def declare(hp):
        hp.Float("x", 0, 1)
        hp.Choice("f", [None, relu])
        hp.Choice("kernel", [(3, 3), (5, 5)])

    storage = MemoryStorage()
    rows = [({"x": 0.5, "f": relu, "kernel": (5, 5)}, 1.0)]
    tuner = make(declare, storage=storage, initial_trials=rows)
    [event] = [e.event for e in storage.read(0) if type(e.event).__name__ == "ObservationsGiven"]
    json.loads(event.to_json())
    [(values, _)] = tuner.history.given
    assert tuner.history.space.live(values) == rows[0][0]


def test_observations_of_a_study_driven_by_hand():
    study = Study.open(
        MemoryStorage(), Objective("loss", "min"), algorithms.create("random"), seed=0
    )
    study.declare([Float("x", 0.0, 1.0)])
    assert study.give([Observation("a", {"x": 0.5}, 1.0)] * 2) == 1
    assert study.give([Observation("a", {"x": 0.5}, 1.0)]) == 0
    assert study.history.given == [({"x": 0.5}, 1.0)]
    assert isinstance(study.ask("me"), Record)
