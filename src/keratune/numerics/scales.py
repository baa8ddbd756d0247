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
import math
from decimal import Decimal

LINEAR, LOG, REVERSE_LOG = "linear", "log", "reverse_log"
SAMPLINGS = (LINEAR, LOG, REVERSE_LOG)

# Rounding slack when counting lattice values: a range end that was itself computed in floats
# (0.1 * 3) must still be reached.
SLACK = 1e-8


def cell(position: float, cells: int) -> int:
    """Return which of `cells` equal cells of the unit interval holds `position`."""
    return min(max(int(position * cells), 0), cells - 1)


def middle(index: int, cells: int) -> float:
    """Return the middle of a cell of the unit interval."""
    return (index + 0.5) / cells


def from_unit(position: float, low: float, high: float, sampling: str) -> float:
    """Return the value at `position` of a continuous scale, inside [low, high]."""
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

    @property
    def size(self) -> int:
        """Number of values."""
        if self.sampling == LINEAR:
            return int((self.high - self.low) / self.step + SLACK) + 1
        return int(math.log(self.high / self.low) / math.log(self.step) + SLACK) + 1

    def value(self, index: int) -> float:
        """Return the value at `index`, an exact decimal."""
        low, step = Decimal(repr(self.low)), Decimal(repr(self.step))
        if self.sampling == LINEAR:
            return float(low + index * step)
        grown = low * step**index
        if self.sampling == LOG:
            return float(grown)
        return float(Decimal(repr(self.high)) + low - grown)

    def index(self, value: float) -> int:
        """Return the index of the lattice value nearest to `value` (in the scale's own metric)."""
        if self.sampling == LINEAR:
            place = (value - self.low) / self.step
        else:
            grown = value if self.sampling == LOG else self.high + self.low - value
            place = math.log(max(grown, self.low) / self.low) / math.log(self.step)
        return min(max(round(place), 0), self.size - 1)
