"""Limits on what a model may cost, checked on the built model before a step is trained."""

from __future__ import annotations

import re
from collections.abc import Mapping

from keratune.objectives import COST_NAMES

# Bytes of a unit: powers of 1000 by the SI, of 1024 by IEC 80000-13.
_UNITS = {
    f"{letter}{kind}B": base ** (power + 1)
    for power, letter in enumerate("kMGT")
    for kind, base in (("", 1000), ("i", 1024))
}
_BYTES = {"b": 1, **{unit.lower(): size for unit, size in _UNITS.items()}}
_SIZE = re.compile(r"\s*([0-9.]+(?:e[0-9]+)?)\s*([a-z]+)\s*", re.IGNORECASE)


class ModelLimits:
    """What a model may cost at most.

    Args:
        bounds: Largest value by the name of the cost: `"params"`, `"flops"` (of one sample),
            `"memory"` (bytes while training, or a text such as `"8GB"`), `"latency"` (seconds of a
            batch).

    Raises:
        ValueError: A name is no cost, or a bound is no positive number.

    Example:
        ```python
        ModelLimits({"params": 1_000_000, "memory": "8GB"}).breach({"params": 2e6})
        # "params 2000000 > 1000000"
        ```
    """

    def __init__(self, bounds: Mapping[str, float | str] | None = None) -> None:
        """Read and check the bounds."""
        self.bounds = {name: _bound(name, value) for name, value in (bounds or {}).items()}

    def breach(self, costs: Mapping[str, float]) -> str | None:
        """Return what is broken first, in words; None where all that is known holds."""
        for name, bound in self.bounds.items():
            if costs.get(name, 0.0) > bound:
                return f"{name} {costs[name]:.10g} > {bound:.10g}"
        return None


def _bound(name: str, value: float | str) -> float:
    if name not in COST_NAMES:
        raise ValueError(f"`limits` may name {', '.join(COST_NAMES)}. Received: {name!r}.")
    bound = _bytes(value) if isinstance(value, str) and name == "memory" else value
    if isinstance(bound, bool) or not isinstance(bound, (int, float)) or not bound > 0:
        raise ValueError(
            f"A limit is a positive number, for memory a text such as '8GB' too. "
            f"Received: limits={{{name!r}: {value!r}}}."
        )
    return float(bound)


def _bytes(text: str) -> float | None:
    """Return the bytes that a text such as "1.5 GiB" tells, None where it tells none."""
    match = _SIZE.fullmatch(text)
    unit = _BYTES.get(match[2].lower()) if match else None
    try:
        return float(match[1]) * unit if match and unit else None
    except ValueError:
        return None


UNLIMITED = ModelLimits()
