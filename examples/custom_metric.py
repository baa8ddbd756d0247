"""Search for the best value of a metric of your own.

Accuracy flatters a model that favours the commoner class. The Matthews correlation does not: it is
1 for a perfect prediction and 0 for a blind one. Keras cannot know whether more of it is better, so
the objective says it: "max".

Run:  python examples/custom_metric.py        (needs scikit-learn)
"""

import keras
from _common import load_breast_cancer, results_directory, trials
from keras import ops

import keratune as kt

train, validation, test = load_breast_cancer()


class MatthewsCorrelation(keras.metrics.Metric):
    """Correlation of two-class labels with predictions (Matthews, 1975)."""

    def __init__(self, name="matthews", **kwargs):
        super().__init__(name=name, **kwargs)
        self.counts = self.add_weight(shape=(2, 2), initializer="zeros", name="counts")

    def update_state(self, y_true, y_pred, sample_weight=None):
        truth = ops.one_hot(ops.cast(ops.reshape(y_true, (-1,)), "int32"), 2)
        guess = ops.one_hot(ops.cast(ops.reshape(y_pred, (-1,)) > 0.5, "int32"), 2)
        self.counts.assign_add(ops.matmul(ops.transpose(truth), guess))  # row: truth

    def result(self):
        (tn, fp), (fn, tp) = ([self.counts[i, j] for j in (0, 1)] for i in (0, 1))
        product = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
        return (tp * tn - fp * fn) / ops.sqrt(ops.maximum(product, 1.0))


def build_model(hp):
    model = keras.Sequential(
        [
            keras.layers.Input((30,)),
            keras.layers.Dense(hp.Int("units", 8, 64, step=8), activation="relu"),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    learning_rate = hp.Float("learning_rate", 1e-4, 1e-1, sampling="log")
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate),
        loss="binary_crossentropy",
        metrics=[MatthewsCorrelation()],
    )
    return model


tuner = kt.RandomSearch(
    build_model,
    objective=kt.Objective("val_matthews", "max"),
    max_trials=trials(10),
    seed=0,
    directory=results_directory(),
    project_name="search",
    overwrite=True,
)
tuner.search(*train, validation_data=validation, epochs=15)

best_trial = tuner.oracle.get_best_trials(1)[0]
best_model = tuner.get_best_models(1)[0]
_, test_correlation = best_model.evaluate(*test, verbose=0)

print("Best hyperparameters:")
for name, value in best_trial.hyperparameters.values.items():
    print(f"  {name}: {value}")
print(f"Validation correlation: {best_trial.score:.3f}")
print(f"Test correlation: {test_correlation:.3f}")
print(f"Results: {tuner.project_dir}")
