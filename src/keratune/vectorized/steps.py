"""Keras's own training and test steps as pure values.

`trace` runs a model's `train_step` and `test_step` on abstract arrays and keeps what they do as
jaxprs: functions of columns (see `lifting`), state and batch that know no Keras object any more.
So one trace serves every model of the same program, and outlives the model it was made from.

The state is one flat list: trainable, non-trainable, optimizer and metrics variables.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import keras
from jax.extend.core import jaxpr_as_fun

from keratune.vectorized import compiling
from keratune.vectorized.anatomy import Anatomy, state_variables
from keratune.vectorized.feeding import Feed, UnsuitableError
from keratune.vectorized.lifting import Lifted, NotLiftableError, Recording

# Columns that one leaf may lead to: itself, one minus itself, and the like. Adam's betas have two.
COLUMNS_PER_LEAF = 8

State = list[Any]
Logs = dict[str, Any]
Step = Callable[[Sequence[Any], State, list[Any]], tuple[Logs, State]]


@dataclasses.dataclass
class Pass:
    """What happens in a pass over the rows, training or test.

    Attributes:
        begin: Returns the state with metrics reset.
        whole: A step with a whole batch; None where there is none.
        rest: A step with the rows that are left over; None where there are none.
        results: Returns what the pass has measured, from state and logs of the last step.
        work: What there is to do.
    """

    begin: Callable[[Sequence[Any], State], State]
    whole: Step | None
    rest: Step | None
    results: Callable[[Sequence[Any], State, Logs], Logs]
    work: compiling.Work


@dataclasses.dataclass
class Steps:
    """The traced steps of a program.

    Attributes:
        recording: Columns and guards.
        passes: Over the rows to train with, and over those to validate with, if any.
        convolves: Whether convolutions are among the operations.
        forms: The passes' steps, each with the forms of its arguments.
        batches: Whether they are known to be possible for many models at once.
    """

    recording: Recording
    passes: list[Pass]
    convolves: bool
    forms: list[tuple[Step, Any]]
    batches: bool = False

    def check_batching(self) -> None:
        """Raise what JAX raises where an operation cannot be done for many models at once."""
        if not self.batches:
            for step, inputs in self.forms:
                jax.eval_shape(jax.vmap(step), *jax.tree.map(_doubled, inputs))
            self.batches = True


@dataclasses.dataclass(frozen=True)
class Lifting:
    """How the leaves of a model enter its program.

    Attributes:
        guarded: Leaves that a `Lifted` stands for.
        plain: Leaves that an array stands for, since the code hands them to functions of JAX that
            take nothing else; they cannot be compared.
    """

    guarded: frozenset[int] = frozenset()
    plain: frozenset[int] = frozenset()


def trace(model: Any, anatomy: Anatomy, lifting: Lifting, train: Feed, test: Feed | None) -> Steps:
    """Return a model's steps.

    Args:
        model: Built, with the batches that it is to be fed.
        anatomy: Of the model.
        lifting: Leaves that become inputs.
        train: The rows to train with.
        test: The rows to validate with.

    Raises:
        NotLiftableError: A leaf is needed as a number.
        Exception: Whatever the model's own code raises, or JAX where it cannot trace it.
    """
    leaves = lifting.guarded | lifting.plain
    tracer = _Tracer(model, anatomy, lifting, Recording(COLUMNS_PER_LEAF * len(leaves)))
    passes = [tracer.passed(train, "train")] + ([tracer.passed(test, "test")] if test else [])
    return Steps(tracer.recording, passes, tracer.convolves, tracer.forms)


class _Tracer:
    """Traces the steps of one model."""

    def __init__(
        self, model: Any, anatomy: Anatomy, lifting: Lifting, recording: Recording
    ) -> None:
        self.model, self.anatomy, self.lifting = model, anatomy, lifting
        self.recording = recording
        self.convolves = False
        groups = state_variables(model)
        self._sizes = [len(group) for group in groups]
        self._state = [_form(variable) for group in groups for variable in group]
        scalar = jax.ShapeDtypeStruct((), jnp.float32, weak_type=True)
        self._columns = [scalar] * recording.size
        self.forms: list[tuple[Step, Any]] = []

    def passed(self, feed: Feed, kind: str) -> Pass:
        step = self._train_step if kind == "train" else self._test_step
        whole = self._traced(step, feed.batch(feed.batch_size)) if feed.full else None
        rest = self._traced(step, feed.batch(feed.rest)) if feed.rest else None
        for made, size in ((whole, feed.batch_size), (rest, feed.rest)):
            if made:
                self.forms.append((made[0], (self._columns, self._state, feed.batch(size))))
        logs = (rest or whole)[1][0]  # type: ignore[index]  # a feed has at least one row
        begin = self._traced(self._begin)
        results = self._traced(self._results, logs)
        work = begin[2] + results[2] + (rest[2] if rest else compiling.NO_WORK)
        work += whole[2].times(feed.full) if whole else compiling.NO_WORK
        return Pass(begin[0], whole and whole[0], rest and rest[0], results[0], work)

    def _traced(self, function: Callable[..., Any], *more: Any) -> tuple[Any, Any, compiling.Work]:
        """Return a function of the model as a pure one, the form of its result, its work."""

        def run(columns: Any, state: Any, *more: Any) -> Any:
            self.recording.inputs = columns
            with self._placed():
                return function(state, *more)

        closed, form = jax.make_jaxpr(run, return_shape=True)(self._columns, self._state, *more)
        tree = jax.tree.structure(form)
        flat = jaxpr_as_fun(closed)
        self.convolves |= _has_primitive(closed.jaxpr, "conv_general_dilated")

        def pure(columns: Any, state: Any, *more: Any) -> Any:
            return jax.tree.unflatten(tree, flat(*jax.tree.leaves((columns, state, *more))))

        return pure, form, compiling.work_of(closed.jaxpr)

    @contextlib.contextmanager
    def _placed(self) -> Iterator[None]:
        """Have the lifted leaves stand in their places."""
        places = [(i, self.anatomy.leaves[i]) for i in self.lifting.guarded | self.lifting.plain]
        done = []
        try:
            for index, leaf in places:
                lifted = Lifted(self.recording, index, leaf.value)
                plain = index in self.lifting.plain
                try:
                    leaf.place.put(lifted.__jax_array__() if plain else lifted)
                except TypeError as error:
                    raise NotLiftableError(index, "an object that cannot be changed") from error
                done.append(leaf)
            yield
        finally:
            for leaf in reversed(done):
                leaf.place.put(leaf.value)

    # ------------------------------------------------------------------ Keras's functions

    def _grouped(self, state: State) -> list[State]:
        ends = [sum(self._sizes[: i + 1]) for i in range(4)]
        return [list(state[end - size : end]) for end, size in zip(ends, self._sizes, strict=True)]

    def _train_step(self, state: State, batch: Any) -> tuple[Logs, State]:
        logs, new = self.model.train_step(tuple(self._grouped(state)), batch)
        return _named(logs), self._flat(new)

    def _test_step(self, state: State, batch: Any) -> tuple[Logs, State]:
        trainable, other, slots, metrics = self._grouped(state)
        logs, new = self.model.test_step((trainable, other, metrics), batch)
        return _named(logs), self._flat((new[0], new[1], slots, new[2]))

    def _flat(self, groups: Sequence[State]) -> State:
        """Return a state in the types it came in, which a step must not change."""
        flat = [value for group in groups for value in group]
        return [
            jnp.asarray(getattr(value, "value", value), form.dtype)
            for value, form in zip(flat, self._state, strict=True)
        ]

    def _begin(self, state: State) -> State:
        groups = self._grouped(state)
        variables = self.model.metrics_variables
        with self._scope(groups) as scope:
            self.model.reset_metrics()
        return self._flat((*groups[:3], [_current(scope, v) for v in variables]))

    def _results(self, state: State, logs: Logs) -> Logs:
        """Choose as `fit` does between the metrics' results and the last step's logs."""
        with self._scope(self._grouped(state)):
            results = _named(self.model.get_metrics_result())
        return results if set(results) == set(logs) else logs

    def _scope(self, groups: Sequence[State]) -> Any:
        pairs = [
            pair
            for variables, values in zip(state_variables(self.model), groups, strict=True)
            for pair in zip(variables, values, strict=True)
        ]
        return keras.StatelessScope(state_mapping=pairs)


def _current(scope: Any, variable: Any) -> Any:
    value = scope.get_current_value(variable)
    return variable.value if value is None else value


def _doubled(form: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((2, *form.shape), form.dtype)


def _form(variable: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(tuple(variable.shape), jnp.dtype(variable.dtype))


def _named(logs: Any) -> Logs:
    """Return logs by name, those of a nested dict by their own names as Keras shows them.

    Raises:
        UnsuitableError: They have no names.
    """
    if not isinstance(logs, dict):
        raise UnsuitableError(f"a step returns {type(logs).__name__}, not a dict of logs")
    named: Logs = {}
    for name, value in logs.items():
        named |= _named(value) if isinstance(value, dict) else {name: jnp.asarray(value)}
    return named


def _has_primitive(jaxpr: Any, name: str) -> bool:
    """Tell whether an operation is among those of a jaxpr, at any depth."""
    return any(
        equation.primitive.name == name
        or any(_has_primitive(inner, name) for inner in compiling.inner_jaxprs(equation))
        for equation in jaxpr.eqns
    )
