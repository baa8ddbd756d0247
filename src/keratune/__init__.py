"""keratune finds good hyperparameters for Keras models.

Used as KerasTuner is: `import keratune as kt`, write `build_model(hp)`, pick a tuner, call
    `search()`.
"""

from keratune import (
    algorithms,
    applications,
    errors,
    executors,
    oracles,
    priors,
    schedulers,
    stop,
    tuners,
)
from keratune.compat import install_as_keras_tuner
from keratune.objectives import Objective
from keratune.oracle import Oracle, synchronized
from keratune.parameters import HyperParameter
from keratune.priors import Prior
from keratune.sklearn_tuner import SklearnTuner
from keratune.space import HyperParameters
from keratune.training.base import HyperModel
from keratune.training.checkpoints import Checkpoints
from keratune.tuner import Tuner
from keratune.tuners import (
    CMAES,
    TPE,
    Auto,
    BayesianOptimization,
    Evolution,
    GridSearch,
    Hyperband,
    PopulationBasedTraining,
    QuasiRandom,
    RandomSearch,
    Search,
)

__version__ = "0.1.0"

__all__ = [
    "CMAES",
    "TPE",
    "Auto",
    "BayesianOptimization",
    "Checkpoints",
    "Evolution",
    "GridSearch",
    "HyperModel",
    "HyperParameter",
    "HyperParameters",
    "Hyperband",
    "Objective",
    "Oracle",
    "Prior",
    "PopulationBasedTraining",
    "QuasiRandom",
    "RandomSearch",
    "Search",
    "SklearnTuner",
    "Tuner",
    "algorithms",
    "applications",
    "errors",
    "executors",
    "install_as_keras_tuner",
    "oracles",
    "priors",
    "schedulers",
    "stop",
    "synchronized",
    "tuners",
]
