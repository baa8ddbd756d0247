"""The Pima tutorial's searches: seconds per trial beside KerasTuner with its defaults.

    KERAS_BACKEND=torch python benchmarks/tutorial.py --phase 4 --trials 20
    KERAS_BACKEND=torch python benchmarks/tutorial.py --phase 4 --busy 2    # on a shared machine

Both train the same configurations for 20 epochs each, in processes of their own that take turns:
while one trains a trial the other waits, and who goes first alternates. A trial's seconds count
from its start to the start of the next one, so that what the library itself does counts. The first
trial warms up and does not count. `--busy` keeps as many other processes computing meanwhile.
`--threads` sets both libraries' threads by OMP_NUM_THREADS.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

import _child
import numpy as np
from training import EPOCHS, build_pima, pima

LIBRARIES = ("keratune", "keras_tuner")
MARK = "@turn "  # begins the lines by which a child speaks to its parent


def compiled(layers, optimizer):
    import keras

    model = keras.Sequential([keras.layers.Input((8,)), *layers])
    model.add(keras.layers.Dense(1, activation="sigmoid"))
    model.compile(optimizer=optimizer, loss="binary_crossentropy", metrics=["accuracy"])
    return model


def build_optimizer(hp):
    import keras

    optimizer = hp.Choice("optimizer", ["adam", "sgd", "rmsprop", "adadelta"])
    return compiled([keras.layers.Dense(32, activation="relu")], optimizer)


def build_units(hp):
    import keras

    units = hp.Int("units", 8, 128, step=8)
    return compiled([keras.layers.Dense(units, activation="relu")], "rmsprop")


def build_layers(hp):
    import keras

    count = hp.Int("layers", 1, 10)
    layers = [keras.layers.Dense(64, activation="relu") for _ in range(count)]
    return compiled(layers, "rmsprop")


PHASES = {1: build_optimizer, 2: build_units, 3: build_layers, 4: build_pima}


class Drawn:
    """Stands for `hp`, and draws every value that a build asks for."""

    def __init__(self, rng):
        self.rng, self.values = rng, {}

    def _keep(self, name, value):
        return self.values.setdefault(name, value)

    def Int(self, name, low, high, step=1):
        return self._keep(name, int(self.rng.choice(range(low, high + 1, step))))

    def Float(self, name, low, high, step):
        return self._keep(name, low + step * int(self.rng.integers(round((high - low) / step) + 1)))

    def Choice(self, name, values):
        return self._keep(name, values[self.rng.integers(len(values))])


def configurations(build, count, seed=0):
    """Return `count` different configurations, the same ones in every process."""
    rng, found = np.random.default_rng(seed), []
    for _ in range(50 * count):
        drawn = Drawn(rng)
        build(drawn)
        if drawn.values not in found:
            found.append(drawn.values)
        if len(found) == count:
            break
    return found


# The children


def listed_oracle(values):
    """Return KerasTuner's random search with the given configurations in place of draws."""
    import keras_tuner

    class Listed(keras_tuner.oracles.RandomSearchOracle):
        def populate_space(self, trial_id):
            if not values:
                return {"status": "STOPPED", "values": None}
            return {"status": "RUNNING", "values": values.pop(0)}

    return Listed(objective="val_accuracy", max_trials=len(values))


def tuner_of(name, build, values, folder):
    tuners = _child.library(name)
    common = {"directory": folder, "project_name": "project"}
    if name == "keras_tuner":
        kind, common["oracle"] = tuners.Tuner, listed_oracle(values)
    else:
        kind = tuners.RandomSearch
        common |= {"objective": "val_accuracy", "max_trials": len(values), "seed": 0}

    class InTurns(kind):
        def on_trial_begin(self, trial):
            super().on_trial_begin(trial)
            Turn.take()

    tuner = InTurns(hypermodel=build, **common)
    if name == "keratune":
        tuner.enqueue(*values)
    return tuner


class Turn:
    """A child's turn: waits for the parent's word, and tells how long what followed took."""

    began = None

    @classmethod
    def take(cls):
        seconds = None if cls.began is None else time.perf_counter() - cls.began
        print(MARK + json.dumps(seconds), flush=True)
        sys.stdin.readline()
        cls.began = time.perf_counter()


def search(name, phase, trials):
    build = PHASES[phase]
    values = configurations(build, trials)
    train, validation = pima()
    with tempfile.TemporaryDirectory() as folder:
        tuner = tuner_of(name, build, values, folder)
        fit = {"epochs": EPOCHS["pima"], "validation_data": validation, "verbose": 0}
        tuner.search(*train, **fit)
        Turn.take()


# The parent


class Child:
    """A library's search in a process of its own."""

    def __init__(self, name, phase, trials, threads):
        environment = {**os.environ, "KERAS_BACKEND": os.environ.get("KERAS_BACKEND", "jax")}
        if threads:
            environment["OMP_NUM_THREADS"] = str(threads)
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--child", name, str(phase), str(trials)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self.seconds = []
        self._wait()

    def _wait(self):
        for line in self.process.stdout:
            if line.startswith(MARK):
                return json.loads(line[len(MARK) :])
        raise SystemExit("A child has ended early; its message is above.")

    def train(self):
        """Have it train one trial."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        self.seconds.append(self._wait())


def measured(phase, trials, threads):
    """Return both libraries' seconds of each trial, the warm-up left out."""
    children = {name: Child(name, phase, trials + 1, threads) for name in LIBRARIES}
    for turn in range(min(trials + 1, len(configurations(PHASES[phase], trials + 1)))):
        for name in LIBRARIES[:: 1 if turn % 2 else -1]:
            children[name].train()
    for child in children.values():
        child.process.communicate("\n")
    return {name: np.array(child.seconds[1:]) for name, child in children.items()}


def main(given=()):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--phase", type=int, choices=PHASES, default=4)
    parser.add_argument("--trials", type=int, default=10)
    parser.add_argument("--busy", type=int, default=0, help="processes that compute beside")
    parser.add_argument("--threads", type=int, help="OMP_NUM_THREADS of both")
    options = parser.parse_args(list(given))
    beside = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(options.busy)
    ]
    try:
        seconds = measured(options.phase, options.trials, options.threads)
    finally:
        for process in beside:
            process.kill()
    backend = os.environ.get("KERAS_BACKEND", "jax")
    print(
        f"phase {options.phase} on {backend}, {os.cpu_count()} cores, {options.busy} busy beside, "
        f"load {os.getloadavg()[0]:.1f}: {len(seconds['keratune'])} trials"
    )
    print(f"{'':<12} {'mean s/trial':>12} {'median':>8}")
    for name, each in seconds.items():
        print(f"{name:<12} {each.mean():>12.2f} {np.median(each):>8.2f}")
    each = seconds["keras_tuner"] / seconds["keratune"]
    means = seconds["keras_tuner"].mean() / seconds["keratune"].mean()
    print(
        f"KerasTuner / keratune: {means:.2f} of the means; trial by trial, median "
        f"{np.median(each):.2f}, from {each.min():.2f} to {each.max():.2f}"
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        search(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    else:
        main(sys.argv[1:])
