"""Compiled programs that train K models an epoch at a time.

The state of K members is stacked: every array has a leading axis of length K. An epoch is

    vmap over members ( scan over whole batches, then the rows left over, then the metrics )

so the loop over batches runs in the program, and each member has its own order of the rows and its
own columns (learning rate, dropout rate, ...). Lanes of a `vmap` share no number: one that turns
NaN leaves the others bit by bit as they would have been.

On a CPU, XLA runs convolutions inside a loop six times slower than outside, and the grouped
convolutions that `vmap` makes of them nine times slower (measured: 8x8 images, 16 and 32 filters,
20 batches of 32: 8.6 ms an epoch with a call for each batch, 55 in a scan, 86 in a scan under
`vmap`). There a program with convolutions has one member, and is called for every batch.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from keratune.vectorized import compiling
from keratune.vectorized.feeding import Feed
from keratune.vectorized.lifting import Recording
from keratune.vectorized.steps import Logs, Pass, State, Steps

Stack = list[Any]


@dataclasses.dataclass
class Epochs:
    """The compiled functions of a program for one number of members and one way to pass data.

    Attributes:
        train: `(columns, stack, arrays, order, halts) -> (logs, stack)`.
        test: `(columns, stack, arrays, order, chosen) -> (logs, stack)`; None without validation.
        bytes_needed: Device memory that a call takes beside its rows, by XLA's own analysis.
        level: How hard XLA has tried, see `compiling`.
        done: Epochs that were trained with it.
    """

    train: Callable[..., tuple[Logs, Stack]]
    test: Callable[..., tuple[Logs, Stack]] | None
    bytes_needed: int
    level: int
    done: int = 0


@dataclasses.dataclass
class Rows:
    """The arrays that members train with.

    Attributes:
        arrays: One for all members, or stacked, one for each.
        axes: None for an array of all members, 0 for stacked ones, as `vmap` takes it.
    """

    arrays: list[Any]
    axes: list[int | None]


class Program:
    """A traced program and what has been compiled of it.

    Args:
        steps: The traced steps.
        train: Rows to train with; only their form counts.
        test: Rows to validate with, if any; only their form counts.

    Attributes:
        one_by_one: Whether it trains one member at a time.
        compiled: Number of compilations so far.
    """

    def __init__(self, steps: Steps, train: Feed, test: Feed | None) -> None:
        """Start with nothing compiled."""
        self.steps = steps
        self.one_by_one = steps.convolves and jax.default_backend() == "cpu"
        self.compiled = 0
        self._feeds = [train] if test is None else [train, test]
        self._epochs: dict[tuple[Any, ...], Epochs] = {}
        self._place: dict[int, Callable[..., Stack]] = {}

    def columns(self, members: Sequence[Sequence[float]]) -> np.ndarray:
        """Return the columns of members with these leaves, shape (members, columns)."""
        wanted = self.steps.recording.columns
        rows = [[column.value(values) for column in wanted] for values in members]
        return np.asarray(rows, np.float32).reshape(len(members), len(wanted))

    @property
    def sizes(self) -> set[int]:
        """The numbers of members that it has been compiled for."""
        return {key[0] for key in self._epochs}

    def placed(self, stack: Stack, lane: int, state: State) -> Stack:
        """Return a stack with a member's state in a lane; compiled at its first use."""
        count, index = len(stack[0]), np.int32(lane)
        if count not in self._place:
            self._place[count] = compiling.compiled(_placed, (stack, index, state), 0)
        placed: Stack = self._place[count](stack, index, state)
        return placed

    def epochs(self, stack: Stack, rows: list[Rows], halting: bool, ahead: int) -> Epochs:
        """Return the compiled functions for this many members, compiling what is new.

        What comes back is likely to come back again: a program that is new is taken to be used for
        as long again as is known, one that was used for as long again as it was. If it is going to
        run for so long that a better compilation pays clearly, it is compiled once more: that
        takes the whole time of compiling, and the bounds of levels are made for the difference.

        Args:
            stack: The members' state.
            rows: Arrays to train and, where there are any, to validate with.
            halting: Whether a member may ask to stop at a loss that is not finite.
            ahead: Epochs that are known to come, this one included.
        """
        key = (len(stack[0]), tuple(tuple(part.axes) for part in rows), halting)
        epoch = sum((over.work for over in self.steps.passes), compiling.NO_WORK)
        known = self._epochs.get(key)
        expected = 2 * ahead if known is None else max(known.done, ahead) // 4
        level = compiling.level_for(epoch.times(expected * len(stack[0])))
        if known is None or known.level < level:
            known = self._epochs[key] = self._compile(stack, rows, halting, level)
            self.compiled += 1
        known.done += 1
        return known

    def _compile(self, stack: Stack, rows: list[Rows], halting: bool, level: int) -> Epochs:
        members, columns = len(stack[0]), len(self.steps.recording.columns)
        inputs = (np.zeros((members, columns), np.float32), stack)
        calls: list[Any] = []
        loops: list[tuple[Any, Any]] = []
        for over, feed, part in zip(self.steps.passes, self._feeds, rows, strict=True):
            is_test = over is not self.steps.passes[0]
            epoch = _Epoch(self.steps.recording, over, feed, halting and not is_test, is_test)
            if self.one_by_one:
                calls.append(epoch.as_calls(stack, part.arrays, level))
                continue
            order = (np.zeros((members, feed.rows), np.int32), np.zeros(members, bool))
            function = _for_all(epoch.as_loop, part.axes, members)
            loops.append((function, (*inputs, part.arrays, *order)))
        made = calls or compiling.all_compiled(loops, level)
        need = 0 if calls else max(map(_bytes_needed, made))
        return Epochs(made[0], made[1] if len(made) > 1 else None, need, level)


def _for_all(
    loop: Callable[..., Any], axes: list[int | None], members: int
) -> Callable[..., tuple[Logs, Stack]]:
    """Return a member's pass as one of the stack; a single one needs no operations of a batch."""
    if members > 1:
        return jax.vmap(loop, (0, 0, axes, 0, 0))

    def alone(columns: Any, stack: Any, arrays: Any, order: Any, flags: Any) -> Any:
        own = [a if axis is None else a[0] for a, axis in zip(arrays, axes, strict=True)]
        result = loop(columns[0], [array[0] for array in stack], own, order[0], flags[0])
        return jax.tree.map(lambda value: value[None], result)

    return alone


def _placed(stack: Stack, lane: Any, state: State) -> Stack:
    return [array.at[lane].set(row) for array, row in zip(stack, state, strict=True)]


def _bytes_needed(compiled: Any) -> int:
    analysis = compiled.memory_analysis()  # None where a device cannot tell
    sizes = ("argument_size_in_bytes", "output_size_in_bytes", "temp_size_in_bytes")
    return sum(int(getattr(analysis, size, 0)) for size in sizes)


class _Epoch:
    """One member's pass over its rows.

    Args:
        recording: Of the program's columns.
        over: The traced steps of the pass.
        feed: Form of the rows.
        halting: Whether a member that wishes so halts at a loss that is not finite.
        is_test: Whether the state stays as it was unless the member is to be tested.
    """

    def __init__(
        self, recording: Recording, over: Pass, feed: Feed, halting: bool, is_test: bool
    ) -> None:
        self.over, self.feed, self.halting, self.is_test = over, feed, halting, is_test
        self._used = len(recording.columns)
        self._free = recording.size - self._used

    def _scalars(self, columns: Any) -> list[Any]:
        """Return one scalar for each column that the trace has allowed for."""
        return [columns[i] for i in range(self._used)] + [np.float32(0)] * self._free

    def _step(self, step: Any, columns: Any, carry: Any, arrays: list[Any], rows: Any) -> Any:
        """Take a step; a member that halts stays as its loss has left it."""
        state, runs, halts = carry
        batch = jax.tree.map(lambda index: arrays[index][rows], self.feed.tree)
        logs, new = step(self._scalars(columns), state, batch)
        if not self.halting or "loss" not in logs:
            return (new, runs, halts), logs
        kept = [jnp.where(runs, after, before) for after, before in zip(new, state, strict=True)]
        return (kept, runs & (jnp.isfinite(logs["loss"]) | ~halts), halts), logs

    def as_loop(
        self, columns: Any, state: State, arrays: list[Any], order: Any, flag: Any
    ) -> tuple[Logs, State]:
        """Run the whole pass in one function.

        Args:
            columns: The member's, shape (columns,).
            state: Its variables.
            arrays: The rows.
            order: In which the rows come, shape (rows,).
            flag: In training whether it halts, in a test whether it is to be tested.
        """
        over, feed = self.over, self.feed
        carry = (over.begin(self._scalars(columns), state), jnp.array(True), flag)
        logs: Logs = {}
        if over.whole is not None:
            batches = order[: feed.full * feed.batch_size].reshape(feed.full, feed.batch_size)

            def body(carry: Any, rows: Any) -> Any:
                return self._step(over.whole, columns, carry, arrays, rows)

            carry, every = jax.lax.scan(body, carry, batches)
            logs = {name: values[-1] for name, values in every.items()}
        if over.rest is not None:
            rows = order[feed.full * feed.batch_size :]
            carry, logs = self._step(over.rest, columns, carry, arrays, rows)
        new = carry[0]
        logs = over.results(self._scalars(columns), new, logs)
        if self.is_test:
            new = [jnp.where(flag, after, was) for after, was in zip(new, state, strict=True)]
        return logs, new

    def as_calls(
        self, stack: Stack, arrays: list[Any], level: int
    ) -> Callable[..., tuple[Logs, Stack]]:
        """Return the pass of a stack with one member as a call for each batch.

        Args:
            stack: Of one member; its form counts.
            arrays: The rows; their form counts.
            level: How hard XLA is to try.
        """
        over, feed = self.over, self.feed
        columns, state = np.zeros(self._used, np.float32), [array[0] for array in stack]
        carry = (state, np.array(True), np.array(False))
        begin = compiling.compiled(self._begin, (columns, state), level)
        steps = {}
        for size, step in ((feed.batch_size, over.whole), (feed.rest, over.rest)):
            if step is not None:
                call = functools.partial(self._step, step)
                inputs = (columns, carry, arrays, np.zeros(size, np.int32))
                steps[size] = compiling.compiled(call, inputs, level)
                _, logs = jax.eval_shape(call, *inputs)
        finish = compiling.compiled(self._finish, (columns, state, logs), level)
        ends = [*range(feed.batch_size, feed.rows, feed.batch_size), feed.rows]

        def run(
            columns: Any, stack: Stack, arrays: list[Any], order: Any, flags: Any
        ) -> tuple[Logs, Stack]:
            state = begin(columns[0], [array[0] for array in stack])
            carry, logs = (state, np.array(True), flags[0]), {}
            for start, end in zip([0, *ends], ends, strict=False):
                carry, logs = steps[end - start](columns[0], carry, arrays, order[0, start:end])
            logs = finish(columns[0], carry[0], logs)
            kept = stack if self.is_test and not flags[0] else [array[None] for array in carry[0]]
            return {name: value[None] for name, value in logs.items()}, kept

        return run

    def _begin(self, columns: Any, state: State) -> State:
        return self.over.begin(self._scalars(columns), state)

    def _finish(self, columns: Any, state: State, logs: Logs) -> Logs:
        return self.over.results(self._scalars(columns), state, logs)
