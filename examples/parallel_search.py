"""Tune a small network in two worker processes at once.

Shows what changes for a search on many cores or GPUs: one argument. Data and functions of this
script go to the workers by themselves, and so does what they print. Stop it at any moment, or kill
a worker: nothing is lost.

Run:  python examples/parallel_search.py        (needs scikit-learn)
"""

import keras
from _common import load_digits, results_directory, trials

import keratune as kt

(x, y), validation_data, (x_test, y_test) = load_digits()


def build_model(hp):
    model = keras.Sequential([keras.layers.Input((8, 8)), keras.layers.Flatten()])
    for layer in range(hp.Int("layers", 1, 3)):
        units = hp.Int(f"units_{layer}", 16, 256, step=16)
        model.add(keras.layers.Dense(units, activation="relu"))
    model.add(keras.layers.Dense(10, activation="softmax"))
    rate = hp.Float("learning_rate", 1e-4, 1e-1, sampling="log")
    model.compile(
        optimizer=keras.optimizers.Adam(rate),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


tuner = kt.RandomSearch(
    build_model,
    objective="val_accuracy",
    max_trials=trials(12),
    seed=0,
    executor=2,  # kt.executors.Local() takes one worker for each accelerator
    directory=results_directory(),
    project_name="search",
)
tuner.search(x, y, validation_data=validation_data, epochs=15)

best_trial = tuner.oracle.get_best_trials(1)[0]
best_model = tuner.get_best_models(1)[0]
_, test_accuracy = best_model.evaluate(x_test, y_test, verbose=0)

print("Best hyperparameters:")
for name, value in best_trial.hyperparameters.values.items():
    print(f"  {name}: {value}")
print(f"Validation accuracy: {best_trial.score:.3f}")
print(f"Test accuracy: {test_accuracy:.3f}")
print(f"Results: {tuner.project_dir}")
