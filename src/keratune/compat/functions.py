"""Small functions that only code written for KerasTuner's repository layout calls."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from keratune import parameters
from keratune.history import Result
from keratune.numerics import scales
from keratune.objectives import Objective
from keratune.space import HyperParameters
from keratune.training import results as training_results

DEBUG = True
IS_NOTEBOOK = "ipykernel" in sys.modules


class Stateful:
    """Something whose state is a JSON file: write `get_state` and `set_state`."""

    def get_state(self) -> dict[str, Any]:
        """Return the state as JSON."""
        raise NotImplementedError

    def set_state(self, state: dict[str, Any]) -> None:
        """Take a state back."""
        raise NotImplementedError

    def save(self, fname: str | os.PathLike[str]) -> None:
        """Write the state to a file."""
        Path(fname).write_text(json.dumps(self.get_state()), encoding="utf-8")

    def reload(self, fname: str | os.PathLike[str]) -> None:
        """Take the state of a file back."""
        self.set_state(json.loads(Path(fname).read_text(encoding="utf-8")))


def serialize(thing: Any) -> dict[str, Any]:
    """Return `{"class_name", "config"}` of a hyperparameter or a container of them."""
    return {"class_name": type(thing).__name__, "config": thing.get_config()}


def deserialize(config: Mapping[str, Any]) -> Any:
    """Return the hyperparameter, or the container, of a `serialize`d form."""
    if config["class_name"] == "HyperParameters":
        return HyperParameters.from_config(config["config"])
    return parameters.deserialize(config)


def prob_to_index(prob: float, n_index: int) -> int:
    """Return which of `n_index` equal cells of the unit interval holds `prob`."""
    return scales.cell(prob, n_index)


def index_to_prob(index: int, n_index: int) -> float:
    """Return the middle of a cell of the unit interval."""
    return scales.middle(index, n_index)


def average_metrics_dicts(metrics_dicts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return each metric's mean over the dicts that have it."""
    results = [Result(0, dict(metrics)) for metrics in metrics_dicts]
    return training_results.mean_metrics(results)


def convert_to_metrics_dict(results: Any, objective: Objective) -> dict[str, float]:
    """Return the metrics of what a run returned; a `History` counts with its best epoch."""
    return training_results.result_of(results, objective).metrics


def get_best_step(results: Any, objective: Objective) -> int:
    """Return the best epoch, from 0, of what a run returned; 0 where it knows no epochs."""
    return max(training_results.result_of(results, objective).step - 1, 0)


def validate_trial_results(results: Any, objective: Objective, func_name: str) -> None:
    """Refuse what cannot be turned into metrics; see `keratune.training.results.validate`."""
    training_results.validate(results, objective, func_name)


def convert_hyperparams_to_hparams(hyperparams: HyperParameters, hparams_api: Any) -> Any:
    """Return the active hyperparameters' values by TensorBoard's `HParam` with its domain."""
    values = {}
    for parameter in hyperparams.active():
        domain = _domain(parameter, hparams_api)
        values[hparams_api.HParam(parameter.name, domain)] = hyperparams.values[parameter.name]
    return values


def _domain(parameter: parameters.HyperParameter, api: Any) -> Any:
    if isinstance(parameter, parameters.Numerical):
        low, high = parameter.min_value, parameter.max_value
        if isinstance(parameter, parameters.Float) and parameter.step is None:
            return api.RealInterval(low, high)
        if isinstance(parameter, parameters.Int) and parameter.step in (None, 1):
            return api.IntInterval(low, high)
    return api.Discrete(list(parameter.values))


def maybe_compute_model_size(model: Any) -> int:
    """Return a model's number of parameters, 0 while it is not built."""
    return int(model.count_params()) if model.built else 0


def keras_tuner_export(path: str | Sequence[str]) -> Callable[[Any], Any]:
    """Return a decorator that leaves a class or function as it is."""
    return lambda thing: thing


def split_data(data: Any, indices: Any) -> Any:
    """Return the rows of an array or a data frame at these positions."""
    return data.iloc[indices] if hasattr(data, "iloc") else data[indices]


def try_clear() -> None:
    """Do nothing: keratune clears no terminal."""


def create_directory(path: str | os.PathLike[str], remove_existing: bool = False) -> None:
    """Make a folder, emptied where `remove_existing` says so."""
    if remove_existing and os.path.exists(path):
        shutil.rmtree(path)
    os.makedirs(path, exist_ok=True)


def to_list(values: Any) -> list[Any]:
    """Return lists as they are, tuples as lists, and anything else in a list."""
    return list(values) if isinstance(values, (list, tuple)) else [values]


def save_json(path: str | os.PathLike[str], obj: Any) -> str:
    """Write an object as JSON and return the text."""
    text = json.dumps(obj)
    Path(path).write_text(text, encoding="utf-8")
    return text


def load_json(path: str | os.PathLike[str]) -> Any:
    """Return what a JSON file holds."""
    return json.loads(Path(path).read_text(encoding="utf-8"))
