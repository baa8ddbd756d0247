"""Many workers, one study: trials per second with instant evaluators, beside Optuna.

64 processes ask one study for trials of random search over four hyperparameters and tell it their
scores at once. What they were told and what is stored is compared: a trial is lost if it was told
and is not stored as told, doubled if two workers were given it. Processes are started before the
clock. A second part measures a study of 100,000 events: opening it, and asking and telling in it.

Run:
    python benchmarks/throughput.py --workers 64 --trials 1280 --storages sqlite postgres file
"""

import argparse
import contextlib
import math
import multiprocessing
import pathlib
import statistics
import sys
import tempfile
import time
from collections import Counter

import _one_thread  # noqa: F401  first
import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tests"))
import servers

STORAGES = ("sqlite", "postgres", "file")  # `file` is Optuna's journal file: keratune has none


# What is compared: `begin` makes a study; `worker` returns a function that does one trial


def scored(x, y, units, activation):
    return x**2 + abs(math.log10(y)) + units / 64 + len(activation)


class Keratune:
    """keratune's study, asked and told as a worker does it."""

    def __init__(self, storage, place):
        self.url = f"sqlite:///{place}/study.db" if storage == "sqlite" else place

    def begin(self):
        from keratune.parameters import Choice, Float, Int

        study = self._open()
        study.declare(
            [
                Float("x", -1.0, 1.0),
                Float("y", 1e-5, 1.0, sampling="log"),
                Int("units", 1, 64),
                Choice("activation", ["relu", "tanh", "gelu"]),
            ]
        )
        study.close()

    def _open(self):
        from keratune import algorithms
        from keratune.objectives import Objective
        from keratune.storage.sql import SqlStorage
        from keratune.study import Study

        algorithm = algorithms.create("random")
        return Study.open(SqlStorage(self.url), Objective("loss", "min"), algorithm, seed=0)

    def worker(self, name):
        study = self._open()

        def once():
            trial = study.ask(name)
            loss = scored(**trial.values)
            study.tell(trial.number, {"loss": loss})
            return trial.number, loss

        return once

    def stored(self):
        history = self._open().history
        return [(trial.number, trial.score) for trial in history.trials if trial.finished]


class Optuna:
    """Optuna's study, asked and told."""

    def __init__(self, storage, place):
        self.kind, self.place = storage, place

    def _storage(self):
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        if self.kind == "file":
            from optuna.storages.journal import JournalFileBackend

            return optuna.storages.JournalStorage(JournalFileBackend(f"{self.place}/journal.log"))
        url = f"sqlite:///{self.place}/study.db" if self.kind == "sqlite" else self.place
        return optuna.storages.RDBStorage(url)

    def begin(self):
        import optuna

        optuna.create_study(storage=self._storage(), study_name="study")

    def worker(self, name):
        import optuna

        study = optuna.load_study(
            study_name="study", storage=self._storage(), sampler=optuna.samplers.RandomSampler()
        )

        def once():
            trial = study.ask()
            loss = scored(
                trial.suggest_float("x", -1.0, 1.0),
                trial.suggest_float("y", 1e-5, 1.0, log=True),
                trial.suggest_int("units", 1, 64),
                trial.suggest_categorical("activation", ["relu", "tanh", "gelu"]),
            )
            study.tell(trial, loss)
            return trial.number, loss

        return once

    def stored(self):
        import optuna

        trials = optuna.load_study(study_name="study", storage=self._storage()).trials
        return [(trial.number, trial.value) for trial in trials if trial.state.is_finished()]


PEERS = {"keratune": Keratune, "optuna": Optuna}


# Many processes


def work(peer, storage, place, name, count, seconds, barrier, results):
    told, errors, end = [], [], time.monotonic()
    try:
        once = PEERS[peer](storage, place).worker(name)
        barrier.wait()
        begun = time.monotonic()
        for _ in range(count):
            if time.monotonic() > begun + seconds:
                break
            try:
                told.append(once())
            except Exception as error:
                errors.append(f"{type(error).__name__}: {error}"[:200])
        end = time.monotonic()
    except Exception as error:
        barrier.abort()
        errors.append(f"{type(error).__name__}: {error}"[:200])
    results.put((told, errors, end))


def compete(peer, storage, place, options):
    """Run one peer on one storage, and return its figures."""
    system = multiprocessing.get_context("fork")
    PEERS[peer](storage, place).begin()
    barrier, results = system.Barrier(options.workers + 1), system.Queue()
    count = max(options.trials // options.workers, 1)
    processes = [
        system.Process(
            target=work,
            args=(peer, storage, place, f"w{n}", count, options.seconds, barrier, results),
        )
        for n in range(options.workers)
    ]
    for process in processes:
        process.start()
    barrier.wait(600)
    begun = time.monotonic()
    outcomes = [results.get() for _ in processes]
    for process in processes:
        process.join()
    told = [pair for outcome in outcomes for pair in outcome[0]]
    errors = [error for outcome in outcomes for error in outcome[1]]
    stored = dict(PEERS[peer](storage, place).stored())
    return {
        "rate": len(told) / (max(outcome[2] for outcome in outcomes) - begun),
        "told": len(told),
        "errors": len(errors),
        "lost": sum(stored.get(number) != loss for number, loss in told),
        "doubled": sum(count - 1 for count in Counter(number for number, _ in told).values()),
        "example": Counter(errors).most_common(1),
    }


@contextlib.contextmanager
def place_for(storage, server):
    if storage == "postgres":
        yield server.new_database()
        return
    with tempfile.TemporaryDirectory() as folder:
        yield folder


def compare(options):
    header = f"{'storage':<10}{'library':<10}{'trials/s':>9}{'trials':>8}"
    print(f"{header}{'errors':>8}{'lost':>6}{'doubled':>9}", flush=True)
    with contextlib.ExitStack() as stack:
        server = None
        if "postgres" in options.storages:
            server = stack.enter_context(servers.PostgresServer())
        for storage in options.storages:
            for peer in options.peers:
                if storage == "file" and peer == "keratune":
                    continue
                with place_for(storage, server) as place:
                    found = compete(peer, storage, place, options)
                print(
                    f"{storage:<10}{peer:<10}{found['rate']:>9.1f}{found['told']:>8}"
                    f"{found['errors']:>8}{found['lost']:>6}{found['doubled']:>9}",
                    *found["example"],
                    flush=True,
                )


# A long study


def long_study(count):
    """Open a study of `count` events; ask and tell in it, as other workers might be doing."""
    with tempfile.TemporaryDirectory() as folder:
        peer = Keratune("sqlite", folder)
        peer.begin()
        write_events(peer.url, count)
        times = []
        for _ in range(3):
            begun = time.perf_counter()
            study = peer._open()
            times.append(time.perf_counter() - begun)
            study.close()
        once, costs = peer.worker("me"), []
        for _ in range(50):
            begun = time.perf_counter()
            once()
            costs.append(1000 * (time.perf_counter() - begun))
    print(f"a study of {count} events: opened in {min(times):.2f} s (least of 3), ", end="")
    print(f"ask + tell {statistics.median(costs):.2f} ms (median of 50), {max(costs):.2f} at most")


def write_events(url, count):
    """Append trials of six epochs until the journal has `count` events."""
    from keratune.storage import base
    from keratune.storage.sql import SqlStorage

    storage, rng = SqlStorage(url), np.random.default_rng(0)
    seen, events = len(storage.read(0)), []
    for number in range((count - seen) // 10):
        values = {"x": rng.uniform(), "y": rng.uniform(), "units": 1 + number % 64}
        values["activation"] = "relu"
        events.append(base.TrialCreated(number, str(number), values))
        events.append(base.TrialStarted(number, "me"))
        for step in range(1, 7):
            events.append(base.Reported(number, 0, step, {"loss": rng.uniform()}))
        events.append(base.ExecutionCompleted(number, 0, 6, {"loss": rng.uniform()}))
        events.append(base.TrialCompleted(number, rng.uniform(), 5, values))
    storage.append(events, seen)
    storage.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=64)
    parser.add_argument("--trials", type=int, default=1280)
    parser.add_argument("--storages", nargs="*", choices=STORAGES, default=STORAGES)
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS))
    parser.add_argument("--events", type=int, default=100_000, help="of the long study; 0: none")
    parser.add_argument("--seconds", type=float, default=300, help="that a run may take")
    options = parser.parse_args()
    compare(options)
    if options.events:
        long_study(options.events)


if __name__ == "__main__":
    main()
