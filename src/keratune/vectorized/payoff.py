"""Whether it pays to train many models like one that was trained alone in a single program."""

from __future__ import annotations

import jax

from keratune.training import model_cost
from keratune.vectorized.members import Member

# It does where a step forwards takes at most so many floating point operations for a batch. On 2
# CPU cores 64 lanes train 5 to 20 times as many epochs in a second as one lane up to 3e5, as many
# at 4e6, and half as many at 7e7 (docs/vectorized.md). Accelerators were not measured.
MOST_FLOPS = 1e6


def pays(first: Member) -> bool:
    """Tell whether models like one that has ended its training are better trained together.

    Args:
        first: A member that has ended.
    """
    if first.history is None or first.program is None or first.program.one_by_one:
        return False
    if jax.default_backend() != "cpu":
        return False
    return model_cost.measure(first.model, "flops") * first.train.batch_size <= MOST_FLOPS
