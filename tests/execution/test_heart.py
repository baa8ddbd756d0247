"""Signs of life: who counts as gone, and what becomes of what they had in hand."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from keratune._processes import worker_name
from keratune.algorithms import create
from keratune.errors import TrialLostError
from keratune.execution import heart
from keratune.objectives import Objective
from keratune.parameters import Float
from keratune.storage.memory import MemoryStorage
from keratune.storage.sql import SqlStorage
from keratune.study import Study

FAR = "another-machine|77|12345|tuner1"


class Clock:
    """Seconds that the test lets pass."""

    now = 500.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def watch(vigil, clock, counts, seconds=heart.BEAT):
    """Look at each of the counts, some seconds apart; return at which looks the worker was gone."""
    gone = []
    for place, count in enumerate(counts):
        clock.now += seconds
        if vigil.gone({FAR: count}):
            gone.append(place)
    return gone


def test_a_worker_that_gives_signs_is_there_for_ever(clock):
    assert watch(heart.Vigil(clock), clock, range(100)) == []


def test_a_worker_is_gone_when_a_lease_has_passed_without_a_sign(clock):
    gone = watch(heart.Vigil(clock), clock, [5] * 10)
    assert gone[0] * heart.BEAT >= heart.LEASE > (gone[0] - 1) * heart.BEAT


def test_a_sign_renews_the_lease(clock):
    assert watch(heart.Vigil(clock), clock, [1] * 6 + [2] * 6) == []


def test_an_observer_who_has_slept_does_not_take_the_others_for_dead(clock):
    vigil = heart.Vigil(clock)
    watch(vigil, clock, [1, 1])
    clock.now += 8 * 3600
    assert watch(vigil, clock, [1]) == []


def test_a_process_that_is_seen_to_exist_has_more_time_than_one_out_of_sight(clock):
    beside = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        name = name_of(beside.pid)
        vigil = heart.Vigil(clock)
        for _ in range(20):
            clock.now += heart.BEAT
            gone = vigil.gone({name: 1, FAR: 1})
        assert gone == [FAR]
        beside.kill()
        time.sleep(0.2)  # it has ended, and its parent has not taken note of it
        assert name in vigil.gone({name: 1})
    finally:
        beside.kill()
        beside.communicate()


def name_of(process_id):
    """Return the name of a worker in another process."""
    place = worker_name("x").split("|")[0]
    with open(f"/proc/{process_id}/stat", encoding="utf-8") as file:
        start = file.read().rpartition(")")[2].split()[19]
    return f"{place}|{process_id}|{start}|x"


def open_study(storage):
    study = Study.open(storage, Objective("loss", "min"), create("random"), seed=0)
    study.declare([Float("x", 0.0, 1.0)])
    return study


def test_whoever_holds_the_newer_lease_wins_and_nothing_counts_twice():
    storage = MemoryStorage()
    slow, quick = open_study(storage), open_study(storage)
    trial = slow.ask(FAR)
    slow.report(trial.number, 1, {"loss": 5.0})
    assert quick.bury(FAR) == [trial.number]
    assert quick.ask("me").number == trial.number
    quick.report(trial.number, 2, {"loss": 4.0})
    for act in (
        lambda: slow.report(trial.number, 2, {"loss": 1.0}),
        lambda: slow.tell(trial.number, {"loss": 1.0}),
        lambda: slow.fail(trial.number, "error"),
        lambda: slow.settle(trial.number, {"x": 0.5}),
    ):
        with pytest.raises(TrialLostError):
            act()
    slow.requeue(trial.number, "interrupted")
    slow.pause(trial.number)
    quick.sync()
    assert quick.history.running == {trial.number} and not quick.history.queue
    assert quick.tell(trial.number, {"loss": 4.0}).score == 4.0
    assert quick.history.epochs == 2


def test_a_worker_that_comes_back_before_anybody_has_its_trial_asks_for_it_again():
    storage = MemoryStorage()
    slow, quick = open_study(storage), open_study(storage)
    trial = slow.ask(FAR)
    quick.bury(FAR)
    slow.report(trial.number, 1, {"loss": 5.0})
    slow.tell(trial.number, {"loss": 5.0})
    quick.sync()
    assert quick.history.completed_count == 1 and not quick.history.queue


def test_a_trial_that_kills_its_workers_fails_in_the_end():
    study = open_study(MemoryStorage())
    for _ in range(5):
        trial = study.ask(FAR)
        assert trial.number == 0
        study.lose(FAR, "lost", "it was killed")
    assert (trial.status, trial.kind, trial.message) == ("FAILED", "lost", "it was killed")


def test_a_trial_that_gets_on_between_two_deaths_is_not_their_cause():
    study = open_study(MemoryStorage())
    for epoch in range(1, 12):
        trial = study.ask(FAR)
        study.report(trial.number, epoch, {"loss": 1.0})
        study.lose(FAR, "lost", "it was killed")
    assert trial.status == "INVALID" and trial.trained == 11


def test_what_ran_out_of_time_from_outside_counts_with_its_best_epoch():
    study = open_study(MemoryStorage())
    trial = study.ask(FAR)
    for epoch, loss in enumerate([3.0, 1.0, 2.0], start=1):
        study.report(trial.number, epoch, {"loss": loss})
    study.lose(FAR, "timed_out", "too slow")
    assert (trial.status, trial.score, trial.best_step) == ("STOPPED", 1.0, 1)


WORKER = """
import sys, time
from keratune._processes import worker_name
from keratune.algorithms import create
from keratune.execution import heart
from keratune.objectives import Objective
from keratune.parameters import Float
from keratune.storage.sql import SqlStorage
from keratune.study import Study

heart.BEAT = 0.1
study = Study.open(SqlStorage(sys.argv[1]), Objective("loss", "min"), create("random"), seed=0)
study.declare([Float("x", 0.0, 1.0)])
name = "elsewhere|" + worker_name("x").split("|", 1)[1]
with heart.beating(study.storage, name, study.processes, study.bury):
    print(study.ask(name).number, flush=True)
    time.sleep(60)
"""


def test_the_trial_of_a_stopped_process_runs_elsewhere_and_it_finds_out(tmp_path, monkeypatch):
    monkeypatch.setattr(heart, "BEAT", 0.1)
    monkeypatch.setattr(heart, "LEASE", 1.0)
    url = f"sqlite:///{tmp_path}/study.db"
    study = open_study(SqlStorage(url))
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WORKER), url], stdout=subprocess.PIPE, text=True
    )
    try:
        number = int(process.stdout.readline())
        with heart.beating(study.storage, worker_name("me"), study.processes, study.bury):
            time.sleep(2.0)
            study.sync()
            assert study.history.running == {number}  # it lives, and gives signs
            os.kill(process.pid, signal.SIGSTOP)
            deadline = time.monotonic() + 20
            while not study.history.queue and time.monotonic() < deadline:
                time.sleep(0.1)
                study.sync()
        assert study.history.queue == [number]
    finally:
        process.kill()
        process.communicate()
    assert study.storage.beats() == {}


def test_a_trial_that_kills_its_script_at_every_start_fails_in_the_end():
    study = open_study(MemoryStorage())
    for _ in range(5):
        trial = study.ask(FAR)
        study.recover(lambda worker: False)
    assert (trial.status, trial.kind) == ("FAILED", "lost")


def test_whoever_is_ended_on_purpose_may_be_ended_as_often_as_one_likes():
    study = open_study(MemoryStorage())
    for _ in range(20):
        trial = study.ask(FAR)
        study.recover(lambda worker: False, died=False)
    assert trial.status == "INVALID"


@pytest.mark.parametrize("kind", ["timed_out", "out_of_memory"])
def test_the_trials_beside_the_cause_go_on_elsewhere(kind):
    study = open_study(MemoryStorage())
    late, other = study.ask(FAR), study.ask(f"{FAR}-2")
    assert study.lose(FAR, kind, "too much", cause=late.number) == [late.number, other.number]
    assert (late.status, late.kind) == ("FAILED", kind)
    assert (other.status, other.deaths) == ("INVALID", 0)


def test_signs_of_life_do_not_wait_for_a_study_that_thinks():
    study = open_study(MemoryStorage())
    study.ask(FAR)
    known = study.processes()
    with study._lock:
        asked = []
        thread = threading.Thread(target=lambda: asked.append(study.processes()))
        thread.start()
        thread.join(5)
    assert asked == [known] == [{"another-machine|77|12345"}]
