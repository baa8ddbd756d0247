"""Loops side by side: who runs when, in which context, and how they end."""

import pytest

pytest.importorskip("greenlet")

from keratune.execution.side_by_side import SideBySide


class Training:
    """A training that ends as soon as it is trained."""

    def __init__(self, model, args, kwargs, tag, context):
        self.model, self.tag, self.context = model, tag, context
        self.error = self.obstacle = self.history = None


def together(log, end=lambda member: None):
    """Trainings that are collected while there are any, then all ended."""

    def train(source):
        waiting = list(iter(source, None))
        log.append([member.model for member in waiting])
        for member in waiting:
            with member.context():
                log.append(f"{member.model} in {Context.now}")
            member.history = f"history of {member.model}"
            end(member)
            yield member

    def put(value):
        Context.now = value

    Context.now = "outside"
    return SideBySide(train, Training, lambda: Context.now, put)


class Context:
    now = "outside"


def test_trainings_of_all_loops_are_trained_together_each_in_its_context():
    log, found = [], []
    side = together(log)

    def loop(name):
        Context.now = f"context {name}"
        found.append(side.fit(name, (), {}))
        assert Context.now == f"context {name}"

    side.run([lambda name=name: loop(name) for name in "ab"])
    assert log[:3] == [["a", "b"], "a in context a", "b in context b"]
    assert found == ["history of a", "history of b"]
    assert Context.now == "outside"


def test_what_a_training_raises_reaches_its_own_loop():
    def end(member):
        member.error = ValueError("no") if member.model == "a" else None

    side, found = together([], end), []

    def loop(name):
        try:
            found.append(side.fit(name, (), {}))
        except ValueError as error:
            found.append(str(error))

    side.run([lambda name=name: loop(name) for name in "ab"])
    assert found == ["no", "history of b"]


def test_the_error_of_a_loop_ends_the_others_where_they_are():
    side, ended = together([]), []

    def waits():
        try:
            side.sleep(600)
        finally:
            ended.append(True)

    def fails():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        side.run([waits, fails])
    assert ended == [True]


def test_a_loop_that_sleeps_goes_on_in_time():
    side, order = together([]), []

    def sleeps():
        side.sleep(0.05)
        order.append("slept")

    side.run([sleeps, lambda: order.append("ran")])
    assert order == ["ran", "slept"]
