"""One program, many trials: seconds per trial of a search over a fixed architecture, on JAX.

    python benchmarks/vectorized.py                       # 64 trials together, 16 of each peer
    python benchmarks/vectorized.py --together 64 256 --peers 0

The Pima data, two hidden layers; learning rate, dropout and L2 are free; 10 epochs. "together" is
the training alone: models built, trained and read back, without a study; with `--files` each keeps
its best epoch and the state to resume from, as a trial does. The peers are whole searches of
KerasTuner and of keratune's ordinary trials. Each runs in a process of its own. Seconds count from
the start of the search to its end, all compiling included, importing not.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import _child
import _one_thread  # noqa: F401
from training import pima

LIBRARIES = ("keratune", "keras_tuner")
EPOCHS = 10


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


def clocks():
    return time.perf_counter(), time.process_time()


def since(began):
    """Return the seconds by the clock, and those of the processors, which others do not slow."""
    wall, busy = (now - then for now, then in zip(clocks(), began, strict=True))
    return {"wall": wall, "busy": busy}


def search(name, trials):
    train, validation = pima()
    tuners = _child.library(name)
    with tempfile.TemporaryDirectory() as folder:
        tuner = tuners.RandomSearch(
            build_model, "val_accuracy", trials, seed=1, directory=folder, project_name="p"
        )
        began = clocks()
        tuner.search(*train, epochs=EPOCHS, validation_data=validation, verbose=0)
        return {**since(began), "trials": trials}


def keeping(folder, trial):
    """The callbacks by which a trial keeps files."""
    from keratune.objectives import create_objective
    from keratune.training.keras_callbacks import Recorder, Resume, SaveBestEpoch

    curve = {}
    recorder = Recorder(lambda step, metrics: curve.update({step: metrics}))
    best = SaveBestEpoch(create_objective("val_accuracy"), f"{folder}/{trial}_best.npz")
    state = Resume(Path(folder) / f"{trial}_state.npz", [0, 0], [], recorder, lambda: curve)
    return [best, recorder, state]


def together(trials, width, folder=None):
    import keras  # noqa: F401
    import numpy as np

    from keratune.training.keras_callbacks import EpochSeeds
    from keratune.training.keras_state import fresh_names, seeded
    from keratune.vectorized.families import Programs
    from keratune.vectorized.fleet import train
    from keratune.vectorized.members import Member

    class Drawn:
        """Draws hyperparameters at random."""

        def __init__(self, seed):
            self.rng = np.random.default_rng(seed)

        def Float(self, name, low, high, sampling="linear"):  # noqa: N802
            if sampling == "log":
                return float(np.exp(self.rng.uniform(np.log(low), np.log(high))))
            return float(self.rng.uniform(low, high))

    rows, validation = pima()

    def source():
        for trial in range(trials):
            fresh_names()
            seeded(trial)
            seeds = EpochSeeds(lambda fit, epoch, trial=trial: 1000 * trial + epoch)
            callbacks = [seeds, *(keeping(folder, trial) if folder else [])]
            kwargs = {"epochs": EPOCHS, "validation_data": validation, "callbacks": callbacks}
            yield Member(build_model(Drawn(trial)), rows, kwargs)

    programs, waiting, best = Programs(), source(), []
    began = clocks()
    for member in train(lambda: next(waiting, None), programs, width):
        best.append(max(member.history.history["val_accuracy"]))
    taken = since(began)
    variants = [v for f in programs._families.values() for v in f.variants]
    compiled = sum(variant.program.compiled for variant in variants)
    return {**taken, "trials": len(best), "compiled": compiled, "best": max(best)}


def main(given=()):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--together", type=int, nargs="*", default=[64], help="numbers of trials")
    parser.add_argument("--peers", type=int, default=16, help="trials of the peers' searches")
    parser.add_argument("--width", type=int, default=64, help="most members at a time")
    parser.add_argument("--files", action="store_true", help="keep what a trial keeps")
    options = parser.parse_args(list(given))
    print("seconds a trial: by the clock, and of processor time")
    peers = {}
    for name in LIBRARIES if options.peers else ():
        peers[name] = each(_child.measure("vectorized.py", name, options.peers))
        print(f"{name:<12}{options.peers:>5} trials {shown(peers[name])}", flush=True)
    for trials in options.together:
        row = _child.measure("vectorized.py", "together", trials, options.width, options.files)
        own = each(row)
        ratios = "".join(
            f"  {name} / {peer['wall'] / own['wall']:.0f} and {peer['busy'] / own['busy']:.0f}"
            for name, peer in peers.items()
        )
        compiled = f"{row['compiled']} compilations"
        print(f"{'together':<12}{trials:>5} trials {shown(own)} {compiled}{ratios}", flush=True)


def each(row):
    return {clock: row[clock] / row["trials"] for clock in ("wall", "busy")}


def shown(seconds):
    return f"{seconds['wall']:>8.3f}{seconds['busy']:>8.3f}"


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in LIBRARIES:
        print(json.dumps(search(sys.argv[1], int(sys.argv[2]))))
    elif sys.argv[1:2] == ["together"]:
        with tempfile.TemporaryDirectory() as folder:
            kept = folder if sys.argv[4] == "True" else None
            print(json.dumps(together(int(sys.argv[2]), int(sys.argv[3]), kept)))
    else:
        main(sys.argv[1:])
