"""Searches that are killed and started again: as a script, and what a test needs around it.

`python kill_search.py FOLDER VARIANT` runs the search in FOLDER or continues it. Each epoch that is
really trained is a line of `epochs.log`; `outcome.json` is written when the search has ended.
"""

import collections
import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

EPOCHS = 5
# Variant -> tuner, space, executions per trial. The flat space has 36 points.
VARIANTS = {
    "random-flat": ("RandomSearch", "flat", 1),
    "random-conditional": ("RandomSearch", "conditional", 2),
    "grid-flat": ("GridSearch", "flat", 2),
    "grid-conditional": ("GridSearch", "conditional", 1),
}
KEEP = 3
LOG, OUTCOME = "epochs.log", "outcome.json"


# The search


def flat(hp):
    return {
        "layers": [hp.Int("units", 4, 16, step=4)],
        "dropout": hp.Choice("dropout", [0.1, 0.3, 0.5]),
        "rate": hp.Choice("rate", [0.003, 0.01, 0.03]),
        "normalise": True,
    }


def conditional(hp):
    layers = []
    for place in range(hp.Int("depth", 1, 3)):
        layers.append(hp.Choice(f"units_{place}", [4, 8]))
    normalise = hp.Boolean("normalise", default=True)
    if normalise:
        hp.Choice("momentum", [0.9, 0.99])
    rate = hp.Choice("rate", [0.003, 0.03])
    dropout = hp.Choice("dropout", [0.2, 0.4]) if rate > 0.01 else 0.1
    return {"layers": layers, "dropout": dropout, "rate": rate, "normalise": normalise}


def model_of(parts, inputs=True):
    import keras

    layers = [keras.layers.Input((6,))] if inputs else []
    for units in parts["layers"]:
        layers.append(keras.layers.Dense(units, activation="relu"))
        layers.append(keras.layers.Dropout(parts["dropout"]))
        if parts["normalise"]:
            layers.append(keras.layers.BatchNormalization())
    model = keras.Sequential([*layers, keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(parts["rate"]), "mse")
    return model


def data():
    import numpy as np

    rng = np.random.default_rng(0)
    x = rng.normal(size=(96, 6)).astype("float32")
    y = (x[:, :1] * x[:, 1:2] + 0.1 * rng.normal(size=(96, 1))).astype("float32")
    return (x[:64], y[:64]), (x[64:], y[64:])


def callbacks():
    import keras

    return [
        keras.callbacks.EarlyStopping("val_loss", patience=2, restore_best_weights=True),
        keras.callbacks.ReduceLROnPlateau("val_loss", factor=0.5, patience=1, min_lr=1e-4),
    ]


def search(folder, variant, trials):
    import keratune

    tuner, space, executions = VARIANTS[variant]
    log = os.open(Path(folder) / LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    class Logged(getattr(keratune, tuner)):
        def on_epoch_end(self, trial, model, epoch, logs=None):
            os.write(log, f"{trial.trial_id} {self._run.execution} {epoch}\n".encode())

    logged = Logged(
        lambda hp: model_of(globals()[space](hp)),
        "val_loss",
        max_trials=trials,
        seed=3,
        executions_per_trial=executions,
        directory=folder,
        project_name="search",
        checkpoints=KEEP,
    )
    (x, y), validation = data()
    logged.search(
        x,
        y,
        batch_size=32,
        epochs=EPOCHS,
        validation_data=validation,
        callbacks=callbacks(),
        verbose=0,
    )
    os.close(log)
    return logged


def outcome_of(tuner):
    """Return all that two runs of one search must agree on, to the last bit."""
    return {
        record.trial_id: {
            "values": record.values,
            "status": record.status,
            "score": repr(record.score),
            "best_step": record.best_step,
            "results": {str(k): [r.step, repr(r.metrics)] for k, r in record.results.items()},
            "curves": {str(k): repr(sorted(c.items())) for k, c in record.curves.items()},
        }
        for record in tuner.history.trials
    }


def main(folder, variant, trials):
    tuner = search(folder, variant, trials)
    for model in tuner.get_best_models(KEEP):
        model.count_params()
    text = json.dumps(outcome_of(tuner), default=str)
    Path(folder, OUTCOME).write_text(text, encoding="utf-8")


# Killing it


@dataclasses.dataclass
class Story:
    """What became of one search: times of the kills, starts, epochs trained more than once."""

    kills: list
    starts: int
    repeated: int
    seconds: float
    outcome: dict


def start(folder, variant, trials):
    cache = {  # for all runs of a test, so that a start costs less
        "JAX_COMPILATION_CACHE_DIR": str(folder.parent / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    with (folder / "errors.log").open("ab") as errors:
        return subprocess.Popen(
            [sys.executable, __file__, str(folder), variant, str(trials)],
            env={**os.environ, **cache},
            stdout=subprocess.DEVNULL,
            stderr=errors,
        )


def run(folder, variant, trials, kills=0, seed=0):
    """Run a search to its end, killing it at random moments.

    A third of the kills come a moment after the start, wherever that is; the others a moment after
    the first new epoch, so that the search gets on.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng, began, moments, starts = random.Random(f"{variant} {seed}"), time.monotonic(), [], 0
    while not (folder / OUTCOME).exists():
        process, starts = start(folder, variant, trials), starts + 1
        if len(moments) < kills:
            early, delay = rng.random() < 0.33, rng.expovariate(1 / 0.2)
            moment = f"{'start' if early else 'epoch'}+{delay:.3f}s"
            _wait_for(process, folder, not early)
            time.sleep(delay + (1.0 if early else 0.0))
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                moments.append(moment)
        code = process.wait()
        if code not in (0, -signal.SIGKILL):
            raise AssertionError((folder / "errors.log").read_text()[-3000:], moments)
    lines = collections.Counter((folder / LOG).read_text().splitlines())
    repeated = sum(count - 1 for count in lines.values())
    outcome = json.loads((folder / OUTCOME).read_text())
    return Story(moments, starts, repeated, time.monotonic() - began, outcome)


def _wait_for(process, folder, epoch):
    log = folder / LOG
    size = log.stat().st_size if log.exists() else 0
    while epoch and process.poll() is None:
        if log.exists() and log.stat().st_size > size:
            return
        time.sleep(0.005)


def files_of(folder):
    """Return the files of a search's project by trial, without drafts."""
    project = Path(folder) / "search"
    return {
        trial.name.removeprefix("trial_"): sorted(file.name for file in trial.glob("[!.]*"))
        for trial in sorted(project.glob("trial_*"))
    }


def drafts_of(folder):
    """Return the drafts that killed processes have left in a search's project."""
    return [file.name for file in Path(folder).rglob(".draft.*")]


if __name__ == "__main__":
    # A shell that has started the tests in the background makes their children ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
