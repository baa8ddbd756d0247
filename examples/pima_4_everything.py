"""The Pima Indians tutorial, part 4 of 4: everything at once.

What parts 1 to 3 tuned one after the other is tuned together here, and more: every hidden layer
has its own units, activation and dropout. The hyperparameters of layer 3 exist only in networks
that have a layer 3; the plain loop in build_model says so.

Run:  python examples/pima_4_everything.py        (needs diabetes.csv, see KERATUNE_DATA)
"""

import keras
from _common import load_pima, results_directory, trials

import keratune as kt

train, validation, test = load_pima()


def build_model(hp):
    model = keras.Sequential([keras.layers.Input((8,))])
    for i in range(hp.Int("layers", 1, 10)):
        units = hp.Int(f"units_{i}", 8, 128, step=8)
        activation = hp.Choice(f"activation_{i}", ["relu", "tanh", "sigmoid"])
        model.add(keras.layers.Dense(units, activation=activation))
        model.add(keras.layers.Dropout(hp.Float(f"dropout_{i}", 0.0, 0.5, step=0.1)))
    model.add(keras.layers.Dense(1, activation="sigmoid"))
    model.compile(
        optimizer=hp.Choice("optimizer", ["adam", "sgd", "rmsprop", "adadelta"]),
        loss="binary_crossentropy",
        metrics=["accuracy"],
    )
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
tuner.search(
    *train,
    validation_data=validation,
    epochs=20,
    callbacks=[keras.callbacks.EarlyStopping("val_loss", patience=5)],
)

best_trial = tuner.oracle.get_best_trials(1)[0]
best_model = tuner.get_best_models(1)[0]
_, test_accuracy = best_model.evaluate(*test, verbose=0)

print("Best hyperparameters:")
for name, value in best_trial.hyperparameters.values.items():
    print(f"  {name}: {value}")
print(f"Validation accuracy: {best_trial.score:.3f}")
print(f"Test accuracy: {test_accuracy:.3f}")
print(f"Results: {tuner.project_dir}")
