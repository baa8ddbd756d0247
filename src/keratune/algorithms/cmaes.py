"""CMA-ES with margin, over numbers, lattices and categories alike (CatCMA with margin).

A normal law over the numbers and a table of probabilities over the categories move, a generation of
lambda trials at a time, to where the better half of the generation lay. A margin keeps every value
of a lattice and every category within reach (Hansen, arXiv 1604.00772; Hamano et al., arXiv
2504.07884). The package `cmaes` does this arithmetic; this file says when:

- A trial is drawn from the distribution of the moment in which it was created, with seeds derived
  from the study's seed and its number. So its raw sample, of which the configuration shows the
  rounded part only, can be drawn again whenever the history is read anew.
- Each lambda drawn trials, in the order in which they ended, are a generation, told by rank. Failed
  ones are the worst; equal losses rank in order. A paused trial has not ended.
- What a trial did not read is told as it was drawn: it is noise, which moves nothing on average.
- Trials that were not drawn (defaults, enqueued ones, those from before the space grew) and
  observations from elsewhere are not told. As long as no drawn trial has ended, they set the start,
  anew with each lambda of them: the mean of the best of these, absent numbers at the centre. Before
  that the distribution starts where the user believes good values to be, or at the centre.

d: coordinates   lambda = 4 + floor(3 ln d): trials of a generation
"""

from __future__ import annotations

import copy
import weakref
from collections import Counter
from collections.abc import Iterator
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from keratune._random import derived_seed
from keratune._runtime import require
from keratune.algorithms.base import Algorithm, random_values
from keratune.history import History, Record
from keratune.numerics.beliefs import Around
from keratune.surrogates.encoding import ABSENT_NUMBER, Encoding
from keratune.trial import TrialStatus

Array = NDArray[np.float64]

# Initial standard deviation of a number: a sixth of its range, as Hamano et al. have it.
SPREAD = 1 / 6
# A lattice of more values is taken for a continuous range: the first steps span ten of its cells.
FINEST_LATTICE = 64
# Draws for one trial until one is a configuration that no trial has tried.
DRAWS = 10


class _Distribution:
    """The distribution over the rows of an encoding, in the package's terms.

    Args:
        encoding: The coordinates, at least one.
        start: (d,) the row around which the numbers are drawn at first.
        population: Trials of a generation; None: by the formula.
    """

    def __init__(self, encoding: Encoding, start: Array, population: int | None) -> None:
        cmaes = require("cmaes", extra="cmaes")
        self._listed = [_row_values(encoding, place) for place in range(len(encoding))]
        kinds = np.array(
            [
                _kind(values, categories > 0)
                for values, categories in zip(self._listed, encoding.categories, strict=True)
            ]
        )
        self._continuous = np.flatnonzero(kinds == "continuous")
        self._lattices = np.flatnonzero(kinds == "lattice")
        self._categories = np.flatnonzero(kinds == "category")
        numbers = np.concatenate([self._continuous, self._lattices])
        normal = {"mean": start[numbers], "cov": np.eye(len(numbers)), "sigma": SPREAD}
        self._optimizer = cmaes.CatCMAwM(
            x_space=[[0.0, 1.0]] * len(self._continuous) or None,
            z_space=[self._listed[place] for place in self._lattices] or None,
            c_space=[len(self._listed[place]) for place in self._categories] or None,
            population_size=population,
            **(normal if len(numbers) else {}),
        )
        self.population = int(self._optimizer.population_size)

    def draw(self, seed: int) -> tuple[Any, Array]:
        """Return a raw sample and its row, (d,); equal seeds draw the same."""
        self._optimizer.reseed_rng(seed)
        raw = self._optimizer.ask()
        row = np.empty(len(self._listed))
        if len(self._continuous):
            row[self._continuous] = raw.x
        if len(self._lattices):
            row[self._lattices] = raw.z
        for place, one_hot in zip(self._categories, () if raw.c is None else raw.c, strict=True):
            row[place] = self._listed[place][int(np.argmax(one_hot))]
        return raw, row

    def moved(self, generation: list[Any]) -> _Distribution:
        """Return the distribution after a generation of raw samples, best first."""
        after = copy.copy(self)
        after._optimizer = copy.deepcopy(self._optimizer)
        after._optimizer.tell([(raw, float(rank)) for rank, raw in enumerate(generation)])
        return after


def _row_values(encoding: Encoding, place: int) -> list[float]:
    """Return what a coordinate may be, ascending; nothing where that is not a short list."""
    if encoding.categories[place]:
        return [float(index) for index in range(encoding.categories[place] - 1)]
    levels = encoding.levels[place]
    return [] if levels is None or len(levels) > FINEST_LATTICE else levels.tolist()


def _kind(values: list[float], unordered: bool) -> str:
    """Tell how the package has a coordinate; of two values none lies between the others."""
    if unordered or len(values) == 2:
        return "category"
    return "lattice" if values else "continuous"


def _believed(encoding: Encoding) -> Array:
    """Return the row of the numbers' believed places, the centre where nothing is believed."""
    beliefs = [parameter.belief for parameter in encoding.parameters]
    return np.array([b.mean if isinstance(b, Around) else ABSENT_NUMBER for b in beliefs])


class _Replay:
    """What a history means for the distribution; computed from it step by step, and nothing else.

    Args:
        history: The history, for its space, its seed, and what was given from elsewhere.
        population: Trials of a generation; None: by the formula.
    """

    def __init__(self, history: History, population: int | None) -> None:
        self._parameters = history.space.space
        self._given = len(history.given)
        self._encoding = Encoding(history.space.copy())
        self._wanted = population
        self._seed = history.seed
        self._seen = 0
        self._named: Counter[int] = Counter()  # trial -> its changes that were taken in
        self._born: dict[int, int] = {}  # trial -> the version that it was drawn from
        self._generation: list[tuple[float, int, Any]] = []  # loss, order, raw sample
        self._others: list[tuple[float, int, Array]] = []  # loss, order, row: not drawn
        self._has_begun = False
        centre = _believed(self._encoding)
        self._versions = [_Distribution(self._encoding, centre, population)]
        for values, loss in history.given:
            self._take_other(loss, self._encoding.encode([values])[0])

    def is_for(self, history: History) -> bool:
        """Tell whether the replay began with what the history begins with now."""
        return self._given == len(history.given) and self._parameters == history.space.space

    def update(self, history: History) -> None:
        """Take in what has changed. After a trial's end it changes by confirmations only."""
        fresh = history.changes[self._seen :]
        total = self._named + Counter(fresh)
        for number in fresh:
            self._born.setdefault(number, len(self._versions) - 1)
            self._named[number] += 1
            record = history[number] if number in history else None
            if record is not None and record.finished:
                if self._named[number] == total[number] - len(record.confirmed):
                    self._take(history, record)
        self._seen = len(history.changes)

    def draws(self, history: History, number: int) -> Iterator[tuple[Any, dict[str, Any]]]:
        """Yield the raw samples and configurations that were, or are, drawn for a trial."""
        version = self._versions[self._born.get(number, -1)]
        discards = history.discarded.get(number, 0)
        for draw in range(DRAWS):
            raw, row = version.draw(derived_seed(self._seed, "cmaes", number, discards, draw))
            yield raw, self._encoding.decode(row)

    def _take(self, history: History, record: Record) -> None:
        """Take in a trial that has ended."""
        raw = self._raw_sample(history, record)
        if raw is None:
            self._take_other(_loss(history, record), self._encoding.encode([record.values])[0])
            return
        self._has_begun = True
        self._generation.append((_loss(history, record), len(self._generation), raw))
        if len(self._generation) == self._versions[-1].population:
            ranked = [sample for *_, sample in sorted(self._generation, key=lambda e: e[:2])]
            self._versions.append(self._versions[-1].moved(ranked))
            self._generation = []

    def _take_other(self, loss: float, row: Array) -> None:
        """Take in what was not drawn; it sets the start as long as nothing else is known."""
        if self._has_begun:
            return
        self._others.append((loss, len(self._others), row))
        population = self._versions[-1].population
        if len(self._others) % population == 0:
            ranked = sorted(self._others, key=lambda entry: entry[:2])
            start = np.mean([row for *_, row in ranked[: population // 2]], axis=0)
            self._versions.append(_Distribution(self._encoding, start, self._wanted))

    def _raw_sample(self, history: History, record: Record) -> Any:
        """Return the raw sample that a trial was drawn as; None where it was not drawn."""
        known = np.array([p.name in record.values for p in self._encoding.parameters])
        if not known.any():
            return None
        row = self._encoding.encode([record.values])[0]
        for raw, values in self.draws(history, record.number):
            drawn = self._encoding.encode([values])[0]
            if np.allclose(row[known], drawn[known], rtol=0.0, atol=1e-9):
                return raw
        return None


def _loss(history: History, record: Record) -> float:
    """Return a trial's loss; a failed trial's is larger than any."""
    if record.status == TrialStatus.FAILED or record.score is None:
        return float("inf")
    return history.objective.to_loss(record.score)


_replays: weakref.WeakKeyDictionary[History, dict[int | None, _Replay]] = (
    weakref.WeakKeyDictionary()
)


@final
class CMAES(Algorithm):
    """Moves a normal law over the space to where good trials are.

    Trials that were not trained to an end teach it nothing, so it is no match for a scheduler that
    pauses most of them.

    Args:
        population: Trials of a generation, at least 4; default: 4 + floor(3 ln d).

    Raises:
        ValueError: `population` is smaller than 4.
        MissingPackageError: The package `cmaes` is not installed.

    Example:
        ```python
        algorithm = CMAES(population=16)
        ```
    """

    in_batches = False  # it replays what it has drawn

    def __init__(self, population: int | None = None) -> None:
        """Check the number and keep it."""
        require("cmaes", extra="cmaes")
        if population is not None and population < 4:
            raise ValueError(f"`population` must be at least 4. Received: population={population}.")
        self.population = population

    def suggest(self, history: History, rng: np.random.Generator) -> dict[str, Any] | None:
        """Return the first configuration drawn for the trial that may be tried and was not."""
        if all(parameter.size == 1 for parameter in history.space.space):
            return random_values(history, rng)
        replay = self._replay(history)
        values: dict[str, Any] = {}
        for _, values in replay.draws(history, history.next_number):
            if history.allowed(values) and not history.tree.covers(values):
                break
        return values

    def _replay(self, history: History) -> _Replay:
        """Return the replay of the history so far, begun anew where its beginning has changed."""
        replays = _replays.setdefault(history, {})
        replay = replays.get(self.population)
        if replay is None or not replay.is_for(history):
            replay = replays[self.population] = _Replay(history, self.population)
        replay.update(history)
        return replay
