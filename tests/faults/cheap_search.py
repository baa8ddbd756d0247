"""Searches of trials that take milliseconds, in processes that meet with every kind of trouble.

`python cheap_search.py FOLDER OPTIONS` runs the search in FOLDER or continues it; OPTIONS is JSON,
see `Options`. Without Keras, so that a process starts in a second. Each trial leaves two lines in
`trials.log`; `ended` is there when a search has ended well.
"""

import collections
import contextlib
import dataclasses
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
import uuid
from pathlib import Path

import keratune
from keratune._files import YOUNG_DRAFT
from keratune.base_tuner import BaseTuner
from keratune.execution import heart
from keratune.storage import base as events
from keratune.storage import open_storage

MARK = "KERATUNE_FAULTS"  # an environment variable that a search's processes have in common
LOG, ENDED, PROJECT = "trials.log", "ended", "project"
LINES_OF_A_TRIAL = 2 * len("began 123 12345\n")


@dataclasses.dataclass
class Options:
    """How a search is run.

    Attributes:
        trials: How many there are.
        workers: Worker processes; 1: the process itself.
        seconds: How long a trial takes at most; each takes a part of it, by its values.
        directory: Where the project's folder is; None: in the search's.
        storage: URL of the database; None: SQLite in the project's folder.
        beat: Seconds between two signs of life.
        lease: Seconds without one after which a worker that runs beside counts as gone.
        budget: Seconds that the search may take.
        label: The worker's name.
    """

    trials: int = 30
    workers: int = 2
    seconds: float = 0.02
    directory: str | None = None
    storage: str | None = None
    beat: float | None = None
    lease: float | None = None
    budget: float | None = None
    label: str | None = None


# The search


def objective(values):
    return (values["x"] - 0.3) ** 2 + values["n"]


def build(hp):
    hp.Float("x", 0.0, 1.0)
    hp.Int("n", 0, 9)


class Cheap(BaseTuner):
    """Evaluates a function, slowly."""

    def run_trial(self, trial, folder, seconds, **_):
        values = trial.hyperparameters.values
        note(folder, f"began {trial.trial_id}")
        time.sleep(seconds * values["x"])
        note(folder, f"ended {trial.trial_id}")
        return objective(values)


def note(folder, line):
    """Add a line to the log, whole or not at all."""
    log = os.open(Path(folder) / LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(log, f"{line} {os.getpid()}\n".encode())
    os.close(log)


def tuner_of(folder, options):
    return Cheap(
        keratune.oracles.RandomSearchOracle(max_trials=options.trials, seed=3),
        build,
        directory=options.directory or folder,
        project_name=PROJECT,
        storage=options.storage,
        executor=options.workers,
        tuner_id=options.label,
        stop=None if options.budget is None else keratune.stop.TimeBudget(options.budget),
    )


def main(folder, options):
    if options.beat is not None:
        heart.BEAT = options.beat
        heart.LEASE = heart.LONG_LEASE = options.lease
    tuner_of(folder, options).search(folder, options.seconds, verbose=0)
    Path(folder, ENDED).touch()


# Its processes


def is_alive(process_id):
    """Tell whether a process runs; one that has ended and waits for its parent does not."""
    try:
        stat = Path(f"/proc/{process_id}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def wait_until(condition, seconds=60.0, what="it has not come to that"):
    """Look again and again until a condition holds, and return what it gives."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, what
        time.sleep(0.005)
    return found


class Search:
    """A search in a folder, and the processes that have been started for it."""

    def __init__(self, folder, **options):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "tmp").mkdir(exist_ok=True)
        self.options = Options(**options)
        self.started = []
        self._mark = uuid.uuid4().hex

    def start(self, largest_file=None, environment=None, **changes):
        """Start one more process that runs the search.

        Args:
            largest_file: Bytes that a file which it writes may have.
            environment: Variables that it and its workers have in addition.
            **changes: Options that differ for this process.
        """
        options = dataclasses.replace(self.options, **changes)
        told = json.dumps(dataclasses.asdict(options))
        own = {MARK: self._mark, "TMPDIR": str(self.folder / "tmp")}
        run = [sys.executable, __file__, str(self.folder), told]
        if largest_file is not None:
            blocks = str(largest_file // 512)  # what the shell counts in
            run = ["sh", "-c", 'ulimit -f "$0" && exec "$@"', blocks, *run]
        with (self.folder / "output.log").open("ab") as output:
            process = subprocess.Popen(
                run,
                env={**os.environ, **own, **(environment or {})},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.started.append(process)
        return process

    @property
    def project(self):
        return Path(self.options.directory or self.folder) / PROJECT

    @property
    def output(self):
        return (self.folder / "output.log").read_text(errors="replace")[-5000:]

    def finish(self, seconds=300.0):
        """Wait until all processes have ended; assert that they ended well, or were killed."""
        wait_until(lambda: all(p.poll() is not None for p in self.started), seconds, self.output)
        codes = {process.returncode for process in self.started}
        assert codes <= {0, -signal.SIGKILL}, self.output

    def processes(self):
        """Return the ids of all processes of this search, those that workers have started too."""
        mark, found = f"{MARK}={self._mark}".encode(), []
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
        return [process_id for process_id in found if is_alive(process_id)]

    def workers(self):
        """Return the ids of the processes that others have started."""
        own = {process.pid for process in self.started}
        return sorted(set(self.processes()) - own)

    def lines(self, kind):
        """Return the (trial, process) of the log's lines of a kind."""
        log = self.folder / LOG
        lines = log.read_text().splitlines() if log.exists() else []
        return [tuple(line.split()[1:]) for line in lines if line.startswith(kind)]

    def journal(self):
        storage = open_storage(self.options.storage, self.project, PROJECT)
        entries = storage.read(0)
        storage.close()
        return [entry.event for entry in entries]

    def history(self):
        """Return what the journal tells."""
        tuner = tuner_of(self.folder, dataclasses.replace(self.options, workers=1))
        tuner.oracle.study.close()
        return tuner.history

    def end_all(self):
        """Kill what still runs, whatever has gone wrong."""
        for process_id in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process_id, signal.SIGKILL)
        for process in self.started:
            process.wait()


# What must hold when it has ended


def assert_each_trial_finished_once(search, most_repeated=None):
    """Assert that nothing was lost, doubled or changed; return how many runs were repeated.

    Args:
        search: A search that has ended.
        most_repeated: How many runs may have come to nothing.
    """
    told, trials = search.journal(), search.options.trials
    by_kind = collections.defaultdict(list)
    for event in told:
        by_kind[type(event)].append(event)
    assert [event.number for event in by_kind[events.TrialCreated]] == list(range(trials))
    ends = [e for kind in (events.TrialCompleted, events.TrialFailed) for e in by_kind[kind]]
    assert sorted(event.number for event in ends) == list(range(trials))
    assert not by_kind[events.TrialFailed], search.output
    expected = undisturbed(trials)
    for event in ends:
        assert event.values == expected[event.number]
        assert event.score == objective(event.values)
    starts = collections.Counter(event.number for event in by_kind[events.TrialStarted])
    returns = collections.Counter(event.number for event in by_kind[events.TrialRequeued])
    # Whoever was taken for dead may end its trial while nobody has taken it over.
    assert all(0 <= starts[number] - returns[number] <= 1 for number in range(trials))
    ran = collections.Counter(int(trial) for trial, _ in search.lines("began"))
    repeated = sum(ran.values()) - trials
    assert set(ran) == set(range(trials)) and repeated >= 0
    assert most_repeated is None or repeated <= most_repeated, (repeated, most_repeated)
    return repeated


def undisturbed(trials):
    """Return the values that a search in one process tries, by number."""
    oracle = keratune.oracles.RandomSearchOracle(max_trials=trials, seed=3)
    study = Cheap(oracle, build, project_name=None, storage=keratune.storage.MemoryStorage()).oracle
    values = []
    while (trial := study.create_trial("me")).status == "RUNNING":
        values.append(dict(trial.hyperparameters.values))
        study.update_trial(trial.trial_id, {oracle.objective.name: 0.0})
        trial.status = "COMPLETED"
        study.end_trial(trial)
    return values


def assert_all_files_open(search):
    """Assert that every file of a search's folder can be read, and says what the journal says."""
    project, options = search.project, search.options
    if options.storage is None:
        connection = sqlite3.connect(project / "study.db")
        assert connection.execute("pragma integrity_check").fetchall() == [("ok",)]
        connection.close()
    json.loads((project / "oracle.json").read_text())
    states = [json.loads(file.read_text()) for file in project.glob("trial_*/trial.json")]
    assert len(states) == options.trials
    wrong = [state["trial_id"] for state in states if state["status"] != "COMPLETED"]
    assert not wrong, f"the copies of trials {wrong} are not up to date"
    assert search.history().completed_count == options.trials


def assert_nothing_is_left(search):
    """Assert that no process and no packed search outlives a search, and no draft for long."""
    wait_until(lambda: not search.processes(), 10, "processes have outlived their search")
    assert list((search.folder / "tmp").glob("keratune-workers-*")) == []
    before = time.time() - 2 * YOUNG_DRAFT
    assert [d for d in search.folder.rglob(".draft.*") if d.stat().st_mtime < before] == []


# Killing it


@dataclasses.dataclass
class Kills:
    """What was killed, and how long it took."""

    workers: int = 0
    parents: int = 0
    seconds: float = 0.0

    @property
    def all(self):
        return self.workers + self.parents


def kill_again_and_again(search, kills, seed, parents=0.25, meanwhile=None):
    """Run a search to its end, killing its workers and its parent at random moments.

    A quarter of the kills come wherever the processes are, most of them still starting; the others
    a moment after some more trials have ended, so that the search gets on.

    Args:
        search: The search.
        kills: How many.
        seed: Seed of the moments and the victims.
        parents: Part of the kills that the parent gets.
        meanwhile: Number of kills -> what is done when there have been so many.
    """
    rng, killed, begun = random.Random(seed), Kills(), time.monotonic()
    parent = search.start()
    while killed.all < kills:
        if parent.poll() is not None:
            assert parent.returncode == -signal.SIGKILL, search.output
            parent = search.start()
        _wait_for_a_moment(search, parent, rng)
        if rng.random() < parents:
            if parent.poll() is None:
                parent.kill()
                parent.wait()
                killed.parents += 1
        elif workers := search.workers():
            with contextlib.suppress(ProcessLookupError):
                os.kill(rng.choice(workers), signal.SIGKILL)
                killed.workers += 1
        (meanwhile or {}).pop(killed.all, lambda: None)()
    if parent.poll() is not None:
        parent = search.start()
    search.finish()
    killed.seconds = time.monotonic() - begun
    return killed


def _wait_for_a_moment(search, parent, rng):
    early, log = rng.random() < 0.25, search.folder / LOG
    wanted = _size(log) + (0 if early else LINES_OF_A_TRIAL * rng.randint(1, 4))
    wait_until(lambda: _size(log) >= wanted or parent.poll() is not None, 120, search.output)
    assert not (search.folder / ENDED).exists(), "the search has ended before all kills"
    time.sleep(rng.uniform(0.0, 1.5) if early else rng.expovariate(1 / 0.03))


def _size(file):
    return file.stat().st_size if file.exists() else 0


if __name__ == "__main__":
    # A shell that has started the tests in the background makes their children ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    main(sys.argv[1], Options(**json.loads(sys.argv[2])))
