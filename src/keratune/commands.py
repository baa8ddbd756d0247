"""The commands: one function each, whose docstring is what `--help` shows."""

from __future__ import annotations

import contextlib
import csv
import inspect
import io
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from keratune import _json, begun, places, schedulers, scripts
from keratune._runtime import say
from keratune.base_tuner import BaseTuner
from keratune.errors import FatalTypeError, FatalValueError, StudyMismatchError
from keratune.execution.interrupts import PREEMPTED
from keratune.executors import executor_of
from keratune.places import Found, Place
from keratune.reporting import tables
from keratune.stop import seconds_of
from keratune.training.base import HyperModel

INTERRUPTED = 130  # what shells say of a program that SIGINT has ended: 128 and its number
FIT_ARGUMENTS = "fit_arguments"  # what is looked for beside what is tuned

app = typer.Typer(
    name="keratune",
    help="Works on studies of keratune, and shows what they have found.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

StudyArgument = Annotated[
    str,
    typer.Argument(
        metavar="STUDY", help="A project's folder (runs/pima), or a database's URL with #name."
    ),
]
StudyOption = Annotated[
    str | None, typer.Option("--study", help="The study's name in the database.")
]


# ---------------------------------------------------------------------- working


@app.command()
def worker(
    study: StudyArgument,
    target: Annotated[
        str,
        typer.Argument(
            metavar="SCRIPT:NAME",
            help="A function build(hp), a HyperModel, a function that returns a tuner, or a tuner.",
        ),
    ],
    fit: Annotated[
        str | None,
        typer.Option(
            help="SCRIPT:NAME of the arguments of `search`: a dict, or a function that returns "
            f"one; default: {FIT_ARGUMENTS} in the same script."
        ),
    ] = None,
    study_name: StudyOption = None,
    directory: Annotated[
        Path | None,
        typer.Option(help="Beside a database: where the project's folder with the weights is."),
    ] = None,
    objective: Annotated[
        str | None, typer.Option(help="Begins the study: val_accuracy, or my_metric:max.")
    ] = None,
    tuner: Annotated[
        str | None,
        typer.Option(help=f"Begins the study: {', '.join(begun.tuner_names())}; default: auto."),
    ] = None,
    max_trials: Annotated[
        int | None, typer.Option(min=1, help="Begins the study; a larger number extends it.")
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(help=f"Begins the study: {', '.join(schedulers.available())}.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Begins the study.")] = None,
    stop: Annotated[
        str | None, typer.Option(help="Begins the study: time for all trials, such as 2h.")
    ] = None,
    trial_timeout: Annotated[
        str | None, typer.Option(help="Time that this worker gives a trial, such as 10m.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes to work in, here.")] = 1,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show errors only.")] = False,
) -> None:
    """Work on a study until nothing is left to be done; start as many as you like, anywhere.

    A study that exists goes on as it was begun: what begins a study is not needed then, nor used.

    Exit codes: 0 nothing is left; 75 the machine was wanted for something else (SIGTERM, SIGUSR1),
    run the command again; 130 Ctrl-C; 2 the command is wrong; 1 a failure, its cause in the last
    line.
    """
    place = Place.of(study, study_name, directory)
    wishes = begun.Wishes(objective, tuner, max_trials, scheduler, seed, stop)
    timeout = None if trial_timeout is None else seconds_of(trial_timeout)
    with _interruptible(), _preemptible(), _silence(quiet):
        tuned, arguments = _tuned(target), _arguments(fit, target)
        if isinstance(tuned, BaseTuner):
            found = _checked(tuned, place)
            found.trial_timeout = timeout or found.trial_timeout
        else:
            found = _tuner(place, tuned, wishes, timeout)
        found.executor = executor_of(workers) or found.executor
    with _interruptible():
        found.search(**{**arguments, **({"verbose": 0} if quiet else {})})


def _silence(quiet: bool) -> contextlib.AbstractContextManager[Any]:
    """Drop what a script and a tuner have to say at their beginning, where nobody listens."""
    return contextlib.redirect_stdout(io.StringIO()) if quiet else contextlib.nullcontext()


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Have Ctrl-C end the process with its code."""
    try:
        yield
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None


@contextlib.contextmanager
def _preemptible() -> Iterator[None]:
    """Have a preempted process end with its code before the search sees to that itself."""

    def end(number: int, frame: Any) -> None:
        raise SystemExit(PREEMPTED)

    names = [name for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name)]
    before = {getattr(signal, name): signal.signal(getattr(signal, name), end) for name in names}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _tuned(target: str) -> Any:
    """Return what a target names: a function of `hp`, a `HyperModel`, or a tuner."""
    found = scripts.named(target)
    if inspect.isclass(found) and issubclass(found, HyperModel):
        return found()
    if isinstance(found, (HyperModel, BaseTuner)):
        return found
    if not callable(found) or inspect.isclass(found):
        raise FatalTypeError(
            "What is tuned is a function build(hp), a HyperModel, a tuner, or a function without "
            f"parameters that returns a tuner. Received: {target} is {found!r}."
        )
    if inspect.signature(found).parameters:
        return found
    made = found()
    if not isinstance(made, BaseTuner):
        raise FatalTypeError(
            "A function without parameters must return a tuner, and one that builds a model takes "
            f"`hp`. Received: {target} returned {made!r}."
        )
    return made


def _arguments(fit: str | None, target: str) -> dict[str, Any]:
    """Return the arguments of `search`."""
    found = scripts.beside(target, FIT_ARGUMENTS) if fit is None else scripts.named(fit)
    arguments = found() if callable(found) else found
    if not isinstance(arguments, dict | None):
        raise FatalTypeError(
            "The arguments of `search` are a dict, or a function without parameters that returns "
            f"one. Received: {fit or FIT_ARGUMENTS} gives {type(arguments).__name__}. "
            'Return such as {"x": x, "y": y, "epochs": 20}.'
        )
    return dict(arguments or {})


def _checked(tuner: BaseTuner, place: Place) -> BaseTuner:
    """Return a tuner of the user's script, once it is clear that it works on the study meant."""
    storage = tuner.oracle.storage
    url = None if storage is None else str(storage)
    own = Place(Path(tuner.directory), tuner.project_name, url)
    same = own.url == place.url and own.name == place.name
    if not same or (place.url is None and own.folder.resolve() != place.folder.resolve()):
        raise StudyMismatchError(
            f"The tuner works on another study. Received: {place}, and a tuner of {own}. Name "
            "that one, or have the script make its tuner for this one."
        )
    return tuner


def _tuner(place: Place, hypermodel: Any, wishes: begun.Wishes, timeout: float | None) -> BaseTuner:
    """Return the tuner of a study, which is begun where there is none."""
    study = place.find()
    if study is None:
        begun.begin(place, wishes)
        study = place.open()
    settings, history = wishes.extended(study.journal.settings), study.history
    study.close()
    standing = tables.standing(history, settings["max_trials"])
    say(f"Working on {place}: {begun.kind_of(settings)}, {standing}.")
    if unused := wishes.unused(settings):
        say(f"Not used, as the study was begun with something else: {', '.join(unused)}.")
    return begun.go_on(place, hypermodel, settings, history, trial_timeout=timeout)


# ---------------------------------------------------------------------- looking


@app.command("list")
def list_studies(
    folder: Annotated[Path, typer.Argument(help="A folder of projects, such as runs.")],
) -> None:
    """List the studies of a folder."""
    told = []
    for place in places.places_in(folder):
        with _opened(place) as found:
            told.append((place.name, found.history, found.max_trials))
    if not told:
        say(f"There is no study in {folder}.")
        return
    Console().print(tables.studies(told))


@app.command()
def show(
    study: StudyArgument,
    study_name: StudyOption = None,
    trials: Annotated[int, typer.Option(min=1, help="How many trials to show of a kind.")] = 10,
) -> None:
    """Show how a study stands: progress, best trials, failures, workers. It may be running."""
    with _opened(Place.of(study, study_name)) as found:
        shown = tables.study(found.history, found.max_trials, found.storage.beats(), trials)
        Console().print(shown)


@app.command()
def best(
    study: StudyArgument,
    study_name: StudyOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="As one JSON object.")] = False,
) -> None:
    """Show the best trial: its score and its values."""
    with _opened(Place.of(study, study_name)) as found:
        ranked = found.history.best()
        if not ranked:
            raise StudyMismatchError("No trial has a score yet. `keratune show` tells the rest.")
        record = ranked[0]
        told = {
            "trial": record.trial_id,
            "objective": found.history.objective.name,
            "score": record.score,
            "metrics": {name: tables.cell(value) for name, value in record.metrics.items()},
            "values": {name: tables.cell(value) for name, value in record.values.items()},
        }
        if as_json:
            say(_json.dumps(told))
            return
        say(f"Trial {record.trial_id}: {told['objective']} {record.score:.6g}")
        for name, value in record.values.items():
            say(f"{name}: {value}")


@app.command()
def export(
    study: StudyArgument,
    file: Annotated[Path, typer.Argument(help="Ends in .csv or .json; it is replaced.")],
    study_name: StudyOption = None,
) -> None:
    """Write a row for each trial into a file: how it went, its metrics and its values."""
    if file.suffix not in (".csv", ".json"):
        raise FatalValueError(f"The file must end in .csv or .json. Received: {file}.")
    with _opened(Place.of(study, study_name)) as found:
        rows = tables.rows(found.history)
    if file.suffix == ".json":
        file.write_text(_json.dumps(rows, indent=1), encoding="utf-8")
    else:
        with file.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, tables.columns(rows))
            writer.writeheader()
            writer.writerows(rows)
    say(f"{len(rows)} trials: {file}")


@contextlib.contextmanager
def _opened(place: Place) -> Iterator[Found]:
    found = place.open()
    try:
        yield found
    finally:
        found.close()
