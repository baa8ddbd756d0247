"""What the supervisor does when workers end, shown with workers that end when a test says so."""

import time
from types import SimpleNamespace

import pytest

from keratune import algorithms
from keratune.errors import FatalValueError
from keratune.execution import supervisor
from keratune.execution.base import WorkerLimits
from keratune.execution.processes import Processes
from keratune.execution.supervisor import Ended, Fleet, Named, Supervisor, Way
from keratune.halt import Halt
from keratune.limits import Limits
from keratune.objectives import Objective
from keratune.parameters import Float
from keratune.reporting.progress import Progress
from keratune.storage.memory import MemoryStorage
from keratune.study import Study


class Told(Fleet):
    """Workers that a test speaks for: `script` gives the news of each look.

    A worker that was killed has ended at the next look.
    """

    def __init__(self, places, script):
        self.places = places
        self.script = script
        self.used = {}
        self._at_work = set()
        self._killed = []

    def start(self, place):
        self._at_work.add(place)

    def poll(self, seconds):
        killed, self._killed = self._killed, []
        news = [Ended(place, Way.DIED, "killed") for place in killed]
        news += next(self.script, [])
        self._at_work -= {item.place for item in news if isinstance(item, Ended)}
        return news

    def tell(self, place, urgency, reason, *, pauses):
        pass

    def kill(self, place):
        if place in self._at_work and place not in self._killed:
            self._killed.append(place)

    def at_work(self):
        return self._at_work

    def memory(self, place):
        return self.used.get(place)


def worker(process, lane=0):
    return f"elsewhere|{process}|1|worker{lane}"


@pytest.fixture
def study():
    study = Study.open(
        MemoryStorage(),
        Objective("loss", "min"),
        algorithms.create("random"),
        seed=0,
        limits=Limits(max_trials=3),
    )
    study.declare([Float("x", 0.0, 1.0)])
    return study


def run(study, fleet, **limits):
    search = SimpleNamespace(
        study=study,
        progress=Progress(study.history, study.limits),
        halt=Halt(),
        trial_timeout=None,
        folder=None,
    )
    Supervisor(search, fleet, WorkerLimits(**limits)).run()


def statuses(study):
    return [record.status for record in study.history.trials]


def raised(place):
    return Ended(place, Way.RAISED, error=FatalValueError(f"in {place}"))


def test_what_comes_at_once_with_an_error_is_not_lost(study):
    def script():
        study.ask(worker(7))
        yield [raised(0), Named(1, worker(7)), raised(1)]

    with pytest.raises(FatalValueError, match="in 0"):
        run(study, Told(2, script()))
    assert list(study.history.queue) == [0]
    assert study.history[0].deaths == 0


def test_a_search_ends_whose_journal_cannot_be_read_any_more(study, monkeypatch):
    def script():
        yield [Named(0, worker(7)), Named(1, worker(8))]
        monkeypatch.setattr(study, "sync", fail)
        yield [Ended(0, Way.DONE), Ended(1, Way.DONE)]

    def fail():
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        run(study, Told(2, script()))


def test_all_lanes_of_the_processes_of_a_search_that_raised_wait_in_the_queue(study):
    def script():
        yield [Named(0, worker(7)), Named(1, worker(8))]
        for lane in range(2):
            study.ask(worker(7, lane))
        study.ask(worker(8, 1))
        yield [raised(1)]

    with pytest.raises(FatalValueError):
        run(study, Told(2, script()))
    assert sorted(study.history.queue) == [0, 1, 2]
    assert [record.deaths for record in study.history.trials] == [0, 0, 0]


def test_of_the_trials_of_a_process_only_the_late_one_has_timed_out(study, monkeypatch):
    monkeypatch.setattr(supervisor, "LEAST_GRACE", 0.0)

    def script():
        yield [Named(0, worker(7))]
        study.ask(worker(7, 0))
        study.ask(worker(7, 1))
        yield []
        time.sleep(0.15)
        study.requeue(1, "elsewhere")
        study.ask(worker(7, 1))  # a new lease: this one is in time
        yield []
        yield [raised(0)]

    with pytest.raises(FatalValueError):
        run(study, Told(1, script()), trial_timeout=0.1)
    assert study.history[0].kind == "timed_out"
    assert list(study.history.queue) == [1]
    assert study.history[1].deaths == 0


@pytest.mark.parametrize("lanes", [1, 2])
def test_one_trial_alone_is_to_blame_for_the_memory_of_its_process(study, monkeypatch, lanes):
    monkeypatch.setattr(supervisor, "MEMORY_TICK", 0.0)

    def script():
        yield [Named(0, worker(7))]
        for lane in range(lanes):
            study.ask(worker(7, lane))
        fleet.used[0] = 2**30
        yield []
        fleet.used.clear()
        yield [raised(0)]

    fleet = Told(1, script())
    with pytest.raises(FatalValueError):
        run(study, fleet, memory=2**20)
    failed = [record.kind for record in study.history.trials if record.status == "FAILED"]
    assert failed == (["out_of_memory"] if lanes == 1 else [])
    assert "RUNNING" not in statuses(study)


def test_a_worker_that_writes_faster_than_is_shown_keeps_nobody_from_looking():
    fleet = Processes(None, [{}], {})
    slow = SimpleNamespace(read=lambda stream, line: (time.sleep(0.01) or "", []))
    process = SimpleNamespace(place=0, voice=slow)
    for _ in range(500):
        fleet._happenings.put((process, "stdout", b"x\n"))
    begun = time.monotonic()
    fleet.poll(0.05)
    assert time.monotonic() - begun < 2
