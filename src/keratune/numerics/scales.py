"""Scales: how the unit interval is laid over a range.

p: position in [0, 1]   low, high: the range's ends, both included   r = high / low

====================  ==========================================  ===============================
sampling              value(p)                                    position(value)
====================  ==========================================  ===============================
linear                low + p (high - low)                        (v - low) / (high - low)
log                   low r**p                                    ln(v / low) / ln r
reverse_log           high + low - low r**(1 - p)                 1 - ln((high + low - v)/low)/ln r
====================  ==========================================  ===============================

With a step the range is a lattice of n values and the unit interval is cut into n equal cells:
linear `low + i step`, log `low step**i`, reverse_log `high + low - low step**i`. Lattice values are
computed in decimal arithmetic, so that 0 + 3 * 0.1 is 0.3 and the last value is `high` whenever the
step reaches it.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from decimal import Decimal

LINEAR, LOG, REVERSE_LOG = "linear", "log", "reverse_log"
SAMPLINGS = (LINEAR, LOG, REVERSE_LOG)

# Rounding slack when counting lattice values, in steps: a range end that was itself computed in
# floats (0.1 * 3) must still be reached.
SLACK = Decimal("1e-8")

# How far from a lattice value a number may lie and still be it: part of the gap to the next one.
NEARNESS = 1e-6


def cell(position: float, cells: int) -> int:
    """Return which of `cells` equal cells of the unit interval holds `position`."""
    return min(max(int(position * cells), 0), cells - 1)


def middle(index: int, cells: int) -> float:
    """Return the middle of a cell of the unit interval."""
    return (index + 0.5) / cells


def from_unit(position: float, low: float, high: float, sampling: str) -> float:
    """Return the value at `position` of a continuous scale, inside [low, high]."""
    if position <= 0.0:
        return low
    if position >= 1.0:
        return high
    if sampling == LINEAR:
        value = low + position * (high - low)
    elif sampling == LOG:
        value = low * (high / low) ** position
    else:
        value = high + low - low * (high / low) ** (1.0 - position)
    return min(max(value, low), high)


def to_unit(value: float, low: float, high: float, sampling: str) -> float:
    """Return the position of `value` on a continuous scale; 0.5 where the range is one point."""
    if low == high:
        return 0.5
    value = min(max(value, low), high)
    if sampling == LINEAR:
        return (value - low) / (high - low)
    if sampling == LOG:
        return math.log(value / low) / math.log(high / low)
    return 1.0 - math.log((high + low - value) / low) / math.log(high / low)


def exact(number: float) -> Decimal:
    """Return an int as it is, and a float as the decimal that it is written as."""
    return Decimal(number) if isinstance(number, int) else Decimal(repr(float(number)))


@dataclasses.dataclass(frozen=True)
class Lattice:
    """The values of a range with a step, by index.

    Args:
        low: First value of the range.
        high: Last value that the range may hold.
        step: Distance (linear) or ratio (log, reverse_log) of neighbours.
        sampling: One of `SAMPLINGS`.
    """

    low: float
    high: float
    step: float
    sampling: str

    @functools.cached_property
    def _exact(self) -> tuple[Decimal, Decimal, Decimal]:
        return exact(self.low), exact(self.high), exact(self.step)

    @functools.cached_property
    def size(self) -> int:
        """Number of values."""
        low, high, step = self._exact
        if self.sampling == LINEAR:
            return int((high - low) / step + SLACK) + 1
        last = int(math.log(high / low) / math.log(step))
        reach = high * (1 + SLACK * (step - 1))
        while low * step ** (last + 1) <= reach:
            last += 1
        while low * step**last > reach:
            last -= 1
        return last + 1

    def value(self, index: int) -> Decimal:
        """Return the value at `index`, an exact decimal inside [low, high]."""
        low, high, step = self._exact
        value = low + index * step if self.sampling == LINEAR else low * step**index
        value = high + low - value if self.sampling == REVERSE_LOG else value
        return min(max(value, low), high)

    def index(self, value: float) -> int:
        """Return the index of the lattice value nearest to `value` (in the scale's own metric)."""
        low, high, step = self._exact
        inside = min(max(exact(value), low), high)
        if self.sampling == LINEAR:
            return min(round((inside - low) / step), self.size - 1)
        grown = inside if self.sampling == LOG else high + low - inside
        return min(round(math.log(grown / low) / math.log(step)), self.size - 1)

    def find(self, value: float) -> int | None:
        """Return the index of the lattice value that `value` is, to rounding; None if none is."""
        if not math.isfinite(value):
            return None
        index = self.index(value)
        place = self.value(index)
        gap = abs(float(place - self.value(index - 1 if index else 1)))
        slack = max(NEARNESS * gap, 4 * math.ulp(value))
        return index if abs(float(place - exact(value))) <= slack else None
