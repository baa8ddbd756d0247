"""Confirming the finalists: fresh seeds, every score kept, an honest order; and when to do it."""

import math

import keras
import numpy as np
import pytest

import keratune as kt
from keratune import confirmation, noise
from keratune.algorithms import create
from keratune.history import Result
from keratune.objectives import Objective
from keratune.parameters import Float
from keratune.storage.memory import MemoryStorage
from keratune.study import Study
from keratune.training.jax_cache import compilation_cache

X = np.linspace(-1.0, 1.0, 48, dtype="float32").reshape(24, 2)
Y = (X.sum(axis=1, keepdims=True) + 0.1 * np.sin(40 * X[:, :1])).astype("float32")
FIT = {"epochs": 2, "batch_size": 8, "validation_data": (X[16:], Y[16:]), "verbose": 0}


@pytest.fixture(scope="module", autouse=True)
def compiled_once(tmp_path_factory):
    with compilation_cache(tmp_path_factory.mktemp("compiled")):
        yield


def linear(hp):
    model = keras.Sequential(
        [keras.Input((2,)), keras.layers.Dropout(0.2), keras.layers.Dense(1, name="out")]
    )
    model.compile(keras.optimizers.Adam(hp.Float("rate", 0.01, 0.2)), "mse")
    return model


class Noisy(kt.HyperModel):
    """Trains nothing: the loss is x and the spread of the weights that the seed has drawn."""

    def __init__(self, fail_at=None, of=None):
        super().__init__()
        self.fail_at, self.of, self.losses, self.seen = fail_at, of, [], []

    def build(self, hp):
        hp.Float("x", 0.0, 1.0)
        return keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])

    def fit(self, hp, model, *args, **kwargs):
        if len(self.losses) == self.fail_at:
            raise KeyboardInterrupt
        self.seen.append((args, kwargs))
        loss = hp["x"] + float(np.std(model.get_weights()[0]))
        self.losses.append(loss if self.of is None else self.of(len(self.losses), hp["x"]))
        return self.losses[-1]


def tuner_of(hypermodel, project, cls=kt.RandomSearch, **arguments):
    objective = None if isinstance(hypermodel, Noisy) else "val_loss"
    keep = {"checkpoints": False} if isinstance(hypermodel, Noisy) else {}
    return cls(
        hypermodel, objective, **{"max_trials": 5, "seed": 0, **keep, **project, **arguments}
    )


def told(tuner):
    return [(r.values, r.score, r.results, r.curves, r.confirmed) for r in tuner.history.trials]


# Confirming


def test_finalists_are_trained_again_from_seeds_that_nobody_has_had(project):
    model = Noisy()
    tuner = tuner_of(model, project, executions_per_trial=2)
    tuner.search(verbose=0)
    searched = len(model.losses)
    found = tuner.confirm(top=2, repeats=4)
    assert searched == 10
    assert len(model.losses) == searched + 8
    assert len(set(model.losses)) == len(model.losses)
    best = tuner.history.best(2)
    assert {entry.trial.trial_id for entry in found} == {record.trial_id for record in best}
    for entry in found:
        assert len(entry.scores) == 4
        assert set(entry.scores) <= set(model.losses[searched:])
        assert entry.mean == pytest.approx(np.mean(entry.scores))
        assert entry.std == pytest.approx(np.std(entry.scores, ddof=1))
        low, high = entry.interval
        assert (low + high) / 2 == pytest.approx(entry.mean)
        assert (high - low) / 2 == pytest.approx(3.182 * entry.std / 2, rel=1e-3)  # t(0.975, 3)
    assert found[0].mean < found[1].mean


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="bit-equal on JAX")
def test_an_interrupted_confirmation_goes_on_with_the_repeats_that_are_missing(tmp_path):
    class Stopped(kt.RandomSearch):
        ends, last = 0, None

        def on_epoch_end(self, trial, model, epoch, logs=None):
            type(self).ends += epoch == 1
            if type(self).ends == self.last:
                raise KeyboardInterrupt

    def run(folder, last):
        Stopped.ends, Stopped.last = 0, last
        project = {"directory": str(tmp_path), "project_name": folder}
        tuner = tuner_of(linear, project, Stopped, max_trials=3)
        tuner.search(X[:16], Y[:16], confirm=(2, 3), **FIT)
        return tuner

    whole = run("whole", None)
    assert Stopped.ends == 3 + 6
    with pytest.raises(KeyboardInterrupt):
        run("killed", 3 + 4)
    again = run("killed", None)
    assert Stopped.ends == 3  # the fourth repeat and the two that were not begun
    assert told(again) == told(whole)
    assert [len(record.confirmed) for record in whole.history.best(2)] == [3, 3]


def test_what_was_confirmed_is_not_trained_twice_and_more_repeats_are_added(project):
    model = Noisy()
    tuner = tuner_of(model, project)
    tuner.search(verbose=0)
    first = tuner.confirm(2, 2)
    trained = len(model.losses)
    assert tuner.confirm(2, 2) == first
    assert len(model.losses) == trained
    more = tuner.confirm(2, 3)
    assert len(model.losses) == trained + 2
    assert {e.trial.trial_id: e.scores[:2] for e in more} == {
        e.trial.trial_id: e.scores for e in first
    }


def test_the_best_are_those_that_were_confirmed_in_their_new_order_and_stay_so(project):
    lucky = {}

    def of(call, x):  # the search is misled: the larger x, the better
        lucky[call] = x
        return 1.0 - x if call < 5 else x

    tuner = tuner_of(Noisy(of=of), project)
    tuner.search(verbose=0)
    before = [trial.trial_id for trial in tuner.oracle.get_best_trials(5)]
    found = tuner.confirm(3, 2)
    after = [trial.trial_id for trial in tuner.oracle.get_best_trials(5)]
    assert after == [before[2], before[1], before[0], *before[3:]]
    assert [entry.trial.trial_id for entry in found] == after[:3]
    values = tuner.get_best_hyperparameters()[0].values
    assert values == tuner.oracle.get_trial(before[2]).hyperparameters.values
    again = tuner_of(Noisy(), project)
    assert [trial.trial_id for trial in again.oracle.get_best_trials(5)] == after
    assert again.oracle.get_best_trials()[0].confirmed == found[0].scores
    assert again.oracle.get_best_trials()[0].score == tuner.history.trials[int(after[0])].score


def test_one_that_does_not_train_again_stands_behind_all_others(project):
    tuner = tuner_of(Noisy(of=lambda call, x: x if call < 5 else math.nan), project)
    tuner.search(verbose=0)
    best = tuner.oracle.get_best_trials()[0]
    [entry] = tuner.confirm(1, 2)
    assert entry.trial is best
    assert math.isnan(entry.std)
    assert tuner.oracle.get_best_trials(5)[-1] is best


def test_models_and_files_of_the_search_are_left_as_they_were(project, tmp_path):
    tuner = tuner_of(linear, project, max_trials=2)
    tuner.search(X[:16], Y[:16], **FIT)
    files = {f: f.read_bytes() for f in tmp_path.rglob("trial_*/*") if f.suffix != ".json"}
    scores = {record.trial_id: record.score for record in tuner.history.trials}
    [first, _] = tuner.confirm(2, 2)
    assert {f: f.read_bytes() for f in files} == files
    assert set(files) == {f for f in tmp_path.rglob("trial_*/*") if f.suffix != ".json"}
    loss = tuner.get_best_models()[0].evaluate(*FIT["validation_data"], verbose=0)
    assert loss == pytest.approx(scores[first.trial.trial_id], rel=1e-5)


def test_a_confirmed_trial_keeps_its_weights_though_others_scored_better(project):
    tuner = tuner_of(linear, project, max_trials=2, checkpoints=2)
    tuner.search(X, Y, **FIT)
    first, second = tuner.history.best(2)
    for record, loss in ((first, 9.0), (second, 0.1)):
        tuner.oracle.study.confirm(record.number, 0, Result(1, {"val_loss": loss}))
    again = tuner_of(linear, project, max_trials=2, checkpoints=1)
    assert again.oracle.get_best_trials()[0].trial_id == second.trial_id
    assert again.get_best_models()[0].built


def test_finalists_that_keep_no_weights_are_named_before_they_are_trained(project):
    tuner = tuner_of(linear, project, max_trials=3, checkpoints=1)
    tuner.search(X, Y, **FIT)
    lost = ", ".join(record.trial_id for record in tuner.history.best(3)[1:])
    with pytest.warns(UserWarning, match=f"Finalists {lost} keep no weights"):
        tuner.confirm(3, 1)


def test_a_table_shows_mean_spread_interval_and_every_score_and_quiet_ones_show_none(
    project, capsys
):
    tuner = tuner_of(Noisy(), project)
    tuner.search(verbose=0)
    tuner.confirm(1, 2)
    assert capsys.readouterr().out == ""
    [entry] = tuner.confirm(1, 3, verbose=1)
    shown = capsys.readouterr().out
    assert "repeat 3 of 3" in shown
    low, high = entry.interval
    for figure in (entry.mean, low, high, *entry.scores, entry.trial.score):
        assert f"{figure:.5g}" in shown
    assert f"{entry.std:.2g}" in shown
    tuner.results_summary()
    assert f"Confirmed: {entry.mean:.5g} (mean of" in capsys.readouterr().out


def test_the_arguments_are_those_of_the_last_search_or_must_be_given(project):
    model = Noisy()
    tuner_of(model, project).search(X, Y, epochs=lambda hp: 7, verbose=0)
    other = Noisy()
    later = tuner_of(other, project)
    with pytest.raises(ValueError, match="needs the arguments of `search`"):
        later.confirm(1, 1)
    later.confirm(1, 1, X, Y, epochs=3, verbose=0)
    later.search(X, Y, epochs=7, verbose=0)
    later.confirm(1, 2)
    later.confirm(1, 3, epochs=9)
    assert [kwargs["epochs"] for _, kwargs in other.seen] == [3, 7, 9]
    assert all(args[0] is X for args, _ in other.seen)


@pytest.mark.parametrize("confirm", [-1, (3, 0), (1, 2, 3), "three", 2.5])
def test_wrong_amounts_are_refused_before_the_search(project, confirm):
    model = Noisy()
    with pytest.raises(ValueError, match="a number of finalists"):
        tuner_of(model, project).search(verbose=0, confirm=confirm)
    assert model.losses == []


def test_each_repeat_of_a_cross_validation_has_other_folds(project):
    model = Noisy()
    tuner = tuner_of(model, project, max_trials=1)
    tuner.search(X, Y, cv=3, confirm=(1, 2), verbose=0)
    tests = [kwargs["validation_data"][0].tolist() for _, kwargs in model.seen]
    assert len(tests) == 9
    assert len({str(test) for test in tests}) == 9
    first, second = tuner.oracle.get_best_trials()[0].confirmed
    assert first == pytest.approx(np.mean(model.losses[3:6]))
    assert second == pytest.approx(np.mean(model.losses[6:9]))


def test_a_run_trial_of_the_users_own_is_repeated_too(project):
    class Own(kt.RandomSearch):
        def run_trial(self, trial, *args, **kwargs):
            kwargs["batch_size"] = trial.hyperparameters.Choice("batch_size", [4, 8])
            return super().run_trial(trial, *args, **kwargs)

    model = Noisy()
    tuner = tuner_of(model, project, Own)
    tuner.search(verbose=0)
    [entry] = tuner.confirm(1, 2)
    wanted = entry.trial.hyperparameters.values["batch_size"]
    assert [kwargs["batch_size"] for _, kwargs in model.seen[-2:]] == [wanted, wanted]


def test_a_finalist_of_hyperband_is_trained_from_its_start(project):
    tuner = kt.Hyperband(linear, "val_loss", max_epochs=4, factor=2, seed=0, **project)
    tuner.search(X[:16], Y[:16], validation_data=FIT["validation_data"], verbose=0)
    epochs = []
    tuner.on_epoch_end = lambda trial, model, epoch, logs=None: epochs.append(epoch)
    [entry] = tuner.confirm(1, 1)
    assert epochs == list(range(entry.trial.hyperparameters.values["tuner/epochs"]))


def test_a_paused_finalist_is_trained_to_its_end_and_can_still_be_resumed(project):
    tuner = tuner_of(linear, project, max_trials=4, scheduler="asha")
    tuner.search(X[:16], Y[:16], **{**FIT, "epochs": 9})
    paused = [record for record in tuner.history.trials if record.status == "PAUSED"]
    assert paused
    states = {record.trial_id: record.trained for record in paused}
    epochs = []
    tuner.on_epoch_end = lambda trial, model, epoch, logs=None: epochs.append(epoch)
    tuner.confirm(4, 1)
    assert epochs == list(range(9)) * 4
    assert {r.trial_id: r.trained for r in paused if r.status == "PAUSED"} == states
    for record in paused:
        assert (tuner.oracle._folder.path / f"trial_{record.trial_id}" / "state.npz").exists()


def test_of_several_objectives_the_finalists_are_confirmed_and_the_order_stays(project):
    tuner = kt.RandomSearch(linear, objectives=["val_loss", "params"], max_trials=3, **project)
    tuner.search(X[:16], Y[:16], **FIT)
    before = [trial.trial_id for trial in tuner.oracle.get_best_trials(3)]
    [entry] = tuner.confirm(1, 2)
    assert entry.trial.trial_id == before[0]
    assert all(math.isfinite(score) for score in entry.scores)
    assert [trial.trial_id for trial in tuner.oracle.get_best_trials(3)] == before


def test_one_that_keeps_the_outcomes_is_confirmed_before_one_that_scores_better_and_does_not():
    objective = Objective("score", "min").keeping(["recall >= 0.8"])
    study = Study.open(MemoryStorage(), objective, create("random"), seed=0)
    study.declare([Float("x", 0.0, 1.0)])
    for score, recall in ((0.3, 0.9), (0.2, 0.9), (0.1, 0.5)):
        number = study.ask("me").number
        study.tell(number, {"score": score, "recall": recall})
    assert numbers(confirmation.finalists(study.history, 3)) == [1, 0, 2]
    for number, recall in ((0, 0.9), (1, 0.7), (2, 0.5)):  # 1 was lucky to keep it
        study.confirm(number, 0, Result(1, {"score": 0.2, "recall": recall}))
    assert numbers(confirmation.ranked(study.history, 3)) == [0, 1, 2]


# Finalists


def study_of(scores, epochs=(), origin=None):
    """Return a study with completed trials: a row of executions' scores each, or of epochs'."""
    study = Study.open(MemoryStorage(), Objective("score", "min"), create("random"), seed=0)
    study.declare([Float("x", 0.0, 1.0)])
    study.planner.defaults_first = origin == "defaults"
    for row in scores:
        record = study.ask("me")
        for execution, score in enumerate(row):
            study.complete_execution(record.number, execution, Result(1, {"score": float(score)}))
        study.tell(record.number)
    for row in epochs:
        record = study.ask("me")
        for step, score in enumerate(row):
            study.report(record.number, step + 1, {"score": float(score)})
        study.tell(record.number, {"score": float(min(row))})
    return study


def numbers(records):
    return [record.number for record in records]


def test_without_repeats_the_finalists_are_the_best_scores():
    history = study_of([[3.0], [1.0], [2.0], [4.0]]).history
    assert numbers(confirmation.finalists(history, 3)) == [1, 2, 0]


def test_a_lucky_draw_of_few_executions_is_no_finalist_before_a_solid_mean_of_many():
    rng = np.random.default_rng(0)
    rows = [rng.normal(0.5 + place / 10, 0.4, 12) for place in range(6)]
    rows[0] += 0.30 - rows[0].mean()  # twelve executions that come to 0.30
    lucky = np.array([0.1, 0.48])  # two that come to 0.29
    history = study_of([*rows, lucky]).history
    assert history.best()[0].number == 6
    assert confirmation.finalists(history, 1)[0].number == 0


# When to confirm


def warning_of(study):
    return noise.warning(study.history, "`tuner.confirm()` tells them apart")


@pytest.mark.parametrize("seed", range(5))
def test_a_search_over_nothing_but_noise_says_so(seed):
    rng = np.random.default_rng(seed)
    repeats = study_of(rng.normal(0.9, 0.02, (20, 5)))
    assert "of 20 trials are within noise" in warning_of(repeats)
    curves = study_of([], rng.normal(0.9, 0.02, (20, 30)))
    assert "of 20 trials are within noise" in warning_of(curves)


@pytest.mark.parametrize("seed", range(5))
def test_a_search_without_noise_says_nothing(seed):
    rng = np.random.default_rng(seed)
    quality, steps = rng.uniform(0, 1, (20, 1)), np.arange(30)
    assert warning_of(study_of(np.repeat(quality, 5, axis=1))) is None
    assert warning_of(study_of(quality + rng.normal(0, 3, (1, 5)))) is None  # folds differ
    assert warning_of(study_of(np.repeat([0.5, 0.5, 0.7], 5).reshape(3, 5))) is None  # a tie
    near = 0.5 + 1e-4 * quality
    assert warning_of(study_of([], near + np.exp(-steps * (0.1 + quality)))) is None


def test_a_clear_winner_is_not_doubted_and_a_runner_up_within_noise_is():
    rng = np.random.default_rng(3)
    rows = rng.normal(1.0, 0.02, (8, 5))
    rows[4] -= 0.5
    assert warning_of(study_of(rows)) is None
    rows[6] -= 0.5
    line = warning_of(study_of(rows))
    assert line.startswith("The best 2 of 8 trials are within noise (0.")
    assert line.endswith("`tuner.confirm()` tells them apart.")
    assert "\n" not in line


def test_without_repeats_or_long_curves_nothing_is_said():
    rng = np.random.default_rng(0)
    assert warning_of(study_of(rng.normal(1, 1e-6, (20, 1)))) is None
    assert warning_of(study_of([], rng.normal(1, 1e-6, (20, 6)))) is None


def test_a_default_configuration_among_the_equals_is_named():
    rng = np.random.default_rng(0)
    line = warning_of(study_of(rng.normal(0.9, 0.02, (4, 5)), origin="defaults"))
    assert ", the default configuration among them: " in line


def test_a_search_ends_with_one_line_of_doubt_and_with_none_when_it_is_confirmed(tmp_path, capsys):
    def lines(folder, **arguments):
        rng = np.random.default_rng(0)
        model = Noisy(of=lambda call, x: rng.normal(1, 0.1))
        project = {"directory": str(tmp_path), "project_name": folder}
        tuner = tuner_of(model, project, executions_per_trial=3)
        tuner.search(verbose=1, **arguments)
        tuner.search(verbose=1, **arguments)  # nothing is left to do, nor to say again
        return [line for line in capsys.readouterr().out.splitlines() if "within noise" in line]

    assert len(lines("searched")) == 1
    assert lines("confirmed", confirm=(2, 2)) == []
