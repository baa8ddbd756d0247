"""Matrix products and convolutions of a model's forward pass, counted on TensorFlow.

The model is traced to a graph on abstract shapes: nothing runs. The body of a loop counts as often
as the loop's bound says (a recurrent layer's steps), once where it has none; of the branches of a
condition the dearest counts. TensorFlow's own profiler knows neither loops nor `Einsum`.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import keras
import tensorflow as tf

Count = tuple[int, int]


def products(model: Any, inputs: Any, options: Mapping[str, Any]) -> Count:
    """Return the floating-point operations of all products, and the bytes of their results.

    Args:
        model: A built model.
        inputs: Structure of `KerasTensor`s of whole shapes, the batch's included.
        options: Keywords for the model's call.
    """
    batch = keras.tree.map_structure(lambda x: tf.TensorSpec(x.shape, x.dtype), inputs)
    traced = tf.function(lambda x: model(x, **options)).get_concrete_function(batch)
    return _of_graph(traced.graph)


def _of_graph(graph: Any) -> Count:
    counts = [_of_operation(operation) for operation in _needed(graph)]
    return sum(flops for flops, _ in counts), sum(size for _, size in counts)


def _needed(graph: Any) -> set[Any]:
    """Return the operations that the outputs depend on: Keras traces a step that none does."""
    found: set[Any] = set()
    ahead = [tensor.op for tensor in graph.outputs]
    while ahead:
        operation = ahead.pop()
        if operation not in found:
            found.add(operation)
            ahead += [tensor.op for tensor in operation.inputs]
    return found


def _of_operation(operation: Any) -> Count:
    if operation.type in _RULES:
        result = operation.outputs[0]
        return _RULES[operation.type](operation), prod(result.shape) * result.dtype.size
    if operation.type in ("While", "StatelessWhile"):
        flops, size = _of_function(operation, operation.get_attr("body").name)
        times = _repetitions(operation)
        return times * flops, times * size
    if operation.type in ("If", "StatelessIf"):
        branches = ("then_branch", "else_branch")
        return max(_of_function(operation, operation.get_attr(name).name) for name in branches)
    if operation.type in ("PartitionedCall", "StatefulPartitionedCall"):
        return _of_function(operation, operation.get_attr("f").name)
    return 0, 0


def _of_function(operation: Any, name: str) -> Count:
    return _of_graph(operation.graph._get_function(name).graph)


def _repetitions(loop: Any) -> int:
    """Return how often a loop runs: the smallest constant that its condition compares with."""
    condition = loop.graph._get_function(loop.get_attr("cond").name).graph
    compared = [op.inputs[1] for op in condition.get_operations() if op.type == "Less"]
    bounds = [tf.get_static_value(bound) for bound in compared]
    return int(min((bound for bound in bounds if bound is not None), default=1))


def _of_matmul(operation: Any) -> int:
    left, result = operation.inputs[0].shape, operation.outputs[0].shape
    transposed = "transpose_a" if operation.type == "MatMul" else "adj_x"
    return 2 * prod(result) * left[-2 if operation.get_attr(transposed) else -1]


def _of_einsum(operation: Any) -> int:
    """Return 2 x the sizes of all letters; an ellipsis stands for the axes in front."""
    if len(operation.inputs) < 2:
        return 0
    terms = operation.get_attr("equation").decode().split("->")[0].split(",")
    sizes: dict[str, int] = {}
    ahead = 1
    for term, operand in zip(terms, operation.inputs, strict=True):
        before, _, behind = term.partition("...")
        shape = list(operand.shape)
        first, last = len(before), len(shape) - len(behind)
        sizes.update(zip(before, shape[:first], strict=True))
        sizes.update(zip(behind, shape[last:], strict=True))
        ahead = max(ahead, prod(shape[first:last]))
    return 2 * ahead * prod(sizes.values())


def _of_convolution(operation: Any) -> int:
    kernel = operation.inputs[1].shape  # space, in per group, out
    return 2 * prod(operation.outputs[0].shape) * prod(kernel[:-1])


def _of_depthwise(operation: Any) -> int:
    kernel = operation.inputs[1].shape  # height, width, in, multiplier
    return 2 * prod(operation.outputs[0].shape) * prod(kernel[:2])


def _of_transposed(operation: Any) -> int:
    kernel, image = operation.inputs[1].shape, operation.inputs[2].shape  # space, out, in
    return 2 * prod(image) * prod(kernel[:-1])


_RULES = {
    "MatMul": _of_matmul,
    "BatchMatMul": _of_matmul,
    "BatchMatMulV2": _of_matmul,
    "BatchMatMulV3": _of_matmul,
    "Einsum": _of_einsum,
    "Conv2D": _of_convolution,
    "Conv3D": _of_convolution,
    "DepthwiseConv2dNative": _of_depthwise,
    "Conv2DBackpropInput": _of_transposed,
    "Conv3DBackpropInputV2": _of_transposed,
}
