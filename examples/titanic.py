"""Who survived the Titanic? With `validation_split` and a TensorBoard callback.

Shows that the arguments of `tuner.search` are those of `model.fit`: the last quarter of the
training rows is held out by `validation_split`, and TensorBoard gets the curves of every trial.

Run:  python examples/titanic.py        (needs titanic.csv, see KERATUNE_DATA)
      tensorboard --logdir runs/titanic/search/tensorboard        (needs TensorFlow)
"""

import importlib.util
import os

import keras
import numpy as np
from _common import read_table, results_directory, trials

import keratune as kt


def features(row):
    """One passenger as numbers; an unknown age is marked and set to a middle one."""
    return [
        *(row["pclass"] == name for name in "123"),
        *(row["embarked"] == name for name in "CQS"),
        row["sex"] == "female",
        row["age"] == "",
        float(row["age"] or 28) / 80,
        float(row["sibsp"]) / 8,
        float(row["parch"]) / 6,
        np.log1p(float(row["fare"])) / 6,
    ]


rows = read_table("titanic.csv")
np.random.default_rng(0).shuffle(rows)  # validation_split takes the last rows as they come
x = np.array([features(row) for row in rows], dtype="float32")
y = np.array([row["survived"] for row in rows], dtype="float32")
x_train, y_train, x_test, y_test = x[:640], y[:640], x[640:], y[640:]


def build_model(hp):
    model = keras.Sequential([keras.layers.Input((x.shape[1],))])
    for i in range(hp.Int("layers", 1, 3)):
        model.add(keras.layers.Dense(hp.Int(f"units_{i}", 16, 64, step=16), activation="relu"))
    model.add(keras.layers.Dropout(hp.Float("dropout", 0.0, 0.5, step=0.1)))
    model.add(keras.layers.Dense(1, activation="sigmoid"))
    learning_rate = hp.Float("learning_rate", 1e-3, 1e-1, sampling="log")
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate),
        loss="binary_crossentropy",
        metrics=["accuracy"],
    )
    return model


tuner = kt.RandomSearch(
    build_model,
    objective="val_accuracy",
    max_trials=trials(10),
    seed=0,
    directory=results_directory(),
    project_name="search",
    overwrite=True,
)

callbacks = [keras.callbacks.EarlyStopping("val_loss", patience=3)]
log_directory = os.path.join(tuner.project_dir, "tensorboard")
if importlib.util.find_spec("tensorflow"):  # Keras writes the curves with it on every backend
    callbacks.append(keras.callbacks.TensorBoard(log_directory))
tuner.search(x_train, y_train, validation_split=0.25, epochs=20, callbacks=callbacks)

best_trial = tuner.oracle.get_best_trials(1)[0]
best_model = tuner.get_best_models(1)[0]
_, test_accuracy = best_model.evaluate(x_test, y_test, verbose=0)

print("Best hyperparameters:")
for name, value in best_trial.hyperparameters.values.items():
    print(f"  {name}: {value}")
print(f"Validation accuracy: {best_trial.score:.3f}")
print(f"Test accuracy: {test_accuracy:.3f}")
print(f"Results: {tuner.project_dir}")
print(f"Training curves: tensorboard --logdir {log_directory}")
