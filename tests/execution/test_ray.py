"""Searches in actors of Ray, on real clusters whose nodes are processes of this machine."""

import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest
from test_local import Run, is_alive

import keratune as kt
from keratune._processes import worker_name
from keratune.errors import FatalRuntimeError, FatalValueError, MissingPackageError
from keratune.execution import ray_worker
from keratune.execution.ray import MARKER, _marked, cause_of

pytest.importorskip("ray")

COMPLETED = ["COMPLETED"] * 6


# Ray forks to start its processes, which JAX, where another test has imported it, warns of.
pytestmark = pytest.mark.filterwarnings(r"ignore:os\.fork\(\) was called:RuntimeWarning")


@pytest.fixture(scope="module")
def cluster():
    """A cluster of two nodes with room for one worker each, beside its head."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")  # no token in the home folder
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        made = Cluster(True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        for _ in range(2):
            made.add_node(num_cpus=1)
        yield made
        made.shutdown()


def search(folder, mode, cluster, workers=2):
    run = Run(folder, mode, workers, cluster.address)
    run.end()
    return run


def statuses(run):
    return [trial["status"] for trial in run.trials]


def test_a_worker_that_is_killed_changes_nothing_of_what_is_found(tmp_path, cluster):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    run = Run(tmp_path / "two", "slow", 2, cluster.address)
    workers = run.read_until(r"at work: (\d+)", 2)
    os.kill(int(workers[-1]), signal.SIGKILL)
    run.end()
    alone = Run(tmp_path / "one", "plain", 1)
    alone.end()
    assert run.process.returncode == 0, run.output
    assert run.trials == alone.trials
    assert "has died: The actor is dead because its worker process has died." in run.output
    assert re.search(r"Trial \d goes on in another worker", run.output)


@pytest.mark.slow
def test_all_trials_are_completed_when_a_node_is_killed(tmp_path, cluster):
    run = Run(tmp_path, "slow", 2, cluster.address)
    run.read_until(r"(at work)", 3)
    cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
    try:
        run.end()
    finally:
        cluster.add_node(num_cpus=1)
    assert run.process.returncode == 0, run.output
    assert statuses(run) == COMPLETED


def test_a_fatal_error_is_raised_in_the_driver_behind_its_cause(tmp_path, cluster):
    run = search(tmp_path, "fatal", cluster)
    assert run.process.returncode == 1
    assert "keratune.errors.FatalValueError: wrong from the start" in run.output
    assert run.output.index("in in_trial_1") < run.output.index("was the direct cause")
    assert not list((tmp_path / "project").glob(f"{MARKER}*"))


def test_ctrl_c_ends_the_running_trials_well_and_no_worker_that_waits_begins(tmp_path, cluster):
    run = Run(tmp_path, "slow", 5, cluster.address)
    workers = {int(number) for number in run.read_until(r"at work: (\d+)", 2)}
    run.process.send_signal(signal.SIGINT)
    assert "KeyboardInterrupt" in run.end()
    assert statuses(run) == ["COMPLETED"] * len(run.trials)
    assert 2 <= len(run.trials) < 6
    assert {int(number) for number in re.findall(r"at work: (\d+)", run.output)} == workers


def test_no_worker_outlives_a_driver_that_is_killed(tmp_path, cluster):
    run = Run(tmp_path, "sleeps", 1, cluster.address)
    driver = int(run.read_until(r"parent: (\d+)")[0])
    worker = int(run.read_until(r"Trial 1 \| at work: (\d+)")[0])
    os.kill(driver, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while is_alive(worker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_alive(worker)
    run.end()


OWN_AND_GIVEN = textwrap.dedent("""
    import sys
    import keratune as kt
    assert "ray" not in sys.modules
    from keratune.base_tuner import BaseTuner

    class Quick(BaseTuner):
        def run_trial(self, trial, data):
            print("read-only:", not data.flags.writeable)
            return float(data[trial.hyperparameters.get("x")])

    def search(name, address=None):
        import numpy as np
        oracle = kt.oracles.GridSearchOracle()
        executor = kt.executors.Ray(3, {"CPU": 0.5}, address=address)
        build = lambda hp: hp.Int("x", 0, 3)
        tuner = Quick(oracle, build, project_name=name, executor=executor)
        tuner.search(np.arange(2**20))
        assert [trial.score for trial in tuner.oracle.get_best_trials(4)] == [0.0, 1.0, 2.0, 3.0]

    search("own", "local")
    import ray
    assert not ray.is_initialized()
    ray.init(sys.argv[1])
    search("given")
    assert ray.is_initialized()
    ray.shutdown()
""")


@pytest.mark.slow
def test_a_ray_of_its_own_is_ended_and_the_users_goes_on(tmp_path, cluster):
    script = tmp_path / "script.py"
    script.write_text(OWN_AND_GIVEN)
    done = subprocess.run(
        [sys.executable, script.name, cluster.address],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("| read-only: True") == 8


# What needs no cluster


def test_without_ray_the_way_to_install_it_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingPackageError, match=r'pip install "keratune\[ray\]"'):
        kt.executors.Ray(workers=2)


@pytest.mark.parametrize(
    ("arguments", "received"),
    [
        ({"workers": 0}, "workers=0"),
        ({"workers": 2.5}, r"workers=2\.5"),
        ({"workers": 2, "resources_per_worker": {"GPU": 1.5}}, r"GPU=1\.5"),
        ({"workers": 2, "resources_per_worker": {"CPU": -1}}, "CPU=-1"),
        ({"workers": 2, "memory_limit": "much"}, "memory_limit='much'"),
    ],
)
def test_wrong_arguments_are_refused(arguments, received):
    with pytest.raises(FatalValueError, match=f"Received: {received}"):
        kt.executors.Ray(**arguments)


def options(environment=None, **arguments):
    return kt.executors.Ray(2, **arguments)._options(environment or {})


def test_ray_is_asked_for_the_resources_by_its_own_names():
    wanted = {"CPU": 2, "GPU": 0.5, "memory": 2**30, "fast_disk": 1}
    asked = options(resources_per_worker=wanted)
    assert (asked["num_cpus"], asked["num_gpus"], asked["memory"]) == (2, 0.5, 2**30)
    assert asked["resources"] == {"fast_disk": 1}


def test_a_worker_has_the_threads_of_its_cores_and_its_part_of_a_gpus_memory():
    variables = options(resources_per_worker={"CPU": 4, "GPU": 0.5})["runtime_env"]["env_vars"]
    assert variables["OMP_NUM_THREADS"] == variables["PJRT_NPROC"] == "4"
    assert variables["XLA_PYTHON_CLIENT_MEM_FRACTION"] == "0.450"
    assert variables["TF_FORCE_GPU_ALLOW_GROWTH"] == "true"
    assert "CUDA_VISIBLE_DEVICES" not in variables  # Ray chooses


def test_a_worker_without_a_gpu_sees_none_and_one_with_a_whole_one_may_fill_it():
    assert options()["runtime_env"]["env_vars"]["CUDA_VISIBLE_DEVICES"] == ""
    whole = options(resources_per_worker={"GPU": 1})["runtime_env"]["env_vars"]
    assert "XLA_PYTHON_CLIENT_MEM_FRACTION" not in whole


def test_what_the_user_has_set_wins():
    environment = {"OMP_NUM_THREADS": "3", "HOME": "/home/me"}
    given = {"pip": ["pandas"], "env_vars": {"NPROC": "7"}}
    runtime = options(environment, runtime_env=given)["runtime_env"]
    assert runtime["pip"] == ["pandas"]
    assert runtime["env_vars"]["OMP_NUM_THREADS"] == "3"
    assert runtime["env_vars"]["NPROC"] == "7"
    assert "HOME" not in runtime["env_vars"]  # the node's own


@pytest.mark.parametrize(
    ("told", "cause"),
    [
        (
            "The actor died unexpectedly before finishing this task.\n\tpid: 7\n"
            "The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR",
            "The actor is dead because its worker process has died.",
        ),
        (
            "The actor died unexpectedly before finishing this task.\n\tpid: 7\n"
            "The actor died because its node has died. Node Id: 0123abcd\n\tthe heartbeats ended",
            "The actor died because its node has died.",
        ),
        ("The node is gone.", "The node is gone."),
        ("", "Exception"),
    ],
)
def test_of_what_ray_says_the_cause_is_shown(told, cause):
    assert cause_of(Exception(told)) == cause


def test_lines_come_whole_and_in_order():
    exchange = ray_worker.Exchange()
    stream = ray_worker.Stream("stdout", exchange)
    print("one", "two", end="", file=stream)
    print(" three\nfour", file=stream)
    assert exchange.call([]) == [("line", "stdout", b"one two three"), ("line", "stdout", b"four")]


def test_an_asker_gets_what_the_answering_has_raised():
    exchange, raised = ray_worker.Exchange(), []

    def ask():
        try:
            exchange.ask("read", 3)
        except OSError as error:
            raised.append(str(error))

    asker = threading.Thread(target=ask)
    asker.start()
    [(kind, number, *question)] = exchange.call([])
    assert (kind, *question) == ("question", "read", (3,))
    exchange.call([(number, None, OSError("disk full"))])
    asker.join()
    assert raised == ["disk full"]


def test_the_marks_that_dead_drivers_have_left_in_a_project_are_deleted(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left = tmp_path / f"{MARKER}1"
    left.write_text(worker_name("driver").replace(f"|{os.getpid()}|", f"|{dead.pid}|"))
    with _marked(tmp_path) as one, _marked(tmp_path) as other:
        assert {path.name for path in tmp_path.iterdir()} == {one, other}
    assert not list(tmp_path.iterdir())


def test_a_node_that_does_not_see_the_projects_folder_is_named_with_the_way_out(tmp_path):
    with pytest.raises(FatalRuntimeError, match="All nodes must see the project's folder") as told:
        ray_worker._look_for(".seen", tmp_path / "project")
    assert str(tmp_path / "project") in str(told.value)
    assert "Pass a `directory` on a file system that all nodes share" in str(told.value)
    assert not (tmp_path / "project").exists()
