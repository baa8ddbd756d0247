"""Two worker processes beside one: equal Keras trials, the same search, in one run.

    python benchmarks/parallel.py [--workers 2] [--trials 8] [--epochs 40] [--repeats 2]

Each search runs in a fresh process; what is timed is `search()`, the start of the workers and all.
The one process has one thread, as each of the workers has on two cores, because all trials of the
search are of one size: what is compared is two cores beside one. Its own choice of threads is
measured as well (`serial, all cores`).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PJRT_NPROC": "1", "NPROC": "1"}


def run(workers, trials, epochs):
    import keras
    import numpy as np

    import keratune as kt

    x = np.random.default_rng(0).normal(size=(8192, 64)).astype("float32")
    y = x[:, :8].sum(axis=1)

    def build_model(hp):
        model = keras.Sequential(
            [
                keras.layers.Input((64,)),
                keras.layers.Dense(512, activation="relu"),
                keras.layers.Dense(512, activation="relu"),
                keras.layers.Dense(1),
            ]
        )
        rate = hp.Float("learning_rate", 1e-4, 1e-2, sampling="log")
        model.compile(keras.optimizers.Adam(rate), "mse")
        return model

    with tempfile.TemporaryDirectory() as folder:
        tuner = kt.RandomSearch(
            build_model,
            "loss",
            max_trials=trials,
            seed=0,
            executor=workers,
            directory=folder,
            project_name="p",
        )
        began = time.perf_counter()
        tuner.search(x, y, epochs=epochs, batch_size=128, verbose=0)
        seconds = time.perf_counter() - began
        found = [[r.values["learning_rate"], r.score] for r in tuner.history.trials]
    return {"seconds": seconds, "found": found}


def measure(environment, *arguments):
    done = subprocess.run(
        [sys.executable, __file__, "--child", *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "KERAS_BACKEND": "jax", **environment},
    )
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    return json.loads(done.stdout.strip().splitlines()[-1])


def clean():
    """Take away what would decide the number of threads, for the workers to get their share."""
    for name in ONE_THREAD:
        os.environ.pop(name, None)


def main(arguments=()):
    parser = argparse.ArgumentParser()
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=2)
    given = parser.parse_args(arguments)
    clean()
    ways = {
        "serial, one core": (ONE_THREAD, 1),
        "serial, all cores": ({}, 1),
        f"{given.workers} workers": ({}, given.workers),
    }
    best, found = dict.fromkeys(ways, float("inf")), {}
    for repeat in range(given.repeats):
        for way, (environment, workers) in ways.items():
            told = measure(environment, workers, given.trials, given.epochs)
            best[way] = min(best[way], told["seconds"])
            found[way] = told["found"]
            print(f"{repeat + 1}. {way:<20}{told['seconds']:8.1f} s", flush=True)
    last = list(ways)[-1]
    for way in list(ways)[:-1]:
        print(f"{last} / {way}: {best[last] / best[way]:.2f} of the time (best of each)")
    same = sum(a == b for a, b in zip(found["serial, one core"], found[last], strict=True))
    print(f"trials with the same values and the same score, to the last bit: {same}/{given.trials}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        print(json.dumps(run(*map(int, sys.argv[2:]))))
    else:
        main(sys.argv[1:])
