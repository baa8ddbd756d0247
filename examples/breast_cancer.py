"""Tune a small network on the breast cancer data that come with scikit-learn.

Shows the whole way: a function that builds the model and declares what to tune, a random search,
the best model found, and its accuracy on data that the search has never seen. Stop it at any moment
and run it again: it goes on where it stopped.

Run:  python examples/breast_cancer.py        (needs scikit-learn)
"""

import keras
from _common import results_directory, trials
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

import keratune as kt

x, y = load_breast_cancer(return_X_y=True)
x, x_test, y, y_test = train_test_split(x, y, test_size=0.2, stratify=y, random_state=0)
x_train, x_val, y_train, y_val = train_test_split(x, y, test_size=0.25, stratify=y, random_state=0)
scaler = StandardScaler().fit(x_train)
x_train, x_val, x_test = (scaler.transform(part) for part in (x_train, x_val, x_test))


def build_model(hp):
    model = keras.Sequential(
        [
            keras.layers.Input((30,)),
            keras.layers.Dense(hp.Int("units", 8, 128, step=8), activation="relu"),
            keras.layers.Dropout(hp.Float("dropout", 0.0, 0.5, step=0.1)),
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
    max_trials=trials(20),
    seed=0,
    directory=results_directory(),
    project_name="search",  # run again to go on where it ended; overwrite=True starts afresh
)
tuner.search(
    x_train,
    y_train,
    validation_data=(x_val, y_val),
    epochs=15,
    callbacks=[keras.callbacks.EarlyStopping("val_loss", patience=3)],
)

best_trial = tuner.oracle.get_best_trials(1)[0]
best_model = tuner.get_best_models(1)[0]
_, test_accuracy = best_model.evaluate(x_test, y_test, verbose=0)

print("Best hyperparameters:")
for name, value in best_trial.hyperparameters.values.items():
    print(f"  {name}: {value}")
print(f"Validation accuracy: {best_trial.score:.3f}")
print(f"Test accuracy: {test_accuracy:.3f}")
print(f"Results: {tuner.project_dir}")
