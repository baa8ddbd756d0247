"""How many trainings to run at a time in one program: trainings per second by model and lanes.

    python benchmarks/lanes.py [--models mlp-16 lstm-16] [--lanes 1 8 64] [--seconds 2]

Each row is a model, in a process of its own: trainings of one epoch (640 rows, batches of 32) that
end in a second, by Keras's own `fit` and in a program of so many lanes, compiling not counted, and
the FLOPs of a step forwards. It tells from where on a program of many lanes stops paying, which
`vectorize="auto"` goes by, on the machine that it runs on.
"""

import argparse
import json
import sys
import time

import _child
import _one_thread  # noqa: F401

ROWS, BATCH = 640, 32


def mlp(units):
    """Return a network of two hidden layers, and the shape of its inputs."""
    import keras

    layers = [keras.layers.Dense(units, activation="relu") for _ in range(2)]
    return keras.Sequential([keras.layers.Input((16,)), *layers, keras.layers.Dense(1)]), (16,)


def cnn(filters):
    """Return a convolutional network, and the shape of its inputs."""
    import keras

    layers = [keras.layers.Conv2D(filters, 3, activation="relu") for _ in range(2)]
    top = [keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(1)]
    return keras.Sequential([keras.layers.Input((8, 8, 1)), *layers, *top]), (8, 8, 1)


def lstm(units):
    """Return a recurrent network, and the shape of its inputs."""
    import keras

    layers = [keras.layers.LSTM(units), keras.layers.Dense(1)]
    return keras.Sequential([keras.layers.Input((20, 4)), *layers]), (20, 4)


KINDS = {"mlp": mlp, "cnn": cnn, "lstm": lstm}
MODELS = ("mlp-16", "mlp-64", "mlp-256", "mlp-1024", "cnn-8", "cnn-32", "lstm-16", "lstm-64")


def built(name, rate):
    import keras

    from keratune.training.keras_state import fresh_names

    fresh_names()  # as in a search: models of one program have layers of one name
    kind, size = name.split("-")
    model, shape = KINDS[kind](int(size))
    model.compile(keras.optimizers.Adam(rate), "mse")
    return model, shape


def alone(name, seconds):
    """Return epochs of `fit` in a second, and the FLOPs of a step forwards."""
    import numpy as np

    from keratune.training.model_cost import measure

    model, shape = built(name, 1e-3)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(ROWS, *shape)).astype("float32")
    y = x.reshape(ROWS, -1).sum(axis=1)
    model.fit(x, y, batch_size=BATCH, epochs=2, verbose=0)
    begun, epochs = time.perf_counter(), 0
    while time.perf_counter() - begun < seconds:
        model.fit(x, y, batch_size=BATCH, epochs=5, verbose=0)
        epochs += 5
    rate = epochs / (time.perf_counter() - begun)
    return {"rate": rate, "flops": BATCH * measure(model, "flops")}


def together(name, lanes, seconds):
    """Return epochs in a second of all lanes of a program."""
    import keras
    import numpy as np

    from keratune.vectorized import fleet
    from keratune.vectorized.families import Programs
    from keratune.vectorized.members import Member

    marks = []

    class Clock(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            marks.append(time.perf_counter())
            self.model.stop_training = marks[-1] - marks[0] > seconds

    rng = np.random.default_rng(0)
    shape = built(name, 1e-3)[1]
    x = rng.normal(size=(ROWS, *shape)).astype("float32")
    y = x.reshape(ROWS, -1).sum(axis=1)
    fit = {"batch_size": BATCH, "epochs": 10**6, "verbose": 0}
    members = []
    for lane in range(lanes):
        own = {**fit, "callbacks": [Clock()] if lane == 0 else []}
        members.append(Member(built(name, 1e-3 / (lane + 1))[0], (x, y), own))
    first, waiting = members[0], iter(members)
    for member in fleet.train(lambda: next(waiting, None), Programs(), width=lanes):
        if member.obstacle or member.error:
            raise SystemExit(f"{name}: {member.obstacle or member.error}")
        if member is first:
            break
    return {"rate": lanes * (len(marks) - 1) / (marks[-1] - marks[0])}


def main(given=()):
    parser = argparse.ArgumentParser()
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--lanes", nargs="+", type=int, default=(1, 8, 64, 256))
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--child")
    options = parser.parse_args(list(given))
    if options.child:
        name, lanes = json.loads(options.child)
        measure = together(name, lanes, options.seconds) if lanes else alone(name, options.seconds)
        print(json.dumps(measure))
        return
    heads = "".join(f"{lanes:>9}" for lanes in options.lanes)
    print(f"epochs in a second\n{'model':<10}{'FLOPs':>12}{'fit':>9}{heads}")
    for name in options.models:
        rows = [
            _child.measure(__file__, "--child", json.dumps([name, n]), "--seconds", options.seconds)
            for n in (0, *options.lanes)
        ]
        rates = "".join(f"{row['rate']:>9.1f}" for row in rows)
        print(f"{name:<10}{rows[0]['flops']:>12.3g}{rates}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
