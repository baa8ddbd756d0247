"""TensorBoard event files, written with the `tensorboard` package alone.

`keras.callbacks.TensorBoard` needs TensorFlow on every backend. Where it is missing,
`without_tensorflow` gives a callback that writes the same scalars to the same places:
`epoch_*` under `train/` and `validation/`, and `evaluation_*_vs_iterations`.

`write_hparams` writes one trial as one session of TensorBoard's HParams page: the values of its
hyperparameters, their domains, its final metrics and how it ended.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeAlias, final

import keras
import numpy as np

from keratune._runtime import require

# Values of one hyperparameter: a list of choices, or a closed interval as (low, high).
Domain: TypeAlias = "Sequence[Any] | tuple[float, float]"

STATUSES = ("SUCCESS", "FAILURE", "RUNNING", "UNKNOWN")

# What the callback of Keras offers beyond scalars, each with the value that leaves it off.
BEYOND_SCALARS = {"histogram_freq": 0, "write_images": False, "embeddings_freq": 0}


def import_tensorboard() -> SimpleNamespace:
    """Import the parts of `tensorboard` used here; none of them imports TensorFlow.

    Returns:
        `EventFileWriter`, the messages `Event` and `Summary`, and the modules and functions
        that make their contents.

    Raises:
        MissingPackageError: The package is not installed.
    """
    require("tensorboard", extra="tensorboard")
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2, summary_v2
    from tensorboard.plugins.scalar import metadata as scalar_metadata
    from tensorboard.summary.writer.event_file_writer import EventFileWriter
    from tensorboard.util.tensor_util import make_tensor_proto

    return SimpleNamespace(
        Event=Event,
        Summary=Summary,
        EventFileWriter=EventFileWriter,
        api=api_pb2,
        hparams=summary_v2,
        hparams_data=plugin_data_pb2,
        hparams_metadata=metadata,
        scalar_metadata=scalar_metadata,
        make_tensor=make_tensor_proto,
    )


@final
class EventWriter:
    """One event file in one directory; the file appears with the first value.

    Args:
        log_dir: The directory, made when needed.
    """

    def __init__(self, log_dir: str | Path) -> None:
        self._tensorboard = import_tensorboard()
        self._log_dir = str(log_dir)
        self._writer: Any = None

    def scalar(self, tag: str, value: float, step: int) -> None:
        """Write one number as float32, as Keras's callback does."""
        board = self._tensorboard
        summary = board.Summary()
        metadata = board.scalar_metadata.create_summary_metadata(display_name="", description="")
        tensor = board.make_tensor(np.float32(value))
        summary.value.add(tag=tag, tensor=tensor, metadata=metadata)
        self.summary(summary, step)

    def summary(self, summary: Any, step: int = 0) -> None:
        """Write a ready summary message."""
        if self._writer is None:
            self._writer = self._tensorboard.EventFileWriter(self._log_dir)
        event = self._tensorboard.Event(wall_time=time.time(), step=step, summary=summary)
        self._writer.add_event(event)

    def flush(self) -> None:
        """Hand what was written to the operating system."""
        if self._writer is not None:
            self._writer.flush()

    def close(self) -> None:
        """Close the file; a later value opens a new one."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


@final
class ScalarTensorBoard(keras.callbacks.Callback):
    """Writes the scalars that `keras.callbacks.TensorBoard` writes, without TensorFlow.

    Args:
        log_dir: Directory of the run; `train/` and `validation/` are made in it.
        update_freq: "epoch", "batch", or the number of batches between two values.
        write_steps_per_second: Whether to write the speed of each epoch too.
    """

    def __init__(
        self,
        log_dir: str | Path = "logs",
        update_freq: str | int = "epoch",
        write_steps_per_second: bool = False,
    ) -> None:
        super().__init__()
        self.log_dir = str(log_dir)
        self.update_freq = 1 if update_freq == "batch" else update_freq
        self.write_steps_per_second = write_steps_per_second
        self._train = EventWriter(Path(log_dir) / "train")
        self._validation = EventWriter(Path(log_dir) / "validation")
        self._batches = 0
        self._epoch_start = (0.0, 0)  # seconds, batches

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Count batches from zero."""
        self._batches = 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Start the clock of the epoch."""
        self._epoch_start = (time.perf_counter(), self._batches)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Write `batch_*` where `update_freq` asks for it."""
        self._batches += 1
        if self.update_freq == "epoch" or self._batches % int(self.update_freq):
            return
        for name, value in (logs or {}).items():
            self._train.scalar(f"batch_{name}", value, self._batches)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write `epoch_*`, the learning rate among them."""
        if not logs:
            return
        train = {name: value for name, value in logs.items() if not name.startswith("val_")}
        train |= _learning_rates(self.model.optimizer)
        if self.write_steps_per_second:
            train["steps_per_second"] = self._steps_per_second()
        for name, value in train.items():
            self._train.scalar(f"epoch_{name}", value, epoch)
        for name, value in logs.items():
            if name.startswith("val_"):
                self._validation.scalar(f"epoch_{name.removeprefix('val_')}", value, epoch)
        self._train.flush()
        self._validation.flush()

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        """Write each evaluation against the number of steps trained."""
        optimizer = getattr(self.model, "optimizer", None)
        if optimizer is None:
            return
        step = int(keras.ops.convert_to_numpy(optimizer.iterations))
        for name, value in (logs or {}).items():
            self._validation.scalar(f"evaluation_{name}_vs_iterations", value, step)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Close the files."""
        self._train.close()
        self._validation.close()

    def _steps_per_second(self) -> float:
        began, batches = self._epoch_start
        return (self._batches - batches) / max(time.perf_counter() - began, 1e-9)


def _learning_rates(optimizer: Any) -> dict[str, float]:
    """The learning rate under the name that Keras gives it; one for each of several optimizers."""
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    several = getattr(optimizer, "optimizers", None)
    if several is not None:
        return {f"learning_rate_{one.name}": _number(one.learning_rate) for one in several}
    if hasattr(optimizer, "learning_rate"):
        return {"learning_rate": _number(optimizer.learning_rate)}
    return {}


def _number(value: Any) -> float:
    return float(keras.ops.convert_to_numpy(value))


def without_tensorflow(callback: Any) -> ScalarTensorBoard:
    """Make the scalar callback that stands in for a `keras.callbacks.TensorBoard`.

    Warns of what it asks for and only TensorFlow can write: histograms, images, embeddings.
    The graph of the model, which Keras writes by default, is left out in silence.

    Args:
        callback: A `keras.callbacks.TensorBoard`, not yet used.
    """
    lost = [name for name, off in BEYOND_SCALARS.items() if getattr(callback, name, off) != off]
    if lost:
        warnings.warn(
            f"TensorBoard writes scalars alone without TensorFlow. Left out: {', '.join(lost)}. "
            "Install `tensorflow` to have them.",
            stacklevel=2,
        )
    return ScalarTensorBoard(
        log_dir=callback.log_dir,
        update_freq=callback.update_freq,
        write_steps_per_second=callback.write_steps_per_second,
    )


def write_hparams(
    log_dir: str | Path,
    trial_id: str,
    values: Mapping[str, Any],
    domains: Mapping[str, Domain | None],
    metrics: Mapping[str, float],
    status: str = "SUCCESS",
) -> None:
    """Write one trial as a session of the HParams page, into one event file.

    TensorBoard takes `log_dir` as the session, and sessions with one `trial_id` as repeats. It
    reads the domains and metrics from any one session, so each gets those of the whole study.

    Args:
        log_dir: Directory of the execution, below the one TensorBoard is started with.
        trial_id: Name of the trial.
        values: Hyperparameter values; other than bool, number and text are written as text.
        domains: For each hyperparameter, a list of its choices, or a pair `(low, high)`; None
            where no domain is to be shown.
        metrics: Final metrics, at step 0.
        status: "SUCCESS", "FAILURE", "RUNNING" or "UNKNOWN".

    Raises:
        ValueError: If `status` is none of these.
    """
    if status not in STATUSES:
        raise ValueError(f"`status` must be one of {STATUSES}. Received: status={status!r}.")
    board = import_tensorboard()
    writer = EventWriter(log_dir)
    hparams = [_hparam(board, name, domain) for name, domain in domains.items()]
    shown = [board.hparams.Metric(name) for name in metrics]
    writer.summary(board.hparams.hparams_config_pb(hparams=hparams, metrics=shown))
    plain = {name: _plain(value) for name, value in values.items()}
    writer.summary(board.hparams.hparams_pb(plain, trial_id=trial_id))
    for name, value in metrics.items():
        writer.scalar(name, value, step=0)
    writer.summary(_session_end(board, status))
    writer.close()


def _session_end(board: SimpleNamespace, status: str) -> Any:
    """The message that ends a session; the package's own maker of it imports TensorFlow."""
    code = board.api.Status.Value(f"STATUS_{status}")
    info = board.hparams_data.SessionEndInfo(status=code, end_time_secs=time.time())
    metadata = board.hparams_metadata
    data = board.hparams_data.HParamsPluginData(session_end_info=info)
    summary = board.Summary()
    summary.value.add(
        tag=metadata.SESSION_END_INFO_TAG,
        metadata=metadata.create_summary_metadata(data),
        tensor=metadata.NULL_TENSOR,
    )
    return summary


def _hparam(board: SimpleNamespace, name: str, domain: Domain | None) -> Any:
    return board.hparams.HParam(name, None if domain is None else _domain(board, domain))


def _domain(board: SimpleNamespace, domain: Domain) -> Any:
    if not isinstance(domain, tuple):
        return _discrete(board, [_plain(value) for value in domain])
    low, high = (_plain(bound) for bound in domain)
    if isinstance(low, int) and isinstance(high, int):
        return board.hparams.IntInterval(low, high)
    return board.hparams.RealInterval(float(low), float(high))


def _discrete(board: SimpleNamespace, choices: list[Any]) -> Any:
    """A list of choices; TensorBoard wants them of one type, so mixed ones become text."""
    types = {type(choice) for choice in choices}
    if types == {int, float}:
        return board.hparams.Discrete([float(choice) for choice in choices])
    if len(types) > 1:
        return board.hparams.Discrete([str(choice) for choice in choices])
    return board.hparams.Discrete(choices)


def _plain(value: Any) -> Any:
    """A value that the page can show."""
    value = value.item() if isinstance(value, np.generic) else value
    return value if isinstance(value, (bool, int, float, str)) else str(value)
