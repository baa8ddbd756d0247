"""Let the search choose the architecture, each with hyperparameters of its own.

Plain Python makes a conditional space: what stands in the `if` for "cnn" is tuned only in trials
that chose "cnn", and the units of a third layer only where there is a third layer.

Run:  python examples/conditional.py        (needs scikit-learn)
"""

import keras
from _common import load_digits, results_directory, trials

import keratune as kt

train, validation, test = load_digits()


def build_model(hp):
    model = keras.Sequential([keras.layers.Input((8, 8))])
    if hp.Choice("architecture", ["mlp", "cnn"]) == "mlp":
        model.add(keras.layers.Flatten())
        for i in range(hp.Int("dense_layers", 1, 3)):
            model.add(keras.layers.Dense(hp.Int(f"units_{i}", 32, 128, step=32), "relu"))
    else:
        model.add(keras.layers.Reshape((8, 8, 1)))
        for i in range(hp.Int("convolutions", 1, 2)):
            filters = hp.Int(f"filters_{i}", 8, 32, step=8)
            model.add(keras.layers.Conv2D(filters, 3, padding="same", activation="relu"))
            model.add(keras.layers.MaxPooling2D())
        model.add(keras.layers.Flatten())
    model.add(keras.layers.Dense(10, activation="softmax"))
    learning_rate = hp.Float("learning_rate", 1e-3, 3e-2, sampling="log")
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate),
        loss="sparse_categorical_crossentropy",
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
tuner.search(*train, validation_data=validation, epochs=8, batch_size=64)

best_trial = tuner.oracle.get_best_trials(1)[0]
best_model = tuner.get_best_models(1)[0]
_, test_accuracy = best_model.evaluate(*test, verbose=0)

print("Best hyperparameters:")
for name, value in best_trial.hyperparameters.values.items():
    print(f"  {name}: {value}")
print(f"Validation accuracy: {best_trial.score:.3f}")
print(f"Test accuracy: {test_accuracy:.3f}")
print(f"Results: {tuner.project_dir}")
