"""Memory and disk over 200 tiny Keras trials in one process, whose layers all differ in width.

    KERAS_BACKEND=tensorflow python benchmarks/memory.py
    KERAS_BACKEND=torch python benchmarks/memory.py --libraries keratune

The parent's resident memory is read at the end of each trial. What it grows by from trial 20 on,
when all that is loaded once has been loaded, is what a longer search would go on to grow by.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import _child

TRIALS, MARKS = 200, (20, 60, 100, 200)
LIBRARIES = ("keratune", "keras_tuner")


def run(name, trials):
    import keras
    import numpy as np

    tuners = _child.library(name)
    x = np.random.default_rng(0).normal(size=(64, 8)).astype("float32")
    y = x.sum(axis=1)
    sizes, stamps = [], []

    def build_model(hp):
        model = keras.Sequential(
            [
                keras.layers.Input((8,)),
                keras.layers.Dense(hp.Int("units", 4, 400), activation="relu"),
                keras.layers.Dense(1),
            ]
        )
        model.compile("adam", "mse")
        return model

    class Watched(tuners.RandomSearch):
        def on_trial_end(self, trial):
            super().on_trial_end(trial)
            sizes.append(_child.resident_mebibytes())
            stamps.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        tuner = Watched(build_model, "val_loss", trials, seed=1, directory=folder, project_name="p")
        tuner.search(x, y, epochs=2, batch_size=16, validation_split=0.25, verbose=0)
        files = [file for file in Path(folder).rglob("*") if file.is_file()]
        weights = [file for file in files if file.suffix in (".h5", ".keras", ".npz")]
        disk = sum(file.stat().st_size for file in files) / 2**20
        kept = len({file.parent for file in weights})
    first = min(MARKS[0], trials) - 1
    return {
        "sizes": {mark: sizes[mark - 1] for mark in MARKS if mark <= trials},
        "growth": sizes[-1] - sizes[first],
        "peak": max(sizes) - sizes[first],
        "seconds": (stamps[-1] - stamps[first]) / max(trials - first - 1, 1),
        "disk": disk,
        "kept": kept,
    }


def main(given=()):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=TRIALS)
    parser.add_argument("--libraries", nargs="+", choices=LIBRARIES, default=LIBRARIES)
    options = parser.parse_args(list(given))
    rows = {name: _child.measure("memory.py", name, options.trials) for name in options.libraries}
    marks = [mark for mark in MARKS if mark <= options.trials]
    print(f"{options.trials} trials on {os.environ.get('KERAS_BACKEND', 'jax')}; MiB after trial")
    heads = "".join(f"{mark:>8}" for mark in marks)
    print(f"{'':<12}{heads}  growth  peak  s/trial  disk  trials with weights")
    for name, row in rows.items():
        sizes = "".join(f"{row['sizes'][str(mark)]:>8.0f}" for mark in marks)
        print(
            f"{name:<12}{sizes}{row['growth']:>8.0f}{row['peak']:>6.0f}{row['seconds']:>9.3f}"
            f"{row['disk']:>6.1f}{row['kept']:>21}"
        )
    if len(rows) == 2:
        ratio = rows["keratune"]["seconds"] / rows["keras_tuner"]["seconds"]
        print(f"keratune / KerasTuner seconds per trial: {ratio:.2f}")


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in LIBRARIES:
        print(json.dumps(run(sys.argv[1], int(sys.argv[2]))))
    else:
        main(sys.argv[1:])
