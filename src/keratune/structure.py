"""Which hyperparameters change the program that a model compiles to.

Trials that are trained together share a compiled program where their models have one structure
(`keratune.vectorized`). An algorithm that is to fill such a program must know which of a trial's
values the others have to share. Nobody is asked: a hyperparameter in which two trials of one
program differ is *lifted*, a number that the program takes as an input. Before anything was seen,
a `Float`, or a `Choice` of floats such as learning rates, is taken for lifted and everything else
for structural: numbers of units, choices of layers. Where trials share all that is structural, and
have two programs all the same, what they differ in is structural too: what has not been seen to be
lifted; or else what has been, by coincidence (a number of units in a layer that the model lacks).
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from keratune.configurations import searched
from keratune.parameters import Choice, Fixed, Float, HyperParameter
from keratune.space import HyperParameters


class Structure:
    """What was learnt from programs about hyperparameters, by their names.

    Attributes:
        lifted: Those in which trials of one program differ.
        structural: Those in which trials differ that should have shared a program.
    """

    def __init__(self) -> None:
        """Start with nothing learnt."""
        self.lifted: set[str] = set()
        self.structural: set[str] = set()
        self._by_coincidence: set[str] = set()

    def learn(self, lifted: Iterable[str], structural: Iterable[str]) -> None:
        """Take up what was seen. What once seemed lifted and was not is structural for good."""
        self._by_coincidence |= self.lifted.intersection(structural)
        self.lifted.update(lifted)
        self.lifted -= self._by_coincidence
        self.structural.update(structural)
        self.structural -= self.lifted

    def holds(self, parameter: HyperParameter) -> bool:
        """Tell whether a program is for one value of a hyperparameter."""
        if parameter.name in self.lifted or isinstance(parameter, Fixed):
            return False
        return parameter.name in self.structural or not is_real(parameter)

    def programs(self, space: Iterable[HyperParameter]) -> float:
        """Return of how many programs a space may have models, at most; inf where none can tell."""
        sizes = (parameter.size or math.inf for parameter in space if self.holds(parameter))
        return math.prod(sizes)


class Known(Protocol):
    """What lessons read: a history."""

    space: HyperParameters
    structure: Structure


class Lessons:
    """Compares programs and the trials that they were for.

    Args:
        history: Knows the space, and what was learnt so far; it is only read.
    """

    def __init__(self, history: Known) -> None:
        """Start with no trial."""
        self._history = history
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

        Returns:
            The names that are news.
        """
        values, known = searched(configuration), self._history.structure
        same = _differing(self._of_program.setdefault(program, values), values)
        program_then, values_then = self._of_batch.setdefault(batch, (weakref.ref(program), values))
        apart: set[str] = set()
        if program_then() not in (program, None):
            apart = self._to_blame(_differing(values_then, values))
        return same - known.lifted - apart, apart - known.structural

    def _to_blame(self, differing: set[str]) -> set[str]:
        """Return what makes two programs of trials that differ so; nothing where that is known."""
        space, known = self._history.space, self._history.structure
        if any(holds(known, space, name) for name in differing):
            return set()
        whole = {n for n in differing if not all(map(is_real, space.named(n)))}
        return (differing - known.lifted) or whole or differing


def holds(structure: Structure, space: HyperParameters, name: str) -> bool:
    """Tell whether a program is for one value of the hyperparameters of a name."""
    return any(map(structure.holds, space.named(name)))


def is_real(parameter: HyperParameter) -> bool:
    """Tell whether a hyperparameter's values are real numbers."""
    if isinstance(parameter, Choice):
        return all(isinstance(value, float) for value in parameter.values)
    return isinstance(parameter, Float)


def _differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> set[str]:
    """Return the names that both have, with different values."""
    return {name for name in one.keys() & other.keys() if one[name] != other[name]}
