"""A search in workers, started by the tests: `python searching.py FOLDER MODE [WORKERS [ADDRESS]]`.

Without Keras, so that a process starts in a second; what happens in a trial is told by MODE. With
an ADDRESS the workers are actors of the Ray there, "" for one that is started for the search. There
is no `if __name__ == "__main__"` on purpose.
"""

import ctypes
import faulthandler
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import keratune as kt
from keratune.base_tuner import BaseTuner
from keratune.reporting.following import Following

signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job would ignore it
folder, mode = Path(sys.argv[1]), sys.argv[2]
workers = int(sys.argv[3]) if len(sys.argv) > 3 else 2


class Quick(BaseTuner):
    def run_trial(self, trial, *args, **kwargs):
        value = trial.hyperparameters.get("x")
        print(f"at work: {os.getpid()}")
        if executor is not None:  # nothing of what the parent tells reaches the user's code
            assert sys.stdin.read() == ""
        if mode == "fatal everywhere":
            (folder / f"raises-{os.getpid()}").touch()
            while len(list(folder.glob("raises-*"))) < workers:
                time.sleep(0.001)
            raise kt.errors.FatalValueError("wrong from the start")
        if trial.trial_id == "1":
            self.in_trial_1(value)
        if mode.startswith("slow"):
            time.sleep(0.5)
        return float(value)

    def in_trial_1(self, value):
        if mode == "raises":
            print("soon", file=sys.stderr)
            raise ValueError("no good")
        if mode == "fatal":
            raise kt.errors.FatalValueError("wrong from the start")
        if mode == "dies once" and not (folder / "died").exists():
            (folder / "died").touch()
            os.kill(os.getpid(), 9)
        if mode == "dies of a signal" and not (folder / "died").exists():
            (folder / "died").touch()
            os.kill(os.getpid(), 40)
        if mode == "leaves a process":
            left = subprocess.Popen(["sleep", "60"], start_new_session=True)
            print(f"left: {left.pid}")
        if mode == "exits":
            os._exit(0)
        if mode == "sleeps":
            subprocess.Popen(["sleep", "600"])
            time.sleep(600)
        if mode == "holds the interpreter":
            ctypes.PyDLL(None).sleep(600)
        if mode == "takes memory":
            taken = bytearray(500 * 2**20)
            taken[::4096] = b"x" * len(taken[::4096])
            time.sleep(600)


class Growing(Quick):
    kept = []

    def run_trial(self, trial, *args, **kwargs):
        self.kept.append(bytearray(b"x") * 40 * 2**20)
        return super().run_trial(trial)


class Failing(Quick):
    def run_trial(self, trial, *args, **kwargs):
        raise ValueError("nothing works")


def build(hp):
    hp.Float("x", 0, 1)


def update_late(self, update=Following.update):
    time.sleep(0.7)  # what the workers do meanwhile comes to the supervisor at once
    update(self)


faulthandler.dump_traceback_later(120, exit=True)  # a search that does not end fails its test
if mode == "fatal everywhere":
    Following.update = update_late

executors = {
    "sleeps with a limit": lambda: kt.executors.Local(workers, trial_timeout=0.5),
    "takes memory": lambda: kt.executors.Local(workers, memory_limit="300MB"),
    "slow alone": lambda: kt.executors.Local(1),
    "grows": lambda: kt.executors.Local(1, memory_growth="50MB"),
}
tuner_of = {"grows": Growing, "fails always": Failing}.get(mode, Quick)
oracle_of = {"grid": kt.oracles.GridSearchOracle}.get(mode, kt.oracles.RandomSearchOracle)
executor = executors.get(mode, lambda: workers)()
if len(sys.argv) > 4:
    executor = kt.executors.Ray(workers, address=sys.argv[4] or None)
if mode == "sleeps with a limit":
    mode = "sleeps"
tuner = tuner_of(
    oracle_of(max_trials=6, seed=3),
    build,
    directory=str(folder),
    project_name="project",
    executor=executor,
)
print(f"parent: {os.getpid()}", flush=True)
try:
    tuner.search(data=(i for i in range(3)) if mode == "generator" else 0)
finally:
    trials = [
        {
            "id": record.trial_id,
            "status": record.status,
            "kind": record.kind,
            "values": record.values,
            "score": record.score,
        }
        for record in tuner.history.trials
    ]
    (folder / "trials.json").write_text(json.dumps(trials))
