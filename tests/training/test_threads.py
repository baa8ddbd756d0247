"""The number of threads of a training step: chosen by what is measured, at next to no cost."""

import random

import keras
import numpy as np
import pytest

from keratune.training import keras_threads, threads
from keratune.training.keras_threads import StepThreads
from keratune.training.threads import SHARE, ThreadChoice, torch_on_cpu

on_torch = pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="only PyTorch's threads can be set at run time"
)


# The choice


def train(choice, seconds_of, steps, noise=0.1, seed=0):
    """Take steps that last `seconds_of(on_all)`; return the seconds and the arm of each."""
    rng = random.Random(seed)
    taken = []
    for _ in range(steps):
        on_all = choice.next()
        seconds = seconds_of(on_all) * rng.lognormvariate(0, noise)
        choice.took(on_all, seconds)
        taken.append((seconds, on_all))
    return taken


def entered(size=1000.0):
    choice = ThreadChoice()
    choice.enter(size)
    return choice


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(("one", "of_all", "is_all"), [(1.0, 0.6, True), (1.0, 1.1, False)])
def test_the_quicker_arm_is_chosen_though_steps_vary(one, of_all, is_all, seed):
    choice = entered()
    train(choice, lambda on_all: of_all if on_all else one, 200, seed=seed)
    assert choice.on_all == is_all


def test_one_thread_is_chosen_where_both_are_as_quick():
    choice = entered()
    train(choice, lambda on_all: 1.0, 50, noise=0)
    assert not choice.on_all


@pytest.mark.parametrize(("one", "of_all"), [(1.0, 60.0), (60.0, 1.0), (1.0, 1.5), (1.0, 0.7)])
def test_a_long_search_loses_less_than_two_hundredths(one, of_all):
    choice = ThreadChoice()
    taken = []
    for _ in range(40):  # trials of one size
        choice.enter(1000.0)
        taken += train(choice, lambda on_all: of_all if on_all else one, 300, noise=0.05)
    best = min(one, of_all) * len(taken)
    assert sum(seconds for seconds, _ in taken) < 1.02 * best


def test_a_hopeless_arm_gets_one_step():
    taken = train(entered(), lambda on_all: 60.0 if on_all else 1.0, 100)
    assert sum(on_all for _, on_all in taken) == 1


def test_all_threads_are_left_within_few_steps_when_the_machine_gets_busy():
    choice = entered()
    train(choice, lambda on_all: 0.5 if on_all else 1.0, 100)
    assert choice.on_all
    taken = train(choice, lambda on_all: 100.0 if on_all else 1.0, 100)
    assert sum(on_all for _, on_all in taken) <= 5
    assert not choice.on_all


def test_all_threads_are_found_again_when_the_machine_gets_idle():
    choice = entered()
    train(choice, lambda on_all: 100.0 if on_all else 1.0, 100)
    train(choice, lambda on_all: 0.5 if on_all else 1.0, 3 * int(100 / SHARE))
    assert choice.on_all


def test_each_size_of_model_is_measured_by_itself():
    choice = ThreadChoice()
    for _ in range(5):
        for size, of_all in ((1e3, 3.0), (1e8, 0.4)):
            choice.enter(size)
            train(choice, lambda on_all, s=of_all: s if on_all else 1.0, 400)
            assert choice.on_all == (of_all < 1)


def test_a_size_not_measured_yet_begins_as_the_nearest_one_does():
    choice = entered(1e7)
    train(choice, lambda on_all: 0.4 if on_all else 1.0, 50)
    choice.enter(1e9)
    assert choice.on_all
    assert choice.next()


# PyTorch's threads


class Clock:
    """Time that passes at each step, by the number of threads that PyTorch has."""

    def __init__(self, one, of_all):
        self.now, self.seconds = 0.0, {True: one, False: of_all}
        self.seen = []

    def __call__(self):
        import torch

        self.seen.append(torch.get_num_threads())
        self.now += self.seconds[self.seen[-1] == 1] / 2
        return self.now


@pytest.fixture
def two_threads(monkeypatch):
    """PyTorch as it comes on a machine of two cores."""
    torch = pytest.importorskip("torch")
    for name in threads.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(threads, "_usual_numbers", lambda: {2})
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield torch
    torch.set_num_threads(before)


X = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
Y = X.sum(axis=1)


def fitted(callback, *others, epochs=2):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(3)])
    model.add(keras.layers.Dense(1))
    model.compile("adam", "mse")
    history = model.fit(X, Y, batch_size=4, epochs=epochs, callbacks=[callback, *others], verbose=0)
    return model, history.history["loss"]


@on_torch
@pytest.mark.parametrize(("one", "of_all", "expected"), [(1.0, 9.0, 1), (9.0, 1.0, 2)])
def test_a_training_goes_on_with_the_quicker_number(two_threads, one, of_all, expected):
    clock = Clock(one, of_all)
    fitted(StepThreads(ThreadChoice(), clock))
    assert set(clock.seen) == {1, 2}
    assert clock.seen[10:].count(expected) >= len(clock.seen[10:]) - 4


@on_torch
def test_the_users_number_and_step_are_back_behind_fit(two_threads):
    callback = StepThreads(ThreadChoice(), Clock(1.0, 9.0))
    model, _ = fitted(callback)
    assert two_threads.get_num_threads() == 2
    assert model.train_function != callback._timed


@on_torch
def test_release_puts_back_what_a_training_that_raised_has_left(two_threads):
    class Raises(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise RuntimeError

    callback = StepThreads(ThreadChoice(), Clock(1.0, 9.0))
    with pytest.raises(RuntimeError):
        fitted(callback, Raises())
    assert two_threads.get_num_threads() == 1
    callback.release()
    assert two_threads.get_num_threads() == 2
    assert callback.model.train_function != callback._timed


@on_torch
def test_a_number_that_the_user_sets_while_training_stays(two_threads):
    class Sets(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            two_threads.set_num_threads(5)

    clock = Clock(1.0, 9.0)
    fitted(StepThreads(ThreadChoice(), clock), Sets())
    assert two_threads.get_num_threads() == 5
    assert clock.seen == []


@on_torch
def test_losses_are_the_same_within_float_tolerance(two_threads):
    chosen = fitted(StepThreads(ThreadChoice(), Clock(1.0, 1.0)), epochs=4)[1]
    inherited = fitted(keras.callbacks.Callback(), epochs=4)[1]
    assert np.allclose(chosen, inherited, rtol=1e-5)


@pytest.mark.parametrize("name", threads.VARIABLES)
def test_a_number_set_by_a_variable_is_the_users(two_threads, monkeypatch, name):
    assert torch_on_cpu() is two_threads
    monkeypatch.setenv(name, "2")
    assert torch_on_cpu() is None


def test_a_number_that_is_not_the_machines_is_the_users(two_threads):
    two_threads.set_num_threads(3)
    assert torch_on_cpu() is None


def test_a_single_thread_leaves_nothing_to_choose(two_threads):
    two_threads.set_num_threads(1)
    assert torch_on_cpu() is None


@on_torch
def test_a_compiled_step_keeps_its_number(two_threads):
    callback = StepThreads(ThreadChoice(), Clock(1.0, 9.0))
    callback.set_model(keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(1)]))
    callback.model.compile("adam", "mse", jit_compile=True)
    callback.model.train_function = step = lambda data: {}
    callback.on_train_begin()
    assert callback.model.train_function is step


@pytest.mark.skipif(keras.backend.backend() == "torch", reason="about the other backends")
def test_other_backends_are_left_alone():
    callback = StepThreads(ThreadChoice())
    fitted(callback)
    assert callback._step is None


def test_the_process_shares_what_it_has_measured():
    assert StepThreads().choice is StepThreads().choice is keras_threads._CHOICE
