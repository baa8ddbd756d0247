"""Knowledge from outside the study: configurations to be tried, and trials of other searches.

A wish is a configuration that a user wants tried; it is checked against the space before it is
queued. Initial trials are configurations with scores from elsewhere: another search, a table, a
colleague's notes. They are read as rows, and each row that the present space can express becomes an
`Observation`, from which algorithms learn. An observation is no trial: it has no weights, does not
count against `max_trials`, and is never among the best trials.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import math
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keratune import _json
from keratune.configurations import searched
from keratune.errors import StudyMismatchError
from keratune.history import History, Observation
from keratune.objectives import Objective, ParetoObjective
from keratune.parameters import HyperParameter
from keratune.space import HyperParameters
from keratune.storage import JOURNAL_FILE, open_storage
from keratune.storage.base import fold, objective_config, start_history
from keratune.storage.project_folder import ProjectFolder
from keratune.trial import TrialStatus

# Declares what a build with these values declares, and returns it.
Explore = Callable[[Mapping[str, Any]], Sequence[HyperParameter]]

EPOCHS = "tuner/epochs"  # how long a trial of Hyperband's was trained

# The columns of the table that Optuna's `Study.trials_dataframe()` returns.
OPTUNA_PREFIX, OPTUNA_SCORE, OPTUNA_STATE = "params_", "value", "state"


def key_of(values: Mapping[str, Any], *further: Any) -> str:
    """Return a text that tells configurations apart, whatever the order of their names."""
    encoded = sorted((name, _json.encode(value)) for name, value in dict(values).items())
    text = _json.dumps([[list(pair) for pair in encoded], *map(_json.encode, further)])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


# ---------------------------------------------------------------------- the space


def explored(values: Mapping[str, Any], space: HyperParameters, explore: Explore) -> None:
    """Have the space learn what builds with these values declare.

    Only values that are known to fit are built with: a build may reveal further names, and the next
    one is made with their values too.

    Args:
        values: A configuration.
        space: The study's space, which `explore` adds to.
        explore: Builds with values.
    """
    fitting: dict[str, Any] | None = None
    while True:
        known = {name: _fitted(value, space.named(name)) for name, value in values.items()}
        found = {name: fit[0] for name, fit in known.items() if fit is not None}
        if fitting is not None and found.keys() == fitting.keys():
            return
        fitting = found
        explore(fitting)


def _fitted(value: Any, parameters: Iterable[HyperParameter]) -> tuple[Any] | None:
    """Return a value as one of several hyperparameters has it, in a tuple; None if none may."""
    plain = value.item() if hasattr(value, "item") and not callable(value) else value
    for parameter in parameters:
        if parameter.contains(plain):
            return (parameter.decode(plain),)
    return None


# ---------------------------------------------------------------------- wishes


def wishes(given: Any) -> list[dict[str, Any]]:
    """Return what a user wants tried as configurations.

    Args:
        given: A dict of values, a `HyperParameters` or a trial; or a list of these.

    Raises:
        TypeError: It is something else.
    """
    if isinstance(given, Mapping):
        return [searched(given)]
    if isinstance(given, (list, tuple)):
        return [values for item in given for values in wishes(item)]
    held = getattr(given, "hyperparameters", given)
    if isinstance(held, HyperParameters):
        return [searched(dict(held.values))]
    raise TypeError(
        "`enqueue` takes dicts of values, `HyperParameters`, trials, and lists of these. "
        f"Received: {given!r} of type {type(given).__name__}."
    )


def checked(
    wish: Mapping[str, Any], space: HyperParameters, explore: Explore | None
) -> dict[str, Any]:
    """Return a wish with its values as the hyperparameters have them.

    Args:
        wish: The values, some of a configuration's or all.
        space: The study's space.
        explore: Builds with values; None where nothing can be built ahead, and unknown names may be
            declared by trials.

    Raises:
        ValueError: There is no hyperparameter of a name, or it may not take the value.
    """
    declared: list[HyperParameter] = []
    if explore is not None:
        explored(wish, space, lambda values: _noted(declared, explore(values)))
    last = {parameter.name: [parameter] for parameter in declared}
    found = {}
    for name, value in wish.items():
        here = last.get(name) or space.named(name)
        if not here and explore is not None:
            raise ValueError(_unknown_name(name, space))
        fitted = _fitted(value, here) if here else (value,)
        if fitted is None:
            raise ValueError(
                f"An enqueued value must be one that its hyperparameter may take. Received: "
                f"{name}={value!r} for {here[0]!r}. Enqueue another value, or widen the range."
            )
        found[name] = fitted[0]
    return found


class Queue:
    """What a process has enqueued, beside what the study had in its queue before.

    A script that is started again enqueues again what the study has from its first run. So each
    wish counts once for each time that a run has made it.
    """

    def __init__(self) -> None:
        """Start with nothing enqueued."""
        self._before: Counter[str] | None = None

    def knows(self, values: Mapping[str, Any], history: History) -> bool:
        """Tell whether an earlier run has made this wish; each of its wishes is told once."""
        if self._before is None:
            self._before = Counter(key_of(wish) for wish in history.ever_enqueued)
        key = key_of(values)
        self._before[key] -= 1
        return self._before[key] >= 0


def fresh(
    wanted: Iterable[dict[str, Any]], history: History, queue: Queue, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Return the wishes that are to be queued: neither tried nor queued by an earlier run.

    Args:
        wanted: Checked wishes.
        history: What has happened.
        queue: What this process has enqueued.
        say: Told a line for each that is left out.
    """
    kept = []
    for values in wanted:
        was_queued = queue.knows(values, history)
        if history.tree.covers(values):
            say(f"Tried already, and not queued again: {values}")
        elif was_queued:
            say(f"Queued by an earlier run, and not queued again: {values}")
        else:
            kept.append(values)
    return kept


def _noted(
    declared: list[HyperParameter], more: Sequence[HyperParameter]
) -> Sequence[HyperParameter]:
    declared += more
    return more


def _unknown_name(name: str, space: HyperParameters) -> str:
    known = sorted({parameter.name for parameter in space.space})
    near = difflib.get_close_matches(name, known, 1)
    hint = f"Did you mean {near[0]!r}?" if near else f"Known: {known}."
    return (
        "An enqueued name must be one that the build declares with these values. "
        f"Received: {name!r}. {hint}"
    )


# ---------------------------------------------------------------------- rows from elsewhere


@dataclasses.dataclass(frozen=True)
class Row:
    """A configuration of another search, in its own terms.

    Attributes:
        values: The values.
        score: The objective's value; None where there is none.
    """

    values: dict[str, Any]
    score: float | None


@dataclasses.dataclass(frozen=True)
class Rows:
    """What a source of initial trials holds.

    Attributes:
        rows: The configurations.
        recorded: Names that the source has recorded wherever they were active: a row that lacks one
            did without it. A row that lacks another name did with its default.
        is_table: Whether columns may be something else than hyperparameters.
        short: Trials that were paused or stopped before their end; their scores do not compare.
    """

    rows: list[Row]
    recorded: frozenset[str] = frozenset()
    is_table: bool = False
    short: int = 0


def rows_of(source: Any, objective: Objective) -> Rows:
    """Read a source of initial trials.

    Args:
        source: A tuner, an oracle or a study; the path of a project's folder, keratune's or
            KerasTuner's; a pandas DataFrame; or a list of (values, score) and of dicts that hold
            the score under the objective's name.
        objective: What the present study optimises.

    Raises:
        StudyMismatchError: The source has scores by another objective.
        ValueError: The present study looks for a front: there is no one score to learn from.
        FileNotFoundError: The folder holds no study.
        TypeError: It is something else.
    """
    if isinstance(objective, ParetoObjective):
        raise ValueError(
            "`initial_trials` needs one score for each trial, and `objectives` has several. "
            f"Received: objective={objective}. Use `objective`, or leave `initial_trials` out."
        )
    if isinstance(source, (str, os.PathLike)):
        return _rows_of_folder(Path(source), objective)
    if hasattr(source, "columns") and hasattr(source, "to_dict"):
        return _rows_of_table(source.to_dict("records"), objective)
    if isinstance(source, (list, tuple)):
        return Rows([_row_of(item, objective) for item in source])
    study = getattr(getattr(source, "oracle", source), "study", source)
    history = getattr(study, "history", None)
    if isinstance(history, History):
        return _rows_of_history(history, objective)
    if isinstance(getattr(source, "project_dir", None), (str, os.PathLike)):
        return _rows_of_folder(Path(source.project_dir), objective)
    raise TypeError(
        "`initial_trials` takes a tuner, a project's folder, a DataFrame, or a list of "
        f"(values, score). Received: {source!r} of type {type(source).__name__}."
    )


def _row_of(item: Any, objective: Objective) -> Row:
    """Return an entry of a list: (values, score), or a dict with the score among the values."""
    if isinstance(item, Mapping):
        values = {name: value for name, value in item.items() if name not in _scores(objective)}
        return Row(searched(values), _score(item, objective))
    if isinstance(item, (list, tuple)) and len(item) == 2:
        [values] = wishes([item[0]])
        return Row(values, None if item[1] is None else float(item[1]))
    raise TypeError(
        "`initial_trials` in a list must be pairs (values, score), or dicts with the score under "
        f"{list(objective.names)}. Received: {item!r}."
    )


def _scores(objective: Objective) -> set[str]:
    """Return the names under which a row may hold its score."""
    return {objective.name, *objective.names}


def _score(row: Mapping[str, Any], objective: Objective) -> float | None:
    if objective.name in row and row[objective.name] is not None:
        return float(row[objective.name])
    return float(objective.get_value(row)) if objective.has_value(row) else None


def _rows_of_table(records: list[dict[str, Any]], objective: Objective) -> Rows:
    """Return the rows of a DataFrame; what is empty was not active."""
    names = {str(name) for name in records[0]} if records else set()
    is_optunas = any(name.startswith(OPTUNA_PREFIX) for name in names)
    scores = {OPTUNA_SCORE} if is_optunas else _scores(objective)
    if records and not scores & names and not set(objective.names) <= names:
        raise ValueError(
            f"`initial_trials` must have a column with the scores, one of {sorted(scores)}. "
            f"Received: a table with the columns {sorted(names)}. Rename the column."
        )
    rows = []
    for record in records:
        filled = {str(name): value for name, value in record.items() if not _is_empty(value)}
        if not is_optunas:
            rows.append(_row_of(filled, objective))
        elif filled.get(OPTUNA_STATE, "COMPLETE") == "COMPLETE":
            cut = len(OPTUNA_PREFIX)
            values = {n[cut:]: v for n, v in filled.items() if n.startswith(OPTUNA_PREFIX)}
            score = filled.get(OPTUNA_SCORE)
            rows.append(Row(values, None if score is None else float(score)))
    recorded = {name.removeprefix(OPTUNA_PREFIX) for name in names}
    return Rows(rows, frozenset(recorded), is_table=not is_optunas)


def _is_empty(value: Any) -> bool:
    if isinstance(value, (float, np.floating)):
        return bool(np.isnan(value))
    return value is None or type(value).__name__ in ("NAType", "NaTType")  # pandas's own


def _rows_of_history(history: History, objective: Objective) -> Rows:
    """Return the completed trials of a study; of one that was promoted, the longest training."""
    _refuse_other_objective(objective_config(history.objective), objective)
    completed = [
        (dict(record.values), record.score)
        for record in history.trials
        if record.status == TrialStatus.COMPLETED
    ]
    names = frozenset(p.name for p in history.space.space)
    return Rows(_longest(completed), names, short=history.scored_count - len(completed))


def _rows_of_folder(folder: Path, objective: Objective) -> Rows:
    """Return the completed trials of a project's folder, keratune's or KerasTuner's."""
    project = ProjectFolder(folder)
    if not project.holds_a_study():
        raise FileNotFoundError(
            "`initial_trials` must be the folder of a project: `directory/project_name`. "
            f"Received: {folder}, which holds neither {JOURNAL_FILE} nor oracle.json."
        )
    if (folder / JOURNAL_FILE).exists():
        return _rows_of_history(_history_in(folder), objective)
    completed, names = [], set()
    for trial in project.read_trials():
        if trial.status != TrialStatus.COMPLETED or trial.score is None:
            continue
        known = {name: history.direction for name, history in trial.metrics.metrics.items()}
        if known.get(objective.name) != objective.direction:
            _refuse_other_objective(known, objective)
        names |= {parameter.name for parameter in trial.hyperparameters.space}
        completed.append((dict(trial.hyperparameters.values), trial.score))
    return Rows(_longest(completed), frozenset(names))


def _history_in(folder: Path) -> History:
    storage = open_storage(None, folder, folder.name)
    try:
        first, *others = storage.read(0)
    finally:
        storage.close()
    history = start_history(first)
    for entry in others:
        fold(history, entry)
    return history


def _longest(trials: Iterable[tuple[dict[str, Any], float | None]]) -> list[Row]:
    """Return one row for each configuration: that of its longest training."""
    kept: dict[str, tuple[int, Row]] = {}
    for values, score in trials:
        row, epochs = Row(searched(values), score), int(values.get(EPOCHS, 0))
        known = kept.get(key_of(row.values))
        if known is None or epochs >= known[0]:
            kept[key_of(row.values)] = epochs, row
    return [row for _, row in kept.values()]


def _refuse_other_objective(found: Any, objective: Objective) -> None:
    wanted = objective_config(objective)
    if found != wanted:
        raise StudyMismatchError(
            "Initial trials must be scored by the objective of the search. Received: trials with "
            f"{found}; the search optimises {wanted}. Pass the trials as a list of "
            "(values, score) with scores of this objective."
        )


# ---------------------------------------------------------------------- observations


@dataclasses.dataclass
class Expressed:
    """Rows in the terms of the present space.

    Attributes:
        observations: Those that it can express.
        causes: Why others were left out: how many rows by cause.
    """

    observations: list[Observation] = dataclasses.field(default_factory=list)
    causes: Counter[str] = dataclasses.field(default_factory=Counter)

    def line(self) -> str:
        """Return what a user is to know."""
        learnt = f"Initial trials: {len(self.observations)} are learnt from"
        left_out = sum(self.causes.values())
        if not left_out:
            return f"{learnt}."
        causes = ", ".join(f"{count} with {cause}" for cause, count in self.causes.most_common())
        return f"{learnt}, {left_out} are left out ({causes})."


def expressed(rows: Rows, space: HyperParameters, explore: Explore | None) -> Expressed:
    """Return the rows that the present space can express as observations.

    Hyperparameters that the source does not know get the present default.

    Args:
        rows: What the source holds.
        space: The study's space.
        explore: Builds with values, so that branches are known that no build has been to; None
            where nothing can be built ahead.
    """
    result = Expressed()
    if rows.short:
        result.causes["a training that was not in full"] = rows.short
    variants: list[HyperParameter] = []
    visited: set[frozenset[str]] = set()
    for row in rows.rows:
        odd = frozenset(n for n, v in row.values.items() if _fitted(v, space.named(n)) is None)
        if odd and explore is not None and odd not in visited:
            visited.add(odd)
            explored(row.values, space, lambda values: _noted(variants, explore(values)))
        values = _in_space(rows, row, space, variants)
        if isinstance(values, str):
            result.causes[values] += 1
        else:
            key = key_of(row.values, row.score)
            result.observations.append(Observation(key, values, float(row.score or 0.0)))
    return result


def _in_space(
    rows: Rows, row: Row, space: HyperParameters, variants: Sequence[HyperParameter]
) -> dict[str, Any] | str:
    """Return a row's configuration in a space, or why there is none.

    `variants` holds what builds have declared in another way than the space has it.
    """
    if row.score is None or not math.isfinite(row.score):
        return "no finite score"
    wanted = space.live(row.values)
    unknown = [name for name in wanted if not space.named(name)]
    if unknown and not rows.is_table:
        return f"the unknown hyperparameter {unknown[0]!r}"
    container = space.copy()
    others = {p.name: [v for v in variants if v.name == p.name] for p in variants}
    allowed = {n: [*space.named(n), *others.get(n, [])] for n in wanted if n not in unknown}
    fitted = {n: _fitted(wanted[n], some) for n, some in allowed.items()}
    container.begin({n: wanted[n] if f is None else f[0] for n, f in fitted.items()}, None)
    for parameter in container.active():
        name = parameter.name
        here = [p for p in allowed.get(name, []) if container.is_active(p)]
        if name in fitted and _fitted(wanted[name], here) is None:
            return f"{name!r} outside of what it may be now"
    absent = rows.recorded - row.values.keys()
    container.ensure_active_values(lambda p: _ABSENT if p.name in absent else p.default)
    return {name: value for name, value in container.values.items() if value is not _ABSENT}


_ABSENT = object()
