"""Event files written without TensorFlow, read back by TensorBoard's own readers."""

import os
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest

pytest.importorskip("tensorboard")

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # noqa: E402
from tensorboard.util.tensor_util import make_ndarray  # noqa: E402

from keratune.reporting.tensorboard import (  # noqa: E402
    ScalarTensorBoard,
    without_tensorflow,
    write_hparams,
)

X = np.linspace(0, 1, 32, dtype="float32").reshape(16, 2)
Y = X.sum(axis=1)


def fit(callback):
    keras.utils.clear_session(free_memory=False)
    model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", metrics=["mae"])
    model.fit(X, Y, batch_size=8, epochs=2, verbose=0, validation_data=(X, Y), callbacks=[callback])
    return model


def scalars(folder):
    """{tag: [(step, value), ...]} of the event files in one folder."""
    accumulator = EventAccumulator(str(folder), size_guidance={"tensors": 0})
    accumulator.Reload()
    values = {
        tag: [(event.step, make_ndarray(event.tensor_proto)) for event in accumulator.Tensors(tag)]
        for tag in accumulator.Tags()["tensors"]
    }
    return {
        tag: [(step, float(value)) for step, value in pairs]
        for tag, pairs in values.items()
        if pairs[0][1].dtype == np.float32
    }


def test_an_epoch_writes_its_logs_and_learning_rate_as_scalars(tmp_path):
    model = fit(ScalarTensorBoard(tmp_path))
    history = model.history.history
    train, validation = scalars(tmp_path / "train"), scalars(tmp_path / "validation")
    assert set(train) == {"epoch_loss", "epoch_mae", "epoch_learning_rate"}
    for name in ("loss", "mae"):
        assert dict(train[f"epoch_{name}"]) == pytest.approx(dict(enumerate(history[name])))
        expected = dict(enumerate(history[f"val_{name}"]))
        assert dict(validation[f"epoch_{name}"]) == pytest.approx(expected)
        steps = [step for step, _ in validation[f"evaluation_{name}_vs_iterations"]]
        assert steps == [2, 4]
    assert dict(train["epoch_learning_rate"]) == pytest.approx({0: 0.01, 1: 0.01})


def test_batches_are_written_as_often_as_asked(tmp_path):
    fit(ScalarTensorBoard(tmp_path, update_freq=2, write_steps_per_second=True))
    train = scalars(tmp_path / "train")
    assert [step for step, _ in train["batch_loss"]] == [2, 4]
    assert all(value > 0 for _, value in train["epoch_steps_per_second"])


def test_the_stand_in_keeps_the_settings_and_names_what_it_cannot_write(tmp_path):
    original = keras.callbacks.TensorBoard(tmp_path, histogram_freq=1, update_freq="batch")
    with pytest.warns(UserWarning, match="Left out: histogram_freq"):
        callback = without_tensorflow(original)
    assert (callback.log_dir, callback.update_freq) == (str(tmp_path), 1)


NO_TENSORFLOW = """
    import sys
    sys.modules["tensorflow"] = None
    sys.path[:0] = {paths!r}
    import test_tensorboard as t
    from keratune.reporting.tensorboard import without_tensorflow, write_hparams
    t.fit(without_tensorflow(t.keras.callbacks.TensorBoard("logs")))
    assert t.scalars("logs/train")["epoch_loss"]
    write_hparams("hp", "0001", {{"units": 8}}, {{"units": (1, 9)}}, {{"loss": 1.0}})
    assert t.session_groups("hp")
    assert not [name for name in sys.modules if name.startswith("tensorflow.")]
"""


def test_everything_works_where_tensorflow_cannot_be_imported():
    code = textwrap.dedent(NO_TENSORFLOW.format(paths=[os.path.dirname(__file__)]))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_same_scalars_as_the_callback_of_keras(tmp_path):
    pytest.importorskip("tensorflow")
    ours = ScalarTensorBoard(tmp_path / "ours")
    theirs = keras.callbacks.TensorBoard(tmp_path / "theirs")
    for callback in (ours, theirs):
        keras.utils.set_random_seed(0)
        fit(callback)
    for folder in ("train", "validation"):
        assert scalars(tmp_path / "ours" / folder) == scalars(tmp_path / "theirs" / folder)


def session_groups(log_dir):
    """What TensorBoard's HParams page would list for a folder."""
    from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
    from tensorboard.context import RequestContext
    from tensorboard.plugins import base_plugin
    from tensorboard.plugins.hparams import api_pb2, backend_context, list_session_groups

    multiplexer = plugin_event_multiplexer.EventMultiplexer()
    multiplexer.AddRunsFromDirectory(str(log_dir))
    multiplexer.Reload()
    provider = data_provider.MultiplexerDataProvider(multiplexer, str(log_dir))
    context = base_plugin.TBContext(
        logdir=str(log_dir), multiplexer=multiplexer, data_provider=provider
    )
    statuses = api_pb2.Status.values()
    request = api_pb2.ListSessionGroupsRequest(allowed_statuses=statuses, slice_size=100)
    handler = list_session_groups.Handler(
        RequestContext(), backend_context.Context(context), "", request
    )
    return {group.name: group for group in handler.run().session_groups}


DOMAINS = {
    "units": (8, 64),
    "rate": (1e-4, 1e-1),
    "activation": ["relu", "tanh"],
    "bias": [True, False],
    "mixed": [1, 0.5, "auto"],
}


def test_each_trial_is_a_session_with_its_values_metric_and_status(tmp_path):
    for trial_id, status, loss in (("0001", "SUCCESS", 0.25), ("0002", "FAILURE", 0.5)):
        values = {"units": np.int64(16), "rate": 0.01, "activation": "relu"}
        values |= {"bias": True, "mixed": None}
        write_hparams(tmp_path / trial_id, trial_id, values, DOMAINS, {"val_loss": loss}, status)
    groups = session_groups(tmp_path)
    assert set(groups) == {"0001", "0002"}
    hparams = groups["0001"].hparams
    assert hparams["units"].number_value == 16
    assert hparams["rate"].number_value == 0.01
    assert hparams["activation"].string_value == "relu"
    assert hparams["bias"].bool_value is True
    assert hparams["mixed"].string_value == "None"
    for trial_id, status, loss in (("0001", 1, 0.25), ("0002", 2, 0.5)):
        (session,) = groups[trial_id].sessions
        assert (session.name, session.status) == (trial_id, status)
        assert [(m.name.tag, m.value) for m in session.metric_values] == [("val_loss", loss)]


def test_an_unknown_status_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(ValueError, match=r"must be one of .*FAILURE.*Received: status='DONE'"):
        write_hparams(tmp_path, "0001", {}, {}, {}, "DONE")
