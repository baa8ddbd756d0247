"""Tune the training itself, batch size and epochs, in the call of `search`.

Any argument of `fit` may be a function of `hp`: it is called for each trial, and what it declares
is tuned with the rest. No subclass is needed; fit_hypermodel.py shows the same with one.

Run:  python examples/fit_arguments.py        (needs scikit-learn)
"""

import keras
from _common import load_breast_cancer, results_directory, trials

import keratune as kt

train, validation, test = load_breast_cancer()


def build_model(hp):
    model = keras.Sequential(
        [
            keras.layers.Input((30,)),
            keras.layers.Dense(32, activation="relu"),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    learning_rate = hp.Float("learning_rate", 1e-4, 1e-1, sampling="log")
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
tuner.search(
    *train,
    validation_data=validation,
    batch_size=lambda hp: hp.Choice("batch_size", [16, 32, 64]),
    epochs=lambda hp: hp.Int("epochs", 5, 20),
    callbacks=lambda hp: [
        keras.callbacks.EarlyStopping("val_loss", patience=hp.Int("patience", 1, 5))
    ],
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
