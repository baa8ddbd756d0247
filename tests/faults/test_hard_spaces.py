"""A space of which nearly a third cannot be trained: the search goes on, and says why.

`python test_hard_spaces.py FOLDER WORKERS` runs such a search in FOLDER.
"""

import subprocess
import sys
from collections import Counter

import keras
import numpy as np
import pytest

import keratune

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(keras.backend.backend() != "jax", reason="one backend is enough"),
]

TRIALS = 40
REASONS = {"memory": "out_of_memory", "nan": "not_finite", "error": "error"}
TOLD = ["Unable to allocate", "The objective loss is nan", "no good: this choice"]


class Hard(keratune.HyperModel):
    """Each of three of ten choices fails in its way, in building, training or in its loss."""

    def build(self, hp):
        choice = hp.Choice("choice", [*REASONS, *map(str, range(7))])
        hp.Float("x", 0.0, 1.0)
        if choice == "error":
            raise ValueError("no good: this choice")
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        model.compile(keras.optimizers.SGD(1e30 if choice == "nan" else 0.01), "mse")
        return model

    def fit(self, hp, model, x, y, **kwargs):
        if hp.get("choice") == "memory":
            return np.zeros(2**50, "float64")  # eight pebibytes
        return model.fit(x, y, **kwargs)


def tuner_in(folder, workers):
    return keratune.RandomSearch(
        Hard(),
        "loss",
        max_trials=TRIALS,
        seed=4,
        directory=folder,
        project_name="project",
        executor=workers,
    )


def search(folder, workers):
    x = np.ones((8, 2), "float32")
    tuner_in(folder, workers).search(x, x[:, :1], epochs=1, batch_size=2, verbose=0)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_search_with_hopeless_corners_comes_to_its_end_and_tells_the_reasons(
    tmp_path, workers, capsys
):
    run = [sys.executable, __file__, str(tmp_path), str(workers)]
    ended = subprocess.run(run, capture_output=True, text=True, timeout=280, check=False)
    assert ended.returncode == 0, ended.stderr[-3000:]
    tuner = tuner_in(tmp_path, 1)
    records = tuner.history.trials
    assert len(records) == TRIALS
    failed = Counter(record.kind for record in records if record.status == "FAILED")
    wanted = Counter(
        REASONS[record.values["choice"]] for record in records if record.values["choice"] in REASONS
    )
    assert failed == wanted and set(failed) == set(REASONS.values())
    assert TRIALS * 0.2 <= sum(failed.values()) <= TRIALS * 0.4
    assert all(r.status == "COMPLETED" for r in records if r.values["choice"] not in REASONS)
    tuner.results_summary(num_trials=TRIALS)
    shown = capsys.readouterr().out
    assert all(reason in shown for reason in TOLD)
    tuner.oracle.study.close()
    print(f"{workers} workers, {TRIALS} trials, of which have failed: {dict(failed)}")


if __name__ == "__main__":
    search(sys.argv[1], int(sys.argv[2]))
