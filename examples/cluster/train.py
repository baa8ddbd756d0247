"""What the workers of this folder train: a network that reads digits.

A worker asks for two names: `build_model`, and `fit_arguments`, which returns what `search` takes.
The same script searches in one process: `python train.py`.
"""

import keras

import keratune as kt


def build_model(hp):
    model = keras.Sequential([keras.Input((64,))])
    for layer in range(hp.Int("layers", 1, 3)):
        model.add(keras.layers.Dense(hp.Int(f"units_{layer}", 16, 128, step=16), "relu"))
        model.add(keras.layers.Dropout(hp.Float("dropout", 0.0, 0.5)))
    model.add(keras.layers.Dense(10, "softmax"))
    rate = hp.Float("learning_rate", 1e-4, 1e-1, sampling="log")
    model.compile(
        keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    return model


def fit_arguments():
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    return {"x": x / 16.0, "y": y, "epochs": 20, "batch_size": 64, "validation_split": 0.25}


if __name__ == "__main__":
    tuner = kt.BayesianOptimization(
        build_model, "val_accuracy", max_trials=50, directory="runs", project_name="digits"
    )
    tuner.search(**fit_arguments())
    tuner.results_summary(1)
