"""How a study was begun, and the tuner that goes on with it.

A study's journal holds the arguments that its search was begun with, as text and numbers. A worker
that knows nothing but the study and the user's `build` makes the same tuner from them. What no text
holds, such as a constraint, which is code, it refuses; a function that returns the tuner says it.
"""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from keratune import _registry, algorithms, schedulers, stop, tuners
from keratune.algorithms import Algorithm
from keratune.errors import StudyMismatchError
from keratune.history import History
from keratune.journal import Journal
from keratune.objectives import Objective, create_objective
from keratune.places import Place
from keratune.schedulers import Scheduler, scheduler_of
from keratune.stop import Stop
from keratune.storage import MemoryStorage, open_storage
from keratune.storage.base import StudyOpened, objective_config
from keratune.tuner import Tuner

ORDINARY = ("max_trials",)

# The oracle that has begun a study -> its tuner, and the tuner's own arguments.
TUNERS: dict[str, tuple[type[Tuner], tuple[str, ...]]] = {
    "RandomSearchOracle": (tuners.RandomSearch, ORDINARY),
    "GridSearchOracle": (tuners.GridSearch, ORDINARY),
    "BayesianOptimizationOracle": (
        tuners.BayesianOptimization,
        (*ORDINARY, "num_initial_points", "alpha", "beta"),
    ),
    "HyperbandOracle": (tuners.Hyperband, ("max_epochs", "factor", "hyperband_iterations")),
    "PopulationOracle": (
        tuners.PopulationBasedTraining,
        ("population", "max_epochs", "interval", "explored"),
    ),
    "SearchOracle": (tuners.Search, ORDINARY),
}

# The arguments of every tuner that the journal holds as they are.
OF_ALL = (
    "max_retries_per_trial",
    "max_consecutive_failed_trials",
    "allow_new_entries",
    "tune_new_entries",
    "executions_per_trial",
    "max_model_size",
    "racing",
    "limits",
    "micro_batches",
    "defaults_first",
    "builtin_priors",
    "seed",
)

# Tuners by the name of their algorithm; other algorithms are those of `tuners.Search`.
BY_ALGORITHM: dict[str, type[Tuner]] = {
    "auto": tuners.Auto,
    "bayesian": tuners.BayesianOptimization,
    "grid": tuners.GridSearch,
    "hyperband": tuners.Hyperband,
    "population": tuners.PopulationBasedTraining,
    "random": tuners.RandomSearch,
}

WAY_OUT = (
    "Name a function without parameters that returns the tuner, or the tuner itself, instead of "
    "what it tunes: script.py:make_tuner."
)


@dataclasses.dataclass(frozen=True)
class Wishes:
    """What a person says on the command line to begin a study with; None: nothing.

    Attributes:
        objective: A metric's name, with `:min` or `:max` where the name does not tell.
        tuner: An algorithm of the registry, "hyperband", "population", or a tuner's class.
        max_trials: See `keratune.RandomSearch`.
        scheduler: A scheduler of the registry.
        seed: See `keratune.Oracle`.
        stop: A time budget, such as "2h".
    """

    objective: str | None = None
    tuner: str | None = None
    max_trials: int | None = None
    scheduler: str | None = None
    seed: int | None = None
    stop: str | None = None

    def arguments(self) -> dict[str, Any]:
        """Return the tuner's arguments, those that were said."""
        given: dict[str, Any] = {"max_trials": self.max_trials, "seed": self.seed}
        given["objective"] = None if self.objective is None else objective_of(self.objective)
        given["scheduler"] = self.scheduler and scheduler_of(self.scheduler)
        given["stop"] = self.stop and [stop.TimeBudget(self.stop)]
        return {name: value for name, value in given.items() if value is not None}

    def unused(self, settings: Mapping[str, Any]) -> list[str]:
        """Return the options that a study was not begun with, as a person wrote them."""
        given = {name: _held(name, value) for name, value in self.arguments().items()}
        begun = dict(settings)
        if self.tuner is not None:
            given["tuner"], begun["tuner"] = _kind(tuner_of(self.tuner)), kind_of(settings)
        return [
            f"--{name.replace('_', '-')} {getattr(self, name)}"
            for name, value in given.items()
            if name in begun and value != begun[name]
        ]

    def extended(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments of a study, with more trials where more are wanted now.

        The larger number counts: workers that are told a smaller one take nothing back.
        """
        limit = settings.get("max_trials")
        return {**settings, "max_trials": limit and max(limit, self.max_trials or 0)}


def _held(name: str, value: Any) -> Any:
    """Return how the journal holds an argument."""
    if name == "stop":
        return [repr(each) for each in value]
    return str(value) if name in ("objective", "scheduler") else value


def begin(place: Place, wishes: Wishes) -> None:
    """Begin a study, unless another worker begins it at this moment: the first event decides.

    Args:
        place: Where the study is to be.
        wishes: How it is begun.

    Raises:
        ValueError: A wish is no good, or there is no objective.
    """
    if wishes.objective is None:
        raise ValueError(
            f"There is no study at {place} yet, and it cannot begin without an objective. Pass "
            "--objective val_accuracy, for example; or correct the study's name."
        )
    make, arguments = tuner_of(wishes.tuner or "auto"), wishes.arguments()
    oracle = make(lambda hp: None, storage=MemoryStorage(), **arguments).oracle
    opened = StudyOpened(objective_config(oracle.objective), oracle.seed, oracle._settings())
    journal = Journal(open_storage(place.url, place.folder, place.name))
    journal.start(opened)
    journal.close()


def go_on(
    place: Place, hypermodel: Any, settings: Mapping[str, Any], history: History, **others: Any
) -> Tuner:
    """Return the tuner that goes on with a study as it was begun.

    Args:
        place: Where the study is.
        hypermodel: What is tuned.
        settings: The arguments in force, as the journal holds them.
        history: What has happened in the study.
        **others: Arguments of the tuner that concern this process alone.

    Raises:
        StudyMismatchError: It was begun with something that the journal does not hold.
    """
    _refuse_code(place, settings)
    made, own = TUNERS[settings["oracle"]]
    arguments: dict[str, Any] = {
        name: settings[name] for name in (*own, *OF_ALL) if name in settings
    }
    if not all(settings.get(name, True) for name in ("allow_new_entries", "tune_new_entries")):
        arguments["hyperparameters"] = history.space.copy()
    if made not in (tuners.Hyperband, tuners.PopulationBasedTraining):
        arguments["scheduler"] = restored(settings.get("scheduler", "None"), Scheduler)
    if made is tuners.Search:
        arguments["algorithm"] = restored(settings["algorithm"], Algorithm)
        made = tuners.Auto if kind_of(settings) == tuners.Auto.__name__ else made
    arguments["stop"] = [restored(text, Stop) for text in settings.get("stop", ())]
    arguments |= {"directory": place.directory, "project_name": place.name, "storage": place.url}
    return made(hypermodel, objective=history.objective, **arguments, **others)


def _refuse_code(place: Place, settings: Mapping[str, Any]) -> None:
    if settings["oracle"] not in TUNERS:
        raise StudyMismatchError(
            f"The study at {place} was begun with {settings['oracle']}, which only the script "
            f"knows. {WAY_OUT}"
        )
    if not hasattr(tuners, settings.get("tuner", "Tuner")):
        raise StudyMismatchError(
            f"The study at {place} was begun with the tuner {settings['tuner']}, which only the "
            f"script knows. {WAY_OUT}"
        )
    if settings.get("code"):
        raise StudyMismatchError(
            f"The study at {place} was begun with {', '.join(settings['code'])}, which is code and "
            f"no part of it. {WAY_OUT}"
        )
    if settings.get("constraint"):
        raise StudyMismatchError(
            f"The study at {place} was begun with a constraint ({settings['constraint']}), which "
            f"is code and no part of it. {WAY_OUT}"
        )


def objective_of(text: str) -> Objective:
    """Return the objective that `val_loss`, `score:max` or `error:min` means."""
    name, colon, direction = text.rpartition(":")
    return create_objective(Objective(name, direction) if colon else text)


def tuner_of(name: str) -> Callable[..., Tuner]:
    """Return the tuner of a name, such as "bayesian", "hyperband" or "BayesianOptimization".

    Raises:
        ValueError: There is none.
    """
    special = (tuners.TPE, tuners.CMAES, tuners.Evolution, tuners.QuasiRandom)
    classes = {each.__name__: each for each in (*BY_ALGORITHM.values(), *special)}
    found = BY_ALGORITHM.get(name) or classes.get(name)
    if found is not None:
        return found
    if name in algorithms.available():
        return partial(tuners.Search, algorithm=name)
    raise ValueError(
        f"--tuner must be one of {tuner_names()}, or the name of a tuner's class. Received: {name}."
    )


def tuner_names() -> list[str]:
    """Return the names for `tuner_of`, without those of classes."""
    return sorted({*algorithms.available(), *BY_ALGORITHM})


def kind_of(settings: Mapping[str, Any]) -> str:
    """Return what has begun a study, such as "RandomSearch" or "TPE"."""
    if settings["oracle"] in TUNERS and "algorithm" not in settings:
        return TUNERS[settings["oracle"]][0].__name__
    return str(settings.get("algorithm", settings["oracle"])).partition("(")[0]


def _kind(tuner: Callable[..., Tuner]) -> str:
    if not isinstance(tuner, partial):
        return str(tuner.__name__)
    name = tuner.keywords["algorithm"]
    return _registry.find(algorithms.__name__, name, Algorithm).__name__  # type: ignore[type-abstract]


def restored(text: str, contract: type) -> Any:
    """Return what the journal holds as `Name(argument=value, ...)`, made anew.

    Args:
        text: What the object's `repr` was, or "None".
        contract: What it fulfils: `Algorithm`, `Scheduler` or `Stop`.

    Raises:
        StudyMismatchError: It is of a class that is not keratune's own.

    Example:
        ```python
        restored("ASHA(min_epochs=None, factor=3, max_epochs=None)", Scheduler)
        ```
    """
    try:
        call = ast.parse(text, mode="eval").body
        if not isinstance(call, ast.Call):
            return ast.literal_eval(text)
        arguments = {str(each.arg): ast.literal_eval(each.value) for each in call.keywords}
        kind = ast.unparse(call.func)
        if kind == stop.TimeBudget.__name__:
            return stop.TimeBudget(arguments["seconds"])
        return _classes(contract)[kind](**arguments)
    except (SyntaxError, TypeError, ValueError, LookupError) as error:
        raise StudyMismatchError(
            f"The study was begun with {text}, which only the script knows. {WAY_OUT}"
        ) from error


def _classes(contract: type) -> dict[str, type]:
    """Return keratune's own classes that fulfil a contract, by name."""
    if contract is Stop:
        own = [each for each in vars(stop).values() if isinstance(each, type)]
        return {each.__name__: each for each in own if issubclass(each, Stop)}
    source: Any = algorithms if contract is Algorithm else schedulers
    named: list[str] = source.available()
    found: list[type] = [_registry.find(source.__name__, name, contract) for name in named]
    return {each.__name__: each for each in found}
