"""Which trainings share a program.

Models of one structure, fed with batches of one form, are a *family*. A family may need several
programs: its models' numbers are compiled in as constants unless they are lifted, and a lifted
number may have been asked a question whose answer is another for some models (`rate > 0`).

Numbers are lifted once they have been seen to differ, and those that often do from the first on.
What a model's code needs as a number stays a constant; the reason is logged at debug level.
"""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Sequence
from typing import Any

from keratune._runtime import logger
from keratune.vectorized import steps
from keratune.vectorized.anatomy import Anatomy, difference, differing
from keratune.vectorized.feeding import Feed, UnsuitableError
from keratune.vectorized.lifting import NotLiftableError
from keratune.vectorized.members import Member
from keratune.vectorized.program import Program
from keratune.vectorized.steps import Lifting, Steps

# Arrays from this size on are not held on the device once for each member: models with different
# ones have different programs.
LARGEST_STACKED = 4 * 2**20  # bytes

# Attributes that searches vary most, lifted without having been seen to differ: where models come
# one by one, the second one then needs no program of its own.
OFTEN_VARIED = ("rate", "l1", "l2", "momentum", "weight_decay", "stddev", "label_smoothing")

# Programs that are kept. A compiled one takes a few MiB of memory.
MOST_FAMILIES = 64


@dataclasses.dataclass
class Variant:
    """One program of a family.

    Attributes:
        program: The program.
        constants: The leaves that are compiled in, and their values.
    """

    program: Program
    constants: dict[int, str]

    def fits(self, anatomy: Anatomy) -> bool:
        """Tell whether a model of the family has this program."""
        values = anatomy.values
        same = all(repr(values[index]) == value for index, value in self.constants.items())
        return same and self.program.steps.recording.fits(values)


class Family:
    """Models of one structure, fed alike.

    Args:
        first: What the first of them consists of.
    """

    def __init__(self, first: Anatomy) -> None:
        """Start with no program."""
        self.variants: list[Variant] = []
        self.first = first.without_model()
        names = [re.findall(r"\w+", leaf.path)[-1] for leaf in first.leaves]
        self._differing = {i for i, name in enumerate(names) if name in OFTEN_VARIED}
        self._plain: set[int] = set()
        self._constant: set[int] = set()

    @property
    def compiled(self) -> int:
        """Number of compilations so far."""
        return sum(variant.program.compiled for variant in self.variants)

    def program(
        self, member: Member, others: Sequence[Member] = (), for_many: bool = True
    ) -> Program:
        """Return the program of a member, traced now if there is none yet.

        Args:
            member: Whose program it is.
            others: Of the family too: what they differ in is lifted at once.
            for_many: Whether it may be run for several members at a time.

        Raises:
            UnsuitableError: Its steps cannot be traced.
        """
        found = [self.first, member.anatomy, *(other.anatomy for other in others)]
        self._differing |= set(differing(found))
        for variant in reversed(self.variants):
            if variant.fits(member.anatomy):
                return self._checked(variant.program, for_many)
        traced, lifting = self._traced(member, for_many)
        lifted = lifting.guarded | lifting.plain
        values = member.anatomy.values
        constants = {i: repr(value) for i, value in enumerate(values) if i not in lifted}
        test = member.test and member.test.without_rows()
        program = Program(traced, member.train.without_rows(), test)
        self.variants.append(Variant(program, constants))
        return program

    def _checked(self, program: Program, for_many: bool) -> Program:
        """Return a program that was traced before, if it can be run as it is to be."""
        if for_many:
            try:
                program.steps.check_batching()
            except Exception as error:  # JAX's
                raise UnsuitableError(_reason(error)) from error
        return program

    # ------------------------------------------------------------------ what can be lifted

    def _traced(self, member: Member, for_many: bool) -> tuple[Steps, Lifting]:
        """Trace with as many leaves lifted as the model's code takes."""
        for _ in range(len(self._differing) * 2 + 2):
            lifting = self._lifting()
            try:
                return self._trace(member, lifting, for_many), lifting
            except NotLiftableError as error:
                self._demote(error.leaf, member, error)
            except Exception as error:  # whatever the model's code makes of it
                if not self._find_obstacles(member, for_many):
                    raise UnsuitableError(_reason(error)) from error
        raise UnsuitableError("its steps can be traced one number at a time only")

    def _lifting(self) -> Lifting:
        free = self._differing - self._constant
        return Lifting(frozenset(free - self._plain), frozenset(free & self._plain))

    def _trace(self, member: Member, lifting: Lifting, for_many: bool) -> Steps:
        traced = steps.trace(member.model, member.anatomy, lifting, member.train, member.test)
        if for_many:
            traced.check_batching()
        return traced

    def _demote(self, leaf: int, member: Member, error: Exception) -> None:
        """Lift a leaf as an array, or no more if that was tried."""
        if leaf not in self._plain:
            self._plain.add(leaf)
            return
        self._constant.add(leaf)
        path = member.anatomy.leaves[leaf].path
        logger.debug("%s is compiled in as a constant: %s", path, error)

    def _find_obstacles(self, member: Member, for_many: bool) -> bool:
        """Try the lifted leaves alone; return whether one must be lifted otherwise, or not."""
        found = False
        for leaf in sorted(self._differing - self._constant):
            alone = frozenset({leaf})
            is_plain = leaf in self._plain
            lifting = Lifting(plain=alone) if is_plain else Lifting(guarded=alone)
            try:
                self._trace(member, lifting, for_many)
            except Exception as error:  # whatever the model's code makes of it
                self._demote(leaf, member, error)
                found = True
        return found


class Programs:
    """All programs of a process, by what they depend on."""

    def __init__(self) -> None:
        """Start with none."""
        self._families: dict[Any, Family] = {}
        self._forgotten = 0

    @property
    def compiled(self) -> int:
        """Number of compilations so far."""
        return self._forgotten + sum(family.compiled for family in self._families.values())

    def family(self, member: Member) -> Family:
        """Return the family of a member that has been prepared."""
        feeds = [feed for feed in (member.train, member.test) if feed is not None]
        large = [array for feed in feeds for array in _large(feed)]
        forms = tuple(feed.form for feed in feeds)
        sizes = tuple(feed.rows for feed in feeds)
        key = (member.anatomy.structure, forms, sizes, tuple(map(id, large)))
        family = self._families.pop(key, None) or self._new_family(member)
        self._families[key] = family  # the one used last stands last
        while len(self._families) > MOST_FAMILIES:
            self._forgotten += self._families.pop(next(iter(self._families))).compiled
        return family

    def _new_family(self, member: Member) -> Family:
        if self._families and logger.isEnabledFor(logging.DEBUG):
            last = list(self._families.values())[-1]
            logger.debug("Another program, %s", difference(member.anatomy, last.first))
        return Family(member.anatomy)

    def sort(self, members: Sequence[Member], for_many: bool = True) -> dict[Program, list[Member]]:
        """Return members by program; one that has none is given its `obstacle`.

        Args:
            members: The members.
            for_many: Whether several may be trained at a time.
        """
        families: dict[Family, list[Member]] = {}
        for member in members:
            families.setdefault(self.family(member), []).append(member)
        found: dict[Program, list[Member]] = {}
        for family, relatives in families.items():
            for member in relatives:
                try:
                    program = family.program(member, relatives, for_many)
                    found.setdefault(program, []).append(member)
                except UnsuitableError as error:
                    member.obstacle = str(error)
        return found


def _reason(error: Exception) -> str:
    return f"its steps cannot be traced: {type(error).__name__}: {error}".splitlines()[0]


def _large(feed: Feed) -> list[Any]:
    return [array for array in feed.arrays if array.nbytes > LARGEST_STACKED]
