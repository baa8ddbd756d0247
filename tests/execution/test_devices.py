"""A worker starts with the devices, the memory and the threads of its place, and no others."""

import os
import subprocess
import sys

import keras
import pytest

import keratune as kt
from keratune.errors import FatalTypeError, FatalValueError
from keratune.execution import devices
from keratune.executors import executor_of

LISTING = """\
GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-5c)
  MIG 3g.20gb     Device  0: (UUID: MIG-aa)
  MIG 3g.20gb     Device  1: (UUID: MIG-bb)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-6d)
"""


@pytest.fixture
def four_cores(monkeypatch):
    monkeypatch.setattr(devices, "cores", lambda: 4)


def environments(workers, there, **given):
    return [devices.environment_of(place, workers, there, given) for place in range(workers)]


def of(*names):
    return [{"CUDA_VISIBLE_DEVICES": name} for name in names]


def test_devices_are_read_from_the_tools_listing_split_ones_by_their_parts():
    assert devices.nvidia_names(LISTING) == ["MIG-aa", "MIG-bb", "1"]
    assert devices.nvidia_names("no devices were found\n") == []


def test_the_tool_is_asked_where_no_variable_says_which_devices_there_are(tmp_path, monkeypatch):
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\ncat <<'END'\n{LISTING}END\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert devices.found({}) == of("MIG-aa", "MIG-bb", "1")


@pytest.mark.parametrize(
    ("allowed", "names"),
    [("2,3", ["2", "3"]), ("GPU-5c", ["GPU-5c"]), ("", []), ("-1", []), ("0,-1,1", ["0"])],
)
def test_only_devices_that_this_process_may_use_are_found(allowed, names):
    assert devices.found({"CUDA_VISIBLE_DEVICES": allowed}) == of(*names)


def test_each_worker_sees_one_device():
    seen = [e["CUDA_VISIBLE_DEVICES"] for e in environments(2, of("2", "3"))]
    assert seen == ["2", "3"]


def test_workers_that_share_a_device_share_its_memory():
    shared = environments(4, of("0", "1"))
    assert [e["CUDA_VISIBLE_DEVICES"] for e in shared] == ["0", "1", "0", "1"]
    assert {e["XLA_PYTHON_CLIENT_MEM_FRACTION"] for e in shared} == {"0.450"}
    assert {e["TF_FORCE_GPU_ALLOW_GROWTH"] for e in shared} == {"true"}
    assert "XLA_PYTHON_CLIENT_MEM_FRACTION" not in environments(2, of("0", "1"))[0]


def test_workers_on_cpus_see_no_device_and_what_was_not_found_is_not_hidden():
    given = {"CUDA_VISIBLE_DEVICES": "0"}
    assert devices.environment_of(0, 2, [], given, hidden=True)["CUDA_VISIBLE_DEVICES"] == ""
    assert "CUDA_VISIBLE_DEVICES" not in devices.environment_of(0, 2, [], {})


def test_cores_are_divided_and_what_the_user_has_set_is_kept(four_cores):
    for environment in environments(2, [], TF_NUM_INTRAOP_THREADS="7"):
        assert environment["OMP_NUM_THREADS"] == environment["PJRT_NPROC"] == "2"
        assert environment["TF_NUM_INTRAOP_THREADS"] == "7"
    assert environments(9, [])[8]["OMP_NUM_THREADS"] == "1"


def test_workers_train_with_the_backend_of_their_parent():
    assert environments(1, [], KERAS_BACKEND="numpy")[0]["KERAS_BACKEND"] == keras.config.backend()


POOL = """
import os, jax
jax.numpy.ones((300, 300)) @ jax.numpy.ones((300, 300))
names = [open(f"/proc/self/task/{t}/comm").read().strip() for t in os.listdir("/proc/self/task")]
print(names.count("tf_XLAEigen"))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted in /proc")
def test_the_pool_of_xla_has_as_many_threads_as_a_worker_may_use(monkeypatch):
    pytest.importorskip("jax")
    if devices.cores() < 2:
        pytest.skip("needs two cores")
    monkeypatch.setattr(devices, "cores", lambda: 1)
    clean = {n: v for n, v in os.environ.items() if n not in devices.THREADS}
    environment = devices.environment_of(0, 1, [], clean)
    done = subprocess.run(
        [sys.executable, "-c", POOL], env=environment, capture_output=True, text=True
    )
    assert done.stdout.strip() == "1", done.stderr


def test_a_parent_with_devices_leaves_their_memory_to_its_workers(monkeypatch):
    monkeypatch.setattr(devices, "_set_here", {})
    environment = {"CUDA_VISIBLE_DEVICES": "0", "TF_FORCE_GPU_ALLOW_GROWTH": "false"}
    devices.leave_room(environment)
    assert environment["XLA_PYTHON_CLIENT_PREALLOCATE"] == "false"
    assert environment["TF_FORCE_GPU_ALLOW_GROWTH"] == "false"
    worker = devices.environment_of(0, 1, of("0"), environment)
    assert "XLA_PYTHON_CLIENT_PREALLOCATE" not in worker
    assert worker["TF_FORCE_GPU_ALLOW_GROWTH"] == "false"


def test_an_executor_counts_its_workers_by_places_on_devices(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert kt.executors.Local().workers == 2
    assert kt.executors.Local(trials_per_device=3).workers == 6
    assert executor_of(5).workers == 5
    assert kt.executors.Local(workers=3, devices="cpu").devices == []
    assert kt.executors.Local(devices=1).devices == of("0")
    assert kt.executors.Local(devices=[1]).devices == of("1")
    assert kt.executors.Local(devices=[{"TPU_VISIBLE_CHIPS": "0"}]).workers == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"workers": 3}, "trials_per_device=2"),
        ({"workers": 0}, "must be 1 or more"),
        ({"devices": 3}, "asks for more than there are"),
        ({"devices": "gpu"}, '"auto", "cpu"'),
        ({"workers": None, "devices": "cpu"}, "Pass a number"),
        ({"workers": 1, "memory_limit": "much"}, "`memory_limit` is a positive number"),
    ],
)
def test_wrong_arguments_are_refused_with_the_way_out(monkeypatch, arguments, message):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    with pytest.raises(FatalValueError, match=message):
        kt.executors.Local(**arguments)


@pytest.mark.parametrize("value", [0, -1, True, "four", 2.0])
def test_what_is_no_executor_is_refused(value):
    with pytest.raises(FatalTypeError, match="executor=4"):
        executor_of(value)


def test_one_worker_is_this_process():
    assert executor_of(None) is None and executor_of(1) is None
