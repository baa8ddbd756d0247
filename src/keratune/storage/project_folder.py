"""KerasTuner's files: `trial_*/trial.json` and `oracle.json`, written as copies, read to continue.

The journal is the only truth; these files are for people and for KerasTuner, which opens a folder
of keratune's and whose folders keratune opens. Values that KerasTuner does not know (None,
tuples, functions) are written as text, numbers that JSON lacks are left out.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from keratune import _json, parameters
from keratune._files import YOUNG_DRAFT, atomic_path, remove_drafts
from keratune.errors import StudyMismatchError
from keratune.history import History, Record
from keratune.parameters import HyperParameter
from keratune.space import HyperParameters
from keratune.trial import Trial

JOURNAL_FILE = "study.db"
ORACLE_FILE = "oracle.json"


def values_hash(values: Mapping[str, Any]) -> str:
    """Return 32 hexadecimal digits that tell configurations apart, types included."""
    items = sorted((name, _json.encode(value)) for name, value in dict(values).items())
    text = json.dumps([[name, type(value).__name__, value] for name, value in items])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def plain_space(space: Iterable[HyperParameter]) -> list[dict[str, Any]]:
    """Return hyperparameters as KerasTuner stores them."""
    return [_plain_parameter(parameters.serialize(parameter)) for parameter in space]


def _plain_parameter(stored: dict[str, Any]) -> dict[str, Any]:
    config = {name: value for name, value in stored["config"].items() if name != "prior"}
    if stored["class_name"] == "Choice":
        kinds = {type(value) for value in config["values"]}
        text = len(kinds) > 1 or not kinds <= {bool, int, float, str}
        convert: Callable[[Any], Any] = (lambda v: str(_json.plain(v))) if text else _json.plain
        config["values"] = [convert(value) for value in config["values"]]
        config["default"] = convert(config["default"])
    return {"class_name": stored["class_name"], "config": config}


def plain_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values as KerasTuner stores them."""
    return {name: _json.plain(value) for name, value in dict(values).items()}


def trial_state(trial: Trial) -> dict[str, Any]:
    """Return a trial as KerasTuner stores it."""
    state = trial.get_state()
    state["hyperparameters"] = {
        "space": plain_space(trial.hyperparameters.space),
        "values": plain_values(trial.hyperparameters.values),
    }
    for history in state["metrics"]["metrics"].values():
        for observation in history["observations"]:
            observation["value"] = [v for v in observation["value"] if math.isfinite(v)]
        history["observations"] = [o for o in history["observations"] if o["value"]]
    if state["score"] is not None and not math.isfinite(state["score"]):
        state["score"] = None
    return state


def oracle_state(history: History) -> dict[str, Any]:
    """Return a study as KerasTuner stores its oracle; costs O(trials), so it is written rarely."""
    trials = history.trials
    hashes = {record.trial_id: values_hash(record.values) for record in trials}
    return {
        "ongoing_trials": {
            _tuner_of(history[number]): history[number].trial_id
            for number in sorted(history.running)
        },
        "hyperparameters": {
            "space": plain_space(history.space.space),
            "values": plain_values(history.space.values),
        },
        "start_order": [record.trial_id for record in trials],
        "end_order": [history[number].trial_id for number in history.ended],
        "run_times": {r.trial_id: r.attempt + 1 for r in trials if r.finished},
        "retry_queue": [history[number].trial_id for number in history.queue],
        "seed": history.seed,
        "seed_state": history.seed + len(trials),
        "tried_so_far": sorted(set(hashes.values())),
        "id_to_hash": hashes,
        "display": {"search_start": None, "trial_start": {}, "trial_number": {}},
    }


def curve_of(trial: Trial) -> dict[int, dict[str, float]]:
    """Return the metrics of KerasTuner's trial by trained epochs."""
    curve: dict[int, dict[str, float]] = {}
    for name, history in trial.metrics.metrics.items():
        for observation in history.get_history():
            curve.setdefault(observation.step + 1, {})[name] = observation.mean()
    return curve


def executions_of(trial: Trial) -> list[dict[str, float]]:
    """Return the metrics of KerasTuner's trial at the best step, execution by execution."""
    executions: list[dict[str, float]] = []
    for name, history in trial.metrics.metrics.items():
        for observation in history.get_history():
            if observation.step != trial.best_step:
                continue
            for place, value in enumerate(observation.value):
                if place == len(executions):
                    executions.append({})
                executions[place][name] = value
    return executions


def strict_json(document: Any) -> str:
    """Return a document as strict JSON; numbers that JSON lacks become `{"number": "Infinity"}`."""
    try:
        return _json.dumps(document)
    except ValueError:
        return _json.dumps(_without_infinities(document))


def _without_infinities(document: Any) -> Any:
    if isinstance(document, Mapping):
        return {name: _without_infinities(part) for name, part in document.items()}
    if isinstance(document, (list, tuple)):
        return [_without_infinities(part) for part in document]
    if isinstance(document, float) and not math.isfinite(document):
        return {"number": _json.finite(document)}
    return document


def from_strict_json(text: str) -> Any:
    """Return the document that `strict_json` wrote."""
    return json.loads(text, object_hook=_number_or_object)


def _number_or_object(found: dict[str, Any]) -> Any:
    return float(found["number"]) if set(found) == {"number"} else found


def _tuner_of(record: Record) -> str:
    return (record.worker or "tuner0").rsplit("|", 1)[-1]


def _refuse_other_than_object(document: Any, needed: Iterable[str]) -> None:
    if not isinstance(document, dict):
        raise ValueError(f"it holds {document!r}")
    missing = [key for key in needed if key not in document]
    if missing:
        raise ValueError(f"it lacks {missing}")


class ProjectFolder:
    """A folder in KerasTuner's layout.

    Args:
        path: The project's folder.
    """

    def __init__(self, path: Path) -> None:
        """Keep the path; nothing is read or written yet."""
        self.path = path

    def holds_a_study(self) -> bool:
        """Tell whether keratune or KerasTuner has begun a study here."""
        return (self.path / JOURNAL_FILE).exists() or (self.path / ORACLE_FILE).exists()

    def write_trial(self, trial: Trial) -> None:
        """Write a trial's copy."""
        text = _json.dumps(trial_state(trial))
        self.write_text(f"trial_{trial.trial_id}/trial.json", text)

    def mend(self, ended: Iterable[Trial]) -> None:
        """Bring copies up to date whose writer was killed, and delete what it was writing.

        Costs some 60 microseconds for each trial (0.25 s for 4,000 of them).

        Args:
            ended: Trials that have ended; one without a copy here ran on another machine.
        """
        remove_drafts(self.path, older_than=YOUNG_DRAFT)
        for trial in ended:
            file = self.path / f"trial_{trial.trial_id}" / "trial.json"
            try:
                text = file.read_text(encoding="utf-8")
            except OSError:
                continue
            if f'"status":"{trial.status}"' not in text:  # in strings, quotes are escaped
                self.write_trial(trial)
            remove_drafts(file.parent, older_than=YOUNG_DRAFT)

    def remove_trial(self, trial_id: str) -> None:
        """Remove the folder of a trial that is none any more."""
        shutil.rmtree(self.path / f"trial_{trial_id}", ignore_errors=True)

    def write_oracle(self, state: Mapping[str, Any]) -> None:
        """Write the study's copy."""
        self.write_text(ORACLE_FILE, strict_json(state))

    def write_text(self, name: str, text: str) -> None:
        """Write a file: the old one or the new one is there, never half of it."""
        target = self.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(target) as draft:
            draft.write_text(text, encoding="utf-8")

    def read_text(self, name: str) -> str | None:
        """Return what a file holds, None where there is none."""
        file = self.path / name
        return file.read_text(encoding="utf-8") if file.exists() else None

    def read_oracle(self, *needed: str) -> dict[str, Any] | None:
        """Return what `oracle.json` holds, None where there is none.

        Args:
            *needed: The keys that it must have.

        Raises:
            StudyMismatchError: The file is not what KerasTuner writes, for example cut short.
        """
        return self._read(self.path / ORACLE_FILE, *needed)

    def read_trials(self) -> list[Trial]:
        """Return the trials of all `trial_*/trial.json`, in the order in which they were started.

        Raises:
            StudyMismatchError: A file is not what KerasTuner writes.
        """
        order = {name: at for at, name in enumerate((self.read_oracle() or {})["start_order"])}
        folders = sorted(
            (folder for folder in self.path.iterdir() if folder.name.startswith("trial_")),
            key=lambda folder: (order.get(folder.name[6:], len(order)), folder.name),
        )
        keys = Trial(HyperParameters()).get_state().keys() - {"message"}
        states = [self._read(folder / "trial.json", *keys) for folder in folders]
        return [Trial.from_state(state) for state in states if state is not None]

    def _read(self, file: Path, *needed: str) -> dict[str, Any] | None:
        if not file.exists():
            return None
        try:
            document: dict[str, Any] = from_strict_json(file.read_text(encoding="utf-8"))
            _refuse_other_than_object(document, needed)
        except ValueError as error:
            raise StudyMismatchError(
                f"Error reloading `Oracle` from existing project. {file} is damaged "
                f"({error}). Restore it, change the `project_name` or pass `overwrite=True` when "
                f"creating the `Tuner`. Found existing project at: {self.path}"
            ) from error
        return document
