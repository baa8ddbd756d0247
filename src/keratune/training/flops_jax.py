"""Matrix products and convolutions of a model's forward pass, counted on JAX.

The model is traced to a jaxpr on abstract shapes: nothing is compiled, nothing runs. What a `scan`
repeats (a recurrent layer's steps) counts as often as it runs; of a `cond`'s branches the dearest
counts; the body of a `while`, whose repetitions only running it would tell, counts once. XLA's own
`cost_analysis` counts a `scan` once too, and so gets recurrent layers wrong by their steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import jax
import keras
import numpy as np

Count = tuple[int, int]


def products(model: Any, inputs: Any, options: Mapping[str, Any]) -> Count:
    """Return the floating-point operations of all products, and the bytes of their results.

    Args:
        model: A built model.
        inputs: Structure of `KerasTensor`s of whole shapes, the batch's included.
        options: Keywords for the model's call.
    """

    def forward(trainable: Any, frozen: Any, batch: Any) -> Any:
        return model.stateless_call(trainable, frozen, batch, **options)[0]

    variables = [_abstract(v) for v in model.trainable_variables]
    frozen = [_abstract(v) for v in model.non_trainable_variables]
    batch = keras.tree.map_structure(_abstract, inputs)
    return _of_program(jax.make_jaxpr(forward)(variables, frozen, batch).jaxpr)


def _abstract(tensor: Any) -> Any:
    return jax.ShapeDtypeStruct(tensor.shape, tensor.dtype)


def _of_program(program: Any) -> Count:
    counts = [_of_step(step) for step in program.eqns]
    return sum(flops for flops, _ in counts), sum(size for _, size in counts)


def _of_step(step: Any) -> Count:
    name, parameters = step.primitive.name, step.params
    if name in _RULES:
        result = step.outvars[0].aval
        return _RULES[name](step), prod(result.shape) * np.dtype(result.dtype).itemsize
    parts = [_of_program(part) for part in _programs(parameters.values())]
    if not parts:
        return 0, 0
    if name == "cond":
        return max(parts)
    times = parameters["length"] if name == "scan" else 1
    return times * sum(flops for flops, _ in parts), times * sum(size for _, size in parts)


def _programs(values: Any) -> list[Any]:
    """Return the programs among a step's parameters: the bodies of loops, branches and calls."""
    found = []
    for value in values:
        if isinstance(value, (tuple, list)):
            found += _programs(value)
        elif hasattr(value, "eqns"):
            found.append(getattr(value, "jaxpr", value))
    return found


def _of_dot(step: Any) -> int:
    (contracted, _), _ = step.params["dimension_numbers"]
    shape = step.invars[0].aval.shape
    return 2 * prod(step.outvars[0].aval.shape) * prod(shape[axis] for axis in contracted)


def _of_convolution(step: Any) -> int:
    """Return 2 x results x kernel; of a transposed convolution, 2 x inputs x kernel."""
    image, kernel = (variable.aval.shape for variable in step.invars[:2])
    layout = step.params["dimension_numbers"].rhs_spec  # axes: out, in per group, space
    if max(step.params["lhs_dilation"], default=1) > 1:
        return 2 * prod(image) * prod(kernel) // kernel[layout[1]]
    return 2 * prod(step.outvars[0].aval.shape) * prod(kernel) // kernel[layout[0]]


_RULES = {"dot_general": _of_dot, "conv_general_dilated": _of_convolution}
