"""Running a measurement in a fresh process, so that one peer's state is not another's."""

import json
import os
import subprocess
import sys
from pathlib import Path


def measure(script, *arguments):
    """Run a script of this folder and return the JSON on its last line."""
    environment = {**os.environ, "KERAS_BACKEND": os.environ.get("KERAS_BACKEND", "jax")}
    done = subprocess.run(
        [sys.executable, str(Path(__file__).parent / script), *map(str, arguments)],
        capture_output=True,
        text=True,
        env=environment,
    )
    if done.returncode:
        raise SystemExit(f"{script} {arguments} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def library(name):
    """Return keratune, or its peer KerasTuner, by name."""
    if name == "keratune":
        import keratune as tuners
    else:
        import keras_tuner as tuners
    return tuners


def resident_mebibytes():
    """Return how much memory this process has."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
