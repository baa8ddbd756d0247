"""Asynchronous Hyperband: successive halving from several first rungs.

    K: rungs below the last   s = K, ..., 0: bracket

    first rung of bracket s    r eta^(K - s)
    trials of bracket s        ceil((K + 1) / (s + 1) eta^s) in a row

How early a trial may be judged is not known beforehand, so brackets of different boldness take
turns (Li et al., 2018, JMLR 18(185), algorithm 1), here without barriers: all brackets share the
rungs (Li et al., 2020, arXiv 1810.05934, section 3.2). Other symbols: see `keratune.halving`.
"""

from __future__ import annotations

import math
from typing import final

from keratune.halving import Halving
from keratune.history import History
from keratune.rungs import Rungs


@final
class Hyperband(Halving):
    """Successive halving that starts some trials with longer trainings.

    Args:
        min_epochs: Epochs of the lowest rung; default: 2, or 2 % of a training if that is more.
        factor: The best 1 / factor of a rung go on, to factor times more epochs; at least 2.
        max_epochs: Epochs of a training in full; default: what `search(epochs=...)` says.

    Raises:
        ValueError: An argument is out of range.
    """

    def first_rung(self, history: History, rungs: Rungs) -> int:
        """Return the rung of the bracket whose turn it is, the boldest one's trials first."""
        boldest = len(rungs) - 1
        sizes = [
            math.ceil((boldest + 1) / (s + 1) * self.factor**s) for s in range(boldest, -1, -1)
        ]
        place = history.next_number % sum(sizes)
        rung = 0
        while place >= sizes[rung]:
            place -= sizes[rung]
            rung += 1
        return rung
