"""What a worker process may use: which devices, how much of their memory, how many threads.

All of it is told by environment variables, which have to be there before a backend is imported: so
the parent works them out, and the process starts with them. Devices are found without importing a
backend, which would take hold of them.

==================================  ==============================================================
variable                            why
==================================  ==============================================================
`KERAS_BACKEND`                     the parent's, however it was chosen
`CUDA_VISIBLE_DEVICES`,             the worker sees the devices of its place and no others
`HIP_VISIBLE_DEVICES`
`XLA_PYTHON_CLIENT_MEM_FRACTION`,   several workers on one device: JAX takes its share at the start,
`TF_FORCE_GPU_ALLOW_GROWTH`,        TensorFlow what it comes to need, and PyTorch's segments grow
`PYTORCH_CUDA_ALLOC_CONF`           instead of being fragmented
`OMP_NUM_THREADS` and its like      cores divided by workers: threads of several workers on one
                                    core wait for each other
`PJRT_NPROC`, `NPROC`               the same for JAX on CPUs: the size of XLA's pool of threads
`JAX_CPU_ENABLE_ASYNC_DISPATCH`     on one core it is a detour that another thread than the one that
                                    asks for a step computes it: without, a step of 0.2 ms costs a
                                    quarter less processor time, and a long one the same
`TF_CPP_MIN_LOG_LEVEL`              TensorFlow's start-up lines once per worker help nobody
==================================  ==============================================================

What the user has set is kept: threads, memory and log level are defaults.
"""

from __future__ import annotations

import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any

from keratune.errors import FatalValueError

Variables = Mapping[str, str]

# Name and value of a variable for JAX, see the table.
ON_ONE_CORE = ("JAX_CPU_ENABLE_ASYNC_DISPATCH", "false")
Device = int | str | Variables

# Part of a device's memory that workers share; the rest is for the contexts of their processes.
SHARED_MEMORY = 0.9

THREADS = (
    "OMP_NUM_THREADS",  # PyTorch, scikit-learn and most that is compiled with OpenMP
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
    "PJRT_NPROC",  # JAX 0.10.2 on 2 cores: one thread in XLA's pool instead of two, as with NPROC
    "NPROC",  # the same for older ones
)

# Of the workers on one device, TensorFlow's take what they come to need, PyTorch's segments grow.
_SHARING = {
    "TF_FORCE_GPU_ALLOW_GROWTH": "true",
    "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True",
}
HIDDEN = {"CUDA_VISIBLE_DEVICES": "", "HIP_VISIBLE_DEVICES": ""}  # a backend finds no device

GENTLE = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "TF_FORCE_GPU_ALLOW_GROWTH": "true"}
_set_here: dict[str, str] = {}

# Where the kernel shows AMD's devices.
_AMD = Path("/sys/class/kfd/kfd/topology/nodes")


def found(environment: Variables) -> list[Variables]:
    """Return the accelerators that this process may use, each as the variables that choose it."""
    if environment.get("JAX_PLATFORMS") == "cpu" and environment.get("KERAS_BACKEND") == "jax":
        return []
    for variable, detected in (
        ("CUDA_VISIBLE_DEVICES", _nvidia),
        ("HIP_VISIBLE_DEVICES", _amd),
    ):
        allowed = environment.get(variable)
        names = detected() if allowed is None else _listed(allowed)
        if names:
            return [{variable: name} for name in names]
    return []


def _listed(allowed: str) -> list[str]:
    """Return the devices that a variable names; the first wrong entry ends it, as for CUDA."""
    names = []
    for name in allowed.split(","):
        if not name.strip() or name.strip().startswith("-"):
            break
        names.append(name.strip())
    return names


def _nvidia() -> list[str]:
    """Return NVIDIA's devices: numbers, and ids of the parts where a device is split (MIG)."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    try:
        listed = subprocess.run([tool, "-L"], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return []
    return nvidia_names(listed.stdout) if listed.returncode == 0 else []


def nvidia_names(listing: str) -> list[str]:
    """Return the devices that `nvidia-smi -L` has listed."""
    names: list[list[str]] = []
    for line in listing.splitlines():
        if match := re.match(r"GPU (\d+):", line):
            names.append([match[1]])
        elif match := re.search(r"\(UUID: (MIG-[^)]+)\)", line):
            names[-1].append(match[1])
    return [part for device in names for part in (device[1:] or device)]


def _amd() -> list[str]:
    count = 0
    for file in _AMD.glob("*/gpu_id"):
        try:
            count += file.read_text().strip() not in ("", "0")
        except OSError:
            continue
    return [str(number) for number in range(count)]


def chosen(devices: str | int | Sequence[Device] | None, environment: Variables) -> list[Variables]:
    """Return the devices that a user has asked for, each as the variables that choose it.

    Args:
        devices: "auto": all that this process may use; "cpu" or None: none; how many of them;
            or a list of numbers, ids, or variables such as `{"TPU_VISIBLE_CHIPS": "0"}`.
        environment: The environment of this process.

    Raises:
        FatalValueError: It is none of these, or there are not so many.
    """
    if devices is None or devices == "cpu":
        return []
    if devices == "auto":
        return found(environment)
    if isinstance(devices, int) and not isinstance(devices, bool) and devices >= 0:
        there = found(environment)
        if devices > len(there):
            raise FatalValueError(
                f"`devices` asks for more than there are. Received: devices={devices}; found: "
                f'{len(there)}. Pass fewer, "auto" or "cpu".'
            )
        return there[:devices]
    if isinstance(devices, Sequence) and not isinstance(devices, str) and devices:
        first = next(iter(found(environment)), {"CUDA_VISIBLE_DEVICES": ""})
        variable = next(iter(first))
        return [d if isinstance(d, Mapping) else {variable: str(d)} for d in devices]
    raise FatalValueError(
        '`devices` is "auto", "cpu", a number, or a list of device numbers, ids or dicts of '
        f"variables. Received: devices={devices!r}."
    )


def cores() -> int:
    """Return how many cores this process may use: its affinity, and its container's share."""
    affinity = getattr(os, "sched_getaffinity", None)
    count = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, math.ceil(min(count, _quota())))


def _quota() -> float:
    """Return the cores that the control group allows, infinity where it sets no limit."""
    try:
        limit, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return math.inf
    return math.inf if limit == "max" else int(limit) / int(period)


def environment_of(
    place: int,
    workers: int,
    devices: Sequence[Variables],
    environment: Variables,
    *,
    hidden: bool = False,
) -> Variables:
    """Return the environment of a worker.

    Args:
        place: The worker's number, from 0.
        workers: How many there are.
        devices: What they may use; empty for CPUs, or for whatever a backend finds.
        environment: The environment of the parent.
        hidden: Whether a backend is to find none.
    """
    variables = {n: v for n, v in environment.items() if _set_here.get(n) != v}
    if devices:
        variables.update(devices[place % len(devices)])
        sharing = len(range(place % len(devices), workers, len(devices)))
        _share(variables, 1 / sharing)
    if hidden:
        variables.update(HIDDEN)
    _set_defaults(variables, cores() // workers)
    return variables


def variables_of_share(cpus: float, gpus: float, environment: Variables) -> Variables:
    """Return the variables of a worker whose cores and devices somebody else chooses.

    Args:
        cpus: How many cores it gets.
        gpus: How many devices it gets; below 1 a part of one.
        environment: The environment of the parent, from which it takes on what the user has set of
            threads, memory and log level.
    """
    names = {*THREADS, *_SHARING, ON_ONE_CORE[0], "TF_CPP_MIN_LOG_LEVEL", "KERAS_BACKEND"}
    variables = {n: v for n, v in environment.items() if n in names and _set_here.get(n) != v}
    if gpus:
        _share(variables, gpus)
    else:
        variables.update(HIDDEN)
    _set_defaults(variables, int(cpus))
    return variables


def _share(variables: dict[str, str], part: float) -> None:
    """Have a worker take no more than its part of a device's memory."""
    if part < 1:
        variables.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", f"{SHARED_MEMORY * part:.3f}")
        for name, value in _SHARING.items():
            variables.setdefault(name, value)


def _set_defaults(variables: dict[str, str], threads: int) -> None:
    """Set the threads, the log level and the backend."""
    for name in THREADS:
        variables.setdefault(name, str(max(1, threads)))
    if variables["PJRT_NPROC"] == "1":
        variables.setdefault(*ON_ONE_CORE)
    variables.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    keras: Any = sys.modules.get("keras")
    if keras is not None:
        variables["KERAS_BACKEND"] = keras.config.backend()


def leave_room(environment: MutableMapping[str, str]) -> None:
    """Have a backend in this process take no more of a device than it needs.

    The parent builds models to learn the search space; with their defaults, JAX and TensorFlow
    would take most of a device's memory for that. The workers do not inherit it.
    """
    if found(environment):
        for name, value in GENTLE.items():
            if name not in environment:
                environment[name] = _set_here[name] = value
