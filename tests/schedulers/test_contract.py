"""Every scheduler of the registry keeps the contract, and one that breaks it is found out."""

from __future__ import annotations

import functools

import pytest

from keratune import schedulers
from keratune.schedulers.base import Action, Decision, Plan, Scheduler
from keratune.schedulers.median import Median
from keratune.testing import schedulers as contract


@pytest.mark.parametrize("check", contract.CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", schedulers.available())
def test_a_registered_scheduler_keeps_the_contract(name, check):
    check(functools.partial(schedulers.create, name))


class Counting(Median):
    """Remembers how often it was asked."""

    asked = 0

    def decide(self, history, number):
        Counting.asked += 1
        return Decision(Action.PAUSE, "enough") if Counting.asked % 5 == 0 else Decision()


class Forgetting(Median):
    """Pauses trials and never resumes them."""

    def plan(self, history, exhausted=False):
        return Plan(Action.STOP if exhausted else Action.START)

    def decide(self, history, number):
        return Decision(Action.PAUSE, "enough")


class Scanning(Scheduler):
    """Looks at all trials."""

    def __repr__(self):
        return "Scanning()"

    def decide(self, history, number):
        worse = sum(record.trained < history[number].trained for record in history.trials)
        return Decision(Action.STOP, "") if worse else Decision()


@pytest.mark.parametrize(
    ("make", "claim"),
    [
        (Counting, "equal_histories"),
        (Counting, "change_nothing"),
        (Forgetting, "every_search_comes"),
        (Scanning, "cost_of_a_step"),
        (Scanning, "reasons"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_scheduler_that_breaks_the_contract_is_found_out(make, claim):
    [check] = [check for check in contract.CHECKS if claim in check.__name__]
    with pytest.raises(AssertionError):
        check(make)
