"""Worker loops side by side in one thread, whose trainings share programs.

Each loop asks for trials, builds models and tells how they went, as ever. Where it comes to train a
model, it hands the training over and waits; the trainings that wait are trained together
(`keratune.vectorized`), and a loop whose training has ended goes on. One loop runs at a time, so
that nothing of Keras's or the user's is used by two at once: they are coroutines (greenlets).
Callbacks are called in the context of the loop that has handed their training over.

::

    loop 0   ask  build  fit ~~~~~~~~~~~~~~~~~~~ tell  ask  build  fit ~~~~
    loop 1                    ask  build  fit ~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
    fleet                                     ====== epochs ====         ===
"""

from __future__ import annotations

import contextlib
import contextvars
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from keratune._runtime import logger, require


class SideBySide:
    """Runs loops whose trainings are trained together.

    Args:
        train: Trains members, see `keratune.vectorized.fleet.train`, as many at a time as there
            are loops: called with a source of members, it yields those that have ended.
        member: Makes a member of a model, the arguments of its `fit`, a tag, and what its callbacks
            are called in.
        context: Returns what belongs to the loop that runs, beside its own variables.
        switch: Puts back what `context` has returned.
        waited: Called in a loop's context with the seconds for which its training has waited until
            its program's turn came.

    Attributes:
        count: How many loops there are.
    """

    def __init__(
        self,
        train: Callable[[Callable[[], Any]], Iterator[Any]],
        member: Callable[..., Any],
        context: Callable[[], Any],
        switch: Callable[[Any], None],
        waited: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        """Keep the parts."""
        self._greenlet = require("greenlet", extra="jax")
        self._train, self._member = train, member
        self._context, self._switch, self._waited = context, switch, waited
        self.count = 0
        self._hub: Any = None
        self._ready: deque[Any] = deque()
        self._asleep: list[tuple[float, Any]] = []
        self._contexts: dict[Any, Any] = {}
        self._obstacles: set[str] = set()

    def run(self, loops: Sequence[Callable[[], None]]) -> None:
        """Run loops until all have ended.

        Raises:
            BaseException: What a loop has raised; the others were ended before.
        """
        self._hub = self._greenlet.getcurrent()
        lanes, self.count = [self._greenlet.greenlet(loop) for loop in loops], len(loops)
        for lane in lanes:
            lane.gr_context = contextvars.copy_context()
        self._ready.extend(lanes)
        self._contexts = dict.fromkeys(lanes, self._context())
        try:
            while not all(lane.dead for lane in lanes):
                for member in self._train(self._next_member):
                    self._ready.append(member.tag)
                self._wait()
        finally:
            self._end(lanes)

    def fit(self, model: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Train a model together with those of the other loops; called in a loop.

        Returns:
            What `fit` returns; None where the model must be trained the ordinary way.
        """
        if self._greenlet.getcurrent() is self._hub:
            return None
        lane = self._greenlet.getcurrent()
        member = self._member(model, args, kwargs, lane, self._context_of_training(lane))
        self._hub.switch(member)
        if member.error is not None:
            raise member.error
        if member.obstacle is None:
            return member.history
        if member.obstacle not in self._obstacles:
            self._obstacles.add(member.obstacle)
            logger.info("Models are trained by themselves, as Keras does it: %s", member.obstacle)
        return None

    def _context_of_training(self, lane: Any) -> Callable[[], Any]:
        """Return what callbacks are called in; its first call ends the loop's waiting."""
        since: list[float] = [time.monotonic()]

        @contextlib.contextmanager
        def context() -> Iterator[None]:
            with self._within(lane):
                if since:
                    self._waited(time.monotonic() - since.pop())
                yield

        return context

    def sleep(self, seconds: float) -> None:
        """Let the other loops run for so long; called in a loop."""
        self._asleep.append((time.monotonic() + seconds, self._greenlet.getcurrent()))
        self._hub.switch(None)

    def _next_member(self) -> Any:
        """Run loops until one of them hands a training over; None where all wait."""
        self._wake()
        while self._ready:
            member = self._go_on(self._ready.popleft())
            if member is not None:
                return member
        return None

    def _go_on(self, lane: Any) -> Any:
        """Run a loop until it waits; return the training that it hands over, if it does."""
        with self._within(lane):
            return lane.switch()

    @contextlib.contextmanager
    def _within(self, lane: Any) -> Iterator[None]:
        """Have what belongs to a loop in place."""
        before = self._context()
        self._switch(self._contexts[lane])
        try:
            yield
        finally:
            self._contexts[lane] = self._context()
            self._switch(before)

    def _wake(self) -> None:
        now = time.monotonic()
        self._ready.extend(lane for moment, lane in self._asleep if moment <= now)
        self._asleep = [(moment, lane) for moment, lane in self._asleep if moment > now]

    def _wait(self) -> None:
        """Sleep until a loop wants to run."""
        if self._asleep and not self._ready:
            time.sleep(max(min(moment for moment, _ in self._asleep) - time.monotonic(), 0.0))
        self._wake()

    def _end(self, lanes: Sequence[Any]) -> None:
        """End the loops that are left; each puts down what it has in hand."""
        for lane in lanes:
            if lane and not lane.dead:
                with self._within(lane), contextlib.suppress(self._greenlet.GreenletExit):
                    lane.throw(self._greenlet.GreenletExit("the other worker loops have ended"))
