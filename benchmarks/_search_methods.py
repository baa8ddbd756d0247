"""What the search benchmark compares: keratune's algorithms and schedulers, and the peers'.

A method is a function `(space, seed, max_epoch, trials, epochs) -> Run`. A run has `next()`, which
returns `(handle, configuration, start)` or None, `report(handle, epoch, loss)`, which says whether
the training goes on, and `end(handle, losses)`. Without learning curves (`epochs` is None) a
training is one epoch. Peers that are not installed are left out.
"""

import importlib.util
import math
import shutil
import tempfile
import warnings

from keratune import algorithms, parameters, schedulers
from keratune.conditions import Parent
from keratune.objectives import Objective
from keratune.schedulers import Action
from keratune.storage.memory import MemoryStorage
from keratune.study import Limits, Study, Verdict


def declared(space):
    """Return a problem's hyperparameters as keratune's."""
    found = []
    for p in space:
        scopes = [Parent(p.parent, list(p.parent_values))] if p.parent else None
        sampling = "log" if p.log else "linear"
        if p.kind == "cat":
            found.append(parameters.Choice(p.name, list(p.choices), conditions=scopes))
        elif p.kind == "int":
            low, high = int(p.low), int(p.high)
            found.append(parameters.Int(p.name, low, high, sampling=sampling, conditions=scopes))
        else:
            found.append(
                parameters.Float(p.name, p.low, p.high, sampling=sampling, conditions=scopes)
            )
    return found


class Keratune:
    """A study in memory whose trials a benchmark trains."""

    def __init__(self, space, seed, algorithm, scheduler, max_trials):
        limits = Limits(max_trials)
        objective = Objective("loss", "min")
        self.study = Study.open(MemoryStorage(), objective, algorithm, seed=seed, limits=limits)
        self.study.planner.defaults_first = False
        self.study.planner.scheduler = scheduler
        self.study.declare(declared(space))

    def next(self):
        record = self.study.ask("benchmark")
        if isinstance(record, Verdict):
            return None
        return record.number, dict(record.values), record.trained

    def report(self, number, epoch, loss):
        self.study.report(number, epoch, {"loss": loss})
        self.decision = self.study.decide(number)
        return self.decision.action is Action.CONTINUE

    def end(self, number, losses, whole):
        if not whole and self.decision.action is Action.PAUSE:
            self.study.pause(number, self.decision.reason)
        else:
            curve = self.study.history[number].losses
            best = min(curve, key=curve.get)
            values = self.study.history[number].values
            stopped = not whole
            self.study.tell_score(number, curve[best], best - 1, values, stopped=stopped)


def searching(algorithm, scheduler="none"):
    """Return the method of an algorithm and a scheduler of the registries."""

    def begin(space, seed, max_epoch, trials, epochs):
        chosen = algorithms.create(algorithm)
        bound = schedulers.create(scheduler).bound(max_epoch)
        return Keratune(space, seed, chosen, bound, trials)

    return begin


KERATUNE = {name: searching(name) for name in algorithms.available() if name != "grid"}
KERATUNE_CURVES = {
    "auto": searching("auto", "auto"),
    **{
        f"{name}+{scheduler}": searching(name, scheduler)
        for name in ("random", "bayesian", "tpe")
        for scheduler in ("asha", "hyperband", "median")
        if name in algorithms.available()
    },
}


class OptunaRun:
    """An Optuna study, stopped trials by its pruner."""

    def __init__(self, space, seed, sampler, pruner):
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.filterwarnings("ignore", module="optuna")
        samplers = {"tpe": optuna.samplers.TPESampler, "gp": optuna.samplers.GPSampler}
        self.optuna, self.space = optuna, space
        self.study = optuna.create_study(sampler=samplers[sampler](seed=seed), pruner=pruner)

    def next(self):
        trial = self.study.ask()
        found = {}
        for p in self.space:
            if p.parent is not None and found.get(p.parent) not in p.parent_values:
                continue
            if p.kind == "cat":
                found[p.name] = trial.suggest_categorical(p.name, list(p.choices))
            elif p.kind == "int":
                found[p.name] = trial.suggest_int(p.name, int(p.low), int(p.high), log=p.log)
            else:
                found[p.name] = trial.suggest_float(p.name, p.low, p.high, log=p.log)
        return trial, found, 0

    def report(self, trial, epoch, loss):
        trial.report(loss, epoch)
        return not trial.should_prune()

    def end(self, trial, losses, whole):
        if whole:
            self.study.tell(trial, losses[-1])
        else:
            self.study.tell(trial, state=self.optuna.trial.TrialState.PRUNED)


def optuna_method(sampler, pruner=None):
    def begin(space, seed, max_epoch, trials, epochs):
        import optuna

        chosen = {None: optuna.pruners.NopPruner, "median": optuna.pruners.MedianPruner}[pruner]
        return OptunaRun(space, seed, sampler, chosen())

    return begin


class KerasTunerRun:
    """A KerasTuner oracle; its files go to a folder that is deleted."""

    def __init__(self, space, make):
        import keras_tuner

        hp = keras_tuner.HyperParameters()
        for p in space:
            with hp.conditional_scope(p.parent, list(p.parent_values)) if p.parent else _Open():
                if p.kind == "cat":
                    hp.Choice(p.name, list(p.choices))
                else:
                    kind = hp.Int if p.kind == "int" else hp.Float
                    kind(p.name, p.low, p.high, sampling="log" if p.log else "linear")
        self.space = space
        self.folder = tempfile.mkdtemp()
        self.oracle = make(keras_tuner, hp, keras_tuner.Objective("loss", "min"))
        self.oracle._set_project_dir(self.folder, "project")
        self.oracle.verbose = 0

    def next(self):
        trial = self.oracle.create_trial("benchmark")
        if trial.status == "STOPPED":
            shutil.rmtree(self.folder, ignore_errors=True)
            return None
        values, found = trial.hyperparameters.values, {}
        for p in self.space:
            if p.parent is None or found.get(p.parent) in p.parent_values:
                value = values[p.name]
                found[p.name] = min(value, p.high) if p.kind == "int" else value
        self.end_epoch = values.get("tuner/epochs")
        return trial, found, int(values.get("tuner/initial_epoch", 0))

    def report(self, trial, epoch, loss):
        return epoch != self.end_epoch

    def end(self, trial, losses, whole):
        finite = [loss for loss in losses if math.isfinite(loss)]
        self.oracle.update_trial(trial.trial_id, {"loss": min(finite, default=1e9)}, step=0)
        trial.status = "COMPLETED"
        self.oracle.end_trial(trial)


class _Open:
    def __enter__(self):
        return None

    def __exit__(self, *_):
        return None


def kerastuner_method(make):
    def begin(space, seed, max_epoch, trials, epochs):
        spread = 1 + 1_000_003 * seed  # its neighbouring seeds draw the same numbers, shifted
        return KerasTunerRun(space, lambda kt, hp, o: make(kt, hp, o, spread, max_epoch, trials))

    return begin


def _bayesian(kt, hp, objective, seed, max_epoch, trials):
    return kt.oracles.BayesianOptimizationOracle(
        objective, trials or 10_000, seed=seed, hyperparameters=hp
    )


def _hyperband(kt, hp, objective, seed, max_epoch, trials):
    return kt.oracles.HyperbandOracle(
        objective, max_epoch, hyperband_iterations=1000, seed=seed, hyperparameters=hp
    )


def installed(package):
    return importlib.util.find_spec(package) is not None


def peers(curves):
    """Return the methods of the peers that are installed."""
    found = {}
    if installed("optuna"):
        found["optuna_tpe"] = optuna_method("tpe")
        if curves:
            found["optuna_tpe_median"] = optuna_method("tpe", "median")
        if installed("torch"):
            found["optuna_gp"] = optuna_method("gp")
    if installed("keras_tuner"):
        found["kt_bayes"] = kerastuner_method(_bayesian)
        if curves:
            found["kt_hyperband"] = kerastuner_method(_hyperband)
    return found
