"""The Pima Indians tutorial, part 1 of 4: which optimizer?

The task is to predict diabetes from eight measurements. The network is fixed; only its
optimizer is chosen. There are four choices, so the search ends after four trials.

Run:  python examples/pima_1_optimizer.py        (needs diabetes.csv, see KERATUNE_DATA)
"""

import keras
from _common import load_pima, results_directory, trials

import keratune as kt

train, validation, test = load_pima()


def build_model(hp):
    model = keras.Sequential(
        [
            keras.layers.Input((8,)),
            keras.layers.Dense(32, activation="relu"),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    optimizer = hp.Choice("optimizer", ["adam", "sgd", "rmsprop", "adadelta"])
    model.compile(optimizer=optimizer, loss="binary_crossentropy", metrics=["accuracy"])
    return model


tuner = kt.RandomSearch(
    build_model,
    objective="val_accuracy",
    max_trials=trials(4),
    seed=0,
    directory=results_directory(),
    project_name="search",
    overwrite=True,
)
tuner.search(*train, validation_data=validation, epochs=20)

for trial in tuner.oracle.get_best_trials(4):
    print(f"{trial.hyperparameters['optimizer']:>10}: validation accuracy {trial.score:.3f}")

best_trial = tuner.oracle.get_best_trials(1)[0]
best_model = tuner.get_best_models(1)[0]
_, test_accuracy = best_model.evaluate(*test, verbose=0)

print("Best hyperparameters:")
for name, value in best_trial.hyperparameters.values.items():
    print(f"  {name}: {value}")
print(f"Validation accuracy: {best_trial.score:.3f}")
print(f"Test accuracy: {test_accuracy:.3f}")
print(f"Results: {tuner.project_dir}")
