"""Budgets of epochs and time: what they count, and that a larger one goes on."""

import datetime

import pytest

from keratune import algorithms, schedulers
from keratune.history import Record
from keratune.limits import Limits
from keratune.objectives import Objective
from keratune.parameters import Float
from keratune.schedulers import Action
from keratune.stop import Epochs, TimeBudget, seconds_of
from keratune.storage import base as storage
from keratune.storage.memory import MemoryStorage
from keratune.study import Study, Verdict


class Clock(MemoryStorage):
    """A journal whose time the test sets."""

    now = 1000.0

    def read(self, since):
        return [
            storage.Entry(e.sequence, self.times[e.sequence], e.event) for e in super().read(since)
        ]

    def append(self, events, seen):
        self.times = getattr(self, "times", {})
        entries = super().append(events, seen)
        for entry in entries:
            self.times[entry.sequence] = self.now
        return [storage.Entry(e.sequence, self.now, e.event) for e in entries]


def study_of(journal, scheduler="none", **limits):
    study = Study.open(
        journal,
        Objective("loss", "min"),
        algorithms.create("random"),
        seed=0,
        limits=Limits(**limits),
    )
    study.planner.defaults_first = False
    study.planner.scheduler = schedulers.create(scheduler).bound(10)
    study.declare([Float("x", 0.0, 1.0)])
    return study


def train(study, whole=10):
    """Run trials until there is none left; return each leg as (number, first, last epoch)."""
    legs = []
    while isinstance(record := study.ask("me"), Record):
        first = record.trained + 1
        for epoch in range(first, whole + 1):
            study.report(record.number, epoch, {"loss": record.values["x"] + 1.0 / epoch})
            decision = study.decide(record.number)
            if epoch < whole and decision.action is not Action.CONTINUE:
                study.pause(record.number, decision.reason)
                break
        else:
            study.tell(record.number, {"loss": min(record.losses.values())})
        legs.append((record.number, first, record.trained))
    return legs


@pytest.mark.parametrize("scheduler", ["none", "median"])
def test_what_a_spent_budget_has_paused_goes_on_first_when_it_is_larger(scheduler):
    journal = MemoryStorage()
    assert train(study_of(journal, scheduler, stops=(Epochs(14),))) == [(0, 1, 10), (1, 1, 4)]
    legs = train(study_of(journal, scheduler, stops=(Epochs(100),), max_trials=3))
    assert legs[:2] == [(1, 5, 10), (2, 1, 10)]


@pytest.mark.parametrize("scheduler", ["asha", "hyperband"])
def test_what_a_budget_has_paused_before_its_first_rung_goes_on_when_it_is_larger(scheduler):
    journal = MemoryStorage()
    assert train(study_of(journal, scheduler, stops=(Epochs(1),))) == [(0, 1, 1)]
    again = study_of(journal, scheduler, stops=(Epochs(40),))
    assert train(again)[0][:2] == (0, 2)
    assert all(record.trained > 1 for record in again.history.trials)


@pytest.mark.parametrize("scheduler", ["asha", "auto", "hyperband"])
def test_a_budget_of_epochs_is_kept_to_the_epoch_and_its_winner_is_trained_in_full(scheduler):
    study = study_of(MemoryStorage(), scheduler, stops=(Epochs(120),))
    train(study)
    assert 110 <= study.history.epochs <= 120
    assert study.history.best()[0].trained == 10


def test_time_between_a_crash_and_the_next_start_does_not_count():
    journal = Clock()
    study = study_of(journal, stops=(TimeBudget(100.0),))
    trial = study.ask("me")
    journal.now += 20.0
    study.report(trial.number, 1, {"loss": 1.0})
    journal.now += 86400.0
    again = study_of(journal, stops=(TimeBudget(100.0),))
    again.recover(lambda worker: False)
    assert again.history.seconds == 20.0
    assert not isinstance(again.ask("me"), Verdict)


def test_a_spent_budget_of_time_ends_the_search():
    journal = Clock()
    study = study_of(journal, stops=(TimeBudget(100.0),))
    trial = study.ask("me")
    journal.now += 101.0
    study.report(trial.number, 1, {"loss": 1.0})
    assert study.decide(trial.number).action is Action.PAUSE
    study.pause(trial.number)
    assert study.ask("me") is Verdict.STOP


def test_a_resumed_trial_that_is_rejected_leaves_nothing_behind():
    study = study_of(MemoryStorage(), "asha", max_trials=3)
    while isinstance(trial := study.ask("me"), Record) and not trial.trained:
        study.report(trial.number, 1, {"loss": trial.values["x"]})
        study.report(trial.number, 2, {"loss": trial.values["x"]})
        study.pause(trial.number)
    assert trial.trained
    study.reject(trial.number, "constraint")
    history = study.history
    assert history.scored_count == len(history) == 2
    assert trial.number not in {record.number for record in history.best(3)}


@pytest.mark.parametrize(
    ("given", "seconds"),
    [(90, 90.0), ("90m", 5400.0), ("1h30m", 5400.0), ("1.5 d", 129600.0)]
    + [(datetime.timedelta(minutes=2), 120.0)],
)
def test_a_duration_is_a_number_a_text_or_a_timedelta(given, seconds):
    assert seconds_of(given) == seconds


@pytest.mark.parametrize("given", ["soon", "1.5.2h", "", -1, 0, "0s", None, "2 weeks"])
def test_what_is_no_duration_is_refused_with_what_was_received(given):
    with pytest.raises(ValueError, match="Received"):
        seconds_of(given)
