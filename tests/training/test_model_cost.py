"""What models cost, compared with counts made by hand and with what the backends know."""

import keras
import numpy as np
import pytest
from keras import layers
from keras_training import on_jax

from keratune.training import model_cost
from keratune.training.keras_state import preserved_global_state
from keratune.training.model_cost import measure


@pytest.fixture(autouse=True)
def settings_of_other_tests():
    with preserved_global_state():
        yield


def chain(*parts):
    return keras.Sequential(list(parts))


def attention():
    sequence = keras.Input((20, 32))
    return keras.Model(sequence, layers.MultiHeadAttention(4, 8)(sequence, sequence))


# Multiply-adds by hand: (results) x (terms of each).
BY_HAND = {
    "dense": (lambda: chain(keras.Input((100,)), layers.Dense(10)), 10 * 100),
    "dense_on_a_sequence": (lambda: chain(keras.Input((7, 100)), layers.Dense(10)), 7 * 10 * 100),
    "conv": (lambda: chain(keras.Input((32, 32, 3)), layers.Conv2D(8, 5)), 28 * 28 * 8 * 75),
    "conv_with_strides_and_groups": (
        lambda: chain(keras.Input((8, 8, 4)), layers.Conv2D(6, 3, strides=2, groups=2)),
        3 * 3 * 6 * 18,
    ),
    "conv_dilated": (
        lambda: chain(keras.Input((50, 2)), layers.Conv1D(4, 3, dilation_rate=2)),
        46 * 4 * 6,
    ),
    "depthwise": (
        lambda: chain(keras.Input((8, 8, 4)), layers.DepthwiseConv2D(3, depth_multiplier=2)),
        6 * 6 * 8 * 9,
    ),
    "separable": (
        lambda: chain(keras.Input((8, 8, 4)), layers.SeparableConv2D(5, 3)),
        6 * 6 * 4 * 9 + 6 * 6 * 5 * 4,
    ),
    "transposed": (
        lambda: chain(
            keras.Input((8, 8, 4)), layers.Conv2DTranspose(5, 3, strides=2, padding="same")
        ),
        8 * 8 * 4 * 5 * 9,
    ),
    "three_dimensions": (
        lambda: chain(keras.Input((4, 4, 4, 2)), layers.Conv3D(3, 2)),
        27 * 3 * 16,
    ),
    "lstm": (lambda: chain(keras.Input((50, 16)), layers.LSTM(8)), 50 * 32 * (16 + 8)),
    "gru": (
        lambda: chain(keras.Input((50, 16)), layers.Bidirectional(layers.GRU(8))),
        2 * 50 * 24 * (16 + 8),
    ),
    "attention": (attention, 4 * 20 * 32 * 32 + 2 * 4 * 20 * 20 * 8),
    "nothing_that_multiplies": (
        lambda: chain(keras.Input((10,)), layers.Embedding(5, 3), layers.Flatten()),
        0,
    ),
}


@pytest.mark.backends
@pytest.mark.parametrize("name", BY_HAND)
def test_operations_are_twice_the_multiply_adds_counted_by_hand(name):
    build, multiply_adds = BY_HAND[name]
    assert measure(build(), "flops") == 2 * multiply_adds


class Twice(keras.layers.Layer):
    """A layer of the user's own, which no table knows."""

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], shape[-1]))

    def call(self, x):
        return keras.ops.einsum("...i,ij->...j", keras.ops.matmul(x, self.kernel), self.kernel)


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.inner = chain(layers.Dense(6), Twice())

    def call(self, x):
        return self.inner(x)


@pytest.mark.backends
def test_the_users_own_layers_and_subclassed_models_are_counted():
    model = Subclassed()
    assert measure(model, "flops", inputs=(None, 5, 4)) == 2 * 5 * (4 * 6 + 2 * 6 * 6)
    assert measure(model, "params") == 4 * 6 + 6 + 36
    assert measure(model, "flops") == 2 * 5 * (4 * 6 + 2 * 6 * 6)  # it remembers its shape


@pytest.mark.slow
def test_the_operations_of_well_known_networks_are_those_of_the_papers():
    # He et al. 2016 give 3.8e9 multiply-adds, Sandler et al. 2018 3.0e8.
    resnet = keras.applications.ResNet50(weights=None)
    assert measure(resnet, "flops") == pytest.approx(2 * 3.8e9, rel=0.03)
    mobile = keras.applications.MobileNetV2(weights=None)
    assert measure(mobile, "flops") == pytest.approx(2 * 3.0e8, rel=0.03)


@on_jax
def test_operations_are_close_to_what_xla_counts_for_a_convolution_network():
    import jax

    model = chain(
        keras.Input((32, 32, 3)),
        layers.Conv2D(32, 3, padding="valid", activation="relu"),
        layers.Conv2D(64, 3, padding="valid", activation="relu"),
        layers.GlobalAveragePooling2D(),
        layers.Dense(10),
    )
    forward = jax.jit(lambda x: model(x, training=False))
    analysis = forward.lower(jax.ShapeDtypeStruct((1, 32, 32, 3), "float32")).cost_analysis()
    assert measure(model, "flops") == pytest.approx(analysis["flops"], rel=0.03)


@on_jax
def test_the_dearest_branch_counts_and_an_unbounded_loop_once():
    class Branches(keras.layers.Layer):
        def call(self, x):
            product = lambda: keras.ops.matmul(x, keras.ops.transpose(x))  # noqa: E731
            either = keras.ops.cond(keras.ops.sum(x) > 0, product, lambda: x @ x.T @ x @ x.T)
            return keras.ops.while_loop(
                lambda y: keras.ops.sum(y) < 9, lambda y: (y @ y,), (either,)
            )

    model = chain(keras.Input(batch_shape=(2, 3)), Branches())
    wide, square = 2 * (2 * 2 * 3), 2 * (2 * 2 * 2)
    assert measure(model, "flops") == (3 * wide + square) / 2


@pytest.mark.backends
def test_parameters_are_all_weights_and_need_no_trace(monkeypatch):
    monkeypatch.setattr(model_cost, "_counter", lambda: pytest.fail("a trace"))
    model = chain(
        keras.Input((4,)), layers.Dense(3), layers.BatchNormalization(), layers.Dropout(0.5)
    )
    assert measure(model, "params") == 4 * 3 + 3 + 4 * 3


@pytest.mark.parametrize(
    ("optimizer", "slots"),
    [
        (None, 0),
        ("sgd", 0),
        (keras.optimizers.SGD(momentum=0.9), 1),
        ("rmsprop", 1),
        ("adam", 2),
        (keras.optimizers.Adam(amsgrad=True, use_ema=True), 4),
    ],
)
def test_memory_is_the_stated_sum(optimizer, slots):
    model = chain(keras.Input((10,)), layers.Dense(6), layers.BatchNormalization())
    if optimizer is not None:
        model.compile(optimizer, "mse")
    trainable, others = 10 * 6 + 6 + 12, 12
    activations = 8 * (10 + 2.5 * 6)
    expected = 4 * (2 * trainable + others + slots * trainable + activations)
    assert measure(model, "memory", batch_size=8) == expected


def test_memory_counts_an_optimizer_that_is_built_as_it_is():
    model = chain(keras.Input((10,)), layers.Dense(6))
    model.compile("adam", "mse")
    before = measure(model, "memory")
    model.optimizer.build(model.trainable_variables)
    assert measure(model, "memory") == pytest.approx(before, abs=16)  # step counter, learning rate


def test_memory_grows_with_the_batch_and_with_the_square_of_an_attended_sequence():
    def size(length, batch):
        sequence = keras.Input((length, 8))
        model = keras.Model(
            sequence, layers.MultiHeadAttention(2, 4, dropout=0.1)(sequence, sequence)
        )
        return measure(model, "memory", batch) - measure(model, "memory", 1)

    assert size(16, 9) == pytest.approx(2 * size(16, 5))
    assert size(512, 2) / size(128, 2) > 10


@on_jax
def test_memory_is_within_a_factor_of_two_of_what_xla_plans():
    import jax

    model = chain(
        keras.Input((32, 32, 3)),
        layers.Conv2D(16, 3, padding="same"),
        layers.BatchNormalization(),
        layers.ReLU(),
        layers.Conv2D(16, 3, padding="same", activation="relu"),
        layers.GlobalAveragePooling2D(),
        layers.Dense(10),
    )
    abstract = lambda v: jax.ShapeDtypeStruct(v.shape, v.dtype)  # noqa: E731
    frozen = [abstract(v) for v in model.non_trainable_variables]
    trainable = [abstract(v) for v in model.trainable_variables]
    batch = jax.ShapeDtypeStruct((64, 32, 32, 3), "float32")

    def loss(trainable, frozen, x):
        result, frozen = model.stateless_call(trainable, frozen, x, training=True)
        return (result**2).sum(), frozen

    gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))
    plan = gradient.lower(trainable, frozen, batch).compile().memory_analysis()
    planned = plan.temp_size_in_bytes + plan.argument_size_in_bytes + plan.output_size_in_bytes
    assert 0.5 < measure(model, "memory", 64) / planned < 2.0


@pytest.mark.backends
def test_latency_is_the_time_of_a_call_and_grows_with_the_work():
    small = chain(keras.Input((16,)), layers.Dense(16))
    large = chain(keras.Input((512,)), *[layers.Dense(2048) for _ in range(4)])
    assert 0 < measure(small, "latency", 1) < measure(large, "latency", 256) < 10


def test_inputs_may_be_several_and_of_any_kind():
    words, numbers = (
        keras.Input((7,), dtype="int32", name="words"),
        keras.Input((3,), name="numbers"),
    )
    joined = layers.Concatenate()([layers.Flatten()(layers.Embedding(9, 2)(words)), numbers])
    model = keras.Model({"words": words, "numbers": numbers}, layers.Dense(4)(joined))
    given = {"words": np.zeros((100, 7), "int32"), "numbers": np.zeros((100, 3))}
    assert measure(model, "flops") == measure(model, "flops", inputs=given) == 2 * 17 * 4
    assert measure(model, "latency", 4) > 0


def test_a_fixed_batch_is_counted_by_sample():
    model = chain(keras.Input(batch_shape=(5, 6, 2)), layers.LSTM(3, stateful=True))
    assert measure(model, "flops") == 2 * 6 * 12 * (2 + 3)


def test_a_half_precision_model_needs_less_memory():
    def build(policy):
        sequence = keras.Input((10, 64))
        return keras.Model(sequence, layers.Dense(64, dtype=policy)(sequence))

    assert measure(build("mixed_bfloat16"), "memory") < 0.75 * measure(build("float32"), "memory")
    assert measure(build("mixed_bfloat16"), "flops") == measure(build("float32"), "flops")


def test_what_depends_on_an_unknown_shape_says_how_to_tell_it():
    model = chain(layers.Dense(3))
    for name in model_cost.COSTS:
        with pytest.raises(ValueError, match="has no input shape yet.*pass `inputs`"):
            measure(model, name)
    assert measure(model, "params", inputs=(None, 4)) == 15
    open_axis = chain(keras.Input((None, 4)), layers.Dense(3))
    assert measure(open_axis, "params") == 15
    with pytest.raises(ValueError, match="leaves an axis of its inputs open"):
        measure(open_axis, "flops")
    assert measure(open_axis, "flops", inputs=np.zeros((1, 10, 4))) == 2 * 10 * 4 * 3


def test_unknown_names_and_empty_batches_are_refused():
    model = chain(keras.Input((4,)), layers.Dense(3))
    with pytest.raises(ValueError, match="one of .*params.*name='size'"):
        measure(model, "size")
    with pytest.raises(ValueError, match="batch_size=0"):
        measure(model, "memory", 0)


@pytest.mark.parametrize("name", ["params", "flops", "memory"])
def test_measuring_leaves_weights_and_random_state_alone(name):
    model = chain(keras.Input((4,)), layers.Dropout(0.5), layers.BatchNormalization())
    before = [np.array(variable) for variable in model.variables]
    measure(model, name)
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(np.array(variable), value)
