"""Train with a loop of your own, on any backend.

A tuner's `run_trial` is what happens in one trial; whatever number it returns is the score, and
less is better. Here it trains batch by batch, cools the learning rate down in the last epochs, and
returns the validation loss.

Run:  python examples/custom_loop.py        (needs scikit-learn)
"""

import keras
import numpy as np
from _common import load_breast_cancer, results_directory, trials

import keratune as kt

train, validation, test = load_breast_cancer()


def build_model(hp):
    model = keras.Sequential(
        [
            keras.layers.Input((30,)),
            keras.layers.Dense(hp.Int("units", 8, 64, step=8), activation="relu"),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile(
        optimizer="adam",
        loss="binary_crossentropy",
        metrics=["accuracy"],
    )
    return model


def train_model(model, hp, x, y, validation, epochs=10):
    """Train the model by hand and return its validation loss at the end."""
    batch_size = hp.Choice("batch_size", [16, 32, 64])
    learning_rate = hp.Float("learning_rate", 1e-3, 1e-1, sampling="log")
    cool_epochs = hp.Int("cool_epochs", 0, 5)
    shuffler = np.random.default_rng(0)
    for epoch in range(epochs):
        cool = epoch >= epochs - cool_epochs
        model.optimizer.learning_rate = learning_rate / 10 if cool else learning_rate
        order = shuffler.permutation(len(x))[: len(x) // batch_size * batch_size]
        for rows in order.reshape(-1, batch_size):
            model.train_on_batch(x[rows], y[rows])
    return model.evaluate(*validation, verbose=0)[0]


class LoopTuner(kt.RandomSearch):
    def run_trial(self, trial, x, y, validation):
        hp = trial.hyperparameters
        return train_model(self.hypermodel.build(hp), hp, x, y, validation)


tuner = LoopTuner(
    build_model,
    max_trials=trials(10),
    seed=0,
    directory=results_directory(),
    project_name="search",
    overwrite=True,
)
tuner.search(*train, validation=validation)

best_trial = tuner.oracle.get_best_trials(1)[0]
best_model = build_model(best_trial.hyperparameters)  # the loop kept no weights: train once more
train_model(best_model, best_trial.hyperparameters, *train, validation)
_, test_accuracy = best_model.evaluate(*test, verbose=0)

print("Best hyperparameters:")
for name, value in best_trial.hyperparameters.values.items():
    print(f"  {name}: {value}")
print(f"Validation loss: {best_trial.score:.3f}")
print(f"Test accuracy: {test_accuracy:.3f}")
print(f"Results: {tuner.project_dir}")
