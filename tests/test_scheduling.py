"""Schedulers with real training: trials that pause go on as if they had never stopped."""

import csv
import re

import keras
import numpy as np
import pytest

import keratune as kt
from keratune.schedulers import ASHA, Median
from keratune.training.jax_cache import compilation_cache

on_jax = pytest.mark.skipif(keras.backend.backend() != "jax", reason="bit-equal on JAX")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(48, 6)).astype("float32")
Y = (X[:, :1] * X[:, 1:2] + 0.1 * RNG.normal(size=(48, 1))).astype("float32")
EPOCHS = 9
RUNGS = ASHA(min_epochs=1)  # 1, 3 and 9 epochs


@pytest.fixture(scope="module", autouse=True)
def compiled_once(tmp_path_factory):
    with compilation_cache(tmp_path_factory.mktemp("compiled")):
        yield


def build_model(hp):
    layers = keras.layers
    model = keras.Sequential(
        [layers.Input((6,)), layers.Dense(8, "relu"), layers.Dropout(0.3), layers.Dense(1)]
    )
    rate = hp.Float("learning_rate", 1e-3, 1e-1, sampling="log")
    model.compile(keras.optimizers.Adam(rate), "mse")
    return model


def make(project, scheduler=RUNGS, hypermodel=build_model, max_trials=4, **kwargs):
    return kt.RandomSearch(
        hypermodel, "val_loss", max_trials, seed=2, scheduler=scheduler, **project, **kwargs
    )


def fit_arguments(**kwargs):
    data = {"x": X, "y": Y, "validation_split": 0.25, "batch_size": 12}
    return {**data, "epochs": EPOCHS, "verbose": 0, **kwargs}


def searched(project, *args, callbacks=None, epochs=EPOCHS, verbose=0, **kwargs):
    tuner = make(project, *args, **kwargs)
    tuner.search(**fit_arguments(epochs=epochs, callbacks=callbacks, verbose=verbose))
    return tuner


def journal(tuner):
    """The events of a search by kind and trial."""
    entries = tuner.oracle.study._journal._storage.read(0)
    return [(type(e.event).__name__, getattr(e.event, "number", None)) for e in entries]


def resumed(tuner):
    return [number for kind, number in journal(tuner) if kind == "TrialResumed"]


def outcome(tuner):
    return {r.number: (r.values, r.status, r.score, r.curves) for r in tuner.history.trials}


class Cut(keras.callbacks.Callback):
    """Presses Ctrl-C at the n-th epoch of the search."""

    def __init__(self, epoch):
        super().__init__()
        self.left = iter(range(epoch))  # plain data would be restored

    def __deepcopy__(self, memo):
        return self

    def on_epoch_begin(self, epoch, logs=None):
        if next(self.left, None) is None:
            raise KeyboardInterrupt


def interrupted(project, epoch, callbacks=(), **kwargs):
    """A search that was interrupted at its n-th epoch, as a new process finds it."""
    with pytest.raises(KeyboardInterrupt):
        searched(project, callbacks=[*callbacks, Cut(epoch)], **kwargs)
    return make(project, **kwargs)


# Pausing and going on


def stateful_callbacks():
    return [
        keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.9),
        keras.callbacks.ReduceLROnPlateau("val_loss", factor=0.5, patience=1),
        keras.callbacks.EarlyStopping("val_loss", patience=3, restore_best_weights=True),
    ]


@pytest.fixture(scope="module")
def halved(tmp_path_factory):
    project = {"directory": tmp_path_factory.mktemp("halved"), "project_name": "p"}
    return searched(project, callbacks=stateful_callbacks(), max_trials=7)


@on_jax
def test_trials_that_paused_have_the_curves_of_an_uninterrupted_training(halved, tmp_path):
    whole = searched(
        {"directory": tmp_path}, None, callbacks=stateful_callbacks(), max_trials=7
    ).history
    again = set(resumed(halved))
    assert again
    for record in halved.history.trials:
        curve = record.curves[0]
        expected = whole[record.number].curves[0]
        assert curve == {step: expected[step] for step in curve}, record.number
        if record.status == "COMPLETED":
            assert len(curve) == len(expected)
    assert any(len(halved.history[number].curves[0]) > 3 for number in again)


def test_a_scheduled_search_trains_fewer_epochs_and_its_winner_in_full(halved):
    history = halved.history
    assert history.epochs < 0.7 * len(history) * EPOCHS
    assert history.best()[0].status == "COMPLETED"
    assert {record.status for record in history.trials} == {"COMPLETED", "PAUSED"}


def test_paused_trials_keep_what_they_need_and_completed_ones_their_model(halved):
    for record in halved.history.trials:
        folder = halved.oracle._folder.path / f"trial_{record.trial_id}"
        files = {file.name for file in folder.iterdir()}
        assert ("state.npz" in files) == (record.status == "PAUSED")
        assert "best.npz" in files or "model.keras" in files


def test_a_project_with_paused_trials_is_extended(tmp_path):
    project = {"directory": tmp_path}
    searched(project, max_trials=2)
    longer = searched(project, max_trials=6)
    assert len(longer.history) == 6
    assert longer.history.best()[0].status == "COMPLETED"


@on_jax
def test_ctrl_c_and_a_new_tuner_come_to_the_same(halved, tmp_path):
    project = {"directory": tmp_path}
    interrupted(project, 5, stateful_callbacks(), max_trials=7)
    again = searched(project, callbacks=stateful_callbacks(), max_trials=7)
    assert outcome(again) == outcome(halved)


# Early ends


def test_a_trial_that_early_stopping_ends_is_complete_and_is_never_resumed(tmp_path):
    impatient = keras.callbacks.EarlyStopping("val_loss", patience=1, min_delta=9.0)
    tuner = searched({"directory": tmp_path}, callbacks=[impatient])
    ended = [r for r in tuner.history.trials if r.status == "COMPLETED"]
    assert ended
    rungs = tuner.oracle.study.planner.scheduler.rungs(tuner.history)
    for record in ended:
        assert record.trained == 2
        assert rungs.entered(record.number) == 3
        assert rungs[2].losses[record.number] == min(record.losses.values())
        behind = journal(tuner)[journal(tuner).index(("TrialCompleted", record.number)) :]
        assert ("TrialResumed", record.number) not in behind


def test_max_epochs_of_the_scheduler_wins_over_that_of_the_search(tmp_path):
    tuner = searched({"directory": tmp_path}, ASHA(min_epochs=1, max_epochs=3), max_trials=3)
    trained = [record.trained for record in tuner.history.trials]
    assert max(trained) == 3
    assert len(tuner.get_best_models(3)) == 3


def test_the_median_rule_stops_bad_trials_deletes_their_files_and_ends(tmp_path):
    scheduler = Median(min_epochs=2, min_trials=2)
    tuner = searched({"directory": tmp_path}, scheduler, max_trials=8, checkpoints=2)
    stopped = [r for r in tuner.history.trials if r.status == "STOPPED"]
    assert stopped and len(tuner.history) == 8
    for record in stopped:
        assert 2 <= record.trained < EPOCHS
        assert record.score == min(record.losses.values())
        assert "stopped" in record.message
        if tuner.history.rank(record.number) >= 2:
            folder = tuner.oracle._folder.path / f"trial_{record.trial_id}"
            assert [file.name for file in folder.iterdir()] == ["trial.json"]
    assert not list(tuner.oracle._folder.path.rglob("state.npz"))
    assert len(tuner.get_best_models(2)) == 2


# Models of paused trials


class Own(keras.Model):
    """A model that Keras cannot load without this class."""

    def __init__(self):
        super().__init__()
        self.hidden, self.last = keras.layers.Dense(4, "relu"), keras.layers.Dense(1)

    def call(self, x):
        return self.last(self.hidden(x))


def build_own(hp):
    model = Own()
    model.compile(keras.optimizers.Adam(hp.Float("learning_rate", 1e-2, 0.3)), "mse")
    return model


class FittedTwice(kt.HyperModel):
    """Trains with one loss, then with another."""

    def build(self, hp):
        return build_model(hp)

    def fit(self, hp, model, *args, **kwargs):
        model.fit(*args, **kwargs)
        model.compile(keras.optimizers.Adam(0.001), "mse")
        return model.fit(*args, **{**kwargs, "epochs": 2})


@pytest.mark.parametrize("hypermodel", [build_model, build_own, FittedTwice()])
def test_a_paused_trials_model_has_the_weights_of_its_best_epoch(hypermodel, tmp_path):
    options = {"hypermodel": hypermodel, "scheduler": ASHA(min_epochs=3, factor=3)}
    tuner = interrupted({"directory": tmp_path}, 7, **options)
    assert len(tuner.history.paused) == 2
    for model, trial in zip(tuner.get_best_models(2), tuner.oracle.get_best_trials(2), strict=True):
        assert trial.status == "PAUSED"
        loss = model.evaluate(X[36:], Y[36:], batch_size=12, verbose=0)
        assert loss == pytest.approx(trial.score, rel=1e-5)


# Training loops of the user's own


def test_a_second_fit_is_left_to_those_whose_first_one_has_ended(tmp_path):
    tuner = searched({"directory": tmp_path}, hypermodel=FittedTwice())
    for record in tuner.history.trials:
        if record.status == "COMPLETED":
            assert record.trained == EPOCHS + 2
        else:
            assert record.status == "PAUSED" and record.trained in (1, 3)


class Loop(kt.HyperModel):
    """Trains in a loop of its own, which may heed `stop_training`."""

    def __init__(self, heeds):
        super().__init__()
        self.heeds = heeds

    def build(self, hp):
        return build_model(hp)

    def fit(self, hp, model, x, y, epochs, callbacks, **kwargs):
        watched = keras.callbacks.CallbackList(callbacks, model=model, epochs=epochs)
        watched.on_train_begin()
        for epoch in range(epochs):
            watched.on_epoch_begin(epoch)
            model.train_on_batch(x, y)
            logs = {"val_loss": float(model.evaluate(x, y, verbose=0))}
            watched.on_epoch_end(epoch, logs)
            if self.heeds and model.stop_training:
                break
        watched.on_train_end()
        return logs


@pytest.mark.parametrize("heeds", [False, True])
def test_a_loop_that_could_not_go_on_trains_to_its_end(heeds, tmp_path):
    tuner = searched({"directory": tmp_path}, hypermodel=Loop(heeds), epochs=3)
    for record in tuner.history.trials:
        assert record.status == "COMPLETED" and record.trained == 3
    assert not resumed(tuner)


@pytest.mark.parametrize("heeds", [False, True])
def test_a_loop_that_heeds_stop_training_is_stopped(heeds, tmp_path):
    scheduler = Median(min_epochs=1, min_trials=2)
    tuner = searched({"directory": tmp_path}, scheduler, Loop(heeds), epochs=2)
    assert ("STOPPED" in {record.status for record in tuner.history.trials}) == heeds


def test_only_trials_that_are_trained_to_the_end_are_trained_several_times(tmp_path):
    tuner = searched({"directory": tmp_path}, executions_per_trial=2)
    statuses = {record.status for record in tuner.history.trials}
    assert statuses == {"COMPLETED", "PAUSED"}
    for record in tuner.history.trials:
        completed = record.status == "COMPLETED"
        assert sorted(record.results) == ([0, 1] if completed else [])
        assert sorted(record.curves) == ([0, 1] if completed else [0])
        if completed:
            scores = [result.metrics["val_loss"] for result in record.results.values()]
            assert record.score == pytest.approx(np.mean(scores))


@on_jax
def test_without_checkpoints_paused_trials_are_trained_again_from_their_start(halved, tmp_path):
    tuner = searched(
        {"directory": tmp_path}, callbacks=stateful_callbacks(), max_trials=7, checkpoints=False
    )
    assert outcome(tuner) == outcome(halved)


# Callbacks that write files


def test_csv_logger_tensorboard_and_model_checkpoint_keep_what_they_had_written(tmp_path):
    pytest.importorskip("tensorflow")

    def callbacks(hp):
        folder = tmp_path / repr(hp.get("learning_rate"))
        folder.mkdir(exist_ok=True)
        return [
            keras.callbacks.CSVLogger(str(folder / "log.csv")),
            keras.callbacks.TensorBoard(str(tmp_path / "boards")),
            keras.callbacks.ModelCheckpoint(
                str(folder / "best.weights.h5"),
                "val_loss",
                save_best_only=True,
                save_weights_only=True,
            ),
        ]

    tuner = searched({"directory": tmp_path}, callbacks=callbacks)
    assert resumed(tuner)
    for record in tuner.history.trials:
        folder = tmp_path / repr(record.values["learning_rate"])
        with (folder / "log.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        losses = [metrics["val_loss"] for metrics in record.curves[0].values()]
        assert [int(row["epoch"]) for row in rows] == list(range(record.trained))
        assert [float(row["val_loss"]) for row in rows] == pytest.approx(losses)
        model = build_model(tuner.oracle.get_trial(record.trial_id).hyperparameters)
        model.optimizer.build(model.trainable_variables)
        model.load_weights(folder / "best.weights.h5")
        loss = model.evaluate(X[36:], Y[36:], batch_size=12, verbose=0)
        assert loss == pytest.approx(min(losses), rel=1e-5)
        board = tmp_path / "boards" / record.trial_id / "execution0"
        assert epochs_on(board / "validation") == list(range(record.trained))


def epochs_on(board):
    """The steps at which a TensorBoard folder has the loss of an epoch."""
    from tensorflow.compat.v1.train import summary_iterator

    found = []
    for file in board.glob("events*"):
        for event in summary_iterator(str(file)):
            found += [event.step for value in event.summary.value if value.tag == "epoch_loss"]
    return sorted(found)


# What users say and see


def test_an_unknown_scheduler_is_answered_with_the_known_ones(project):
    with pytest.raises(ValueError, match=r"one of \[.*'asha'.*\]. Received: scheduler='ahsa'"):
        make(project, "ahsa")
    with pytest.raises(TypeError, match=r"`scheduler` must be a name out of .* Received: 3"):
        make(project, 3)


@pytest.mark.parametrize("epochs", [None, lambda hp: hp.Int("epochs", 2, 5)])
def test_a_search_must_say_how_many_epochs_a_training_has(epochs, project):
    arguments = fit_arguments()
    arguments.pop("epochs")
    if epochs is not None:
        arguments["epochs"] = epochs
    with pytest.raises(ValueError, match=r"search\(\.\.\., epochs=\.\.\.\)"):
        make(project, "asha").search(**arguments)
    make(project, "none", max_trials=1, overwrite=True).search(**arguments)


def test_epochs_may_be_said_by_position_or_by_the_scheduler(project):
    tuner = make(project, "asha")
    assert tuner._bound_scheduler((X, Y, 12, 30), {}).max_epochs == 30
    assert make(project, ASHA(max_epochs=7))._bound_scheduler((), {}).max_epochs == 7


def test_verbose_2_explains_each_decision(tmp_path, capsys):
    searched({"directory": tmp_path}, verbose=2)
    text = capsys.readouterr().out
    assert re.search(r"Trial \d: number 1 of \d after 3 epochs: goes on to 9 epochs", text)
    assert "paused after 1 epoch" in text


def test_without_a_scheduler_every_trial_is_trained_for_all_epochs(tmp_path):
    tuner = searched({"directory": tmp_path}, None, max_trials=2)
    assert [record.trained for record in tuner.history.trials] == [EPOCHS] * 2
    assert {record.status for record in tuner.history.trials} == {"COMPLETED"}


def test_a_paused_trial_shows_the_metrics_of_its_best_epoch(halved):
    paused = [t for t in halved.oracle.trials.values() if t.status == "PAUSED"]
    assert paused
    for trial in paused:
        assert trial.metrics_at_best()["val_loss"] == pytest.approx(trial.score)
