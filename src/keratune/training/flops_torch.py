"""Matrix products and convolutions of a model's forward pass, counted on PyTorch.

The model is called with PyTorch's fake tensors, which have shapes, kinds and devices, but no
contents: nothing is computed. Attention is taken apart into its two products, since the fused
kernels of some devices are not in PyTorch's table of operations.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

Count = tuple[int, int]


class _Counter(TorchDispatchMode):
    """Counts the operations that PyTorch's own table of floating-point operations knows."""

    def __init__(self) -> None:
        super().__init__()
        self.flops, self.size = 0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        rule = flop_registry.get(func._overloadpacket)
        if rule is not None:
            product = result[0] if isinstance(result, (tuple, list)) else result
            self.flops += int(rule(*args, **(kwargs or {}), out_val=result))
            self.size += product.numel() * product.element_size()
        return result


def products(model: Any, inputs: Any, options: Mapping[str, Any]) -> Count:
    """Return the floating-point operations of all products, and the bytes of their results.

    Args:
        model: A built model.
        inputs: Structure of `KerasTensor`s of whole shapes, the batch's included.
        options: Keywords for the model's call.
    """
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), fake, _Counter() as counter:
        batch = keras.tree.map_structure(lambda x: keras.ops.ones(x.shape, x.dtype), inputs)
        model(batch, **options)
    return counter.flops, counter.size
