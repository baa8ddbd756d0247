"""A display is told what other processes write, each event once."""

import pytest

from keratune import algorithms
from keratune.limits import Limits
from keratune.objectives import Objective
from keratune.parameters import Float
from keratune.reporting import following
from keratune.reporting.following import Following
from keratune.reporting.progress import Progress
from keratune.storage.memory import MemoryStorage
from keratune.study import Study


class Notes(Progress):
    """A display that keeps what it is told."""

    def __init__(self, history):
        super().__init__(history, Limits())
        self.told = []

    def trial_began(self, record):
        self.told.append(("began", record.number))

    def epoch_ended(self, record, step, metrics):
        self.told.append(("epoch", record.number, step))

    def trial_ended(self, record):
        self.told.append(("ended", record.number, record.status))

    def trial_failed(self, record, kind, excerpt):
        self.told.append(("failed", record.number, kind))

    def news(self):
        told, self.told = self.told, []
        return told


@pytest.fixture
def study():
    """A study with a search space, and room for two attempts at a trial."""
    study = Study.open(
        MemoryStorage(),
        Objective("loss", "min"),
        algorithms.create("random"),
        seed=0,
        limits=Limits(max_trials=10, max_retries=1),
    )
    study.declare([Float("x", 0.0, 1.0)])
    return study


@pytest.fixture
def watched(study):
    notes = Notes(study.history)
    return Following(study.history, notes), notes


def test_a_trial_is_shown_as_it_goes_on(study, watched):
    follower, notes = watched
    study.ask("me")
    follower.update()
    assert notes.news() == [("began", 0)]
    study.report(0, 1, {"loss": 1.0})
    study.report(0, 2, {"loss": 0.5})
    follower.update()
    assert notes.news() == [("epoch", 0, 1), ("epoch", 0, 2)]
    study.tell(0, {"loss": 0.5})
    follower.update()
    follower.update()
    assert notes.news() == [("ended", 0, "COMPLETED")]


def test_what_happened_between_two_looks_is_shown_in_order(study, watched):
    follower, notes = watched
    for number in range(2):
        study.ask("me")
        study.report(number, 1, {"loss": 1.0})
    study.tell(0, {"loss": 0.5})
    follower.update()
    assert notes.news() == [
        ("began", 0),
        ("began", 1),
        ("epoch", 0, 1),
        ("epoch", 1, 1),
        ("ended", 0, "COMPLETED"),
    ]


def test_what_happened_before_is_not_shown(study):
    study.ask("me")
    study.tell(0, {"loss": 0.5})
    notes = Notes(study.history)
    Following(study.history, notes).update()
    assert notes.news() == []


def test_a_trial_that_waited_from_the_beginning_is_shown_when_it_begins(study):
    study.ask("me")
    study.requeue(0, "its worker is gone")
    notes = Notes(study.history)
    follower = Following(study.history, notes)
    follower.update()
    assert notes.news() == []
    study.ask("you")
    follower.update()
    assert notes.news() == [("began", 0)]


def test_a_trial_that_goes_back_to_the_queue_has_not_ended_and_begins_again(study, watched):
    follower, notes = watched
    study.ask("me")
    follower.update()
    study.requeue(0, "interrupted")
    follower.update()
    study.ask("you")
    follower.update()
    assert notes.news() == [("began", 0), ("began", 0)]


def test_an_attempt_that_failed_is_shown_as_an_end(study, watched):
    follower, notes = watched
    study.ask("me")
    follower.update()
    study.fail(0, "error", "oops", retry=True)
    follower.update()
    assert notes.news() == [("began", 0), ("ended", 0, "INVALID")]


def test_the_line_of_a_failed_trial_waits_for_what_it_has_raised(study, watched):
    follower, notes = watched
    study.ask("me")
    study.fail(0, "error", "oops")
    follower.update()
    assert notes.news() == [("began", 0)]
    follower.trial_failed(0, "error", "oops")
    follower.update()
    assert notes.news() == [("failed", 0, "error"), ("ended", 0, "FAILED")]


def test_a_failure_that_nobody_tells_of_is_shown_all_the_same(study, watched, monkeypatch):
    follower, notes = watched
    study.ask("me")
    study.fail(0, "error", "oops")
    monkeypatch.setattr(following, "PATIENCE", 0.0)
    follower.update()
    assert notes.news() == [("began", 0), ("ended", 0, "FAILED")]


def test_a_discarded_trial_leaves_its_number_to_another(study, watched):
    follower, notes = watched
    study.ask("me")
    follower.update()
    study.reject(0, "params 2 > 1")
    study.ask("me")
    follower.update()
    assert notes.news() == [("began", 0), ("began", 0)]
