"""Memory and disk over 150 tiny Keras trials in one process, whose layers all differ in width."""

import json
import sys
import tempfile
import time
from pathlib import Path

import _child

TRIALS = 150


def run(name):
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
        tuner = Watched(build_model, "val_loss", TRIALS, seed=1, directory=folder, project_name="p")
        tuner.search(x, y, epochs=2, batch_size=16, validation_split=0.25, verbose=0)
        files = [file for file in Path(folder).rglob("*") if file.is_file()]
        weights = [file for file in files if file.suffix in (".h5", ".keras", ".npz")]
        disk = sum(file.stat().st_size for file in files) / 2**20
        kept = len({file.parent for file in weights})
    return {
        "growth": sizes[-1] - sizes[9],
        "seconds": (stamps[-1] - stamps[9]) / (len(stamps) - 10),
        "disk": disk,
        "kept": kept,
    }


def main():
    rows = [(name, _child.measure("memory.py", name)) for name in ("keratune", "keras_tuner")]
    print(f"{TRIALS} trials      growth after trial 10   s/trial   disk   trials with weights")
    for name, row in rows:
        print(
            f"{name:<15}{row['growth']:>18.0f} MiB{row['seconds']:>11.2f}"
            f"{row['disk']:>7.1f} MiB{row['kept']:>12}"
        )
    ratio = rows[0][1]["seconds"] / rows[1][1]["seconds"]
    print(f"keratune / KerasTuner seconds per trial: {ratio:.2f}")


if __name__ == "__main__":
    print(json.dumps(run(sys.argv[1])))
