"""Folders that KerasTuner 1.4.8 has written open here, and those written here open there."""

import json
import shutil

import keras
import numpy as np
import pytest

import keratune as kt

with pytest.MonkeyPatch.context() as patch:
    patch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    keras_tuner = pytest.importorskip("keras_tuner")

X = np.linspace(-1.0, 1.0, 16, dtype="float32").reshape(8, 2)
Y = X.sum(axis=1, keepdims=True)
FIT = {"epochs": 2, "batch_size": 8, "validation_data": (X, Y), "verbose": 0}


def declare(hp):
    """A space with every kind of hyperparameter and a conditional scope."""
    kind = hp.Choice("kind", ["plain", "deep"])
    with hp.conditional_scope("kind", ["deep"]):
        depth = hp.Int("depth", 1, 3) if kind == "deep" else 0
    hp.Float("rate", 0.01, 1.0, sampling="log")
    hp.Boolean("flag")
    hp.Fixed("fixed", "text")
    return kind, depth


def build(hp):
    declare(hp)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, name="out")])
    model.compile(keras.optimizers.SGD(hp.get("rate")), loss="mse")
    return model


def scripted(library, *script):
    """A hypermodel whose fits return or raise what the script holds, then numbers."""

    class Scripted(library.HyperModel):
        script_left = list(script)

        def build(self, hp):
            declare(hp)
            return keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])

        def fit(self, hp, model, *args, **kwargs):
            if not self.script_left:
                return {"val_loss": hp["rate"]}
            step = self.script_left.pop(0)
            if isinstance(step, BaseException):
                raise step
            return {"val_loss": step}

    return Scripted()


def tuner_of(library, kind, hypermodel, folder, **arguments):
    return getattr(library, kind)(
        hypermodel,
        "val_loss",
        **{
            "directory": str(folder),
            "project_name": "project",
            "seed": 1,
            "max_trials": 6,
            "max_consecutive_failed_trials": 5,
            **arguments,
        },
    )


def seen_in(tuner):
    """What a user sees of all trials that have ended."""
    return {
        trial.trial_id: (dict(trial.hyperparameters.values), trial.score)
        for trial in tuner.oracle.trials.values()
        if trial.status in ("COMPLETED", "FAILED")
    }


def ranking(tuner):
    completed = [t for t in tuner.oracle.get_best_trials(100) if t.status == "COMPLETED"]
    return [(trial.trial_id, trial.score) for trial in completed]


def interrupted(library, kind, folder):
    """A project with two completed trials, a failed and an interrupted one."""
    script = [0.5, ValueError("broken"), 0.25, KeyboardInterrupt()]
    tuner = tuner_of(library, kind, scripted(library, *script), folder)
    with pytest.raises(KeyboardInterrupt):
        tuner.search(verbose=0)
    return tuner


@pytest.mark.parametrize("kind", ["RandomSearch", "GridSearch"])
def test_a_folder_of_kerastuners_opens_and_goes_on(kind, tmp_path):
    theirs = interrupted(keras_tuner, kind, tmp_path)
    ours = tuner_of(kt, kind, scripted(kt), tmp_path)
    assert ranking(ours) == ranking(theirs)
    assert seen_in(ours) == seen_in(theirs)
    failed = [t for t in ours.oracle.trials.values() if t.status == "FAILED"]
    assert ["broken" in trial.message for trial in failed] == [True]
    begun = theirs.oracle.ongoing_trials["tuner0"]
    before = seen_in(ours)
    ours.search(verbose=0)
    assert len(ours.oracle.trials) == 6
    assert {name: seen_in(ours)[name] for name in before} == before
    again = ours.oracle.get_trial(begun.trial_id)
    assert again.hyperparameters.values == dict(begun.hyperparameters.values)
    assert again.status == "COMPLETED"
    values = [tuple(map(str, v.items())) for v, _ in seen_in(ours).values()]
    assert len(set(values)) == 6
    third = tuner_of(kt, kind, scripted(kt), tmp_path)
    assert seen_in(third) == seen_in(ours)


@pytest.mark.parametrize("kind", ["RandomSearch", "GridSearch"])
def test_a_folder_of_ours_opens_in_kerastuner_and_goes_on_there(kind, tmp_path):
    ours = interrupted(kt, kind, tmp_path)
    theirs = tuner_of(keras_tuner, kind, scripted(keras_tuner), tmp_path)
    assert ranking(theirs) == ranking(ours)
    assert seen_in(theirs) == seen_in(ours)
    if kind == "RandomSearch":  # KerasTuner cannot resume a grid, not even its own
        theirs.search(verbose=0)
        assert len(theirs.oracle.trials) == 6
        assert [t.status for t in theirs.oracle.trials.values()].count("COMPLETED") == 5


def test_models_trained_here_load_there(tmp_path):
    ours = tuner_of(kt, "RandomSearch", build, tmp_path, max_trials=2)
    ours.search(X, Y, **FIT)
    theirs = tuner_of(keras_tuner, "RandomSearch", build, tmp_path, max_trials=2)
    models = theirs.get_best_models(2)
    for model, (_, score) in zip(models, ranking(ours), strict=True):
        assert model.evaluate(X, Y, verbose=0) == pytest.approx(score, rel=1e-6)


def test_models_trained_there_load_here(tmp_path):
    theirs = tuner_of(keras_tuner, "RandomSearch", build, tmp_path, max_trials=2)
    theirs.search(X, Y, **FIT)
    ours = tuner_of(kt, "RandomSearch", build, tmp_path, max_trials=2)
    models = ours.get_best_models(2)
    for model, (_, score) in zip(models, ranking(theirs), strict=True):
        assert model.evaluate(X, Y, verbose=0) == pytest.approx(score, rel=1e-6)


def test_a_folder_without_its_journal_still_opens(tmp_path):
    first = tuner_of(kt, "RandomSearch", scripted(kt), tmp_path, max_trials=3)
    first.search(verbose=0)
    before = seen_in(first)
    first.oracle.study.close()
    for file in (tmp_path / "project").glob("study.db*"):
        file.unlink()
    again = tuner_of(kt, "RandomSearch", scripted(kt), tmp_path, max_trials=4)
    assert seen_in(again) == before
    again.search(verbose=0)
    assert len(seen_in(again)) == 4


@pytest.fixture(scope="module")
def theirs_interrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("theirs")
    interrupted(keras_tuner, "RandomSearch", folder)
    return folder


@pytest.fixture
def damaged(theirs_interrupted, tmp_path):
    """A copy of a folder of KerasTuner's, to be spoilt."""
    shutil.copytree(theirs_interrupted / "project", tmp_path / "project")
    return tmp_path / "project"


@pytest.mark.parametrize("text", ["", '{"ongoing_trials": {', "[1, 2]", "{}", "null"])
def test_a_damaged_file_says_which_it_is_and_what_to_do(text, damaged, tmp_path):
    whole = (damaged / "oracle.json").read_text()
    (damaged / "oracle.json").write_text(text)
    with pytest.raises(RuntimeError, match="pass `overwrite=True`") as caught:
        tuner_of(kt, "RandomSearch", scripted(kt), tmp_path)
    assert "oracle.json" in str(caught.value)
    assert str(damaged) in str(caught.value)
    (damaged / "oracle.json").write_text(whole)
    assert len(tuner_of(kt, "RandomSearch", scripted(kt), tmp_path).oracle.trials) == 4
    fresh = tuner_of(kt, "RandomSearch", scripted(kt), tmp_path, overwrite=True)
    assert fresh.oracle.trials == {}


def test_a_damaged_trial_says_which_it_is_and_no_other_is_lost(damaged, tmp_path):
    file = damaged / "trial_1" / "trial.json"
    whole = file.read_text()
    file.write_text(whole[:50])
    with pytest.raises(RuntimeError, match="trial_1/trial.json"):
        tuner_of(kt, "RandomSearch", scripted(kt), tmp_path)
    file.write_text(whole)
    assert len(tuner_of(kt, "RandomSearch", scripted(kt), tmp_path).oracle.trials) == 4


def test_all_files_are_strict_json_in_which_all_choices_have_kerastuners_types(tmp_path):
    def refuse(token):
        raise AssertionError(f"{token} is no JSON")

    class Odd(kt.HyperModel):
        left = [float("nan"), float("inf"), 1.0]

        def build(self, hp):
            hp.Choice("pool", [None, "avg"])
            hp.Choice("kernel", [(3, 3), (5, 5)])
            hp.Choice("activation", [keras.activations.relu, keras.activations.elu])
            return keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])

        def fit(self, hp, model, *args, **kwargs):
            return {"val_loss": self.left.pop(0), "other": float("nan")}

    tuner = tuner_of(kt, "RandomSearch", Odd(), tmp_path, max_trials=3)
    tuner.search(verbose=0)
    folder = tmp_path / "project"
    files = [*folder.glob("*.json"), *folder.glob("trial_*/*.json")]
    assert len(files) >= 5
    for file in files:
        json.loads(file.read_text(), parse_constant=refuse)
    stored = json.loads((folder / "oracle.json").read_text())["hyperparameters"]["space"]
    texts = {entry["config"]["name"]: entry["config"]["values"] for entry in stored}
    assert all(isinstance(value, str) for values in texts.values() for value in values)
    assert texts["pool"] == ["None", "avg"]
    names = list(stored[0]["config"])
    assert names == ["name", "default", "conditions", "values", "ordered"]
    theirs = keras_tuner.HyperParameters.from_config({"space": stored, "values": {}})
    assert [parameter.name for parameter in theirs.space] == ["pool", "kernel", "activation"]


def test_the_files_have_kerastuners_keys_in_kerastuners_order(tmp_path):
    def keys(library):
        folder = tmp_path / library.__name__
        tuner_of(library, "RandomSearch", scripted(library), folder, max_trials=1).search(verbose=0)
        oracle, trial = (
            json.loads((folder / "project" / name).read_text())
            for name in ("oracle.json", "trial_0/trial.json")
        )
        space = [
            (list(entry), list(entry["config"])) for entry in oracle["hyperparameters"]["space"]
        ]
        return list(oracle), list(trial), list(trial["metrics"]["metrics"]["val_loss"]), space

    assert keys(kt) == keys(keras_tuner)


def peak(hp):
    """A space without conditions, and a score with one best place."""
    hp.Float("x", 0.0, 1.0)
    hp.Int("n", 1, 50)


def algorithm_tuner(library, kind, folder):
    """A tuner of an algorithm with a state of its own; its fits return a number at once."""

    class Instant(library.HyperModel):
        def build(self, hp):
            peak(hp)
            return keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])

        def fit(self, hp, model, *args, **kwargs):
            return {"val_loss": (hp["x"] - 0.3) ** 2 + hp["n"] / 100}

    arguments = {
        "Hyperband": {"max_epochs": 4, "factor": 2},
        "BayesianOptimization": {"max_trials": 6, "num_initial_points": 3, "beta": 1.5},
    }[kind]
    place = {"directory": str(folder), "project_name": "project"}
    return getattr(library, kind)(Instant(), "val_loss", seed=1, **arguments, **place)


def run_some(tuner, count):
    """Run a few trials by hand, through the hooks that `search` calls."""
    for _ in range(count):
        trial = tuner.oracle.create_trial(tuner.tuner_id)
        values = trial.hyperparameters.values
        score = (values["x"] - 0.3) ** 2 + values["n"] / 100
        score -= values.get("tuner/epochs", 0) / 1000
        tuner.oracle.update_trial(trial.trial_id, {"val_loss": score})
        trial.status = "COMPLETED"
        tuner.on_trial_end(trial)
    (tuner if isinstance(tuner, keras_tuner.Tuner) else tuner.oracle).save()


@pytest.mark.parametrize("kind", ["Hyperband", "BayesianOptimization"])
@pytest.mark.parametrize("first, second", [(kt, keras_tuner), (keras_tuner, kt)])
def test_the_state_of_an_algorithm_is_read_by_the_other(kind, first, second, tmp_path):
    begun = algorithm_tuner(first, kind, tmp_path)
    run_some(begun, 5)
    gone_on = algorithm_tuner(second, kind, tmp_path)
    assert seen_in(gone_on) == seen_in(begun)
    assert ranking(gone_on) == ranking(begun)
    if kind == "BayesianOptimization":
        gone_on.search(verbose=0)
        assert len(gone_on.oracle.trials) == 6
        return
    run_some(gone_on, 10)
    assert gone_on.oracle.create_trial("tuner0").status == "STOPPED"
    places = [place_of(trial) for trial in gone_on.oracle.trials.values()]
    sizes = {(2, 0): 4, (2, 1): 2, (2, 2): 1, (1, 0): 3, (1, 1): 2, (0, 0): 3}
    assert {place: places.count(place) for place in places} == sizes


def place_of(trial):
    values = trial.hyperparameters.values
    return values["tuner/bracket"], values["tuner/round"]


def test_hyperbands_open_brackets_are_stored_as_kerastuner_stores_them(tmp_path):
    def stored(library):
        tuner = algorithm_tuner(library, "Hyperband", tmp_path / library.__name__)
        run_some(tuner, 3)
        state = json.loads((tmp_path / library.__name__ / "project" / "oracle.json").read_text())
        names = ["hyperband_iterations", "max_epochs", "min_epochs", "factor", "brackets"]
        return {n: state[n] for n in [*names, "current_bracket", "current_iteration"]}

    assert stored(kt) == stored(keras_tuner)


def test_a_declared_grid_is_walked_in_kerastuners_order(tmp_path):
    def space(library):
        hp = library.HyperParameters()
        hp.Choice("a", ["u", "v", "w"], default="v")
        hp.Int("b", 1, 3, default=2)
        hp.Boolean("c")
        hp.Fixed("d", 7)
        return hp

    def walk(library):
        oracle = library.oracles.GridSearchOracle(
            library.Objective("score", "max"), hyperparameters=space(library)
        )
        oracle._set_project_dir(str(tmp_path), library.__name__)
        seen = []
        while (trial := oracle.create_trial("tuner0")).status == "RUNNING":
            seen.append(dict(trial.hyperparameters.values))
            oracle.update_trial(trial.trial_id, {"score": 1.0})
            trial.status = "COMPLETED"
            oracle.end_trial(trial)
        return seen

    seen = walk(kt)
    assert seen == walk(keras_tuner)
    assert len(seen) == 18
