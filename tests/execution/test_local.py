"""Searches in worker processes of this machine, run for real."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import keratune as kt
from keratune.base_tuner import BaseTuner
from keratune.errors import FatalTypeError
from keratune.execution import devices
from keratune.storage import MemoryStorage

SCRIPT = Path(__file__).with_name("searching.py")


class Run:
    """A search that runs in a process of its own."""

    def __init__(self, folder, mode, workers=2, *more, options=()):
        self.folder = folder
        (folder / "tmp").mkdir(exist_ok=True)
        self.process = subprocess.Popen(
            [sys.executable, *options, str(SCRIPT), str(folder), mode, str(workers), *more],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "TMPDIR": str(folder / "tmp")},
        )
        self.output = ""

    def read_until(self, pattern, count=1):
        """Read lines until so many match; return what the pattern's group has matched."""
        found = []
        for line in self.process.stdout:
            self.output += line
            found += re.findall(pattern, line)
            if len(found) >= count:
                return found
        raise AssertionError(f"{pattern} has not come:\n{self.output}")

    def end(self):
        """Wait for its end; return what it has printed."""
        with self.process.stdout as lines:
            self.output += lines.read()
        self.process.wait(timeout=60)
        return self.output

    @property
    def trials(self):
        return json.loads((self.folder / "trials.json").read_text())

    @property
    def left_behind(self):
        return list((self.folder / "tmp").iterdir())


def search(folder, mode, workers=2, options=()):
    run = Run(folder, mode, workers, options=options)
    run.end()
    return run


def is_alive(process_id):
    try:
        stat = Path(f"/proc/{process_id}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def group_of(process_id):
    """All processes of the group that a process heads."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(fields[2]) == process_id:
                found.append(int(folder.name))
    return found


@pytest.mark.parametrize("mode", ["random", "grid"])
def test_two_workers_find_what_one_process_finds(tmp_path, mode):
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    one, two = search(tmp_path / "one", mode, 1), search(tmp_path / "two", mode, 2)
    assert two.process.returncode == 0, two.output
    assert two.trials == one.trials
    assert [trial["status"] for trial in two.trials] == ["COMPLETED"] * 6
    assert not two.left_behind


def test_each_line_of_a_trial_stands_behind_its_name(tmp_path):
    run = search(tmp_path, "raises")
    assert len(re.findall(r"^Trial [0-5] \| at work: \d+$", run.output, re.MULTILINE)) == 6
    assert "Trial 1 | soon" in run.output


def test_what_a_trial_raises_is_shown_and_the_search_goes_on(tmp_path):
    run = search(tmp_path, "raises")
    assert run.process.returncode == 0
    assert "ValueError: no good" in run.output and "in in_trial_1" in run.output
    assert run.output.index("ValueError: no good") < run.output.index("Trial 1: failed")
    assert [trial["status"] for trial in run.trials].count("COMPLETED") == 5
    assert run.trials[1]["kind"] == "error"


def test_a_fatal_error_ends_all_workers_and_is_raised_in_the_parent_behind_its_cause(tmp_path):
    run = search(tmp_path, "fatal")
    assert run.process.returncode == 1
    lines = run.output.strip().splitlines()
    assert lines[-1] == "keratune.errors.FatalValueError: wrong from the start"
    assert run.output.index("in in_trial_1") < run.output.index("was the direct cause")
    assert not run.left_behind


def test_fatal_errors_of_several_workers_at_once_end_the_search(tmp_path):
    run = search(tmp_path, "fatal everywhere", 3)
    assert run.process.returncode == 1
    assert run.output.strip().endswith("keratune.errors.FatalValueError: wrong from the start")
    assert "RUNNING" not in [trial["status"] for trial in run.trials]
    assert not run.left_behind


def test_workers_start_where_warnings_are_errors(tmp_path):
    run = search(tmp_path, "plain", options=["-W", "error::RuntimeWarning"])
    assert run.process.returncode == 0, run.output
    assert [trial["status"] for trial in run.trials] == ["COMPLETED"] * 6


def test_a_process_that_has_left_its_workers_group_does_not_hold_the_search_up(tmp_path):
    begun = time.monotonic()
    run = search(tmp_path, "leaves a process")
    took = time.monotonic() - begun
    os.kill(int(re.search(r"left: (\d+)", run.output)[1]), signal.SIGKILL)
    assert run.process.returncode == 0, run.output
    assert [trial["status"] for trial in run.trials] == ["COMPLETED"] * 6
    assert took < 40


def test_a_search_in_which_nothing_works_ends_with_the_cause(tmp_path):
    run = search(tmp_path, "fails always")
    assert run.process.returncode == 1
    assert "consecutive failures exceeded the limit" in run.output
    assert run.output.strip().endswith("ValueError: nothing works")


def test_a_worker_that_dies_loses_no_trial(tmp_path):
    run = search(tmp_path, "dies once")
    assert run.process.returncode == 0
    assert [trial["status"] for trial in run.trials] == ["COMPLETED"] * 6
    assert "has died: it was ended by SIGKILL" in run.output


@pytest.mark.skipif(sys.platform != "linux", reason="Linux has real-time signals")
def test_a_worker_that_dies_of_a_signal_without_a_name_loses_no_trial(tmp_path):
    run = search(tmp_path, "dies of a signal")
    assert run.process.returncode == 0, run.output
    assert [trial["status"] for trial in run.trials] == ["COMPLETED"] * 6
    assert "has died: it was ended by signal 40" in run.output


@pytest.mark.slow
def test_a_trial_that_ends_every_worker_fails_and_the_others_are_run(tmp_path):
    run = search(tmp_path, "exits")
    assert run.process.returncode == 0
    assert run.trials[1]["kind"] == "lost"
    assert [trial["status"] for trial in run.trials].count("COMPLETED") == 5


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel of Linux sees to it")
@pytest.mark.parametrize("mode", ["sleeps", "holds the interpreter"])
def test_no_process_outlives_a_parent_that_is_killed(tmp_path, mode):
    run = Run(tmp_path, mode, workers=2)
    parent = int(run.read_until(r"parent: (\d+)")[0])
    run.read_until(r"Trial 1 \| at work: (\d+)")
    heads = {int(found) for found in re.findall(r"at work: (\d+)", run.output)}
    time.sleep(0.3)  # the process that the trial starts is there
    family = {process for head in heads for process in group_of(head)}
    assert len(family) >= len(heads)
    os.kill(parent, signal.SIGKILL)
    deadline = time.monotonic() + 5
    while any(map(is_alive, family)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(map(is_alive, family))
    run.end()


def test_a_search_whose_parent_was_killed_goes_on_and_tidies_up_behind_it(tmp_path):
    run = Run(tmp_path, "slow")
    parent = int(run.read_until(r"parent: (\d+)")[0])
    run.read_until(r"(Trial 2) \|")
    os.kill(parent, signal.SIGKILL)
    run.end()
    assert run.left_behind
    again = search(tmp_path, "plain")
    assert again.process.returncode == 0
    assert [trial["status"] for trial in again.trials] == ["COMPLETED"] * 6
    assert not again.left_behind


def test_ctrl_c_lets_the_running_trials_come_to_their_end(tmp_path):
    run = Run(tmp_path, "slow")
    run.read_until(r"(at work)", count=2)
    run.process.send_signal(signal.SIGINT)
    assert run.end().strip().endswith("KeyboardInterrupt")
    assert [trial["status"] for trial in run.trials] == ["COMPLETED"] * len(run.trials)
    assert 2 <= len(run.trials) < 6


def test_a_worker_that_gets_a_sigterm_ends_well_and_is_replaced(tmp_path):
    run = Run(tmp_path, "slow alone")
    worker = int(run.read_until(r"at work: (\d+)")[0])
    os.kill(worker, signal.SIGTERM)
    assert "has died" not in run.end()
    assert len(set(re.findall(r"at work: (\d+)", run.output))) == 2
    assert [trial["status"] for trial in run.trials] == ["COMPLETED"] * 6


@pytest.mark.slow
def test_a_worker_whose_trial_is_late_is_killed_and_replaced(tmp_path):
    run = search(tmp_path, "sleeps with a limit")
    assert run.process.returncode == 0
    assert run.trials[1]["kind"] == "timed_out"
    assert [trial["status"] for trial in run.trials].count("COMPLETED") == 5


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the memory of a process")
def test_a_worker_above_its_memory_limit_is_killed_and_replaced(tmp_path):
    run = search(tmp_path, "takes memory")
    assert run.process.returncode == 0
    assert run.trials[1]["kind"] == "out_of_memory"
    assert "more than `memory_limit` (286 MiB)" in run.output
    assert [trial["status"] for trial in run.trials].count("COMPLETED") == 5


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the memory of a process")
def test_a_worker_whose_memory_has_grown_is_replaced_between_two_trials(tmp_path):
    run = search(tmp_path, "grows")
    assert len(set(re.findall(r"at work: (\d+)", run.output))) >= 2
    assert [trial["status"] for trial in run.trials] == ["COMPLETED"] * 6
    assert "has died" not in run.output


def test_what_cannot_be_sent_is_named_with_the_way_out(tmp_path):
    run = search(tmp_path, "generator")
    assert run.process.returncode == 1
    assert "`data` cannot be sent to a worker process: cannot pickle 'generator'" in run.output
    assert "lambda hp: make_dataset()" in run.output
    assert not run.left_behind


@pytest.mark.parametrize(
    ("cores", "own", "expected"), [(2, None, "false"), (4, None, None), (2, "true", "true")]
)
def test_a_worker_on_one_core_has_jax_compute_where_it_is_asked_to(
    monkeypatch, cores, own, expected
):
    monkeypatch.setattr(devices, "cores", lambda: cores)
    for name in [*devices.THREADS, devices.ON_ONE_CORE[0]]:
        monkeypatch.delenv(name, raising=False)
    if own is not None:
        monkeypatch.setenv(devices.ON_ONE_CORE[0], own)
    started_with = kt.executors.Local(2, devices="cpu")._environments()
    assert [variables.get(devices.ON_ONE_CORE[0]) for variables in started_with] == [expected] * 2


PACKING = """
import keras
from keratune.errors import FatalTypeError
from keratune.executors import Local

class Search:
    def parts(self):
        return {"data": (row for row in ())}

try:
    Local(1, devices="cpu").run(Search())
except FatalTypeError:
    print("refused")
"""


def test_packing_keras_settings_does_not_load_a_tensorflow_that_nobody_uses(tmp_path):
    (tmp_path / "tensorflow.py").write_text("raise ImportError(print('tensorflow was loaded'))")
    done = subprocess.run(
        [sys.executable, "-c", PACKING],
        capture_output=True,
        text=True,
        env={**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": path_before(tmp_path)},
    )
    assert done.stdout == "refused\n", done.stderr


def path_before(folder):
    """The import path of this process, as a variable, behind a folder."""
    return os.pathsep.join([str(folder), *filter(None, sys.path)])


class Alternating(kt.Oracle):
    """An oracle that counts."""

    def populate_space(self, trial_id):
        return {"status": "RUNNING", "values": {"x": int(trial_id) % 2}}

    def get_state(self):
        return {**super().get_state(), "count": 1}


@pytest.mark.parametrize(
    ("oracle", "storage", "message"),
    [
        (kt.oracles.RandomSearchOracle, MemoryStorage(), "Pass the URL of a database"),
        (Alternating, None, "`Alternating` keeps a state of its own"),
    ],
)
def test_what_only_one_process_can_have_is_refused(project, oracle, storage, message):
    tuner = BaseTuner(
        oracle(max_trials=2), lambda hp: hp.Int("x", 0, 1), storage=storage, executor=2, **project
    )
    with pytest.raises(FatalTypeError, match=message):
        tuner.search()


@pytest.mark.parametrize("way", ["stdin", "command line"])
def test_a_main_module_without_a_file_is_enough(tmp_path, way):
    source = SCRIPT.read_text().replace("sys.argv", "['', '.', 'plain', '2']")
    command = [sys.executable, "-"] if way == "stdin" else [sys.executable, "-c", source]
    done = subprocess.run(
        command,
        input=source if way == "stdin" else None,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    trials = json.loads((tmp_path / "trials.json").read_text())
    assert [trial["status"] for trial in trials] == ["COMPLETED"] * 6
