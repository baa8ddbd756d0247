"""The Pima Indians tutorial, part 2 of 4: how many units?

The optimizer is settled (part 1: rmsprop). Now the width of the hidden layer is tuned,
from 8 to 128 units in steps of 8.

Run:  python examples/pima_2_units.py        (needs diabetes.csv, see KERATUNE_DATA)
"""

import keras
from _common import load_pima, results_directory, trials

import keratune as kt

train, validation, test = load_pima()


def build_model(hp):
    model = keras.Sequential(
        [
            keras.layers.Input((8,)),
            keras.layers.Dense(hp.Int("units", 8, 128, step=8), activation="relu"),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile(optimizer="rmsprop", loss="binary_crossentropy", metrics=["accuracy"])
    return model


tuner = kt.RandomSearch(
    build_model,
    objective="val_accuracy",
    max_trials=trials(8),
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
