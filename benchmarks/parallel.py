"""Two worker processes beside one: equal Keras trials, the same search, in one run.

    python benchmarks/parallel.py [--sets pima digits dense] [--workers 2] [--repeats 1]

Three sets of trials of one cost each: a small multi-layer perceptron on the Pima tutorial's data, a
small convolutional network on scikit-learn's digits, and two wide dense layers, which XLA itself
spreads over the cores. Each search runs in a fresh process; what is timed is `search()`, the start
of the workers and all. Beside two workers stand one process that takes all cores, as it does where
nobody sets anything, and one whose XLA has one thread, as each of the workers' has on two cores.

`cores` is the processor time of a search and its workers by the wall time: a process that keeps 1.5
of 2 cores busy by itself leaves two workers 1.33 times its speed, whatever they do. `others` is
what all other programs have used of the machine meanwhile (Linux): above 0.1, measure again.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PJRT_NPROC": "1", "NPROC": "1"}


def compiled(hp, layers, **arguments):
    import keras

    rate = hp.Float("learning_rate", 1e-4, 1e-2, sampling="log")
    model = keras.Sequential(layers)
    model.compile(keras.optimizers.Adam(rate), **arguments)
    return model


def pima():
    import keras
    import training

    def build_model(hp):
        layers = [keras.layers.Input((8,))]
        layers += [keras.layers.Dense(32, activation="relu") for _ in range(2)]
        layers += [keras.layers.Dense(1, activation="sigmoid")]
        return compiled(hp, layers, loss="binary_crossentropy", metrics=["accuracy"])

    train, validation = training.pima()
    return build_model, train, {"validation_data": validation}


def digits():
    import keras
    import training

    def build_model(hp):
        layers = [keras.layers.Input((8, 8, 1))]
        layers += [keras.layers.Conv2D(16, 3, padding="same", activation="relu")]
        layers += [keras.layers.MaxPooling2D()]
        layers += [keras.layers.Conv2D(32, 3, padding="same", activation="relu")]
        layers += [keras.layers.GlobalAveragePooling2D()]
        layers += [keras.layers.Dense(10, activation="softmax")]
        return compiled(hp, layers, loss="sparse_categorical_crossentropy", metrics=["accuracy"])

    (x, y), (other_x, other_y) = training.digits()
    return build_model, (x[..., None], y), {"validation_data": (other_x[..., None], other_y)}


def dense():
    import keras
    import numpy as np

    def build_model(hp):
        layers = [keras.layers.Input((64,))]
        layers += [keras.layers.Dense(512, activation="relu") for _ in range(2)]
        return compiled(hp, [*layers, keras.layers.Dense(1)], loss="mse")

    x = np.random.default_rng(0).normal(size=(8192, 64)).astype("float32")
    return build_model, (x, x[:, :8].sum(axis=1)), {"batch_size": 128}


# Each with as many trials and epochs as take one process about a minute.
SETS = {"pima": (pima, 36, 300), "digits": (digits, 36, 160), "dense": (dense, 12, 100)}


def run(name, workers, trials, epochs):
    import keratune as kt

    build_model, data, arguments = SETS[name][0]()
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
        before, began = used(), time.perf_counter()
        tuner.search(*data, epochs=epochs, verbose=0, **arguments)
        seconds = time.perf_counter() - began
        own, whole = (now - then for now, then in zip(used(), before, strict=True))
        found = [[r.values["learning_rate"], r.score] for r in tuner.history.trials]
    return {"seconds": seconds, "own": own, "others": whole - own, "found": found}


def used():
    """Return the processor seconds that this process and its ended children, and all, have used."""
    own = sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )
    try:
        fields = [int(field) for field in Path("/proc/stat").read_text().split()[1:9]]
    except OSError:
        return own, own
    return own, (sum(fields) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")  # idle, waiting


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


def compare(name, given):
    """Measure a set of trials each way, and print it."""
    _, trials, epochs = SETS[name]
    trials, epochs = given.trials or trials, given.epochs or epochs
    print(f"\n{name}: {trials} trials of {epochs} epochs", flush=True)
    ways = {
        "serial, all cores": ({}, 1),
        "serial, one core": (ONE_THREAD, 1),
        f"{given.workers} workers": ({}, given.workers),
    }
    best, found = dict.fromkeys(ways, float("inf")), {}
    for repeat in range(given.repeats):
        for way, (environment, workers) in ways.items():
            told = measure(environment, name, workers, trials, epochs)
            seconds = told["seconds"]
            best[way], found[way] = min(best[way], seconds), told["found"]
            cores, others = told["own"] / seconds, told["others"] / seconds
            print(
                f"{repeat + 1}. {way:<20}{seconds:8.1f} s, {cores:.2f} cores, others {others:.2f}",
                flush=True,
            )
    *serial, last = ways
    for way in serial:
        print(f"{last} / {way}: {best[last] / best[way]:.2f} of the time (best of each)")
    same = sum(a == b for a, b in zip(found["serial, one core"], found[last], strict=True))
    print(f"trials with the same values and the same score, to the last bit: {same}/{trials}")


def main(arguments=()):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--trials", type=int, help="instead of a set's own number")
    parser.add_argument("--epochs", type=int, help="instead of a set's own number")
    parser.add_argument("--repeats", type=int, default=1)
    given = parser.parse_args(list(arguments))
    clean()
    for name in given.sets:
        compare(name, given)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        print(json.dumps(run(sys.argv[2], *map(int, sys.argv[3:]))))
    else:
        main(sys.argv[1:])
