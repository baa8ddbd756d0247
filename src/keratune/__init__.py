"""keratune finds good hyperparameters for Keras models.

Used as KerasTuner is: `import keratune as kt`, write `build_model(hp)`, pick a tuner, call
    `search()`.
"""

from keratune import applications, errors, oracles, tuners
from keratune.compat import install_as_keras_tuner
from keratune.objectives import Objective
from keratune.oracle import Oracle, synchronized
from keratune.parameters import HyperParameter
from keratune.sklearn_tuner import SklearnTuner
from keratune.space import HyperParameters
from keratune.training.base import HyperModel
from keratune.training.checkpoints import Checkpoints
from keratune.tuner import Tuner
from keratune.tuners import BayesianOptimization, GridSearch, Hyperband, RandomSearch

__version__ = "0.1.0"

__all__ = [
    "BayesianOptimization",
    "Checkpoints",
    "GridSearch",
    "HyperModel",
    "HyperParameter",
    "HyperParameters",
    "Hyperband",
    "Objective",
    "Oracle",
    "RandomSearch",
    "SklearnTuner",
    "Tuner",
    "applications",
    "errors",
    "install_as_keras_tuner",
    "oracles",
    "synchronized",
    "tuners",
]
