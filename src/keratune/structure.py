"""Which hyperparameters change the program that a model compiles to.

Trials that are trained together share a compiled program where their models have one structure
(`keratune.vectorized`). An algorithm that is to fill such a program must know which of a trial's
values the others have to share. Nobody is asked: a hyperparameter in which two trials of one
program differ is *lifted*, a number that the program takes as an input. Before anything was seen,
a `Float`, or a `Choice` of floats such as learning rates, is taken for lifted and everything else
for structural: numbers of units, choices of layers. What had a part in making two programs of what
was to share one is structural.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterable, Mapping
from typing import Any

from keratune.configurations import searched
from keratune.parameters import Choice, Fixed, Float, HyperParameter


class Structure:
    """What was learnt from programs about hyperparameters, by their names.

    Attributes:
        lifted: Those in which trials of one program differ.
        structural: Those that are none of them, and in which trials differ that should have shared
            a program.
    """

    def __init__(self) -> None:
        """Start with nothing learnt."""
        self.lifted: set[str] = set()
        self.structural: set[str] = set()

    def learn(self, lifted: Iterable[str], structural: Iterable[str]) -> None:
        """Take up what was seen; that trials share a program proves more than that they do not."""
        self.lifted.update(lifted)
        self.structural.update(structural)
        self.structural -= self.lifted

    def holds(self, parameter: HyperParameter) -> bool:
        """Tell whether a program is for one value of a hyperparameter."""
        if parameter.name in self.lifted or isinstance(parameter, Fixed):
            return False
        return parameter.name in self.structural or not _is_real(parameter)

    def programs(self, space: Iterable[HyperParameter]) -> float:
        """Return of how many programs a space may have models, at most; inf where none can tell."""
        sizes = (parameter.size or math.inf for parameter in space if self.holds(parameter))
        return math.prod(sizes)


class Lessons:
    """Compares programs and the trials that they were for.

    Args:
        structure: What is known so far; it is only read.
    """

    def __init__(self, structure: Structure) -> None:
        """Start with no trial."""
        self._structure = structure
        # Programs are held weakly: they take memory, and old ones are forgotten.
        self._of_program: weakref.WeakKeyDictionary[Any, Mapping[str, Any]]
        self._of_program = weakref.WeakKeyDictionary()
        self._of_batch: dict[int, tuple[weakref.ref[Any], Mapping[str, Any]]] = {}

    def of(
        self, program: Any, batch: int, configuration: Mapping[str, Any]
    ) -> tuple[set[str], set[str]]:
        """Return which hyperparameters a trial shows to be lifted, and which to be structural.

        Args:
            program: What its model was compiled to.
            batch: Of which batch of suggestions it is one.
            configuration: Its values.
        """
        values = searched(configuration)
        lifted = _differing(self._of_program.setdefault(program, values), values)
        first, others = self._of_batch.setdefault(batch, (weakref.ref(program), values))
        apart = set() if first() in (program, None) else _differing(others, values)
        known = self._structure
        structural = apart - lifted - known.lifted
        return lifted - known.lifted, structural - known.structural


def _is_real(parameter: HyperParameter) -> bool:
    """Tell whether a hyperparameter's values are real numbers."""
    if isinstance(parameter, Choice):
        return all(isinstance(value, float) for value in parameter.values)
    return isinstance(parameter, Float)


def _differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> set[str]:
    """Return the names that both have, with different values."""
    return {name for name in one.keys() & other.keys() if one[name] != other[name]}
