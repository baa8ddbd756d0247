"""Every example runs, in a fresh process, and ends with a result that a person can read."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
SCRIPTS = sorted(path for path in EXAMPLES.glob("*.py") if not path.name.startswith("_"))
TABLES = {"load_pima": "diabetes.csv", 'read_table("titanic.csv")': "titanic.csv"}


def _common():
    spec = importlib.util.spec_from_file_location("examples_common", EXAMPLES / "_common.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _skip_without_data(script):
    source = script.read_text(encoding="utf-8")
    tables = [table for call, table in TABLES.items() if call in source]
    for table in tables:
        path = _common().table_path(table)
        if not path.is_file():
            pytest.skip(f"{table} was not found at {path}; set KERATUNE_DATA to its folder")
    if not tables:
        pytest.importorskip("sklearn", reason="the bundled data sets need scikit-learn")


def _run(script, cwd, **variables):
    environment = {"KERAS_BACKEND": "jax", **os.environ, **variables}
    return subprocess.run(
        [sys.executable, str(script)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_an_example_ends_with_its_test_score_and_says_where_its_results_lie(script, tmp_path):
    _skip_without_data(script)
    results = tmp_path / "results"
    done = _run(script, tmp_path, KERATUNE_EXAMPLE_TRIALS="2", KERATUNE_EXAMPLE_DIR=str(results))
    assert done.returncode == 0, done.stderr[-3000:]
    score = re.search(r"^Test \w+: (-?\d\.\d+)$", done.stdout, re.MULTILINE)
    assert score, f"no test score in the output:\n{done.stdout[-2000:]}"
    assert -1.0 <= float(score.group(1)) <= 1.0
    assert f"Results: {results}" in done.stdout
    assert (results / "search").is_dir()
    assert "Best hyperparameters:" in done.stdout
    assert not (tmp_path / "runs").exists(), "the example wrote outside KERATUNE_EXAMPLE_DIR"


@pytest.mark.parametrize("name", ["pima_1_optimizer", "titanic"])
def test_an_example_without_its_data_says_in_one_line_how_to_get_them(name, tmp_path):
    done = _run(EXAMPLES / f"{name}.py", tmp_path, KERATUNE_DATA=str(tmp_path))
    assert done.returncode == 1
    message = done.stderr.strip().splitlines()[-1]
    assert ".csv was not found" in message and "KERATUNE_DATA" in message
    assert "Traceback" not in done.stderr


def test_there_are_examples():
    assert len(SCRIPTS) >= 15
