"""What happens around the epochs of members that train together: callbacks, endings, lanes."""

import gc
import itertools
import weakref

import keras
import numpy as np
import pytest
from vectorized_training import (
    ROWS,
    X,
    Y,
    assert_alike,
    built,
    compiled,
    fitted,
    layers,
    mlp,
    numbers,
    on_jax,
    seeds,
    slim,
    state,
)

from keratune.training.keras_callbacks import Recorder, Resume

families = pytest.importorskip("keratune.vectorized.families")  # needs JAX
fleet = pytest.importorskip("keratune.vectorized.fleet")
Member = pytest.importorskip("keratune.vectorized.members").Member

pytestmark = on_jax

VALIDATED = {**ROWS, "validation_split": 0.3}


def member(seed, build=slim, callbacks=(), **kwargs):
    given = {**VALIDATED, **kwargs, "callbacks": [seeds(seed), *callbacks]}
    return Member(built(build, seed), (X, Y), given, tag=seed)


def trained(*made, width=8, programs=None, **kwargs):
    """Train members to their ends; return them by tag."""
    waiting = iter(made)
    programs = families.Programs() if programs is None else programs
    ended = list(fleet.train(lambda: next(waiting, None), programs, width, **kwargs))
    assert len(ended) == len(made)
    return {m.tag: m for m in ended}


def compilations(programs):
    return [v.program.compiled for f in programs._families.values() for v in f.variants]


def callbacks_of(kind, folder):
    """A callback of each kind, sharp enough to act within ten epochs."""
    made = keras.callbacks
    return {
        "early stopping": lambda: made.EarlyStopping(
            patience=1, min_delta=0.02, restore_best_weights=True
        ),
        "plateau": lambda: made.ReduceLROnPlateau(patience=1, min_delta=0.05, factor=0.3),
        "scheduler": lambda: made.LearningRateScheduler(lambda epoch, rate: rate * 0.7),
        "own": lambda: Watching(),
    }[kind]()


class Watching(keras.callbacks.Callback):
    """A user's callback, which reads the weights behind each epoch and halves them once."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def on_epoch_end(self, epoch, logs=None):
        self.seen.append(float(np.sum(self._model.get_weights()[0])))
        logs["halved"] = float(epoch == 4)
        if epoch == 4:
            self._model.set_weights([0.5 * w for w in self._model.get_weights()])


@pytest.mark.parametrize("kind", ["early stopping", "plateau", "scheduler", "own"])
def test_callbacks_act_on_each_member(kind, tmp_path):
    ended = trained(*(member(s, mlp, [callbacks_of(kind, tmp_path)]) for s in (1, 2, 3)))
    for seed in (1, 2):
        alone = fitted(mlp, seed, (X, Y), VALIDATED, [callbacks_of(kind, tmp_path)])
        assert_alike(ended[seed], *alone)


def test_files_of_callbacks_are_those_of_fit(tmp_path):
    pytest.importorskip("tensorflow")  # Keras's TensorBoard callback writes by it

    def writers(name):
        return [
            keras.callbacks.CSVLogger(tmp_path / f"{name}.csv"),
            keras.callbacks.ModelCheckpoint(
                tmp_path / f"{name}.weights.h5", save_weights_only=True, save_best_only=True
            ),
            keras.callbacks.TensorBoard(tmp_path / name, write_graph=False),
        ]

    ended = trained(*(member(s, callbacks=writers(f"together{s}")) for s in (1, 2)))
    assert ended[1].error is None
    history, model = fitted(slim, 1, (X, Y), VALIDATED, writers("alone1"))
    one, other = (
        np.genfromtxt(tmp_path / f"{n}1.csv", delimiter=",") for n in ("together", "alone")
    )
    np.testing.assert_allclose(one[1:], other[1:], rtol=1e-4)
    model.load_weights(tmp_path / "alone1.weights.h5")
    expected = state(model)
    model.load_weights(tmp_path / "together1.weights.h5")
    for mine, theirs in zip(state(model), expected, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-6)
    assert list((tmp_path / "together1").rglob("events.out*"))


def diverging(learning_rate, rate, l2, other):
    model = slim(learning_rate, rate, l2, other)
    model.optimizer.learning_rate = float("inf") if rate > 0.4 else learning_rate
    return model


def test_a_member_that_is_nan_changes_no_bit_of_the_others():
    bad = next(seed for seed in itertools.count() if numbers(seed)["rate"] > 0.4)
    good = [seed for seed in range(bad + 8) if numbers(seed)["rate"] < 0.4][:3]
    together = trained(*(member(seed, diverging) for seed in [good[0], bad, *good[1:]]), width=4)
    apart = trained(*(member(seed, diverging) for seed in [good[0], good[0], *good[1:]]), width=4)
    assert np.isnan(together[bad].history.history["loss"][-1])
    for seed in good:
        assert together[seed].history.history == apart[seed].history.history
        for mine, other in zip(state(together[seed].model), state(apart[seed].model), strict=True):
            np.testing.assert_array_equal(mine, other)


def test_terminate_on_nan_ends_a_member_where_fit_ends_it():
    bad = next(seed for seed in itertools.count() if numbers(seed)["rate"] > 0.4)
    stop = keras.callbacks.TerminateOnNaN
    ended = trained(*(member(seed, diverging, [stop()]) for seed in (bad, bad + 1)))
    history, model = fitted(diverging, bad, (X, Y), VALIDATED, [stop()])
    assert len(history.epoch) == 1
    assert_alike(ended[bad], history, model)


def test_lanes_are_filled_again_without_compiling():
    programs = families.Programs()
    made = [member(seed, epochs=2 + seed % 3) for seed in range(9)]
    ended = trained(*made, width=2, programs=programs)
    assert [len(ended[seed].history.epoch) for seed in range(9)] == [2 + s % 3 for s in range(9)]
    assert compilations(programs) == [1]
    assert_alike(ended[8], *fitted(slim, 8, (X, Y), {**VALIDATED, "epochs": 4}))


def test_a_later_fleet_uses_the_programs_of_an_earlier_one():
    programs = families.Programs()
    for start in (0, 2):
        trained(*(member(seed) for seed in range(start, start + 2)), programs=programs)
    assert compilations(programs) == [1]


def test_members_one_by_one_share_a_program_from_the_first_on():
    programs = families.Programs()
    ended = trained(*(member(seed, mlp) for seed in (1, 2)), width=1, programs=programs)
    assert compilations(programs) == [1]
    assert_alike(ended[2], *fitted(mlp, 2, (X, Y), VALIDATED))


def test_no_more_members_are_drawn_than_there_are_lanes():
    drawn, most = [], []

    def source():
        if len(drawn) == 6:
            return None
        drawn.append(member(len(drawn), epochs=1 + len(drawn) % 2))
        most.append(len(drawn) - ended)
        return drawn[-1]

    ended = 0
    for _ in fleet.train(source, families.Programs(), width=3):
        ended += 1
    assert (ended, max(most)) == (6, 3)


def test_the_last_members_move_to_fewer_lanes():
    programs = families.Programs()
    made = [member(seed, epochs=60 if seed == 5 else 1) for seed in range(8)]
    ended = trained(*made, programs=programs)
    assert compilations(programs) == [2]  # eight lanes, then one
    assert_alike(ended[5], *fitted(slim, 5, (X, Y), {**VALIDATED, "epochs": 60}), tolerance=1e-3)


def test_structures_train_apart_and_each_compiles_once():
    def sized(units):
        def build(learning_rate, rate, l2, other):
            model = keras.Sequential([layers.Input((6,)), layers.Dense(units), layers.Dense(1)])
            model.compile(keras.optimizers.SGD(learning_rate), "mse")
            return model

        return build

    programs = families.Programs()
    made = [member(seed, sized(1 + seed % 2), epochs=1) for seed in range(8)]
    ended = trained(*made, programs=programs)
    assert {len(m.history.epoch) for m in ended.values()} == {1}
    assert compilations(programs) == [1, 1]


def test_what_is_compared_with_zero_splits_programs():
    def penalised(learning_rate, rate, l2, other):
        penalty = keras.regularizers.L1L2(l2 if rate > 0.3 else 0.0, l2)
        dense = layers.Dense(1, kernel_regularizer=penalty)
        model = keras.Sequential([layers.Input((6,)), dense])
        model.compile(keras.optimizers.SGD(learning_rate), "mse")
        return model

    programs = families.Programs()
    with_penalty = [s for s in range(9) if numbers(s)["rate"] > 0.3][:2]
    without = [s for s in range(9) if numbers(s)["rate"] < 0.3][:2]
    ended = trained(*(member(s, penalised) for s in with_penalty + without), programs=programs)
    assert compilations(programs) == [1, 1]
    for seed in (with_penalty[1], without[1]):
        assert_alike(ended[seed], *fitted(penalised, seed, (X, Y), VALIDATED))


def test_a_number_that_cannot_be_lifted_splits_programs(caplog):
    def powered(learning_rate, rate, l2, other):
        exponent = round(rate * 4) / 2  # few values
        model = keras.Sequential([layers.Input((6,)), Powered(exponent), layers.Dense(1)])
        model.compile(keras.optimizers.SGD(learning_rate / 100), "mse")
        return model

    programs = families.Programs()
    with caplog.at_level("DEBUG", logger="keratune"):
        ended = trained(*(member(s, powered) for s in range(4)), programs=programs)
    exponents = {round(numbers(s)["rate"] * 4) / 2 for s in range(4)}
    assert len(compilations(programs)) == len(exponents) > 1
    assert "exponent is compiled in as a constant" in caplog.text
    for seed in range(2):
        assert_alike(ended[seed], *fitted(powered, seed, (X, Y), VALIDATED))


class Powered(layers.Layer):
    """Needs its number as a number."""

    def __init__(self, exponent, **kwargs):
        super().__init__(**kwargs)
        self.exponent = exponent

    def call(self, inputs):
        return keras.ops.abs(inputs) ** float(self.exponent)


def test_members_with_data_of_their_own_train_together():
    programs = families.Programs()
    weights = {1: {0: 1.0, 1: 2.0}, 2: {0: 3.0, 1: 0.5}, 3: {0: 3.0, 1: 0.5}}
    ended = trained(*(member(s, class_weight=weights[s]) for s in (1, 2, 3)), programs=programs)
    assert compilations(programs) == [1]
    for seed in (1, 3):
        kwargs = {**VALIDATED, "class_weight": weights[seed]}
        assert_alike(ended[seed], *fitted(slim, seed, (X, Y), kwargs))


def test_a_group_that_was_killed_goes_on_behind_its_last_epoch(tmp_path):
    def resumable(seed, curve, *more):
        recorder = Recorder(lambda step, metrics: curve.update({step: metrics}))
        resume = Resume(tmp_path / f"{seed}.npz", [0, seed], more, recorder, lambda: curve)
        return member(seed, mlp, [*more, recorder, resume])

    curves = {seed: {} for seed in (1, 2, 3)}
    made = [resumable(s, curves[s], *([Kill()] if s == 3 else [])) for s in (1, 2, 3)]
    with pytest.raises(KeyboardInterrupt):
        trained(*made)
    assert [len(curve) for curve in curves.values()] == [5, 5, 4]
    ended = trained(*(resumable(seed, curves[seed]) for seed in (1, 2, 3)))
    for seed in (1, 3):
        assert_alike(ended[seed], *fitted(mlp, seed, (X, Y), VALIDATED))


class Kill(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        if epoch == 4:
            raise KeyboardInterrupt


def test_what_jax_cannot_do_for_many_models_is_trained_the_ordinary_way():
    import jax

    def on_host(y, p):
        form = jax.ShapeDtypeStruct(y.shape, "float32")
        weights = jax.pure_callback(lambda x: np.ones(x.shape, "float32"), form, y)
        return keras.ops.mean(weights[:, None] * (y[:, None] - p) ** 2)

    def called_back(learning_rate, rate, l2, other):
        model = keras.Sequential([layers.Input((6,)), layers.Dense(1)])
        return compiled(model, keras.optimizers.SGD(learning_rate), on_host, metrics=[])

    ended = trained(member(1, called_back))
    assert "its steps cannot be traced" in ended[1].obstacle


class Failing(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        if epoch == 2:
            raise ValueError("a member's own mistake")


def test_a_failing_callback_ends_its_member_alone():
    ended = trained(member(1), member(2, callbacks=[Failing()]), member(3))
    assert str(ended[2].error) == "a member's own mistake"
    assert ended[2].history is None
    assert_alike(ended[3], *fitted(slim, 3, (X, Y), VALIDATED))


def test_members_wait_where_memory_is_short_and_none_is_lost():
    made = [member(seed) for seed in range(4)]
    asked = iter([0.0, 0.0])  # no room for four lanes, nor for two; then there is
    ended = trained(*made, memory=lambda: next(asked, float("inf")))
    for seed in range(4):
        assert len(ended[seed].history.epoch) == ROWS["epochs"]
    assert_alike(ended[3], *fitted(slim, 3, (X, Y), VALIDATED))


def test_models_that_train_the_same_variables_train_one_after_the_other():
    shared = layers.Dense(3)

    def tied(learning_rate, rate, l2, other):
        model = keras.Sequential([layers.Input((6,)), shared, layers.Dense(1)])
        model.compile(keras.optimizers.SGD(learning_rate), "mse")
        return model

    ended = trained(member(1, tied), member(2, tied), member(3))
    assert "variables that another model trains too" in ended[2].obstacle
    assert ended[1].history is not None
    assert ended[3].history is not None


def test_the_log_says_what_parts_two_programs(caplog):
    def sized(learning_rate, rate, l2, other):
        units = round(rate * 100)
        model = keras.Sequential([layers.Input((6,)), layers.Dense(units), layers.Dense(1)])
        model.compile(keras.optimizers.SGD(learning_rate), "mse")
        return model

    with caplog.at_level("DEBUG", logger="keratune"):
        trained(member(1, sized, epochs=1), member(2, sized, epochs=1))
    sizes = [str(round(numbers(seed)["rate"] * 100)) for seed in (1, 2)]
    (record,) = [r.getMessage() for r in caplog.records if "Another program" in r.getMessage()]
    assert all(size in record for size in sizes)


def test_kept_programs_keep_no_model_and_no_data_alive():
    programs, x = families.Programs(), X.copy()
    kwargs = {"epochs": 1, "validation_data": (x[:9], Y[:9])}
    ended = trained(*(Member(built(mlp, s), (x, Y), kwargs, s) for s in (1, 2)), programs=programs)
    alive = [weakref.ref(m.model) for m in ended.values()] + [weakref.ref(x)]
    del ended, x, kwargs
    gc.collect()
    assert [ref() is None for ref in alive] == [True] * 3


class EveryBatch(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        self.model.stop_training = False


def eager(**kwargs):
    model = slim(**kwargs)
    model.compile("sgd", "mse", run_eagerly=True)
    return model


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: member(1, callbacks=[EveryBatch()]), "EveryBatch has to see every batch"),
        (lambda: member(1, steps_per_epoch=2), "`steps_per_epoch` is set"),
        (lambda: member(1, eager), "not to be compiled by XLA"),
        (
            lambda: Member(built(slim, 1), (iter([(X, Y)]),), {"epochs": 1}, tag=1),
            "the data are no arrays",
        ),
    ],
)
def test_what_must_be_trained_the_ordinary_way_says_why(make, reason):
    ended = trained(make())
    assert reason in ended[1].obstacle
    assert ended[1].history is None
