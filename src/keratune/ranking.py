"""Rankings: which trials are better than which, by one loss or by several.

What breaks nothing comes before what breaks an outcome or a threshold, and that by how much it
breaks them. By one loss, the smaller one is better. By several, trials come in the order of their
fronts (`keratune.numerics.pareto.order`), the best compromise of the first front before all others.
"""

from __future__ import annotations

import abc
import bisect
import math
from collections.abc import Sequence

import numpy as np

from keratune.numerics import pareto


class Ranking(abc.ABC):
    """An order of numbered things, the best first; ties go to the smaller number."""

    @abc.abstractmethod
    def __len__(self) -> int:
        """Return how many there are."""

    @abc.abstractmethod
    def add(self, number: int, losses: Sequence[float], violation: float = 0.0) -> None:
        """Take something in.

        Args:
            number: What it is called; not in the ranking yet.
            losses: What it is ranked by, smaller is better.
            violation: How much it breaks, in total; 0 for nothing.
        """

    @abc.abstractmethod
    def remove(self, number: int) -> None:
        """Take something out; nothing happens where it is not in."""

    @abc.abstractmethod
    def place(self, number: int) -> int | None:
        """Return the place of something, from 0; None where it is not in."""

    @abc.abstractmethod
    def best(self, count: int) -> list[int]:
        """Return the numbers of the best."""

    @abc.abstractmethod
    def front(self) -> list[int]:
        """Return the numbers of those that break nothing and that no other beats."""


class LossRanking(Ranking):
    """An order by one loss; adding, removing and asking cost O(log n) comparisons."""

    def __init__(self) -> None:
        """Start empty."""
        self._entries: list[tuple[float, float, int]] = []
        self._own: dict[int, tuple[float, float, int]] = {}

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._entries)

    def add(self, number: int, losses: Sequence[float], violation: float = 0.0) -> None:
        """Take something in."""
        self._own[number] = entry = violation, losses[0], number
        bisect.insort(self._entries, entry)

    def remove(self, number: int) -> None:
        """Take something out."""
        if number in self._own:
            del self._entries[bisect.bisect_left(self._entries, self._own.pop(number))]

    def place(self, number: int) -> int | None:
        """Return the place of something."""
        own = self._own.get(number)
        return None if own is None else bisect.bisect_left(self._entries, own)

    def best(self, count: int) -> list[int]:
        """Return the numbers of the best."""
        return [number for _, _, number in self._entries[:count]]

    def front(self) -> list[int]:
        """Return the numbers of those with the smallest loss."""
        smallest = self._entries[0][:2] if self._entries else None
        return [n for v, loss, n in self._entries if (v, loss) == smallest and v == 0.0]


class FrontRanking(Ranking):
    """An order by several losses, computed anew when it is asked for after a change: O(n^2)."""

    def __init__(self) -> None:
        """Start empty."""
        self._losses: dict[int, list[float]] = {}
        self._violations: dict[int, float] = {}
        self._order: list[int] | None = []
        self._places: dict[int, int] = {}
        self._front: list[int] = []

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._losses)

    def add(self, number: int, losses: Sequence[float], violation: float = 0.0) -> None:
        """Take something in."""
        finite = all(math.isfinite(loss) for loss in losses)
        self._losses[number] = list(losses)
        self._violations[number] = violation if finite else math.inf
        self._order = None

    def remove(self, number: int) -> None:
        """Take something out."""
        if self._losses.pop(number, None) is not None:
            del self._violations[number]
            self._order = None

    def place(self, number: int) -> int | None:
        """Return the place of something."""
        self.best(0)
        return self._places.get(number)

    def best(self, count: int) -> list[int]:
        """Return the numbers of the best."""
        if self._order is None:
            self._order = self._ordered()
            self._places = {number: place for place, number in enumerate(self._order)}
        return self._order[:count]

    def front(self) -> list[int]:
        """Return the numbers of the first front."""
        self.best(0)
        return self._front

    def _ordered(self) -> list[int]:
        good = sorted(number for number in self._losses if self._violations[number] == 0.0)
        bad = sorted(set(self._losses) - set(good), key=lambda n: (self._violations[n], n))
        self._front = []
        if not good:
            return bad
        losses = np.array([self._losses[number] for number in good], dtype=float)
        order = [good[place] for place in pareto.order(losses)]
        knee = good[pareto.knee(losses)]
        order.remove(knee)
        order.insert(0, knee)
        first = {good[place] for place in np.flatnonzero(pareto.front(losses))}
        self._front = [number for number in order if number in first]
        return order + bad


def ranking_by(losses: int) -> Ranking:
    """Return an empty ranking by a number of losses."""
    return LossRanking() if losses == 1 else FrontRanking()
