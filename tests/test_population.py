"""Population based training: who goes on from whom, and that weights and rates do."""

import keras
import numpy as np
import pytest

import keratune as kt
from keratune import algorithms
from keratune.configurations import CONTINUES, searched
from keratune.objectives import Objective
from keratune.parameters import Choice, Float
from keratune.population import EPOCHS, GENERATION, INITIAL_EPOCH, MEMBER, Population

RNG = np.random.default_rng(0)
X = RNG.normal(size=(96, 4)).astype("float32")
Y = (X[:, :1] * X[:, 1:2]).astype("float32")


def build(hp):
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(hp.Choice("units", [4, 8]), activation="relu"),
            keras.layers.Dense(1),
        ]
    )
    rate = hp.Float("rate", 1e-4, 1e-1, sampling="log")
    model.compile(keras.optimizers.Adam(rate), loss="mse")
    return model


@pytest.fixture(scope="module")
def searched_tuner(tmp_path_factory):
    rates = []

    class Watch(keras.callbacks.Callback):
        def __deepcopy__(self, memo):
            return self

        def on_epoch_begin(self, epoch, logs=None):
            rates.append((epoch, float(self.model.optimizer.learning_rate)))

    tuner = kt.PopulationBasedTraining(
        build,
        "val_loss",
        population=4,
        max_epochs=6,
        interval=2,
        seed=0,
        directory=tmp_path_factory.mktemp("runs"),
        project_name="population",
    )
    fit = {"validation_split": 0.25, "batch_size": 32, "verbose": 0}
    tuner.search(X, Y, callbacks=[Watch()], **fit)
    return tuner, rates


def test_every_member_trains_all_its_epochs_and_no_epoch_twice(searched_tuner):
    tuner, _ = searched_tuner
    trials = tuner.history.trials
    assert len(trials) == 4 * 3
    for record in trials:
        first, last = record.values[INITIAL_EPOCH], record.values[EPOCHS]
        assert list(record.curves[0]) == list(range(first + 1, last + 1))
    assert sorted(r.values[MEMBER] for r in trials if r.values[GENERATION] == 2) == [0, 1, 2, 3]


def test_the_worst_member_goes_on_from_the_best_with_another_rate_and_the_same_shape(
    searched_tuner,
):
    tuner, rates = searched_tuner
    history = tuner.history
    first = [r for r in history.trials if r.values[GENERATION] == 0]
    best, worst = min(first, key=lambda r: r.score), max(first, key=lambda r: r.score)
    heir = next(
        r
        for r in history.trials
        if r.values[GENERATION] == 1 and r.values[MEMBER] == worst.values[MEMBER]
    )
    assert heir.values[CONTINUES] == best.trial_id
    assert heir.values["units"] == best.values["units"]
    assert heir.values["rate"] != best.values["rate"]
    assert heir.score < worst.score
    trained = [rate for epoch, rate in rates if epoch == 2]
    assert any(rate == pytest.approx(heir.values["rate"], rel=1e-5) for rate in trained)


def test_the_others_go_on_as_they_were(searched_tuner):
    history = searched_tuner[0].history
    for record in history.trials:
        if CONTINUES in record.values:
            parent = history[history.number_of(record.values[CONTINUES])]
            if parent.values[MEMBER] == record.values[MEMBER]:
                assert searched(parent.values) == searched(record.values)


def test_no_state_is_left_behind(searched_tuner):
    tuner, _ = searched_tuner
    from pathlib import Path

    assert not list(Path(tuner.project_dir).glob("trial_*/final*.npz"))
    assert tuner.get_best_models()[0].count_params() > 0


def test_a_failed_member_goes_on_from_one_of_the_best():
    from keratune.storage.memory import MemoryStorage
    from keratune.study import Study

    study = Study.open(
        MemoryStorage(), Objective("loss", "min"), algorithms.create("random"), seed=0
    )
    study.declare([Float("rate", 0.1, 1.0)])
    population = Population(4, 4, 2)
    for member in range(4):
        step = population.step(study.history, RNG)
        values = {"rate": 0.2 + 0.1 * member, **population.schedule(study.history, step)}
        trial = study.ask("me", lambda number, values=values: values)
        if member == 0:
            study.fail(trial.number, "error", "diverged")
        else:
            study.tell(trial.number, {"loss": float(member)})
    step = population.step(study.history, RNG)
    assert (step.member, step.generation, step.parent, step.explores) == (0, 1, 1, True)


def test_only_numbers_with_a_fraction_change_unless_others_are_named():
    values = {"rate": 0.5, "kind": "a"}
    space = [Float("rate", 0.1, 1.0), Choice("kind", ["a", "b"])]
    for explored, changing in ((None, {"rate"}), (["kind"], {"kind"})):
        population = Population(4, 10, explored=explored)
        assert {p.name for p in space if population._may_change(p)} == changing
    assert values["kind"] == "a"


@pytest.mark.parametrize(
    "arguments", [{"size": 3}, {"max_epochs": 0}, {"interval": 0}], ids=["size", "epochs", "every"]
)
def test_bad_arguments_are_refused_with_what_was_received(arguments):
    with pytest.raises(ValueError, match="Received"):
        Population(**arguments)
