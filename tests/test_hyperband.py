"""Hyperband with real training: promoted trials go on where their parents stopped."""

import keras
import numpy as np
import pytest

import keratune as kt

pytestmark = pytest.mark.backends

RNG = np.random.default_rng(0)
X = RNG.normal(size=(48, 6)).astype("float32")
Y = (X[:, 0] + X[:, 1] ** 2 > 0.5).astype("float32")


def build_model(hp):
    model = keras.Sequential(
        [
            keras.layers.Input((6,)),
            keras.layers.Dense(hp.Int("units", 4, 12, step=4), activation="relu"),
            keras.layers.Dropout(0.2),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    rate = hp.Float("learning_rate", 1e-3, 1e-1, sampling="log")
    model.compile(keras.optimizers.Adam(rate), "binary_crossentropy", metrics=["accuracy"])
    return model


def fit_arguments():
    # Without shuffling, since TensorFlow's order of rows follows from no seed.
    return {"x": X, "y": Y, "validation_split": 0.25, "batch_size": 12, "shuffle": False}


def make(project, max_epochs=4, factor=2, **kwargs):
    return kt.Hyperband(build_model, "val_loss", max_epochs, factor, seed=3, **project, **kwargs)


def epochs_of(record):
    return sorted(record.curves[0])


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hyperband")
    tuner = make({"directory": folder, "project_name": "p"})
    tuner.search(**fit_arguments(), verbose=0)
    return tuner


def promoted(tuner):
    return [r for r in tuner.history.trials if "tuner/trial_id" in r.values]


def test_every_trial_trains_the_epochs_that_its_round_gives_it(searched):
    for record in searched.history.trials:
        begin, end = record.values["tuner/initial_epoch"], record.values["tuner/epochs"]
        assert epochs_of(record) == list(range(begin + 1, end + 1))
    assert len(searched.history) == searched.oracle.scheduler.total()[0]


def test_the_score_of_a_promoted_trial_counts_epochs_from_the_beginning(searched):
    for record in promoted(searched):
        assert record.best_step >= record.values["tuner/initial_epoch"]
        losses = {step: metrics["val_loss"] for step, metrics in record.curves[0].items()}
        assert record.score == pytest.approx(min(losses.values()), abs=1e-6)
        assert losses[record.best_step + 1] == pytest.approx(record.score, abs=1e-6)


def assert_goes_on_as_if_never_stopped(tuner, data, folder):
    """Train a promoted trial's configuration in one go, and compare its curve."""
    record = next(r for r in promoted(tuner) if r.values["tuner/epochs"] == 4)
    root = record
    while "tuner/trial_id" in root.values:
        root = tuner.history[tuner.history.number_of(root.values["tuner/trial_id"])]

    class Same(kt.Oracle):
        def populate_space(self, trial_id):
            values = {k: v for k, v in root.values.items() if not k.startswith("tuner/")}
            going = int(trial_id) <= root.number
            return {"status": "RUNNING" if going else "STOPPED", "values": values}

    whole = kt.Tuner(
        Same("val_loss", seed=3), tuner.hypermodel, directory=folder, project_name="whole"
    )
    whole.search(**data, epochs=4, verbose=0)
    expected = whole.history[root.number].curves[0]
    tolerance = 1e-5 if keras.backend.backend() == "jax" else 1e-4
    for step, metrics in record.curves[0].items():
        for name, value in metrics.items():
            assert value == pytest.approx(expected[step][name], abs=tolerance), (step, name)


def test_a_promoted_trials_losses_are_those_of_a_training_without_interruption(searched, tmp_path):
    assert_goes_on_as_if_never_stopped(searched, fit_arguments(), tmp_path)


def test_on_the_pima_data_promoted_trials_go_on_as_if_never_stopped(data_file, tmp_path):
    table = np.loadtxt(data_file("diabetes.csv"), delimiter=",", skiprows=1, dtype="float32")
    features, labels = table[:, :8] / table[:, :8].max(axis=0), table[:, 8]

    def build(hp):
        units = hp.Int("units", 8, 32, step=8)
        model = keras.Sequential(
            [
                keras.layers.Input((8,)),
                keras.layers.Dense(units, activation="relu"),
                keras.layers.Dropout(hp.Float("dropout", 0.0, 0.4, step=0.2)),
                keras.layers.Dense(1, activation="sigmoid"),
            ]
        )
        rate = hp.Float("learning_rate", 1e-3, 1e-1, sampling="log")
        model.compile(keras.optimizers.Adam(rate), "binary_crossentropy", metrics=["accuracy"])
        return model

    data = {
        "x": features[:576],
        "y": labels[:576],
        "validation_data": (features[576:], labels[576:]),
        "batch_size": 64,
        "shuffle": keras.backend.backend() != "tensorflow",
    }
    tuner = kt.Hyperband(
        build, "val_loss", max_epochs=4, factor=2, seed=3, directory=tmp_path, project_name="pima"
    )
    tuner.search(**data, verbose=0)
    assert_goes_on_as_if_never_stopped(tuner, data, tmp_path)


def test_no_state_is_left_when_nobody_can_go_on_from_it(searched):
    assert not list(searched.oracle._folder.path.rglob("final*.npz"))
    assert not list(searched.oracle._folder.path.rglob("state.npz"))


def test_the_best_models_score_is_its_evaluation(searched):
    best = searched.oracle.get_best_trials()[0]
    model = searched.get_best_models()[0]
    loss, _ = model.evaluate(X[36:], Y[36:], batch_size=12, verbose=0)
    assert loss == pytest.approx(best.score, rel=1e-5)


class Interrupting(keras.callbacks.Callback):
    """Presses Ctrl-C in the third epoch of a training, once."""

    pressed = 0

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 3 and not Interrupting.pressed:
            Interrupting.pressed = 1
            raise KeyboardInterrupt


def test_an_interrupted_promotion_goes_on_and_ends_as_if_it_had_not_been(searched, tmp_path):
    Interrupting.pressed = 0
    project = {"directory": tmp_path, "project_name": "cut"}
    with pytest.raises(KeyboardInterrupt):
        make(project).search(**fit_arguments(), verbose=0, callbacks=[Interrupting()])
    tuner = make(project)
    tuner.search(**fit_arguments(), verbose=0, callbacks=[Interrupting()])
    for one, other in zip(tuner.history.trials, searched.history.trials, strict=True):
        assert one.values == other.values
        assert one.score == pytest.approx(other.score, abs=1e-4)


def test_the_cost_is_said_before_the_search_begins(project, capsys):
    tuner = make(project, max_epochs=2)
    tuner.search(**fit_arguments(), verbose=1)
    text = capsys.readouterr().out
    trials, epochs = tuner.oracle.scheduler.total()
    assert f"{trials} trials, {epochs} epochs" in text
    assert text.index("epochs") < text.index("Trial 0")
