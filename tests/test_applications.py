"""The ready-made hypermodels beside KerasTuner's, and small ones trained, saved and loaded."""

import functools
import subprocess
import sys

import keras
import numpy as np
import pytest

import keratune as kt
from keratune import applications
from keratune.applications import hyper_efficientnet
from keratune.applications.hyper_image_augment import TRANSFORMS, RandAugment
from keratune.applications.hyper_resnet import _grouped_convolution

IMAGE = (32, 32, 3)
CLASSIFIER = {"input_shape": IMAGE, "classes": 3}
SMALL_XCEPTION = {"num_residual_blocks": 2, "sep_num_filters": 128, "num_dense_layers": 2}
ALL_CHANGED = dict.fromkeys(map("factor_{}".format, TRANSFORMS), 0.2)

# Hypermodel, its arguments, values that differ from the defaults.
BUILDS = [
    ("HyperResNet", CLASSIFIER, {"version": "v1", "optimizer": "sgd", "pooling": "max"}),
    ("HyperResNet", CLASSIFIER, {"version": "v2", "optimizer": "rmsprop"}),
    ("HyperResNet", {"input_shape": IMAGE, "include_top": False}, {"version": "next"}),
    ("HyperXception", CLASSIFIER, {**SMALL_XCEPTION, "kernel_size": 5, "dropout_rate": 0.0}),
    ("HyperXception", CLASSIFIER, {**SMALL_XCEPTION, "dense_use_bn": False, "pooling": "max"}),
    ("HyperXception", CLASSIFIER, {**SMALL_XCEPTION, "activation": "selu", "pooling": "flatten"}),
    ("HyperXception", {"input_shape": IMAGE, "include_top": False}, SMALL_XCEPTION),
    ("HyperEfficientNet", CLASSIFIER, {"pooling": "max", "top_dropout_rate": 0.4}),
    ("HyperImageAugment", {"input_shape": IMAGE}, {}),
    ("HyperImageAugment", {"input_shape": IMAGE, "augment_layers": [0, 4]}, {}),
    ("HyperImageAugment", {"input_shape": IMAGE, "augment_layers": 0}, ALL_CHANGED),
    ("HyperImageAugment", {"input_shape": IMAGE, "rotate": 0, "contrast": [0.1, 0.5]}, {}),
    ("HyperImageAugment", {"input_shape": IMAGE, "translate_x": None, "augment_layers": 2}, {}),
]


def build(hypermodel, values=None, kind=kt.HyperParameters):
    """Build a model at the defaults, a few values aside."""
    keras.utils.clear_session(free_memory=False)
    hp = kind()
    for name, value in (values or {}).items():
        hp.values[name] = value
    return hypermodel.build(hp), hp


def images(number=8, shape=IMAGE):
    return np.random.default_rng(0).random((number, *shape)).astype("float32")


def train(model, epochs=1):
    targets = np.eye(3, dtype="float32")[np.arange(8) % 3]
    return model.fit(images(), targets, batch_size=4, epochs=epochs, verbose=0).history["loss"]


# ------------------------------------------------------------------ beside KerasTuner


def one_layer(input_tensor, **_):
    """Stand for a network of `keras.applications`."""
    outputs = keras.layers.Conv2D(4, 3, strides=8)(input_tensor)
    return keras.Model(keras.utils.get_source_inputs(input_tensor), outputs)


@pytest.fixture
def peer(monkeypatch):
    keras_tuner = pytest.importorskip("keras_tuner")
    from keras_tuner.src.applications import efficientnet

    assert efficientnet.EFFICIENTNET_IMG_SIZE == hyper_efficientnet.EFFICIENTNET_IMG_SIZE
    assert efficientnet.EFFICIENTNET_MODELS == hyper_efficientnet.EFFICIENTNET_MODELS
    for module in (efficientnet, hyper_efficientnet):
        monkeypatch.setitem(module.EFFICIENTNET_MODELS, "B0", one_layer)
    return keras_tuner


def graph(model):
    """Return each layer's class, settings and the names of the layers before it."""
    return [(type(layer).__name__, layer.get_config(), before(layer)) for layer in model.layers]


def before(layer):
    tensors = layer.input if isinstance(layer.input, list) else [layer.input]
    return [tensor._keras_history.operation.name for tensor in tensors]


def output(model):
    return keras.ops.convert_to_numpy(model(images(2)))


def described(hp):
    """Return a space as KerasTuner describes it, which stores booleans as ordered 1 and 0."""
    entries = []
    for parameter in hp.space:
        config = parameter.get_config()
        config["ordered"] = config.get("ordered") and parameter.name != "dense_use_bn"
        entries.append((type(parameter).__name__, config))
    return entries


@pytest.mark.slow
@pytest.mark.parametrize(("name", "arguments", "values"), BUILDS)
def test_space_layers_and_outputs_are_kerastuners(peer, name, arguments, values):
    ours, our_hp = build(getattr(applications, name)(**arguments), values)
    keras.utils.clear_session(free_memory=False)
    their_hp = peer.HyperParameters()
    their_hp.values.update(values)
    theirs = getattr(peer.applications, name)(**arguments).build(their_hp)

    assert described(our_hp) == described(their_hp)
    assert dict(our_hp.values) == dict(their_hp.values)
    assert ours.name == theirs.name
    assert [w.shape for w in ours.get_weights()] == [w.shape for w in theirs.get_weights()]
    if name == "HyperImageAugment":
        assert len(ours.layers) == len(theirs.layers)
    elif values.get("version") == "next":  # theirs sums groups in a layer that cannot be loaded
        theirs.set_weights(ours.get_weights())
        np.testing.assert_allclose(output(ours), output(theirs), atol=1e-5, rtol=1e-5)
    else:
        assert graph(ours) == graph(theirs)
    if arguments.get("classes"):
        assert ours.optimizer.get_config() == theirs.optimizer.get_config()
        assert ours.loss == theirs.loss


def test_a_residual_network_has_as_many_parameters_as_kerastuners():
    hypermodel = applications.HyperResNet(input_shape=(64, 64, 3), classes=3)
    model, hp = build(hypermodel)
    assert hp.values["version"] == "v2"
    assert model.count_params() == 23_570_947


def test_a_trial_that_kerastuner_has_saved_is_loaded(peer, own_folder):
    arguments = {"input_shape": IMAGE, "classes": 3}
    theirs = peer.applications.HyperXception(**arguments).build(peer.HyperParameters())
    theirs.save_weights("checkpoint.weights.h5")
    ours, _ = build(applications.HyperXception(**arguments))
    ours.load_weights("checkpoint.weights.h5")
    for mine, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, other)


# ------------------------------------------------------------------ networks


class Shallow(kt.HyperParameters):
    """Hyperparameters with one block in the residual networks' tunable stages."""

    def Choice(self, name, values, **options):
        return 1 if name.endswith("_depth") else super().Choice(name, values, **options)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "hp", "values"),
    [
        ("HyperXception", kt.HyperParameters, {**SMALL_XCEPTION, "sep_num_filters": 128}),
        ("HyperResNet", Shallow, {"version": "next"}),
    ],
)
def test_a_network_trains_and_comes_back_from_disk(name, hp, values, own_folder):
    model, _ = build(getattr(applications, name)(**CLASSIFIER), values, hp)
    assert np.isfinite(train(model)).all()
    model.save("model.keras")
    same = keras.saving.load_model("model.keras")
    for mine, other in zip(model.get_weights(), same.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, other)
    np.testing.assert_allclose(output(model), output(same), atol=1e-6)


def test_channels_are_convolved_in_32_groups():
    x = keras.Input((6, 6, 64))
    model = keras.Model(x, _grouped_convolution(x, 64, 1, "grouped"))
    [kernel] = model.get_weights()  # (3, 3, channel, channel out of its group)
    grouped = keras.layers.Conv2D(64, 3, groups=32, use_bias=False)
    grouped.build((None, 6, 6, 64))
    by_group = kernel.reshape(3, 3, 32, 2, 2).transpose(0, 1, 3, 2, 4).reshape(3, 3, 2, 64)
    grouped.set_weights([by_group])
    pixels = images(2, (6, 6, 64))
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(model(pixels)),
        keras.ops.convert_to_numpy(grouped(pixels)),
        atol=1e-5,
    )


@pytest.mark.slow
def test_an_efficientnet_learns_behind_an_augmentation_model(monkeypatch):
    from keras.src.applications.efficientnet import EfficientNet

    small = functools.partial(EfficientNet, 0.1, 0.1, 32, name="efficientnetb0")
    monkeypatch.setitem(hyper_efficientnet.EFFICIENTNET_IMG_SIZE, "B0", 32)
    monkeypatch.setitem(hyper_efficientnet.EFFICIENTNET_MODELS, "B0", small)
    augment = applications.HyperImageAugment(input_shape=IMAGE, augment_layers=1)
    hypermodel = applications.HyperEfficientNet(**CLASSIFIER, augmentation_model=augment)
    model, hp = build(hypermodel, {"factor_translate_x": 0.2})
    assert model.layers[1].name == "image_rand_augment"
    assert {"augment_layers", "version", "learning_rate"} <= set(hp.values)
    assert np.isfinite(train(model)).all()


def test_nothing_is_downloaded_unless_it_is_asked_for(monkeypatch):
    asked = []

    def network(**arguments):
        asked.append(arguments["weights"])
        return one_layer(**arguments)

    monkeypatch.setitem(hyper_efficientnet.EFFICIENTNET_MODELS, "B0", network)
    build(applications.HyperEfficientNet(**CLASSIFIER))
    build(applications.HyperEfficientNet(**CLASSIFIER, weights="imagenet"))
    assert asked == [None, "imagenet"]


def test_compiling_an_efficientnet_is_left_to_a_method_that_may_be_overridden(monkeypatch):
    class Mean(applications.HyperEfficientNet):
        def _compile(self, model, hp):
            model.compile(hp.Choice("optimizer", ["adam"]), loss="mse")

    monkeypatch.setitem(hyper_efficientnet.EFFICIENTNET_MODELS, "B0", one_layer)
    model, hp = build(Mean(**CLASSIFIER))
    assert model.loss == "mse" and "learning_rate" not in hp.values


def test_a_network_is_built_on_a_tensor_that_exists():
    pixels = keras.Input(IMAGE)
    hypermodel = applications.HyperXception(
        input_tensor=keras.layers.Rescaling(1 / 255)(pixels), classes=3
    )
    model, _ = build(hypermodel, SMALL_XCEPTION)
    assert model.layers[0].output is pixels
    assert isinstance(model.layers[1], keras.layers.Rescaling)


def test_a_hypermodel_that_is_not_tunable_leaves_the_space_alone():
    hypermodel = applications.HyperImageAugment(input_shape=IMAGE, tunable=False, name="fixed")
    _, hp = build(hypermodel)
    assert hypermodel.name == "fixed" and len(hp.space) == 0


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("HyperResNet", {"input_shape": IMAGE}, "You must specify `classes` when `include_top=Tr"),
        ("HyperXception", {"input_shape": IMAGE}, "You must specify `classes` when `include_top="),
        ("HyperResNet", {"classes": 2}, "You must specify either `input_shape` or `input_tensor`."),
        ("HyperXception", {"classes": 2}, "You must specify either `input_shape` or `input_tens"),
        ("HyperEfficientNet", {"input_shape": IMAGE}, "You must specify `classes`."),
        ("HyperEfficientNet", {"classes": 2}, "You must specify either `input_shape`"),
        ("HyperEfficientNet", {**CLASSIFIER, "augmentation_model": 0}, "augmentation_model should"),
        ("HyperImageAugment", {}, "You must specify either `input_shape` or `input_tensor`."),
    ],
)
def test_what_is_missing_is_said(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        getattr(applications, name)(**arguments)


# ------------------------------------------------------------------ augmentation


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rotate": [0.1, 0.2, 0.3]}, "Length of keyword argument rotate must not exceed 2."),
        ({"rotate": "a"}, "Keyword argument rotate must be int or float, but received a."),
        ({"contrast": ["a", 0.1]}, "Keyword argument contrast must be int or float, but received"),
        ({"augment_layers": 1.5}, "Keyword argument `augment_layers` must be int, but received 1"),
        ({"augment_layers": [1, 2.5]}, "Keyword argument `augment_layers` must be int, but rec"),
    ],
)
def test_a_range_that_is_none_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        applications.HyperImageAugment(input_shape=IMAGE, **arguments)


def test_a_number_is_the_upper_end_of_a_range_and_nothing_switches_a_transform_off():
    hypermodel = applications.HyperImageAugment(
        input_shape=IMAGE, rotate=0.2, translate_x=[0.1, 0.3], translate_y=None, contrast=0
    )
    assert hypermodel.transforms == [("rotate", (0, 0.2)), ("translate_x", (0.1, 0.3))]


@pytest.mark.backends
@pytest.mark.parametrize("augment_layers", [0, 2])
def test_augmentation_trains_in_compiled_steps_and_comes_back_from_disk(augment_layers, own_folder):
    hypermodel = applications.HyperImageAugment(input_shape=IMAGE, augment_layers=augment_layers)
    augment, _ = build(hypermodel, {"augment_layers": 2, **ALL_CHANGED})
    assert len(augment.layers) == 1 + (augment_layers or len(TRANSFORMS))
    model = keras.Sequential(
        [keras.Input(IMAGE), augment, keras.layers.GlobalMaxPooling2D(), keras.layers.Dense(3)]
    )
    model.compile("sgd", "mse")
    assert np.isfinite(train(model, epochs=2)).all()
    assert not model.run_eagerly
    if keras.backend.backend() == "jax":
        assert model.jit_compile
    model.save("model.keras")
    same = keras.saving.load_model("model.keras")
    np.testing.assert_array_equal(
        model.predict(images(), verbose=0), same.predict(images(), verbose=0)
    )


def run(layer, pixels, training=True):
    return keras.ops.convert_to_numpy(layer(pixels, training=training))


@pytest.mark.backends
def test_shifts_go_the_way_they_are_named():
    across = np.broadcast_to(images(1, (1, 16, 1)), (4, 16, 16, 1)).copy()  # varies along x only
    down = across.swapaxes(1, 2)
    for name, moved, still in [("translate_x", across, down), ("translate_y", down, across)]:
        layer = RandAugment([name], [0.4], seed=0)
        assert np.abs(run(layer, moved) - moved).max() > 0.1
        np.testing.assert_allclose(run(layer, still), still, atol=1e-4)


@pytest.mark.backends
def test_each_image_draws_its_own_transform_uniformly():
    pixels = images(600, (8, 8, 1))
    layer = RandAugment(["rotate", "translate_x", "contrast"], [0.3, 0.0, 0.0], seed=1)
    changed = np.abs(run(layer, pixels) - pixels).reshape(600, -1).max(axis=1) > 1e-4
    assert changed.mean() == pytest.approx(1 / 3, abs=0.07)  # 3.6 standard deviations of the mean
    assert not np.array_equal(run(layer, pixels), run(layer, pixels))


def test_images_pass_unchanged_outside_of_training():
    layer = RandAugment(["rotate", "contrast"], [0.3, 0.3])
    np.testing.assert_array_equal(run(layer, images(), training=False), images())


def test_an_augmenting_layer_is_made_again_from_its_config():
    layer = RandAugment(["translate_x", "contrast"], [0.3, 0.2], seed=7, name="some")
    same = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert same.get_config() == layer.get_config()
    np.testing.assert_array_equal(run(same, images()), run(layer, images()))


@pytest.mark.parametrize(
    ("layers", "factors"), [(["shear"], [0.1]), (["rotate", "contrast"], [0.1])]
)
def test_an_augmenting_layer_refuses_what_it_does_not_know(layers, factors):
    with pytest.raises(ValueError, match="Received"):
        RandAugment(layers, factors)


# ------------------------------------------------------------------ importing


def test_no_backend_is_loaded_before_a_hypermodel_is_used():
    script = (
        "import sys, keratune.applications as a; print('keras' in sys.modules);"
        "a.HyperResNet; print('keras' in sys.modules); print(set(dir(a)) >= set(a.__all__))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.split()[1:] == ["True", "True"], done.stderr
    with pytest.raises(AttributeError, match="NoSuchNet"):
        applications.NoSuchNet  # noqa: B018
