"""Ctrl-C, exceptions and odd models: the search goes on, and comes to the same to the last bit."""

import functools
import os
import signal
import tempfile

import keras
import kill_search
import pytest

import keratune
from keratune.training.jax_cache import compilation_cache

pytestmark = pytest.mark.skipif(keras.backend.backend() != "jax", reason="bit-equal on JAX")

PARTS = {"layers": [4], "dropout": 0.3, "rate": 0.03, "normalise": True}


@pytest.fixture(scope="module", autouse=True)
def compiled_once(tmp_path_factory):
    with compilation_cache(tmp_path_factory.mktemp("compiled")):
        yield


class Plain(keratune.HyperModel):
    epochs = 4

    def build(self, hp):
        return kill_search.model_of({**PARTS, "rate": hp.Choice("rate", [0.01, 0.03, 0.1])})

    def fit(self, hp, model, *args, **kwargs):
        return model.fit(*args, epochs=self.epochs, **kwargs)


class Unbuilt(Plain):
    def build(self, hp):
        hp.Choice("rate", [0.01, 0.03, 0.1])
        return kill_search.model_of(PARTS, inputs=False)


@keras.saving.register_keras_serializable("test_interruptions")
class OwnStep(keras.Model):
    """Trains in a step of its own, on a loss that it scales."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.hidden = keras.layers.Dense(4, activation="relu")
        self.dropout = keras.layers.Dropout(0.3)
        self.last = keras.layers.Dense(1)

    def call(self, x, training=False):
        return self.last(self.dropout(self.hidden(x), training=training))

    def train_step(self, state, data):
        x, y = data
        return super().train_step(state, (x, y * 0.5))


class Subclassed(Plain):
    def build(self, hp):
        model = OwnStep()
        model.compile(keras.optimizers.Adam(hp.Choice("rate", [0.01, 0.03, 0.1])), "mse")
        return model


class FittedTwice(Plain):
    """Trains the last layer, then everything."""

    def fit(self, hp, model, *args, **kwargs):
        model.layers[0].trainable = False
        model.compile(keras.optimizers.Adam(0.01), "mse")
        model.fit(*args, epochs=3, **kwargs)
        model.layers[0].trainable = True
        model.compile(keras.optimizers.Adam(0.003), "mse")
        return model.fit(*args, epochs=3, **kwargs)


class Stopping(Plain):
    """Is stopped at its second epoch."""

    epochs = 9


class Trap(keras.callbacks.Callback):
    """Raises once, at the n-th event of a kind."""

    def __init__(self, kind=None, number=0, error=KeyboardInterrupt):
        super().__init__()
        self.place = (kind, error)
        self.left = iter(range(number - 1, -1, -1))  # plain data would be restored

    def __deepcopy__(self, memo):
        return self  # counts over all trials

    def _count(self, kind):
        if kind == self.place[0] and next(self.left, None) == 0:
            raise self.place[1]

    def on_train_begin(self, logs=None):
        self._count("train begin")

    def on_train_batch_end(self, batch, logs=None):
        self._count("batch")

    def on_epoch_end(self, epoch, logs=None):
        self._count("epoch")

    def on_train_end(self, logs=None):
        self._count("train end")


def callbacks_of(hypermodel, trap):
    patient = 1 if isinstance(hypermodel, Stopping) else 50
    impatient = keras.callbacks.EarlyStopping(
        "val_loss", min_delta=5.0 / patient - 0.1, patience=1, restore_best_weights=True
    )
    return [*(kill_search.callbacks() if patient == 50 else [impatient]), trap]


def tuner_of(hypermodel, folder, **kwargs):
    kwargs = {"max_trials": 2, "seed": 5, "executions_per_trial": 2, "checkpoints": 1, **kwargs}
    return keratune.RandomSearch(
        hypermodel, "val_loss", directory=folder, project_name="search", **kwargs
    )


def search(tuner, trap):
    (x, y), validation = kill_search.data()
    callbacks = callbacks_of(tuner.hypermodel, trap)
    tuner.search(x, y, batch_size=32, validation_data=validation, callbacks=callbacks, verbose=0)
    return tuner


@functools.cache
def whole(hypermodel):
    with tempfile.TemporaryDirectory() as folder:
        return comparable(search(tuner_of(hypermodel(), folder), Trap()))


def comparable(tuner):
    best = tuner.get_best_models()[0]
    (x, y), validation = kill_search.data()
    return kill_search.outcome_of(tuner), best.evaluate(*validation, verbose=0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("hypermodel", "kind", "number"),
    [
        (Plain, "epoch", 3),
        (Plain, "batch", 5),
        (Plain, "train begin", 2),
        (Plain, "train end", 1),
        (Unbuilt, "epoch", 3),
        (Unbuilt, "epoch", 11),
        (Subclassed, "epoch", 7),
        (FittedTwice, "epoch", 2),
        (FittedTwice, "epoch", 5),
        (FittedTwice, "train end", 1),
        (Stopping, "train end", 1),
        (Stopping, "train end", 2),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_ctrl_c_and_a_new_tuner_come_to_the_same(hypermodel, kind, number, tmp_path):
    tuner = tuner_of(hypermodel(), tmp_path / "cut")
    with pytest.raises(KeyboardInterrupt):
        search(tuner, Trap(kind, number))
    again = search(tuner_of(hypermodel(), tmp_path / "cut"), Trap())
    assert comparable(again) == whole(hypermodel)


@pytest.mark.slow
def test_ctrl_c_and_the_same_tuner_come_to_the_same(tmp_path):
    tuner = tuner_of(Plain(), tmp_path / "cut")
    for number in (2, 3, 6):
        with pytest.raises(KeyboardInterrupt):
            search(tuner, Trap("epoch", number))
    assert comparable(search(tuner, Trap())) == whole(Plain)


@pytest.mark.slow
def test_the_test_of_early_stopping_stops_early(tmp_path):
    tuner = search(tuner_of(Stopping(), tmp_path), Trap())
    assert {len(c) for r in tuner.history.trials for c in r.curves.values()} == {2}


def failing_search(folder, trap):
    """The first trial fails at its third epoch, and is tried again."""

    class Failing(Plain):
        def fit(self, hp, model, *args, **kwargs):
            failing = Trap("epoch", 3, error=OSError("no space left"))
            record = tuner.history[0]
            own = [failing] if tuner._run.record is record and record.attempt == 0 else []
            kwargs["callbacks"] = [*own, *kwargs["callbacks"]]
            return super().fit(hp, model, *args, **kwargs)

    tuner = tuner_of(Failing(), folder, max_retries_per_trial=1)
    return search(tuner, trap)


@pytest.mark.slow
def test_a_second_attempt_starts_anew_and_is_itself_continued(tmp_path, capsys):
    uninterrupted = failing_search(tmp_path / "whole", Trap())
    assert [record.attempt for record in uninterrupted.history.trials] == [1, 0]
    assert uninterrupted.history[0].curves.keys() == {0, 1}
    with pytest.raises(KeyboardInterrupt):
        failing_search(tmp_path / "cut", Trap("epoch", 5))  # 2 of the first attempt, then 3
    again = failing_search(tmp_path / "cut", Trap())
    assert comparable(again) == comparable(uninterrupted)


@pytest.mark.slow
def test_a_changed_model_is_trained_anew_where_its_state_does_not_fit(tmp_path, caplog):
    with pytest.raises(KeyboardInterrupt):
        search(tuner_of(Plain(), tmp_path), Trap("epoch", 3))

    class Wider(Plain):
        def build(self, hp):
            rate = hp.Choice("rate", [0.01, 0.03, 0.1])
            return kill_search.model_of({**PARTS, "layers": [6], "rate": rate})

    again = search(tuner_of(Wider(), tmp_path), Trap())
    assert "trained anew" in caplog.text
    assert [record.status for record in again.history.trials] == ["COMPLETED"] * 2


@pytest.mark.slow
@pytest.mark.parametrize("name", ["state.npz", "best.npz"])
def test_a_damaged_file_is_not_used(name, tmp_path, caplog):
    with pytest.raises(KeyboardInterrupt):
        search(tuner_of(Plain(), tmp_path / "cut"), Trap("epoch", 3))
    [file] = tmp_path.rglob(name)
    file.write_bytes(file.read_bytes()[:100])
    again = search(tuner_of(Plain(), tmp_path / "cut"), Trap())
    assert "cannot be read" in caplog.text
    assert kill_search.outcome_of(again) == whole(Plain)[0]


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="needs SIGINT")
def test_sigint_ends_the_script_and_it_goes_on_where_it_was(tmp_path):
    folder = tmp_path / "cut"
    folder.mkdir()
    process = kill_search.start(folder, "random-flat", 1)
    kill_search._wait_for(process, folder, True)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == -signal.SIGINT
    cut = kill_search.run(folder, "random-flat", 1)
    assert cut.outcome == kill_search.run(tmp_path / "whole", "random-flat", 1).outcome
    assert cut.repeated == 0
