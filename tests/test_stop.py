"""What ends a search before its trials are used up, and that it goes on with more."""

import datetime
import time

import keras
import numpy as np
import pytest

import keratune as kt
from keratune.algorithms import create
from keratune.history import Record
from keratune.objectives import Objective
from keratune.parameters import Float
from keratune.storage.memory import MemoryStorage
from keratune.study import Limits, Study, Verdict

X = np.linspace(-1.0, 1.0, 64, dtype="float32").reshape(64, 1)
STOPPED, PAUSED, FAILED = "STOPPED", "PAUSED", "FAILED"


def study_of(*stops, max_trials=100):
    study = Study.open(
        MemoryStorage(),
        Objective("accuracy", "max"),
        create("random"),
        seed=0,
        limits=Limits(max_trials, stops=stops),
    )
    study.declare([Float("x", 0.0, 1.0)])
    return study


def run(study, scores):
    """Run trials of one epoch with these scores; return how many were run."""
    for count, score in enumerate(scores):
        trial = study.ask("me")
        if not isinstance(trial, Record):
            assert trial is Verdict.STOP
            return count
        study.report(trial.number, 1, {"accuracy": score})
        study.tell(trial.number, {"accuracy": score})
    return len(scores)


@pytest.mark.parametrize(
    ("stop", "scores", "trials"),
    [
        (kt.stop.Target(0.9), [0.1, 0.8, 0.9, 0.95], 3),
        (kt.stop.Target(0.9), [0.1, 0.2], 2),
        (kt.stop.Epochs(3), [0.1] * 9, 3),
        (kt.stop.Plateau(3), [0.5, 0.6, 0.6, 0.6, 0.6, 0.9], 5),
        (kt.stop.Plateau(3), [0.6, 0.5, 0.5, 0.7, 0.5, 0.5, 0.5, 0.9], 7),
        (kt.stop.Plateau(2, min_delta=0.1), [0.5, 0.55, 0.56, 0.9], 3),
        (kt.stop.Plateau(3), [0.5, 0.5], 2),
    ],
)
def test_a_search_ends_as_soon_as_it_may(stop, scores, trials):
    study = study_of(stop)
    assert run(study, scores) == trials
    ended = study.limits.reason(study.history)
    assert bool(ended) == (trials < len(scores))


def test_the_first_of_several_ends_it():
    study = study_of(kt.stop.Epochs(9), kt.stop.Target(0.5))
    assert run(study, [0.1, 0.6, 0.1]) == 2
    assert study.limits.reason(study.history) == "the target accuracy 0.5 is reached"


def test_an_epoch_that_reaches_the_target_ends_the_search():
    study = study_of(kt.stop.Target(0.9))
    trial = study.ask("me")
    study.report(trial.number, 1, {"accuracy": 0.95})
    decision = study.decide(trial.number)
    assert decision.action.name == "PAUSE" and "target" in decision.reason


@pytest.mark.parametrize(
    "make",
    [
        lambda: kt.stop.TimeBudget(0),
        lambda: kt.stop.TimeBudget("two hours"),
        lambda: kt.stop.Epochs(0),
        lambda: kt.stop.Plateau(0),
        lambda: kt.stop.Plateau(3, min_delta=-1),
        lambda: kt.stop.Target(float("nan")),
    ],
)
def test_bad_arguments_are_refused_with_what_was_received(make):
    with pytest.raises(ValueError, match="Received"):
        make()


@pytest.mark.parametrize("text", [90, "90", "1.5m", datetime.timedelta(seconds=90)])
def test_a_duration_is_written_in_many_ways(text):
    if text == "90":
        with pytest.raises(ValueError):
            kt.stop.TimeBudget(text)
    else:
        assert kt.stop.TimeBudget(text).seconds == 90.0


# In a search


class Slow(keras.callbacks.Callback):
    """Makes a batch last."""

    def __init__(self, seconds=0.05):
        super().__init__()
        self.seconds = seconds

    def on_train_batch_end(self, batch, logs=None):
        time.sleep(self.seconds)


def build(hp):
    hp.Float("x", 0.0, 1.0)
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    return model


def tuner_of(folder, **kwargs):
    kwargs.setdefault("max_trials", 3)
    return kt.RandomSearch(build, "val_loss", seed=0, directory=folder, project_name="p", **kwargs)


def search(tuner, epochs=3, seconds=0.05):
    began = time.monotonic()
    tuner.search(
        X, X, validation_data=(X, X), epochs=epochs, batch_size=8, verbose=0,
        callbacks=[Slow(seconds)],
    )  # fmt: skip
    return time.monotonic() - began


def test_a_time_budget_ends_an_epoch_and_a_larger_one_goes_on(tmp_path):
    first = tuner_of(tmp_path, max_trials=1)
    search(first, epochs=1, seconds=0.0)  # compiles
    tuner = tuner_of(tmp_path, stop=kt.stop.TimeBudget(first.history.seconds + 3.0))
    took = search(tuner, epochs=60, seconds=0.1)  # an epoch takes 0.8 s
    assert took < 3.0 + 1.5
    record = tuner.history[1]
    assert record.status == PAUSED and 1 <= record.trained <= 5
    assert tuner.oracle.get_best_trials(3)[0].score is not None
    again = tuner_of(tmp_path, max_trials=2)
    search(again, epochs=record.trained + 1, seconds=0.0)
    assert again.history[1].status == "COMPLETED"
    assert again.history[1].trained == record.trained + 1


def test_a_trial_that_takes_too_long_counts_with_its_best_epoch(tmp_path):
    tuner = tuner_of(tmp_path, max_trials=1, trial_timeout=8.0)  # compiling takes a part of it
    search(tuner, epochs=1000, seconds=0.01)
    record = tuner.history[0]
    assert record.status == STOPPED and 1 <= record.trained < 1000
    assert record.score == min(m["val_loss"] for m in record.curves[0].values())
    assert "trial_timeout" in record.message
    assert len(tuner.get_best_models(1)) == 1


def test_a_trial_that_is_too_slow_for_one_epoch_has_failed(tmp_path):
    tuner = tuner_of(tmp_path, max_trials=1, trial_timeout=0.5)
    search(tuner, epochs=2, seconds=0.5)
    record = tuner.history[0]
    assert (record.status, record.kind) == (FAILED, "timed_out")


def test_what_is_no_stop_is_refused(tmp_path):
    with pytest.raises(TypeError, match="Received: '2h'"):
        tuner_of(tmp_path, stop=["2h"])
