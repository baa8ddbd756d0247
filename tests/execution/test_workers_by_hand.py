"""Workers that are started by hand: on one study, at once, killed, preempted, and done in time."""

import collections
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import pytest

from keratune.execution.interrupts import PREEMPTED
from keratune.places import Place
from keratune.storage import base as events
from keratune.trial import TrialStatus

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(keras.backend.backend() != "jax", reason="one backend is enough"),
]

EPOCHS = 6
SCRIPT = f"""
import sys, time
import keras, numpy as np
import keratune as kt

class Slow(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        time.sleep(0.5)

def build_model(hp):
    units = hp.Int("units", 1, 64)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(units), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(hp.Float("rate", 1e-3, 1e-1, sampling="log")), "mse")
    return model

def fit_arguments():
    x = np.random.default_rng(0).normal(size=(32, 2)).astype("float32")
    return dict(x=x, y=x[:, :1], epochs={EPOCHS}, validation_split=0.25, callbacks=[Slow()])

def make_tuner():
    storage = sys.argv[1] if len(sys.argv) > 1 else None
    return kt.RandomSearch(build_model, "val_loss", max_trials=8, seed=0,
                           directory="runs", project_name="toy", storage=storage)

if __name__ == "__main__":
    make_tuner().search(**fit_arguments())
"""
BEGIN = ("--objective", "val_loss", "--tuner", "random", "--max-trials", "8", "--seed", "0")


@pytest.fixture
def start(tmp_path):
    """Start a process of Python in the test's folder; what still runs in the end is killed."""
    (tmp_path / "search.py").write_text(SCRIPT)
    (tmp_path / "output").mkdir()
    started = []

    def process(*arguments):
        with (tmp_path / "output" / str(len(started))).open("wb") as output:
            begun = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=tmp_path,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"},
            )
        started.append(begun)
        return begun

    yield process
    for each in started:
        if each.poll() is None:
            os.killpg(each.pid, signal.SIGKILL)
            each.wait()


def worker(start, *options):
    return start("-m", "keratune", "worker", "runs/toy", "search.py:build_model", *options)


def history_of(place):
    found = place.find()
    if found is None:
        return None
    found.close()
    return found.history


def wait_for(place, condition, seconds=120):
    """Return what a condition of the history gives, once it is true."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        history = history_of(place)
        found = history and condition(history)
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError("it has not come to that")


def ends(processes, seconds=240):
    """Wait for processes, and return when each has ended, and its exit code."""
    deadline, ended = time.monotonic() + seconds, {}
    while len(ended) < len(processes) and time.monotonic() < deadline:
        for process in processes:
            if process.poll() is not None:
                ended.setdefault(process.pid, (time.time(), process.returncode))
        time.sleep(0.02)
    return list(ended.values())


def journal_of(place):
    found = place.open()
    entries = found.storage.read(0)
    found.close()
    return entries


def assert_each_trial_exactly_once(place, trials=8, killed=0):
    """Every trial has completed once, and trained its epochs once.

    Each worker that was killed behind its report of an epoch, before it had saved the state, may
    have had one trained again.
    """
    entries = journal_of(place)
    reports = collections.Counter(
        (entry.event.number, entry.event.step)
        for entry in entries
        if isinstance(entry.event, events.Reported)
    )
    assert reports.keys() == {(t, step + 1) for t in range(trials) for step in range(EPOCHS)}
    assert reports.total() - len(reports) <= killed
    completed = [e.event.number for e in entries if isinstance(e.event, events.TrialCompleted)]
    assert sorted(completed) == list(range(trials))
    values = [tuple(record.values.items()) for record in history_of(place).trials]
    assert len(set(values)) == trials
    return max(e.time for e in entries if isinstance(e.event, events.TrialCompleted))


def outputs(folder):
    return "\n".join(path.read_text()[-3000:] for path in (folder / "output").iterdir())


def one_in_training(history):
    """A trial that is between its second and its last epoch but one."""
    running = [history[number] for number in history.running]
    return next((r for r in running if 2 <= r.trained <= EPOCHS - 3), None)


def test_a_killed_workers_trial_goes_on_elsewhere_and_all_others_end_in_time(start, tmp_path):
    place = Place.of(str(tmp_path / "runs" / "toy"))
    processes = [worker(start, *BEGIN) for _ in range(3)]
    killed = wait_for(place, one_in_training)
    victim = int(killed.worker.split("|")[1])
    os.kill(victim, signal.SIGKILL)
    kill = time.time()
    others = [process for process in processes if process.pid != victim]
    ended = ends(others)
    assert [code for _, code in ended] == [0, 0], outputs(tmp_path)
    last = assert_each_trial_exactly_once(place, killed=1)
    taken = [
        (entry.time, type(entry.event).__name__)
        for entry in journal_of(place)
        if getattr(entry.event, "number", None) == killed.number and entry.time > kill
    ]
    requeued = next(at - kill for at, kind in taken if kind == "TrialRequeued")
    going_on = next(at - kill for at, kind in taken if kind == "Reported")
    late = max(at for at, _ in ended) - last
    print(f"requeued after {requeued:.1f} s, next epoch after {going_on:.1f} s, ")
    print(f"last process ended {late:.1f} s behind the last trial")
    assert requeued < 30 and late < 10


def test_without_a_shared_folder_a_killed_workers_trial_starts_again_elsewhere(start, tmp_path):
    study = f"sqlite:///{tmp_path}/studies.db#toy"
    options = (*BEGIN[:-4], "--max-trials", "3")

    def on_its_own_disk(name):
        command = ("-m", "keratune", "worker", study, "search.py:build_model")
        return start(*command, "--directory", name, *options)

    place = Place.of(study)
    processes = [on_its_own_disk("first")]
    killed = wait_for(place, one_in_training)
    processes[0].kill()
    second = on_its_own_disk("second")
    assert [code for _, code in ends([second])] == [0], outputs(tmp_path)
    history = history_of(place)
    assert history.completed_count == 3
    assert list(history[killed.number].curves[0]) == list(range(1, EPOCHS + 1))
    assert not (tmp_path / "first" / "toy" / "study.db").exists()


def test_three_processes_of_one_script_share_its_search(start, tmp_path):
    database = f"sqlite:///{tmp_path}/studies.db"
    processes = [start("search.py", database) for _ in range(3)]
    ended = ends(processes)
    assert [code for _, code in ended] == [0, 0, 0], outputs(tmp_path)
    place = Place.of(f"{database}#toy")
    last = assert_each_trial_exactly_once(place)
    assert len({record.worker for record in history_of(place).trials}) == 3
    late = max(at for at, _ in ended) - last
    print(f"last process ended {late:.1f} s behind the last trial")
    assert late < 10


def test_a_preempted_worker_says_so_and_the_next_one_goes_on_behind_its_last_epoch(start, tmp_path):
    place = Place.of(str(tmp_path / "runs" / "toy"))
    first = worker(start, *BEGIN[:-4], "--max-trials", "2", "--quiet")
    trial = wait_for(place, one_in_training).number
    begun = time.monotonic()
    first.send_signal(signal.SIGUSR1)
    assert first.wait(30) == PREEMPTED and time.monotonic() - begun < 10
    assert trial in history_of(place).queue
    second = worker(start, "--workers", "2")  # which are processes of its own
    assert [code for _, code in ends([second])] == [0], outputs(tmp_path)
    assert_each_trial_exactly_once(place, trials=2)


def test_a_scripts_own_tuner_works_on_the_study_that_it_names(start, tmp_path):
    place = Place.of(str(tmp_path / "runs" / "toy"))
    command = ("-m", "keratune", "worker")
    own = start(*command, "runs/toy", "search.py:make_tuner")
    other = start(*command, "runs/other", "search.py:make_tuner")
    assert [code for _, code in ends([other])] == [1]
    last = (tmp_path / "output" / "1").read_text().splitlines()[-1]
    assert last.startswith("StudyMismatchError: The tuner works on another study.")
    wait_for(
        place, lambda history: history[0].status == TrialStatus.COMPLETED if len(history) else 0
    )
    own.send_signal(signal.SIGTERM)
    assert own.wait(30) == PREEMPTED


# ---------------------------------------------------------------------- the examples

CLUSTER = Path(__file__).resolve().parents[2] / "examples" / "cluster"


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """The examples in a folder of their own; `program(name, script)` stands in for a program."""
    pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
    shutil.copytree(CLUSTER, tmp_path / "cluster")
    programs = tmp_path / "programs"
    programs.mkdir()
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path / "cluster")

    def program(name, script):
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)

    program("keratune", f'exec {sys.executable} -m keratune "$@"')
    return program


def test_the_script_for_tmux_starts_workers_that_share_a_study(cluster, tmp_path, monkeypatch):
    for_all = 'for command; do :; done; sh -c "$command" </dev/null >>windows.log 2>&1 &'
    cluster("tmux", f'echo "$@" >>windows; {for_all}')
    monkeypatch.setenv("MAX_TRIALS", "3")
    subprocess.run(["./workers.tmux.sh", "2", "runs/few"], check=True, timeout=60)
    windows = Path("windows").read_text().splitlines()
    assert windows[0].startswith("new-session -d -s keratune env OMP_NUM_THREADS=")
    assert windows[1].startswith("new-window -t keratune env OMP_NUM_THREADS=")
    log, deadline = Path("windows.log"), time.monotonic() + 120
    while log.read_text().count("has ended with 0") < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    ended = re.findall(r"worker (\d) has ended with (\d+)", log.read_text())
    assert sorted(ended) == [("0", "0"), ("1", "0")], log.read_text()[-3000:]
    assert history_of(Place.of("runs/few")).completed_count == 3


@pytest.fixture
def job(cluster, tmp_path):
    """The job of Slurm, started on its study; killed in the end if it still runs."""
    cluster("srun", 'echo $$ >worker.pid; exec "$@"')
    cluster("scontrol", 'echo "$@" >>asked')
    slurm = {"SLURM_JOB_ID": "17", "SLURM_CPUS_PER_TASK": "1"}
    with Path("job.log").open("wb") as log:
        started = subprocess.Popen(
            ["bash", "workers.sbatch"],
            env={**os.environ, **slurm, "STUDY": f"sqlite:///{tmp_path}/studies.db#digits"},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    yield started
    if started.poll() is None:
        os.killpg(started.pid, signal.SIGKILL)
        started.wait()


def test_the_job_of_slurm_is_queued_again_when_its_time_is_over(job, tmp_path):
    place = Place.of(f"sqlite:///{tmp_path}/studies.db#digits")
    wait_for(place, lambda history: history.completed_count > 0)
    os.kill(int(Path("worker.pid").read_text()), signal.SIGUSR1)
    assert job.wait(60) == PREEMPTED, Path("job.log").read_text()[-3000:]
    assert Path("asked").read_text() == "requeue 17\n"
    assert not history_of(place).running


def test_the_options_of_the_job_of_slurm_stand_where_slurm_reads_them():
    lines = (CLUSTER / "workers.sbatch").read_text().splitlines()
    options = dict(
        re.fullmatch(r"#SBATCH --([a-z-]+)=?(\S*)", line).groups()
        for line in lines
        if line.startswith("#SBATCH")
    )
    assert options["signal"] == "USR1@120" and "requeue" in options and "array" in options
    first_command = next(i for i, line in enumerate(lines) if line and not line.startswith("#"))
    assert not any(line.startswith("#SBATCH") for line in lines[first_command:])


def test_the_job_of_kubernetes_has_a_worker_that_gets_its_signals_and_may_end_with_75():
    yaml = pytest.importorskip("yaml", reason="it reads the file")
    job = yaml.safe_load((CLUSTER / "workers.yaml").read_text())
    pod = job["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "Job")
    assert job["spec"]["completionMode"] == "Indexed" and pod["restartPolicy"] == "Never"
    rules = job["spec"]["podFailurePolicy"]["rules"]
    codes = rules[0]["onExitCodes"]
    assert rules[0]["action"] == "Ignore" and codes["values"] == [PREEMPTED]
    assert codes["containerName"] == container["name"] and codes["operator"] == "In"
    assert container["command"][:2] == ["keratune", "worker"]
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod["volumes"]}
