"""What a training with Keras leaves in the process: randomness, settings, memory.

`seeded` sets every random source from one integer. `preserved_global_state` gives the user's
global settings back, `fresh_names` restarts the automatic layer names, `free_memory` drops what a
trial left behind.

Continuing a training in another process gives the same losses to the last bit when, at the end of
an epoch, its variables (`keras_variables`) and callbacks (`keras_callback_state`) are saved; when
both are restored at the end of the next `on_train_begin`; and when `seeded` runs at each
`on_epoch_begin` with a number that depends on the epoch (it fixes the order of the rows). Keras
draws that order from numpy on JAX and from torch on PyTorch. TensorFlow draws it from an operation
whose state no seed reaches once `fit` has begun, so there the order differs unless the data come
shuffled.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import math
import os
import random
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keratune.training.keras_variables import to_numpy

UINT32 = 0xFFFFFFFF

# Names under which Keras keeps what a user may have set, in its per-thread tracker.
SETTINGS = (
    "custom_objects_scope_dict",
    "distribution",
    "dtype_policy",
    "flash_attention",
    "global_random_seed",
    "global_seed_generator",
    "interactive_logging",
    "nnx_enabled",
    "object_name_uids",
    "safe_mode_saving",
    "torch_device",
    "traceback_filtering",
)

# Process-wide settings of `keras.config`, each `x` with its `set_x`.
CONFIG = ("floatx", "epsilon", "image_data_format", "max_epochs", "max_steps_per_epoch")


# ---------------------------------------------------------------------------------------------
# Randomness


def seeded(seed: int) -> None:
    """Set every random source that Keras draws from, for one build or one epoch.

    Sets Python's `random`, numpy's global generator, Keras's global seed and seed generator, and
    the seeds of PyTorch and TensorFlow where these are loaded. Unlike
    `keras.utils.set_random_seed` it never imports TensorFlow, so that a call costs
    microseconds. Layers' own seed generators keep their state: `restore` sets those.

    Args:
        seed: Any integer; its lowest 32 bits count.
    """
    seed &= UINT32
    random.seed(seed)
    np.random.seed(seed)
    _set_attribute("global_random_seed", seed)
    _set_attribute("global_seed_generator", None)  # made anew from `random` when needed
    torch = _loaded("torch", "manual_seed")
    if torch is not None:
        torch.manual_seed(seed)
    tensorflow = _loaded("tensorflow", "random")
    if tensorflow is not None:
        tensorflow.random.set_seed(seed)


def _loaded(module: str, attribute: str) -> Any:
    """The module if it is imported and whole, else None; imports nothing."""
    found = sys.modules.get(module)
    return found if hasattr(found, attribute) else None


# ---------------------------------------------------------------------------------------------
# Global settings


@contextlib.contextmanager
def preserved_global_state() -> Iterator[None]:
    """Put the user's global state back on exit, whatever happened inside.

    Covers the random states of Python, numpy and the loaded backends; Keras's seed, dtype policy,
    float type, custom objects, distribution, logging and unsafe-loading flags, and the counters of
    automatic names. Classes registered inside stay registered, so that models saved inside can
    be loaded afterwards. May be nested. What a version of Keras does not have is passed over.
    """
    put_back = [_saved_random_states(), _saved_settings(), _saved_config(), _saved_registry()]
    try:
        yield
    finally:
        for action in put_back:
            action()


def _saved_settings() -> Callable[[], None]:
    tracker = _tracker()
    saved = {name: _copied(getattr(tracker, name, None)) for name in SETTINGS}
    generator = saved["global_seed_generator"]
    state = None if generator is None else to_numpy(generator.state)

    def put_back() -> None:
        for name, value in saved.items():
            _set_attribute(name, _copied(value))
        if generator is not None:
            generator.state.assign(state)

    return put_back


def _saved_config() -> Callable[[], None]:
    saved = [
        (getattr(keras.config, f"set_{name}"), getattr(keras.config, name)())
        for name in CONFIG
        if hasattr(keras.config, f"set_{name}") and hasattr(keras.config, name)
    ]

    def put_back() -> None:
        for setter, value in saved:
            setter(value)

    return put_back


def _saved_registry() -> Callable[[], None]:
    registry = keras.saving.get_custom_objects()
    saved = dict(registry)
    return lambda: registry.update(saved)


def _saved_random_states() -> Callable[[], None]:
    python, arrays = random.getstate(), np.random.get_state()
    backends = [_saved_torch_states(), _saved_tensorflow_state()]

    def put_back() -> None:
        random.setstate(python)
        np.random.set_state(arrays)
        for action in backends:
            action()

    return put_back


def _saved_torch_states() -> Callable[[], None]:
    torch = _loaded("torch", "get_rng_state")
    if torch is None:
        return _nothing
    on_host = torch.get_rng_state()
    on_devices = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None

    def put_back() -> None:
        torch.set_rng_state(on_host)
        if on_devices is not None:
            torch.cuda.set_rng_state_all(on_devices)

    return put_back


def _saved_tensorflow_state() -> Callable[[], None]:
    """Keep TensorFlow's eager seed and the counter behind it; kernels keep their own state."""
    if _loaded("tensorflow", "random") is None:
        return _nothing
    try:
        from tensorflow.python.eager import context

        eager = context.context()
        seed, generator = eager._seed, eager._rng
        state = None if generator is None else generator.getstate()
    except (ImportError, AttributeError):
        return _nothing

    def put_back() -> None:
        eager._seed, eager._rng = seed, generator
        if generator is not None:
            generator.setstate(state)

    return put_back


def _nothing() -> None:
    """Put nothing back."""


def _copied(value: Any) -> Any:
    return value.copy() if isinstance(value, dict) else value


def _tracker() -> Any:
    """Keras's per-thread tracker of global attributes, or None where it has moved."""
    try:
        from keras.src.backend.common import global_state
    except ImportError:
        return None
    return getattr(global_state, "GLOBAL_STATE_TRACKER", None)


def _set_attribute(name: str, value: Any) -> None:
    tracker = _tracker()
    if tracker is not None:
        setattr(tracker, name, value)


def fresh_names() -> None:
    """Restart Keras's automatic names: the next model has `dense` and `auc`, not `auc_1`.

    Touches the name counters alone, where `keras.backend.clear_session` also forgets the dtype
    policy, custom objects, distribution, seed and logging flags.
    """
    _set_attribute("object_name_uids", defaultdict(int))


# ---------------------------------------------------------------------------------------------
# Memory


# Models that are trained at a time for each whole of the growth that is allowed.
MODELS_OF_A_CLEARING = 8


class _Floor:
    """Resident memory after the last full clearing, in MiB; the first call always clears."""

    mebibytes = -math.inf


def free_memory(allowed_growth: float = 32.0, alive: int = 1) -> None:
    """Drop what a finished trial left behind, where it is worth the time.

    Compiled programs stay in the backend's caches, and freed pages in the C library's heap, after
    the model itself is gone. Clearing both at each trial would compile every small operation
    anew, so it is done once the process has grown. Measured on JAX with its persistent
    compilation cache on (2 cores, an MLP of two layers, 2 epochs, 40 trials of as many widths):

    ======================================  ===============  ===============
    after each trial                        MiB per trial    seconds a trial
    ======================================  ===============  ===============
    nothing                                 13.6             0.23
    collect garbage                         13.1             0.39
    clear caches, collect, trim the heap    0.1              0.35
    ======================================  ===============  ===============

    The cache is what makes clearing cheap: without it every clearing costs about a second of
    compiling. Clearing without trimming leaves about 1 MiB a trial. PyTorch keeps 0.1 MiB a trial;
    TensorFlow 0.3, and 3.7 if its registered reductions are left (see `_forget_reductions`).

    About half of TensorFlow's 0.3 is out of reach: on a CPU, oneDNN compiles a kernel for each new
    shape of a dense layer, about 65 KiB, and the threads that run the graph keep it. Nothing but
    their own limit on the number of kernels empties these caches. `TF_ENABLE_ONEDNN_OPTS=0`, set
    before TensorFlow is imported, does without them and rounds differently. The other half is
    pages that are free in part.

    Args:
        allowed_growth: MiB by which the process may have grown since the last full clearing.
        alive: Models that are trained at a time. Clearing while a group of them is built takes back
            little: 256 trials, 64 at a time, took 0.041 s each instead of 0.045 s without.
    """
    grown = _resident_mebibytes() - _Floor.mebibytes
    if grown < allowed_growth * max(1.0, alive / MODELS_OF_A_CLEARING):
        if _uses_accelerator():
            gc.collect()  # dead models hold device memory, which the process's size does not show
        return
    _drop_compiled_programs()
    gc.collect()
    _return_free_pages()
    _Floor.mebibytes = _resident_mebibytes()


def _resident_mebibytes() -> float:
    """Memory the process holds; infinite where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return math.inf
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _uses_accelerator() -> bool:
    backend = keras.backend.backend()
    if backend == "torch":
        torch = _loaded("torch", "cuda")
        return torch is not None and bool(torch.cuda.is_initialized())
    devices = keras.distribution.list_devices()
    return any(not device.lower().startswith("cpu") for device in devices)


def _drop_compiled_programs() -> None:
    jax = _loaded("jax", "clear_caches")
    if jax is not None:
        jax.clear_caches()
    if keras.backend.backend() == "torch":
        _drop_torch_memory()
    if keras.backend.backend() == "tensorflow":
        _drop_tensorflow_kernels()


def _drop_torch_memory() -> None:
    dynamo = _loaded("torch._dynamo", "reset")
    if dynamo is not None:
        dynamo.reset()
    torch = _loaded("torch", "cuda")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def _drop_tensorflow_kernels() -> None:
    try:
        from tensorflow.python.eager import context
        from tensorflow.python.framework import ops

        _forget_reductions(ops.gradient_registry._registry)
        context.context().clear_kernel_cache()
    except (ImportError, AttributeError):
        return


def _forget_reductions(registry: dict[str, Any]) -> None:
    """Delete what keeps the graphs of all training steps alive.

    Keras's optimizers sum the gradients over the replicas, one replica too, and TensorFlow
    registers how that sum is to be differentiated, under a new name for each step that is traced,
    for ever. What is registered refers to the step's graph, 3.4 MiB for a network of two layers.
    Nothing differentiates the update of a step, so these entries are of no use behind it. Those of
    user code are left: its functions may be traced once for all trials.
    """
    for name in [name for name in registry if name.startswith("CustomGradient-")]:
        gradient = _enclosed(_enclosed(registry[name]["type"], "tape_grad_fn"), "grad_fn")
        if getattr(gradient, "__module__", None) == "tensorflow.python.distribute.distribute_lib":
            del registry[name]


def _enclosed(function: Any, name: str) -> Any:
    """Return a variable that a nested function has taken from around it, None without such."""
    code, cells = getattr(function, "__code__", None), getattr(function, "__closure__", None)
    if code is None or cells is None or name not in code.co_freevars:
        return None
    return cells[code.co_freevars.index(name)].cell_contents


def _return_free_pages() -> None:
    """Ask glibc to give free pages back to the system; elsewhere do nothing."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
