"""Real trainings with equal epochs: keratune's Auto beside KerasTuner's tuners.

    KERAS_BACKEND=torch python benchmarks/training.py --seeds 10

Two problems: the fourth part of the Pima tutorial (`examples/pima_4_everything.py`: 1 to 10 layers,
each with its own units, activation and dropout) and the convolutional network on scikit-learn's
digits (`examples/cnn.py`). Every method may train the same number of epochs; what counts is the
best validation accuracy of any epoch, and how many epochs the median takes to the best of the
peers' medians (in brackets: 95 % by bootstrap over the seeds, for that value). `--out` keeps each
run, so that a long comparison can be made in several goes.
"""

import argparse
import csv
import json
import os
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
PIMA = Path(os.environ.get("KERATUNE_DATA", ROOT.parent / "shared" / "data")) / "diabetes.csv"
EPOCHS = {"pima": 20, "digits": 8}


class Enough(BaseException):
    """The epochs are used up."""


def pima():
    with PIMA.open() as file:
        rows = np.array([row for row in csv.reader(file)][1:], dtype="float32")
    rows = rows[np.random.default_rng(0).permutation(len(rows))]
    x = (rows[:, :8] - rows[:, :8].mean(0)) / rows[:, :8].std(0)
    return (x[:460], rows[:460, 8]), (x[460:614], rows[460:614, 8])


def digits():
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    x, y = x[order].reshape(-1, 8, 8).astype("float32") / 16, y[order]
    return (x[:600], y[:600]), (x[600:1200], y[600:1200])


def build_pima(hp):
    import keras

    model = keras.Sequential([keras.layers.Input((8,))])
    for i in range(hp.Int("layers", 1, 10)):
        units = hp.Int(f"units_{i}", 8, 128, step=8)
        activation = hp.Choice(f"activation_{i}", ["relu", "tanh", "sigmoid"])
        model.add(keras.layers.Dense(units, activation=activation))
        model.add(keras.layers.Dropout(hp.Float(f"dropout_{i}", 0.0, 0.5, step=0.1)))
    model.add(keras.layers.Dense(1, activation="sigmoid"))
    optimizer = hp.Choice("optimizer", ["adam", "sgd", "rmsprop", "adadelta"])
    model.compile(optimizer=optimizer, loss="binary_crossentropy", metrics=["accuracy"])
    return model


def build_digits(hp):
    import keras

    pooling = {
        "max": keras.layers.GlobalMaxPooling2D,
        "average": keras.layers.GlobalAveragePooling2D,
    }
    filters, size = hp.Int("filters", 8, 32, step=8), hp.Choice("kernel_size", [2, 3, 5])
    model = keras.Sequential(
        [
            keras.layers.Input((8, 8)),
            keras.layers.Reshape((8, 8, 1)),
            keras.layers.Conv2D(filters, size, padding="same", activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Conv2D(32, 3, padding="same", activation="relu"),
            pooling[hp.Choice("pooling", list(pooling))](),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    rate = hp.Float("learning_rate", 1e-3, 3e-2, sampling="log")
    loss = "sparse_categorical_crossentropy"
    model.compile(keras.optimizers.Adam(rate), loss=loss, metrics=["accuracy"])
    return model


PROBLEMS = {"pima": (pima, build_pima), "digits": (digits, build_digits)}


def recorder(scores, budget):
    import keras

    class Record(keras.callbacks.Callback):
        """Keeps every epoch's score, and ends the search when the epochs are used up."""

        def __deepcopy__(self, memo):
            return self

        def on_epoch_end(self, epoch, logs=None):
            scores.append(logs["val_accuracy"])
            if len(scores) >= budget:
                raise Enough

    return Record()


def tuner_of(method, build, whole, equivalents, seed, folder):
    common = {"objective": "val_accuracy", "directory": folder, "project_name": "project"}
    if method == "auto":
        import keratune

        return keratune.Auto(build, max_epochs=whole * equivalents, seed=seed, **common)
    import keras_tuner

    seed += 1  # it takes 0 for no seed
    if method == "kt_hyperband":
        return keras_tuner.Hyperband(
            build, max_epochs=whole, hyperband_iterations=100, seed=seed, **common
        )
    kind = {"kt_random": "RandomSearch", "kt_bayes": "BayesianOptimization"}[method]
    return getattr(keras_tuner, kind)(build, max_trials=equivalents, seed=seed, **common)


def run(problem, method, seed, equivalents):
    """Return the validation accuracy of every epoch in the order in which they were trained."""
    load, build = PROBLEMS[problem]
    train, validation = load()
    scores, whole = [], EPOCHS[problem]
    folder = tempfile.mkdtemp()
    try:
        tuner = tuner_of(method, build, whole, equivalents, seed, folder)
        record = recorder(scores, whole * equivalents)
        fit = {"epochs": whole, "validation_data": validation, "verbose": 0}
        tuner.search(*train, callbacks=[record], **fit)
    except Enough:
        pass
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return scores


METHODS = ["auto", "kt_random", "kt_bayes", "kt_hyperband"]


def reached(best, target):
    """Return the epoch at which the median of runs (n, epochs) comes to a target, inf if never."""
    curve = np.median(best, axis=0)
    return int(np.argmax(curve >= target)) + 1 if curve[-1] >= target else np.inf


def interval(best, target):
    """Return the 95 % bootstrap interval of `reached`, over the runs, for a fixed target."""
    rng = np.random.default_rng(0)
    draws = (best[rng.integers(0, len(best), len(best))] for _ in range(2000))
    # a quantile between a number and "never" is neither: take one of the draws
    ends = np.quantile([reached(b, target) for b in draws], [0.025, 0.975], method="nearest")
    return " to ".join(map(shown, ends))


def shown(epoch):
    return "never" if np.isinf(epoch) else f"{epoch:.0f}"


def print_table(records, problem, equivalents):
    budget = EPOCHS[problem] * equivalents
    curves, seconds = {}, {}
    for method in METHODS:
        runs = [r for r in records if (r["problem"], r["method"]) == (problem, method)]
        if runs:
            best = [np.maximum.accumulate(r["scores"]) for r in runs]
            curves[method] = np.array([np.pad(b, (0, budget - len(b)), mode="edge") for b in best])
            seconds[method] = np.mean([r["seconds"] for r in runs])
    peers = [np.median(best[:, -1]) for method, best in curves.items() if method != "auto"]
    target = max(peers, default=1.0)
    print(f"\n{problem}: best validation accuracy, median; {budget} epochs each")
    for method, best in curves.items():
        curve = np.median(best, axis=0)
        print(
            f"{method:<14} {len(best)} seeds  at a third {curve[budget // 3 - 1]:.4f}  in the end "
            f"{curve[-1]:.4f}  epochs to the best peer's {target:.4f}: "
            f"{shown(reached(best, target))} ({interval(best, target)})  "
            f"{seconds[method]:.0f} s a search"
        )


def main(given=()):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--problems", nargs="+", default=list(PROBLEMS))
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--equivalents", type=int, default=10, help="budget in full trainings")
    parser.add_argument("--out", type=Path, help="file that keeps each run, a line each")
    options = parser.parse_args(list(given))
    records = []
    if options.out and options.out.exists():
        records = [json.loads(line) for line in options.out.read_text().splitlines()]
    done = {(r["problem"], r["method"], r["seed"]) for r in records}
    for seed in range(options.seeds):
        for problem in options.problems:
            for method in options.methods:
                if (problem, method, seed) in done:
                    continue
                began = time.monotonic()
                scores = run(problem, method, seed, options.equivalents)
                record = {"problem": problem, "method": method, "seed": seed, "scores": scores}
                records.append({**record, "seconds": time.monotonic() - began})
                if options.out:
                    with options.out.open("a") as file:
                        file.write(json.dumps(records[-1]) + "\n")
    for problem in options.problems:
        print_table(records, problem, options.equivalents)


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
