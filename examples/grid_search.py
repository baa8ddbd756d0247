"""Try every configuration of a small space, and list them in order of their score.

Run:  python examples/grid_search.py        (needs scikit-learn)
"""

import keras
from _common import load_breast_cancer, results_directory, trials

import keratune as kt

train, validation, test = load_breast_cancer()


def build_model(hp):
    activation = hp.Choice("activation", ["relu", "tanh"])
    model = keras.Sequential(
        [
            keras.layers.Input((30,)),
            keras.layers.Dense(hp.Choice("units", [16, 64]), activation=activation),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    learning_rate = hp.Choice("learning_rate", [1e-1, 1e-2, 1e-3])
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate),
        loss="binary_crossentropy",
        metrics=["accuracy"],
    )
    return model


tuner = kt.GridSearch(
    build_model,
    objective="val_loss",  # ties are rarer than with accuracy
    max_trials=trials(12),  # 2 activations x 2 widths x 3 learning rates
    directory=results_directory(),
    project_name="search",
    overwrite=True,
)
tuner.search(*train, validation_data=validation, epochs=10)

best_trials = tuner.oracle.get_best_trials(12)
print(f"{'val_loss':>8}  configuration")
for trial in best_trials:
    print(f"{trial.score:8.4f}  {trial.hyperparameters.values}")

_, test_accuracy = tuner.get_best_models(1)[0].evaluate(*test, verbose=0)
print(f"\nBest hyperparameters: {best_trials[0].hyperparameters.values}")
print(f"Validation loss: {best_trials[0].score:.4f}")
print(f"Test accuracy: {test_accuracy:.3f}")
print(f"Results: {tuner.project_dir}")
