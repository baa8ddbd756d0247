"""Tune the training itself, batch size and epochs, with a HyperModel subclass.

`build` declares what the model is made of, `fit` what its training is made of; the same `hp`
serves both. fit_arguments.py does the same without a class.

Run:  python examples/fit_hypermodel.py        (needs scikit-learn)
"""

import keras
from _common import load_breast_cancer, results_directory, trials

import keratune as kt

train, validation, test = load_breast_cancer()


class TunedTraining(kt.HyperModel):
    def build(self, hp):
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

    def fit(self, hp, model, *args, **kwargs):
        return model.fit(
            *args,
            batch_size=hp.Choice("batch_size", [16, 32, 64]),
            epochs=hp.Int("epochs", 5, 20, step=5),
            **kwargs,  # what search was given, and the tuner's own callbacks
        )


tuner = kt.RandomSearch(
    TunedTraining(),
    objective="val_accuracy",
    max_trials=trials(10),
    seed=0,
    directory=results_directory(),
    project_name="search",
    overwrite=True,
)
tuner.search(*train, validation_data=validation)

best_trial = tuner.oracle.get_best_trials(1)[0]
best_model = tuner.get_best_models(1)[0]
_, test_accuracy = best_model.evaluate(*test, verbose=0)

print("Best hyperparameters:")
for name, value in best_trial.hyperparameters.values.items():
    print(f"  {name}: {value}")
print(f"Validation accuracy: {best_trial.score:.3f}")
print(f"Test accuracy: {test_accuracy:.3f}")
print(f"Results: {tuner.project_dir}")
