"""What a training with Keras leaves in the process, and what it needs to go on elsewhere.

Four kinds of state, each with its own pair of functions:

randomness     `seeded` sets every random source from one integer.
settings       `preserved_global_state` gives the user's global settings back; `fresh_names`
               restarts the automatic layer names; `free_memory` drops what a trial left behind.
variables      `capture` and `restore` move a training between models, bit by bit.
callbacks      `callback_state` and `set_callback_state` do the same for callbacks; `pack` and
               `unpack` split such a state into JSON and arrays.

Continuing a training in another process gives the same losses to the last bit when, at the end of
an epoch, `capture` and `callback_state` are saved; when `restore` and `set_callback_state` run
at the end of the next `on_train_begin`; and when `seeded` runs at each `on_epoch_begin` with a
number that depends on the epoch (it fixes the order of the rows). Keras draws that order from
numpy on JAX and from torch on PyTorch. TensorFlow draws it from an operation whose state no
seed reaches once `fit` has begun, so there the order differs unless the data come shuffled.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import inspect
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

# Attributes of a callback that `fit` fills in, never a state to carry over.
NOT_CALLBACK_STATE = frozenset({"model", "_model", "params", "validation_data"})

# Homes of the functions that a callback's state may name.
FUNCTION_HOMES = {"keras.ops": keras.ops, "numpy": np}

SKIPPED = object()


class FunctionName(str):
    """The full name of a function of `keras.ops` or numpy, standing for it in a state."""


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
    state = None if generator is None else _to_numpy(generator.state)

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


class _Floor:
    """Resident memory after the last full clearing, in MiB; the first call always clears."""

    mebibytes = -math.inf


def free_memory(allowed_growth: float = 32.0) -> None:
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
    this function                           0.1              0.29
    ======================================  ===============  ===============

    Over 150 trials the process grew by 25 MiB after the tenth. Clearing without trimming leaves
    about 1 MiB a trial. TensorFlow keeps 5.6 MiB a trial whatever is cleared (8.3 if nothing is);
    PyTorch keeps 0.1.

    Args:
        allowed_growth: MiB by which the process may have grown since the last full clearing.
    """
    grown = _resident_mebibytes() - _Floor.mebibytes
    if grown < allowed_growth:
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

        context.context().clear_kernel_cache()
    except (ImportError, AttributeError):
        return


def _return_free_pages() -> None:
    """Ask glibc to give free pages back to the system; elsewhere do nothing."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


# ---------------------------------------------------------------------------------------------
# Variables


def capture(model: Any) -> dict[str, np.ndarray]:
    """Copy all variables that a training of `model` needs to go on, to host memory.

    Holds weights, batch statistics and seed generators (`v/0000`, `v/0001`, ...), then the
    optimizer's variables, its learning rate and step count among them (`o/0000`, ...). Metrics
    are left out, as each epoch starts them afresh. May be called within an epoch too. Arrays that
    plain numpy cannot name (bfloat16, float8) are widened to float32, without loss.

    Args:
        model: A built Keras model; its optimizer is included if it has been built.
    """
    _settle(model)
    arrays = {f"v/{i:04d}": _to_numpy(v) for i, v in enumerate(model.variables)}
    optimizer = getattr(model, "optimizer", None)
    if optimizer is not None and optimizer.built:
        arrays |= {f"o/{i:04d}": _to_numpy(v) for i, v in enumerate(optimizer.variables)}
    return arrays


def restore(model: Any, arrays: dict[str, np.ndarray]) -> None:
    """Give a model of the same architecture the variables taken by `capture`.

    Builds the optimizer first where it is needed. Nothing is assigned unless all shapes agree.

    Args:
        model: A built Keras model, compiled if the state holds optimizer variables.
        arrays: What `capture` returned; the order of the keys does not matter.

    Raises:
        ValueError: If number or shapes of the variables differ from those captured.
    """
    _settle(model)
    pairs = _matched("v", model.variables, arrays)
    if any(key.startswith("o/") for key in arrays):
        pairs += _matched("o", _optimizer_variables(model), arrays)
    for variable, array in pairs:
        variable.assign(array)


def _optimizer_variables(model: Any) -> list[Any]:
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None:
        raise ValueError(
            "The state holds optimizer variables, so the model must have an optimizer. "
            f"Received: model={model.name!r} without one. Call `model.compile(...)` first."
        )
    if not optimizer.built:
        optimizer.build(model.trainable_variables)
    return list(optimizer.variables)


def _matched(
    prefix: str, variables: list[Any], arrays: dict[str, np.ndarray]
) -> list[tuple[Any, np.ndarray]]:
    """Pair the variables with the arrays under `prefix`, in order."""
    keys = sorted(key for key in arrays if key.startswith(f"{prefix}/"))
    if len(keys) != len(variables):
        raise ValueError(
            "The state must hold one array for each variable. Received: "
            f"{len(keys)} arrays under `{prefix}/` for {len(variables)} variables. "
            "Build the model with the same hyperparameters, and before restoring it."
        )
    for key, variable in zip(keys, variables, strict=True):
        if tuple(arrays[key].shape) != tuple(variable.shape):
            raise ValueError(
                f"The array `{key}` must have the shape of the variable `{variable.path}`, "
                f"{tuple(variable.shape)}. Received: shape={tuple(arrays[key].shape)}. "
                "Build the model with the same hyperparameters."
            )
    return [(variable, arrays[key]) for key, variable in zip(keys, variables, strict=True)]


def _settle(model: Any) -> None:
    """On JAX, `fit` holds the values outside the variables until told to put them back."""
    sync = getattr(model, "jax_state_sync", None)
    if sync is not None:
        sync()


def _to_numpy(value: Any) -> np.ndarray:
    """Copy to the host: a view would change with the next step that reuses the buffer."""
    array = np.array(keras.ops.convert_to_numpy(value), copy=True)
    return array.astype(np.float32) if array.dtype.kind == "V" else array


# ---------------------------------------------------------------------------------------------
# Callbacks


def callback_state(callback: Any) -> dict[str, Any]:
    """Copy the attributes of a Keras callback that are plain data.

    Kept are None, bool, int, float, str, numpy and backend arrays, Keras variables, functions of
    `keras.ops` and numpy (the comparison that EarlyStopping chose), and lists, tuples and
    dicts of these. Anything else is left out, and so is text with a path separator: a project
    that was moved keeps the paths of its new place.

    Args:
        callback: Any callback with a `__dict__`.
    """
    state = {}
    for name, value in vars(callback).items():
        plain = SKIPPED if name in NOT_CALLBACK_STATE else _plain(value)
        if plain is not SKIPPED:
            state[name] = plain
    return state


def set_callback_state(callback: Any, state: dict[str, Any]) -> None:
    """Give a callback the state taken by `callback_state`.

    To be called after the callback's `on_train_begin`, which would reset it. Keras variables
    are assigned, other attributes replaced.

    Args:
        callback: A callback of the same class.
        state: What `callback_state` returned.
    """
    for name, plain in state.items():
        value = _live(plain)
        current = getattr(callback, name, None)
        if isinstance(current, keras.Variable):
            current.assign(value)
        else:
            setattr(callback, name, value)


def _plain(value: Any) -> Any:
    """The value as plain data, copied; `SKIPPED` where it is not plain."""
    if isinstance(value, str):
        return SKIPPED if "/" in value or "\\" in value else value
    if value is None or isinstance(value, (bool, int, float, np.generic)):
        return value
    if isinstance(value, (list, tuple)):
        items = [_plain(item) for item in value]
        if any(item is SKIPPED for item in items) or hasattr(value, "_fields"):
            return SKIPPED
        return items if isinstance(value, list) else tuple(items)
    if isinstance(value, dict):
        pairs = [(_plain(key), _plain(item)) for key, item in value.items()]
        return SKIPPED if any(part is SKIPPED for pair in pairs for part in pair) else dict(pairs)
    if inspect.isroutine(value) or isinstance(value, np.ufunc):
        return _named_function(value)
    if isinstance(value, (np.ndarray, keras.Variable)) or keras.ops.is_tensor(value):
        return _plain_array(value)
    return SKIPPED


def _plain_array(value: Any) -> Any:
    array = _to_numpy(value)
    return SKIPPED if array.dtype.hasobject else array


def _named_function(value: Any) -> Any:
    name = getattr(value, "__name__", "")
    for home, module in FUNCTION_HOMES.items():
        if getattr(module, name, None) is value:
            return FunctionName(f"{home}.{name}")
    return SKIPPED


def _live(plain: Any) -> Any:
    """Undo `_plain`: copy containers and arrays, look functions up."""
    if isinstance(plain, FunctionName):
        home, _, name = plain.rpartition(".")
        return getattr(FUNCTION_HOMES[home], name)
    if isinstance(plain, np.ndarray):
        return plain.copy()
    if isinstance(plain, dict):
        return {_live(key): _live(value) for key, value in plain.items()}
    if isinstance(plain, (list, tuple)):
        return type(plain)(_live(item) for item in plain)
    return plain


def pack(value: Any) -> tuple[Any, dict[str, np.ndarray]]:
    """Split plain data into a strict JSON value and the arrays it points to.

    What JSON lacks is written as an object with the key `$`:

    - array or numpy scalar: `{"$": "array", "key": "a/0000"}`, `{"$": "scalar", "key": ...}`
    - NaN and infinities: `{"$": "float", "value": "nan"}` (or `"inf"`, `"-inf"`)
    - tuple: `{"$": "tuple", "items": [...]}`
    - dict with keys other than text, or with a key `$`: `{"$": "dict", "items": [[k, v], ...]}`
    - function: `{"$": "function", "name": "keras.ops.less"}`

    Args:
        value: What `callback_state` returned, or a list or dict of such states.

    Returns:
        The JSON value, and the arrays by key, ready for `numpy.savez`.
    """
    arrays: dict[str, np.ndarray] = {}
    return _packed(value, arrays), arrays


def _packed(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    if isinstance(value, (np.ndarray, np.generic)):
        key = f"a/{len(arrays):04d}"
        arrays[key] = np.asarray(value)
        return {"$": "array" if isinstance(value, np.ndarray) else "scalar", "key": key}
    if isinstance(value, FunctionName):
        return {"$": "function", "name": str(value)}
    if isinstance(value, float) and not math.isfinite(value):
        return {"$": "float", "value": str(value)}
    if isinstance(value, dict):
        if "$" not in value and all(isinstance(key, str) for key in value):
            return {key: _packed(item, arrays) for key, item in value.items()}
        pairs = [[_packed(key, arrays), _packed(item, arrays)] for key, item in value.items()]
        return {"$": "dict", "items": pairs}
    if isinstance(value, (list, tuple)):
        items = [_packed(item, arrays) for item in value]
        return items if isinstance(value, list) else {"$": "tuple", "items": items}
    return value


def unpack(packed: Any, arrays: dict[str, np.ndarray]) -> Any:
    """Undo `pack`.

    Args:
        packed: The JSON value.
        arrays: The arrays by key.

    Raises:
        ValueError: If a tag is unknown, as from a newer version.
    """
    if isinstance(packed, list):
        return [unpack(item, arrays) for item in packed]
    if not isinstance(packed, dict):
        return packed
    if "$" not in packed:
        return {key: unpack(item, arrays) for key, item in packed.items()}
    return _untagged(packed, arrays)


def _untagged(packed: dict[str, Any], arrays: dict[str, np.ndarray]) -> Any:
    tag = packed["$"]
    if tag == "array":
        return arrays[packed["key"]]
    if tag == "scalar":
        return arrays[packed["key"]][()]
    if tag == "float":
        return float(packed["value"])
    if tag == "function":
        return FunctionName(packed["name"])
    if tag == "tuple":
        return tuple(unpack(packed["items"], arrays))
    if tag == "dict":
        return {unpack(key, arrays): unpack(item, arrays) for key, item in packed["items"]}
    raise ValueError(
        "The tag `$` must be one of array, scalar, float, function, tuple, dict. "
        f"Received: $={tag!r}. Read the state with the version that wrote it."
    )
