"""One program, many trials: seconds per trial of whole searches, beside KerasTuner on JAX.

    python benchmarks/vectorized.py                      # all parts
    python benchmarks/vectorized.py --parts fixed        # one of them
    python benchmarks/vectorized.py --peers 8            # fewer trials of the peer: it is slow

==========  ====================================================================================
fixed       the Pima data, two hidden layers; learning rate, dropout and L2 are free; 10 epochs
executions  the same, each configuration trained eight times
phases      parts 1, 2 and 4 of the Pima tutorial, one trial at a time: `vectorize="auto"`
structures  128 trials of four architectures with free numbers: compilations of four tuners
==========  ====================================================================================

Each search runs in a process of its own. Seconds count from the start of the search to its end,
compiling, studies and files included, importing not; those of the processors, which other programs
slow less, stand behind. On a busy machine read the ratios of one run.
"""

import argparse
import json
import logging
import os
import re
import sys
import tempfile
import time

import _child
import _one_thread  # noqa: F401
import tutorial
from training import EPOCHS, pima

PHASES = {1: 4, 2: 12, 4: 12}  # phase of the tutorial: its trials; the first has four points
KINDS = ("RandomSearch", "BayesianOptimization", "Hyperband", "Auto")


def build_model(hp):
    import keras

    penalty = keras.regularizers.L2(hp.Float("l2", 1e-5, 1e-2, sampling="log"))
    rate = hp.Float("dropout", 0.1, 0.5)
    layers = [keras.layers.Input((8,))]
    for units in (32, 16):
        layers.append(keras.layers.Dense(units, activation="relu", kernel_regularizer=penalty))
        layers.append(keras.layers.Dropout(rate))
    model = keras.Sequential([*layers, keras.layers.Dense(1, activation="sigmoid")])
    optimizer = keras.optimizers.Adam(hp.Float("learning_rate", 1e-4, 1e-2, sampling="log"))
    model.compile(optimizer, "binary_crossentropy", metrics=["accuracy"])
    return model


def build_four(hp):
    """Four architectures."""
    import keras

    layers = [keras.layers.Input((8,))]
    for _ in range(hp.Int("layers", 1, 2)):
        layers.append(keras.layers.Dense(hp.Choice("units", [16, 32]), activation="relu"))
        layers.append(keras.layers.Dropout(hp.Float("dropout", 0.1, 0.5)))
    model = keras.Sequential([*layers, keras.layers.Dense(1, activation="sigmoid")])
    optimizer = keras.optimizers.Adam(hp.Float("learning_rate", 1e-4, 1e-2, sampling="log"))
    model.compile(optimizer, "binary_crossentropy", metrics=["accuracy"])
    return model


class Compilations(logging.Handler):
    """Reads from the log how often programs were compiled."""

    count = None

    def emit(self, record):
        if found := re.search(r"compiled (\d+) times", record.getMessage()):
            self.count = int(found[1])


def seconds_of(search, trainings):
    """Return the seconds of a search, and those of the processors, for each training."""
    wall, busy = time.perf_counter(), time.process_time()
    search()
    return {
        "wall": (time.perf_counter() - wall) / trainings,
        "busy": (time.process_time() - busy) / trainings,
    }


# The children


def fixed(name, trials, vectorize, executions):
    """Search the fixed architecture."""
    train, validation = pima()
    own = {} if name == "keras_tuner" else {"vectorize": vectorize}
    with tempfile.TemporaryDirectory() as folder:
        tuner = _child.library(name).RandomSearch(
            build_model,
            "val_accuracy",
            trials,
            seed=1,
            executions_per_trial=executions,
            directory=folder,
            project_name="p",
            **own,
        )
        fit = {"epochs": 10, "validation_data": validation, "verbose": 0}
        return seconds_of(lambda: tuner.search(*train, **fit), trials * executions)


def phase(name, number, trials, vectorize):
    """Search as the tutorial does, both libraries with the same configurations."""
    build = tutorial.PHASES[number]
    values = tutorial.configurations(build, trials)
    train, validation = pima()
    tuners = _child.library(name)
    with tempfile.TemporaryDirectory() as folder:
        place = {"directory": folder, "project_name": "p"}
        if name == "keras_tuner":
            oracle = tutorial.listed_oracle([dict(v) for v in values])
            tuner = tuners.Tuner(oracle=oracle, hypermodel=build, **place)
        else:
            limit = {"max_trials": len(values), "vectorize": vectorize}
            tuner = tuners.RandomSearch(build, "val_accuracy", seed=0, **limit, **place)
            tuner.enqueue(*values)
        fit = {"epochs": EPOCHS["pima"], "validation_data": validation, "verbose": 0}
        return seconds_of(lambda: tuner.search(*train, **fit), len(values))


def structures(kind):
    """Search four architectures, and count compilations."""
    import keratune

    compilations = Compilations()
    logging.getLogger("keratune").addHandler(compilations)
    logging.getLogger("keratune").setLevel(logging.INFO)
    train, validation = pima()
    with tempfile.TemporaryDirectory() as folder:
        limit = {"max_trials": 128}
        if kind == "Hyperband":  # 23 trials an iteration
            limit = {"max_epochs": 9, "hyperband_iterations": 6}
        tuner = getattr(keratune, kind)(
            build_four,
            objective="val_loss",
            seed=0,
            vectorize=True,
            directory=folder,
            project_name="p",
            **limit,
        )
        tuner.search(*train, epochs=9, validation_data=validation, verbose=0)
        records = tuner.history.trials
        found = {(r.values["layers"], r.values["units"]) for r in records}
        return {
            "trials": len(records),
            "structures": len(found),
            "compilations": compilations.count,
        }


CHILDREN = {"fixed": fixed, "phase": phase, "structures": structures}


# The parent


def measured(child, *arguments):
    return _child.measure("vectorized.py", child, json.dumps(arguments))


def show(label, row, peer=None):
    ratio = ""
    if peer is not None:
        by = [peer[clock] / row[clock] for clock in ("wall", "busy")]
        ratio = f"   KerasTuner / keratune {by[0]:>6.1f} {by[1]:>6.1f}"
    print(f"{label:<40}{row['wall']:>8.3f}{row['busy']:>8.3f}{ratio}", flush=True)


def compare_fixed(peers):
    peer = measured("fixed", "keras_tuner", peers, False, 1)
    show(f"KerasTuner, {peers} trials", peer)
    show(
        f"keratune, {peers} trials, vectorize=False",
        measured("fixed", "keratune", peers, False, 1),
        peer,
    )
    for trials, vectorize in ((64, "auto"), (64, 64), (256, 64), (256, 256)):
        row = measured("fixed", "keratune", trials, vectorize, 1)
        show(f"keratune, {trials} trials, vectorize={vectorize!r}", row, peer)


def compare_executions(peers):
    peer = measured("fixed", "keras_tuner", max(peers // 8, 1), False, 8)
    show(f"KerasTuner, {max(peers // 8, 1)} trials of 8 executions", peer)
    for vectorize in ("auto", 8):
        row = measured("fixed", "keratune", 8, vectorize, 8)
        show(f"keratune, 8 trials of 8, vectorize={vectorize!r}", row, peer)


def compare_phases(peers):
    for number, trials in PHASES.items():
        peer = measured("phase", "keras_tuner", number, min(trials, peers), False)
        show(f"KerasTuner, phase {number}", peer)
        for vectorize in (False, "auto", True):
            row = measured("phase", "keratune", number, min(trials, peers), vectorize)
            show(f"keratune, phase {number}, vectorize={vectorize!r}", row, peer)


def count_compilations(peers):
    for kind in KINDS:
        row = measured("structures", kind)
        print(f"{kind:<40}" + ", ".join(f"{count} {name}" for name, count in row.items()))


COMPARISONS = {
    "fixed": compare_fixed,
    "executions": compare_executions,
    "phases": compare_phases,
    "structures": count_compilations,
}


def main(given=()):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="*", default=list(COMPARISONS), choices=COMPARISONS)
    parser.add_argument("--peers", type=int, default=16, help="most trials of the peer's searches")
    options = parser.parse_args(list(given))
    print("seconds a training: by the clock, and of processor time")
    for part in options.parts:
        print(f"-- {part}, load {os.getloadavg()[0]:.1f}", flush=True)
        COMPARISONS[part](options.peers)


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in CHILDREN:
        print(json.dumps(CHILDREN[sys.argv[1]](*json.loads(sys.argv[2]))))
    else:
        main(sys.argv[1:])
