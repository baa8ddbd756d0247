"""What a Keras model costs: parameters, operations, memory, time.

=========  ============================================================================  =========
name       what it is                                                                    runs
=========  ============================================================================  =========
params     number of weights, trainable or not                                           nothing
flops      floating-point operations of one forward pass of one sample                   a trace
memory     bytes for training one batch                                                  a trace
latency    seconds of `predict_on_batch` on one batch: median, after a warm-up           the model
=========  ============================================================================  =========

Operations are those of matrix products and convolutions, a multiply-add being two, as papers and
PyTorch's counter have it. Element-wise operations, pooling and look-ups are not counted, nor is
what a convolution saves at a padded border. Each backend traces the model's own program on
abstract shapes, so that layers of the user's own are counted too, and all three give the same
number; only where Keras runs a recurrent layer one step more on PyTorch (masked and convolutional
ones), that step counts.

    memory = w + t + s t + b (x + 2.5 p)

w, t: bytes of all and of the trainable weights; the second t is for the gradients
s: slots that the optimizer keeps for each trainable weight (Adam: 2); 0 before `compile`
b: batch size   x, p: bytes of one sample's inputs, and of the results of its products

The factor stands for what is kept between two products (normalised, activated, dropped out). Over
ten networks (perceptron, convolutions in one to three dimensions, recurrent, attention, ResNet50,
MobileNetV2) XLA's temporary memory of a training step's gradient came to 1.5 to 3.4 p on a CPU. So
it is good for telling a model that is twice too large, not for the last megabytes.
"""

from __future__ import annotations

import inspect
import statistics
import time
from collections.abc import Callable, Mapping
from math import prod
from typing import Any

import keras
import numpy as np

from keratune.objectives import COST_NAMES as COSTS

KEPT_PER_PRODUCT = 2.5

# A first call compiles, a second finds caches cold. The median of 3 bears one disturbed call;
# quick models, which a disturbance hits harder, are timed more often for half a second.
WARM_UP, FEWEST_CALLS, MOST_CALLS, ENOUGH_SECONDS = 2, 3, 100, 0.5


def measure(model: Any, name: str, batch_size: int = 32, inputs: Any = None) -> float:
    """Return one cost of a model.

    Args:
        model: A Keras model. Where it is not built yet, `inputs` is needed, and it is built.
        name: One of `COSTS`.
        batch_size: Samples in a batch, 1 or more; only memory and latency depend on it.
        inputs: What the model is called with: arrays or shapes, in the structure of its inputs,
            with the axis of the batch, whose length is passed over. Default: the model's own
            input shapes. Needed where these leave an axis open.

    Returns:
        The cost, in the unit that the table above tells.

    Raises:
        ValueError: There is no such cost, the batch size is not positive, or the input shape is
            not known.

    Example:
        ```python
        model = keras.Sequential([keras.Input((100,)), keras.layers.Dense(10)])
        measure(model, "params")  # 1010.0
        measure(model, "flops")  # 2000.0
        ```
    """
    if name not in COSTS:
        raise ValueError(f"A cost is one of {COSTS}. Received: name={name!r}.")
    if batch_size < 1:
        raise ValueError(f"`batch_size` must be 1 or more. Received: batch_size={batch_size}.")
    if not model.built:
        if inputs is None:
            raise _unknown_shape(model, name, "has no input shape yet")
        model(_whole(_specs(inputs), 1))
    if name == "params":
        return float(model.count_params())
    if name == "flops":
        return _flops(model, _batch(model, name, 1, inputs))
    batch = _batch(model, name, batch_size, inputs)
    return _memory(model, batch) if name == "memory" else _latency(model, batch)


# The inputs


def _batch(model: Any, name: str, batch_size: int, inputs: Any) -> Any:
    """Return a batch's specification: `KerasTensor`s without an open axis."""
    given = _own_inputs(model) if inputs is None else _specs(inputs)
    if given is None:
        raise _unknown_shape(model, name, "does not tell its input shape")
    batch = _whole(given, batch_size, keep=inputs is None)
    shapes = [tensor.shape for tensor in keras.tree.flatten(batch)]
    if any(None in shape for shape in shapes):
        raise _unknown_shape(model, name, f"leaves an axis of its inputs open {shapes}")
    return batch


def _own_inputs(model: Any) -> Any:
    """Return the inputs that a model was built with, None where it does not tell."""
    if getattr(model, "inputs", None):
        inputs = model.inputs if isinstance(model, keras.Sequential) else model.input
        return inputs[0] if isinstance(inputs, list) and len(inputs) == 1 else inputs
    shape = (model.get_build_config() or {}).get("input_shape")
    return None if shape is None else _specs(shape)


def _specs(inputs: Any) -> Any:
    """Return a structure of arrays or shapes as one of `KerasTensor`s."""
    if hasattr(inputs, "shape") and hasattr(inputs, "dtype"):
        dtype = keras.backend.standardize_dtype(inputs.dtype)
        return keras.KerasTensor(tuple(inputs.shape), dtype=dtype)
    if isinstance(inputs, Mapping):
        return {key: _specs(value) for key, value in inputs.items()}
    if all(size is None or isinstance(size, int) for size in inputs):
        return keras.KerasTensor(tuple(inputs), dtype=keras.config.floatx())
    return type(inputs)(_specs(value) for value in inputs)


def _whole(specs: Any, batch_size: int, keep: bool = False) -> Any:
    """Return specifications with the axis of the batch set; `keep` leaves a fixed one alone."""

    def with_batch(tensor: Any) -> Any:
        size, *rest = tensor.shape
        size = size if keep and size is not None else batch_size
        return keras.KerasTensor((size, *rest), dtype=tensor.dtype)

    return keras.tree.map_structure(with_batch, specs)


def _unknown_shape(model: Any, name: str, problem: str) -> ValueError:
    return ValueError(
        f"The {name} of a model depend on the shape of its inputs. Received: model={model.name!r}, "
        f"which {problem}. Begin it with a `keras.Input`, or pass `inputs`, a batch or its shape."
    )


# The costs


def _flops(model: Any, batch: Any) -> float:
    return _counter()(model, batch, _options(model))[0] / _batch_size(batch)


def _memory(model: Any, batch: Any) -> float:
    trainable = _size(model.trainable_weights)
    kept = KEPT_PER_PRODUCT * _counter()(model, batch, _options(model))[1]
    fixed = _size(model.weights) + trainable + _optimizer_size(model, trainable)
    return float(fixed + _size(keras.tree.flatten(batch)) + kept)


def _latency(model: Any, batch: Any) -> float:
    # Floats in [0, 1) are in range for any layer, an embedding's look-up included.
    rng = np.random.default_rng(0)
    data = keras.tree.map_structure(lambda x: rng.random(x.shape).astype(x.dtype), batch)
    for _ in range(WARM_UP):
        model.predict_on_batch(data)
    times: list[float] = []
    while len(times) < FEWEST_CALLS or (len(times) < MOST_CALLS and sum(times) < ENOUGH_SECONDS):
        begin = time.perf_counter()
        model.predict_on_batch(data)  # its results are NumPy arrays: nothing is still under way
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def _counter() -> Callable[[Any, Any, Mapping[str, Any]], tuple[int, int]]:
    """Return what counts products on Keras's backend: their operations, their results' bytes."""
    backend = keras.backend.backend()
    if backend == "jax":
        from keratune.training import flops_jax

        return flops_jax.products
    if backend == "tensorflow":
        from keratune.training import flops_tensorflow

        return flops_tensorflow.products
    if backend == "torch":
        from keratune.training import flops_torch

        return flops_torch.products
    raise ValueError(
        "Operations are counted on the backends jax, tensorflow and torch. "
        f"Received: KERAS_BACKEND={backend}. Leave out `flops` and `memory` on this one."
    )


def _options(model: Any) -> dict[str, Any]:
    takes_training = "training" in inspect.signature(model.call).parameters
    return {"training": False} if takes_training else {}


def _batch_size(batch: Any) -> int:
    return int(keras.tree.flatten(batch)[0].shape[0])


def _size(tensors: Any) -> int:
    """Return the bytes that tensors or variables take."""
    return sum(prod(x.shape) * np.dtype(str(x.dtype)).itemsize for x in tensors)


def _optimizer_size(model: Any, trainable: int) -> int:
    """Return the bytes of the optimizer's variables; of those that it will have, if it is new."""
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None:
        return 0
    if optimizer.built:
        return _size(optimizer.variables)
    twin = type(optimizer).from_config(optimizer.get_config())
    sample = keras.Variable(np.zeros((2, 3), "float32"), name="sample")
    twin.build([sample])
    slots = sum(tuple(variable.shape) == (2, 3) for variable in twin.variables)
    return slots * trainable
