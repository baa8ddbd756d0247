"""Workers that nobody supervises: killed, stopped for a while, doubled, with clocks that jump."""

import fcntl
import os
import random
import signal
import sys
import time
from pathlib import Path

import cheap_search
import pytest

from keratune.storage import base as events

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc"),
]

SOAK = bool(os.environ.get("KERATUNE_SOAK"))
SEED = int(os.environ.get("KERATUNE_SOAK_SEED", "0"))
MORE = 10 if SOAK else 1  # times as long
QUICK = {"beat": 0.1, "lease": 0.6}  # in place of seconds and minutes


def started(search, count, **options):
    """Start workers, and wait until each of them has run a trial."""
    processes = [search.start(label=f"worker{place}", **options) for place in range(count)]
    own = {str(process.pid) for process in processes}
    cheap_search.wait_until(
        lambda: own <= {process for _, process in search.lines("began")}, 60, search.output
    )
    return processes


def of_kind(search, kind):
    return [event for event in search.journal() if isinstance(event, kind)]


def test_one_of_three_processes_is_killed_and_the_others_do_its_trial(search):
    ran = search(trials=150, workers=1, seconds=0.05, **QUICK)
    processes = started(ran, 3)
    processes[1].kill()
    ran.finish()
    assert [process.returncode for process in processes] == [0, -signal.SIGKILL, 0]
    cheap_search.assert_each_trial_finished_once(ran, most_repeated=1)
    cheap_search.assert_nothing_is_left(ran)


@pytest.mark.timeout(3600)
def test_processes_that_are_stopped_for_a_while_count_nothing_twice(search):
    ran = search(trials=200 * MORE, workers=1, seconds=0.05, **QUICK)
    processes, rng = started(ran, 3), random.Random(SEED)
    stops = 0
    while all(process.poll() is None for process in processes):
        victim = rng.choice(processes)
        victim.send_signal(signal.SIGSTOP)
        time.sleep(rng.choice([0.02, 0.2, 2.0]))  # the last is longer than the lease
        victim.send_signal(signal.SIGCONT)
        stops += 1
        time.sleep(rng.uniform(0.0, 0.3))
    ran.finish()
    assert [process.returncode for process in processes] == [0, 0, 0]
    repeated = cheap_search.assert_each_trial_finished_once(ran, most_repeated=stops)
    taken = len(of_kind(ran, events.TrialRequeued))
    print(f"{stops} stops, {taken} trials taken over, {repeated} runs repeated, seed {SEED}")
    cheap_search.assert_nothing_is_left(ran)


def test_a_process_that_was_taken_for_dead_goes_on_with_other_trials(search):
    ran = search(trials=120, workers=1, seconds=0.1, **QUICK)
    first, second = started(ran, 2)
    before = _runs_of(ran, first)
    # Stopped within a trial: one that has the file for itself would stop all others too.
    cheap_search.wait_until(lambda: _stopped_in_a_trial(ran, first))
    cheap_search.wait_until(lambda: _taken_over(ran), 60, "its trial was not taken over")
    first.send_signal(signal.SIGCONT)
    cheap_search.wait_until(lambda: _runs_of(ran, first) > before + 3, 60, ran.output)
    ran.finish()
    assert (first.returncode, second.returncode) == (0, 0)
    assert cheap_search.assert_each_trial_finished_once(ran) == 1


def _taken_over(ran):
    starts = [event.number for event in of_kind(ran, events.TrialStarted)]
    return len(starts) > len(set(starts))


def _runs_of(ran, process):
    return [pid for _, pid in ran.lines("ended")].count(str(process.pid))


def _stopped_in_a_trial(ran, process):
    """Stop a process; have it go on again where it is not in the middle of a trial."""
    process.send_signal(signal.SIGSTOP)
    lines = [line for kind in ("began", "ended") for line in ran.lines(kind)]
    in_a_trial = [pid for _, pid in lines].count(str(process.pid)) % 2 == 1
    if in_a_trial and _is_free(ran.project / "study.db.lock"):
        return True
    process.send_signal(signal.SIGCONT)
    time.sleep(0.01)
    return False


def _is_free(lock):
    with lock.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


@pytest.mark.parametrize("workers", [1, 2])
def test_two_processes_that_resume_a_killed_search_at_once_share_it(search, workers):
    ran = search(trials=150, workers=workers, seconds=0.03)
    first = ran.start()
    cheap_search.wait_until(lambda: len(ran.lines("ended")) > 20, 60, ran.output)
    first.kill()
    first.wait()
    both = [ran.start(), ran.start()]
    ran.finish()
    assert [process.returncode for process in both] == [0, 0]
    cheap_search.assert_each_trial_finished_once(ran, most_repeated=workers)
    cheap_search.assert_all_files_open(ran)
    cheap_search.assert_nothing_is_left(ran)


@pytest.mark.parametrize("workers", [1, 2])
def test_clocks_that_jump_by_an_hour_lose_nothing_and_spend_nothing(search, workers):
    ran = search(trials=60, workers=workers, budget=600.0, beat=0.1, lease=2.0)
    clock = {
        "KERATUNE_CLOCK": "3600",
        "PYTHONPATH": os.pathsep.join(
            [str(Path(__file__).with_name("wrong_clock")), os.environ["PYTHONPATH"]]
        ),
    }
    processes = [ran.start(environment=clock), ran.start()]
    ran.finish()
    assert [process.returncode for process in processes] == [0, 0]
    assert cheap_search.assert_each_trial_finished_once(ran, most_repeated=0) == 0
    assert not of_kind(ran, events.TrialRequeued)
    assert ran.history().seconds < 60.0
