"""The Pima Indians tutorial, part 3 of 4: how many layers?

The optimizer and the width are settled (parts 1 and 2: rmsprop, and 64 units as a fair middle).
Now the number of hidden layers is tuned, from 1 to 10, with a plain Python loop.

Run:  python examples/pima_3_layers.py        (needs diabetes.csv, see KERATUNE_DATA)
"""

import keras
from _common import load_pima, results_directory, trials

import keratune as kt

train, validation, test = load_pima()


def build_model(hp):
    model = keras.Sequential([keras.layers.Input((8,))])
    for _ in range(hp.Int("layers", 1, 10)):
        model.add(keras.layers.Dense(64, activation="relu"))
    model.add(keras.layers.Dense(1, activation="sigmoid"))
    model.compile(optimizer="rmsprop", loss="binary_crossentropy", metrics=["accuracy"])
    return model


tuner = kt.RandomSearch(
    build_model,
    objective="val_accuracy",
    max_trials=trials(6),
    seed=0,
    directory=results_directory(),
    project_name="search",
    overwrite=True,
)
tuner.search(*train, validation_data=validation, epochs=20)

best_trial = tuner.oracle.get_best_trials(1)[0]
best_model = tuner.get_best_models(1)[0]
_, test_accuracy = best_model.evaluate(*test, verbose=0)

print("Best hyperparameters:")
for name, value in best_trial.hyperparameters.values.items():
    print(f"  {name}: {value}")
print(f"Validation accuracy: {best_trial.score:.3f}")
print(f"Test accuracy: {test_accuracy:.3f}")
print(f"Results: {tuner.project_dir}")
