"""What every test shares: one backend, silence, its own folder, and an order drawn from a seed."""

import atexit
import os
import random
import shutil
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# Files that libraries write into the home folder go here, and away at the end.
_HOME = tempfile.mkdtemp(prefix="keratune-tests-")
atexit.register(shutil.rmtree, _HOME, ignore_errors=True)

# Before the first import of Keras. Workers started by a test inherit all of it.
os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ["KERAS_HOME"] = _HOME
os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = _HOME
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # its start-up notice, and rounding that varies
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
)

try:
    from hypothesis import settings
except ImportError:  # the tests that need it skip themselves with pytest.importorskip
    pass
else:
    settings.register_profile("keratune", database=None, deadline=None, derandomize=True)
    settings.load_profile("keratune")


def pytest_addoption(parser):
    parser.addoption(
        "--order-seed",
        type=int,
        default=0,
        help="Seed of the order in which the tests run.",
    )


def pytest_collection_modifyitems(config, items):
    """Shuffle the files, then the tests of each file: no test may lean on another."""
    rng = random.Random(config.getoption("--order-seed"))
    files = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    groups = list(files.values())
    rng.shuffle(groups)
    for group in groups:
        rng.shuffle(group)
    items[:] = [item for group in groups for item in group]


def pytest_terminal_summary(terminalreporter, exitstatus, config):
    if exitstatus == pytest.ExitCode.TESTS_FAILED:
        seed = config.getoption("--order-seed")
        terminalreporter.write_line(f"Same order again: --order-seed={seed}")


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    """Run each test in a folder of its own, so that relative paths stay inside it."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def project(tmp_path):
    """Where a tuner keeps its study: `kt.RandomSearch(build_model, ..., **project)`."""
    return {"directory": str(tmp_path), "project_name": "project"}


@pytest.fixture(scope="session")
def data_file():
    """Find a data set by its file name, or skip: `data_file("diabetes.csv")`."""
    folders = [ROOT.parent / "shared" / "data"]
    if named := os.environ.get("KERATUNE_DATA"):
        folders.insert(0, Path(named))

    def find(name):
        for folder in folders:
            if (folder / name).is_file():
                return folder / name
        return pytest.skip(f"Needs {name}. Set KERATUNE_DATA to the folder that holds it.")

    return find
