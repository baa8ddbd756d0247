"""Training a fleet: members in the lanes of a program, an epoch at a time.

A member that ends leaves its lane to the next one of the same program, without a compilation. When
few are left and none is to come, they move to a program of fewer lanes. When the device's memory
does not hold the lanes, half of their members wait with the state that they have.

    source -> Member -> program -> lane -> epochs -> ended member
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from keratune._runtime import logger
from keratune.errors import TrialHaltedError
from keratune.training import failures
from keratune.vectorized import device_memory
from keratune.vectorized.families import Programs
from keratune.vectorized.feeding import Feed, Feeds, UnsuitableError, on_device
from keratune.vectorized.members import Member
from keratune.vectorized.program import Epochs, Program, Rows, Stack

# Members move to fewer lanes when a quarter is left or less, and at least so many epochs are to
# come: compiling takes about a second, in which 64 lanes of a small network train 20 epochs.
EPOCHS_WORTH_MOVING = 20

# A program for so many times fewer members than there are is used again, and members wait.
LONGEST_WAIT = 4

# What a member's callbacks may raise without ending the others. A halt may be its time limit.
MEMBERS_OWN = (Exception, TrialHaltedError)


def train(
    source: Callable[[], Member | None],
    programs: Programs,
    width: int,
    memory: Callable[[], float] = device_memory.free_bytes,
) -> Iterator[Member]:
    """Train members together, as many at a time as there are lanes.

    Args:
        source: Returns the next member, freshly built; None for none at the moment. It is asked
            again whenever members have ended.
        programs: Knows the programs of members before.
        width: Most members at a time.
        memory: Returns the bytes that are free on the device.

    Yields:
        Each member when it has ended: with a `history`; or an `error`; or, untouched, with the
        `obstacle` that it must be trained the ordinary way for.

    Example:
        ```python
        members = [Member(build(rate), (x, y), {"epochs": 10}) for rate in (0.1, 0.2, 0.3)]
        waiting = iter(members)
        for member in train(lambda: next(waiting, None), Programs(), width=64):
            print(member.history.history["loss"][-1])
        ```
    """
    queue = _Queue(source, programs, width)
    while True:
        yield from queue.refused()
        program = queue.next_program()
        if program is None:
            if not any(queue.unsuitable):
                return
            continue
        lanes = _Lanes(program, 1 if program.one_by_one else width, queue, memory)
        yield from lanes.run()


class _Queue:
    """Members that wait, sorted by their programs."""

    def __init__(self, source: Callable[[], Member | None], programs: Programs, width: int) -> None:
        self._source, self._programs, self._width = source, programs, width
        self._feeds = Feeds()
        self._owners: dict[int, Member] = {}
        self._waiting: dict[Program, list[Member]] = {}
        self.unsuitable: list[Member] = []

    def refused(self) -> Iterator[Member]:
        """Yield the members that cannot be trained together."""
        while self.unsuitable:
            yield self.unsuitable.pop(0)

    def next_program(self) -> Program | None:
        """Return the program that most members wait for."""
        self._draw(self._width)
        waiting = {program: len(members) for program, members in self._waiting.items() if members}
        return max(waiting, key=lambda program: waiting[program]) if waiting else None

    def take(self, program: Program, count: int) -> list[Member]:
        """Return up to so many members of a program, those that have begun first.

        No more are drawn than would be in lanes or wait, whatever their program.
        """
        if len(self._waiting.get(program, [])) < count:
            self._draw(count)
        members = self._waiting.get(program, [])
        taken, self._waiting[program] = members[:count], members[count:]
        return taken

    def put_back(self, program: Program, members: list[Member]) -> None:
        """Have members wait at the head."""
        self._waiting[program] = members + self._waiting.get(program, [])

    def _draw(self, most: int) -> None:
        """Ask the source for members until so many wait."""
        drawn: list[Member] = []
        waiting = sum(map(len, self._waiting.values()))
        while waiting + len(drawn) < most and (member := self._source()) is not None:
            try:
                member.prepare(self._feeds)
                self._refuse_shared(member)
                drawn.append(member)
            except UnsuitableError:
                self._refuse(member)
                break  # it is trained before another one is built
        for program, members in self._programs.sort(drawn, self._width > 1).items():
            self._waiting.setdefault(program, []).extend(members)
            for member in members:
                member.program = program
        for member in drawn:
            if member.obstacle is not None:
                self._refuse(member)

    def _refuse_shared(self, member: Member) -> None:
        """Refuse a model that is to train variables which another one is training.

        Raises:
            UnsuitableError: It is one.
        """
        owners = self._owners = {key: m for key, m in self._owners.items() if not m.is_over}
        own = [id(variable) for variable in member.model.trainable_variables]
        if not owners.keys().isdisjoint(own):
            member.obstacle = "its model trains variables that another model trains too"
            raise UnsuitableError(member.obstacle)
        owners.update(dict.fromkeys(own, member))

    def _refuse(self, member: Member) -> None:
        logger.debug("Trained the ordinary way: %s", member.obstacle)
        self.unsuitable.append(member)


class _Lanes:
    """The members that a program is training, each in its lane."""

    def __init__(
        self, program: Program, width: int, queue: _Queue, memory: Callable[[], float]
    ) -> None:
        self.program, self.width, self.queue, self.memory = program, width, queue, memory
        self.members: list[Member | None] = []
        self.stack: Stack = []
        self.columns: np.ndarray = np.zeros((0, 0), np.float32)
        self._on_host: list[np.ndarray] = []  # the stack, once somebody has looked at it
        self._stacked: dict[str, tuple[list[Feed], Rows]] = {}

    def run(self) -> Iterator[Member]:
        """Train until no member of the program is left; yield each one that ends."""
        while True:
            yield from self._fill()
            yield from self.queue.refused()
            if not self._active():
                return
            yield from self._begin_epochs()
            if not self._active():
                continue
            try:
                logs, tests = self._train()
            except Exception as error:  # the device's, or the compiler's
                fits_halved = failures.kind_of(error) == failures.OUT_OF_MEMORY
                yield from self._retreat(error) if fits_halved else self._fail_all(error)
                continue
            yield from self._end_epochs(logs, tests)

    def _active(self) -> list[tuple[int, Member]]:
        return [(lane, member) for lane, member in enumerate(self.members) if member is not None]

    # ------------------------------------------------------------------ filling the lanes

    def _fill(self) -> Iterator[Member]:
        """Give free lanes to members that wait; fewer lanes where few members are left."""
        taken: list[Member] = []
        free = self.width - len(self._active())
        for member in self.queue.take(self.program, free) if free else []:
            try:
                if member.rows is None:
                    member.begin()
            except MEMBERS_OWN as error:  # a callback's
                member.fail(error)
                yield member
                continue
            taken.append(member)
        active = [member for _, member in self._active()]
        if taken and len(active) + len(taken) > len(self.members):
            lanes = self._lanes_for(len(active) + len(taken))
            if lanes < len(active) + len(taken):
                self.width = lanes
                self.queue.put_back(self.program, taken[lanes - len(active) :])
            self._rebuild([*active, *taken][:lanes], lanes)
        elif taken and not active:
            self._rebuild(taken, len(self.members))
        elif taken:
            free_lanes = [lane for lane, member in enumerate(self.members) if member is None]
            for lane, member in zip(free_lanes, taken, strict=False):
                self._place(lane, member)
        elif self._is_worth_moving():
            self._rebuild(active, _power_of_two(len(active)))

    def _lanes_for(self, count: int) -> int:
        """Return in how many lanes to train so many members: those there is a program for.

        With fewer than that, the others wait; with more, lanes are idle. Both cost less than a
        compilation, unless the others would have to wait long.
        """
        known = [size for size in self.program.sizes if size <= self.width]
        if enough := [size for size in known if size >= count]:
            return min(enough)
        if known and max(known) * LONGEST_WAIT >= count:
            return max(known)
        return min(_power_of_two(count), self.width)

    def _is_worth_moving(self) -> bool:
        active = [member for _, member in self._active()]
        if not active or len(active) * 4 > len(self.members):
            return False
        return max(m.epochs - m.epoch for m in active) >= EPOCHS_WORTH_MOVING

    def _rebuild(self, members: list[Member], lanes: int) -> None:
        """Stack the members' states in so many lanes."""
        states = [self._state(member) for member in members]
        states += [states[0]] * (lanes - len(members))
        self.stack = jax.device_put([np.stack(parts) for parts in zip(*states, strict=True)])
        self._on_host = []
        self.members = [*members, *[None] * (lanes - len(members))]
        values = [member.anatomy.values for member in members]
        values += [values[0]] * (lanes - len(members))
        self.columns = self.program.columns(values)
        for member in members:
            member.rows = None

    def _state(self, member: Member) -> list[Any]:
        """Return a member's variables, from its lane or from where it has waited."""
        if member.rows is not None:
            return [np.asarray(row) for row in member.rows]
        return self._looker(self.members.index(member))()

    def _place(self, lane: int, member: Member) -> None:
        """Put a member in a free lane."""
        state = self._state(member)
        self.stack, self._on_host = self.program.placed(self.stack, lane, state), []
        self.columns[lane] = self.program.columns([member.anatomy.values])[0]
        self.members[lane], member.rows = member, None

    # ------------------------------------------------------------------ an epoch

    def _begin_epochs(self) -> Iterator[Member]:
        for lane, member in self._active():
            if member.order is not None:  # it has begun, and then waited for memory
                continue
            try:
                if member.has_ended:
                    member.look_through(self._looker(lane))
                    member.finish()
                    self.members[lane] = None
                    yield member
                    continue
                member.look_through(self._looker(lane))
                member.begin_epoch()
            except MEMBERS_OWN as error:  # a callback's
                yield self._failed(lane, member, error)
        self._take_over_changes()

    def _train(self) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Run one epoch of all lanes."""
        active = dict(self._active())
        first = next(iter(active.values()))
        lanes = [member or first for member in self.members]
        halts = np.array([lane in active and m.halts for lane, m in enumerate(lanes)])
        tested = np.array([lane in active and m.is_tested() for lane, m in enumerate(lanes)])
        rows = [self._rows("train", [m.train for m in lanes])]
        if first.test is not None:
            rows.append(self._rows("test", [m.test for m in lanes if m.test is not None]))
        epochs = self._epochs(rows, bool(halts.any()))
        order = np.stack([np.asarray(member.order) for member in lanes])
        logs, stack = epochs.train(self.columns, self.stack, rows[0].arrays, order, halts)
        tests: dict[str, Any] = {}
        if epochs.test is not None and first.test is not None and tested.any():
            order = np.tile(np.arange(first.test.rows, dtype=np.int32), (len(lanes), 1))
            tests, stack = epochs.test(self.columns, stack, rows[1].arrays, order, tested)
        fetched = jax.device_get((logs, tests))  # what is wrong on the device shows here
        self.stack, self._on_host = list(stack), []
        return fetched

    def _rows(self, kind: str, feeds: list[Feed]) -> Rows:
        """Return the arrays of all lanes; those of the last epoch where no lane has changed."""
        known = self._stacked.get(kind)
        if known is None or known[0] != feeds:
            known = self._stacked[kind] = (feeds, _rows(feeds))
        return known[1]

    def _epochs(self, rows: list[Rows], halting: bool) -> Epochs:
        ahead = max(member.epochs - member.epoch for _, member in self._active())
        epochs = self.program.epochs(self.stack, rows, halting, ahead)
        free = self.memory()
        if epochs.bytes_needed > free and len(self.members) > 1:
            raise MemoryError(f"{epochs.bytes_needed} bytes are needed, {free:.0f} are free")
        return epochs

    def _end_epochs(self, logs: dict[str, Any], tests: dict[str, Any]) -> Iterator[Member]:
        for lane, member in self._active():
            member.look_through(self._looker(lane))
            own = {name: _plain(values[lane]) for name, values in logs.items()}
            tested = member.is_tested()
            test = {name: _plain(values[lane]) for name, values in tests.items()}
            try:
                member.end_epoch(own, test if tested else None)
                if member.has_ended:
                    member.finish()
                    self.members[lane] = None
                    yield member
            except MEMBERS_OWN as error:  # a callback's
                yield self._failed(lane, member, error)
        self._take_over_changes()

    def _failed(self, lane: int, member: Member, error: BaseException) -> Member:
        self.members[lane] = None
        member.fail(error)
        return member

    def _fail_all(self, error: Exception) -> Iterator[Member]:
        """End all members with an error that cannot be said to be one's own."""
        for lane, member in self._active():
            yield self._failed(lane, member, error)

    def _looker(self, lane: int) -> Callable[[], list[Any]]:
        """Return a function that gives the values of a lane as they are now.

        The whole stack is fetched when the first member is looked at: slicing it on the device
        takes a call for each member, and a second of compiling.
        """
        stack, host = self.stack, self._on_host

        def look() -> list[Any]:
            if not host:
                host.extend(jax.device_get(stack))
            return [array[lane] for array in host]

        return look

    def _take_over_changes(self) -> None:
        """Put into the stack what callbacks have set, such as the learning rate."""
        changed: dict[int, dict[int, Any]] = {}
        for lane, member in self._active():
            for index, value in member.changes().items():
                changed.setdefault(index, {})[lane] = value
        for index, values in changed.items():
            array = np.array(self.stack[index])
            for lane, value in values.items():
                array[lane] = value
            self.stack[index] = jax.device_put(array)
        if changed:
            self._on_host = []

    # ------------------------------------------------------------------ out of memory

    def _retreat(self, error: Exception) -> Iterator[Member]:
        """Halve the lanes; the members of the other half wait."""
        active = [member for _, member in self._active()]
        if len(self.members) == 1:
            yield self._failed(0, active[0], error)
            return
        for member in active:
            member.rows = self._state(member)
            member.look_through(None)
        self.width = len(self.members) // 2
        logger.info("The device's memory holds %d models at a time, not more", self.width)
        staying, leaving = active[: self.width], active[self.width :]
        self.queue.put_back(self.program, leaving)
        self._rebuild(staying, self.width)


def _power_of_two(count: int) -> int:
    return int(1 << (count - 1).bit_length())


def _plain(value: Any) -> Any:
    return float(value) if np.ndim(value) == 0 else value


def _rows(feeds: Sequence[Feed]) -> Rows:
    """Return the arrays of all lanes: an array that is the same for all is held once."""
    arrays, axes = [], []
    for parts in zip(*(feed.arrays for feed in feeds), strict=True):
        is_shared = all(part is parts[0] for part in parts)
        arrays.append(on_device(parts[0]) if is_shared else jax.device_put(np.stack(parts)))
        axes.append(None if is_shared else 0)
    return Rows(arrays, axes)
