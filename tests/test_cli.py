"""The command line: what is begun, gone on with, shown and said, without a model."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import keratune as kt
from keratune import algorithms, begun, cli, schedulers, scripts
from keratune.algorithms import Algorithm
from keratune.base_tuner import BaseTuner
from keratune.begun import Wishes, restored
from keratune.errors import FatalValueError, StudyMismatchError
from keratune.execution.interrupts import PREEMPTED
from keratune.history import raised_line
from keratune.places import Place
from keratune.schedulers import Scheduler
from keratune.stop import Stop

pytest.importorskip("typer", reason="the command needs the extra `cli`")
from typer.testing import CliRunner  # noqa: E402

from keratune.commands import app  # noqa: E402

# A tuner without a model: trial 2 fails, the others have `x` for their score.
SCRIPT = """
import keratune as kt
from keratune.base_tuner import BaseTuner

def build(hp):
    hp.Float("x", 0, 1)
    hp.Choice("status", ["a", "b"])

class Quick(BaseTuner):
    def run_trial(self, trial, extra=0, **kwargs):
        if trial.trial_id == "2":
            raise ValueError("no good")
        return {"val_loss": trial.hyperparameters.get("x") + extra}

def make_tuner():
    oracle = kt.oracles.RandomSearchOracle("val_loss", max_trials=6, seed=3)
    return Quick(oracle, build, directory="runs", project_name="toy")

def fit_arguments():
    return {"extra": 1}

nothing = {"extra": 2}
not_a_tuner = lambda: 3
"""


class Model(kt.HyperModel):
    def build(self, hp):
        hp.Float("x", 0, 1)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run a command in the test's folder, in which there is a script `quick.py`."""
    (tmp_path / "quick.py").write_text(SCRIPT)
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.setattr(sys, "argv", sys.argv[:])
    monkeypatch.setenv("COLUMNS", "160")

    def command(*arguments):
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    yield command
    sys.modules.pop("quick", None)


@pytest.fixture
def searched(run):
    """The same, with a study in `runs/toy` that has ended."""
    done = run("worker", "runs/toy", "quick.py:make_tuner")
    assert done.exit_code == 0, done.output
    return run


def process(folder, *arguments, **variables):
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


# ---------------------------------------------------------------------- where studies are


def test_a_folder_is_a_project_and_a_url_needs_the_studys_name(tmp_path):
    assert Place.of("runs/pima").folder == tmp_path / "runs" / "pima"
    place = Place.of("postgresql+psycopg://me:secret@host/db#pima", directory=Path("runs"))
    assert place.url == "postgresql+psycopg://me:secret@host/db" and place.name == "pima"
    assert place.folder == Path("runs/pima")
    assert str(place) == "postgresql+psycopg://me:***@host/db#pima"
    assert Place.of("sqlite:///a.db", study="pima").name == "pima"
    with pytest.raises(ValueError, match="Name the study") as raised:
        Place.of("postgresql://me:secret@host/db")
    assert "secret" not in str(raised.value)
    place = Place.of("postgresql+psycopg://me@host/db?password=secret#pima")
    assert str(place) == "postgresql+psycopg://me@host/db?password=***#pima"
    with pytest.raises(ValueError, match="go with the URL"):
        Place.of("runs/pima", study="pima")


def test_looking_for_a_study_that_is_not_there_leaves_nothing_behind(tmp_path):
    assert Place.of("runs/pima").find() is None
    with pytest.raises(StudyMismatchError, match="There is no study at"):
        Place.of("runs/pima").open()
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------------- going on as begun


@pytest.mark.parametrize("contract", [Algorithm, Scheduler, Stop])
def test_everything_that_a_journal_names_can_be_made_anew(contract):
    stops = [kt.stop.TimeBudget("2h"), kt.stop.Epochs(9), kt.stop.Target(0.5), kt.stop.Plateau(3)]
    every = {
        Algorithm: [algorithms.create(name) for name in algorithms.available()],
        Scheduler: [schedulers.create(name) for name in schedulers.available()],
        Stop: stops,
    }[contract]
    for each in every:
        text = repr(each)
        if contract is Algorithm:
            options = ", ".join(f"{name}={value!r}" for name, value in vars(each).items())
            text = f"{type(each).__name__}({options})"
        made = restored(text, contract)
        assert type(made) is type(each) or made is None and text == "None"
        assert made is None or vars(made) == vars(each)


@pytest.mark.parametrize(
    "text", ["Mine(a=1)", "open(file='x')", "__import__('os')", "ASHA(factor=x)", "ASHA(", "x"]
)
def test_what_is_not_keratunes_own_is_refused_and_not_run(text):
    with pytest.raises(StudyMismatchError, match="which only the script knows.*make_tuner"):
        restored(text, Scheduler)


TUNERS = {
    "random": lambda **k: kt.RandomSearch(Model(), "val_loss", 7, seed=4, **k),
    "grid": lambda **k: kt.GridSearch(Model(), "val_accuracy", scheduler="median", **k),
    "bayesian": lambda **k: kt.BayesianOptimization(
        Model(), kt.Objective("f1", "max"), 9, alpha=1e-3, beta=2.0, executions_per_trial=3, **k
    ),
    "hyperband": lambda **k: kt.Hyperband(Model(), "val_loss", max_epochs=27, factor=4, **k),
    "population": lambda **k: kt.PopulationBasedTraining(
        Model(), "val_loss", population=5, max_epochs=8, interval=2, explored=["x"], **k
    ),
    "tpe": lambda **k: kt.TPE(Model(), "val_loss", stop=kt.stop.Plateau(5), racing=True, **k),
    "evolution": lambda **k: kt.Evolution(Model(), "val_loss", population=8, tournament=2, **k),
    "auto": lambda **k: kt.Auto(Model(), "val_loss", max_epochs=40, max_time="1h", **k),
    "several": lambda **k: kt.RandomSearch(
        Model(), objectives=["val_loss", "params"], outcomes=["val_recall >= 0.8"], **k
    ),
    "limited": lambda **k: kt.Search(
        Model(), "val_loss", None, algorithm="quasirandom", limits={"memory": "1GB"}, **k
    ),
}


@pytest.mark.parametrize("name", TUNERS)
def test_a_worker_makes_the_tuner_that_has_begun_a_study(name, project, tmp_path, capsys):
    tuner = TUNERS[name](**project)
    place = Place(tmp_path, "project")
    found = place.open()
    again = begun.go_on(place, Model(), found.journal.settings, found.history)
    settings = {**tuner.oracle._settings(), "tuner": type(again).__name__}
    assert again.oracle._settings() == settings
    assert type(again) in (type(tuner), kt.Search)
    assert vars(again.scheduler) == vars(tuner.scheduler)
    assert again.oracle.study.history.objective == tuner.oracle.objective
    assert "from now on" not in capsys.readouterr().out


def test_a_study_without_a_limit_that_auto_began_gets_autos_budget_again(project, tmp_path):
    kt.Auto(Model(), "val_loss", **project)
    found = Place(tmp_path, "project").open()
    again = begun.go_on(Place(tmp_path, "project"), Model(), found.journal.settings, found.history)
    assert type(again) is kt.Auto


def test_a_fixed_space_stays_fixed(project, tmp_path):
    hp = kt.HyperParameters()
    hp.Int("units", 1, 4)
    kt.RandomSearch(Model(), "val_loss", hyperparameters=hp, tune_new_entries=False, **project)
    found = Place(tmp_path, "project").open()
    again = begun.go_on(Place(tmp_path, "project"), Model(), found.journal.settings, found.history)
    assert [p.name for p in again.oracle.get_space().space] == ["units"]


def test_code_that_a_study_was_begun_with_is_asked_for(project, tmp_path):
    kt.RandomSearch(Model(), "val_loss", constraint=lambda hp: hp["x"] < 1, **project)
    place = Place(tmp_path, "project")
    found = place.open()
    with pytest.raises(StudyMismatchError, match="begun with a constraint .*make_tuner"):
        begun.go_on(place, Model(), found.journal.settings, found.history)
    with pytest.raises(StudyMismatchError, match="MyOracle, which only the script knows"):
        begun.go_on(place, Model(), {"oracle": "MyOracle"}, found.history)


def test_the_first_event_decides_how_a_study_is_begun(tmp_path):
    place, wishes = Place(tmp_path, "p"), Wishes("val_loss", "random", max_trials=5, seed=1)
    begun.begin(place, wishes)
    begun.begin(place, Wishes("loss", "grid", max_trials=9))  # which comes too late
    found = place.open()
    late = Wishes("val_loss", "tpe", max_trials=3, seed=1, scheduler="asha", stop="2h")
    settings = late.extended(found.journal.settings)
    assert late.unused(settings) == [
        "--max-trials 3",
        "--scheduler asha",
        "--stop 2h",
        "--tuner tpe",
    ]
    assert wishes.unused(settings) == []
    again = begun.go_on(place, Model(), settings, found.history)
    assert isinstance(again, kt.RandomSearch) and again.oracle.max_trials == 5


def test_more_trials_extend_a_study(tmp_path):
    place = Place(tmp_path, "p")
    begun.begin(place, Wishes("val_loss", "random", max_trials=5))
    found, more = place.open(), Wishes(max_trials=8)
    settings = more.extended(found.journal.settings)
    assert more.unused(settings) == []
    begun.go_on(place, Model(), settings, found.history)
    assert place.open().max_trials == 8


def test_a_study_does_not_begin_without_an_objective(tmp_path):
    with pytest.raises(ValueError, match="Pass --objective"):
        begun.begin(Place(tmp_path, "p"), Wishes())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [*begun.tuner_names(), "BayesianOptimization", "Hyperband"])
def test_every_tuner_has_a_name_on_the_command_line(name, tmp_path):
    wishes = Wishes("my_metric:max", name)
    place = Place(tmp_path, name)
    begun.begin(place, wishes)
    found = place.open()
    settings, history = found.journal.settings, found.history
    assert history.objective == kt.Objective("my_metric", "max")
    assert wishes.unused(settings) == []
    made = begun.go_on(place, Model(), settings, history)
    assert made.oracle._settings() == settings


def test_an_unknown_tuner_is_named_with_those_that_there_are():
    with pytest.raises(ValueError, match="must be one of .*'bayesian'.* Received: magic"):
        begun.tuner_of("magic")


# ---------------------------------------------------------------------- scripts


def test_a_script_is_imported_under_its_own_name_and_once(run, tmp_path):
    build = scripts.named("quick.py:build")
    assert build.__module__ == "quick" and sys.modules["quick"].build is build
    assert scripts.named(f"{tmp_path}/quick.py:build") is build
    assert scripts.beside("quick.py:build", "nothing") == {"extra": 2}
    assert scripts.beside("quick.py:build", "absent") is None
    assert sys.argv == [str(tmp_path / "quick.py")]


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("quick.py", "such as script.py:build_model"),
        ("absent.py:build", "There is no script .*absent.py"),
        ("quick.py:absent", "quick has no 'absent'"),
        ("json.py:build", "would hide it: json"),
    ],
)
def test_a_target_that_names_nothing_says_what_one_looks_like(run, tmp_path, target, message):
    (tmp_path / "json.py").write_text("")
    with pytest.raises(FatalValueError, match=message):
        scripts.named(target)


@pytest.mark.parametrize("target", ["nothing", "not_a_tuner", "Quick"])
def test_what_cannot_be_tuned_is_refused(run, target):
    done = run("worker", "runs/toy", f"quick.py:{target}")
    assert "tuner" in str(done.exception) and "Received" in str(done.exception)


# ---------------------------------------------------------------------- commands


def test_a_worker_takes_the_arguments_of_search_from_the_script(searched):
    [row] = [r for r in _exported(searched, "json") if r["trial"] == "0"]
    assert row["val_loss"] == row["x"] + 1
    (done := searched("worker", "runs/toy", "quick.py:make_tuner", "--fit", "quick.py:nothing"))
    assert done.exit_code == 0 and "has ended before" in done.output
    assert searched("worker", "runs/toy", "quick.py:make_tuner", "--quiet").output == ""


def test_a_study_is_shown_with_its_best_trials_its_failures_and_its_standing(searched):
    shown = searched("show", "runs/toy").output
    assert "val_loss: 6 of 6 trials · 1 failed · " in shown
    ranked = sorted(_exported(searched, "json"), key=lambda row: row["score"] or 9)
    first = re.search(r"Best trials\s+Trial +val_loss.*\n(\d) ", shown)
    assert first and first[1] == ranked[0]["trial"]
    assert re.search(r"2 +error +ValueError: no good", shown)
    assert len(re.findall(r"^\d ", searched("show", "runs/toy", "--trials", 2).output, re.M)) == 3


def test_a_failures_cause_is_found_before_the_notes_that_libraries_add():
    told = "Traceback\n  File 'a.py'\nTypeError: no array\n-----\nFor simplicity, frames are gone."
    assert raised_line(told) == "TypeError: no array"
    assert raised_line("its worker gives no sign of life") == "its worker gives no sign of life"


def test_the_studies_of_a_folder_are_listed(searched, tmp_path):
    (tmp_path / "runs" / "empty").mkdir()
    assert re.search(r"^toy +val_loss +6 of 6 +0 +1 ", searched("list", "runs").output, re.M)
    assert "There is no study in" in searched("list", "elsewhere").output


def test_the_best_trial_is_told_to_people_and_to_programs(searched):
    told = json.loads(searched("best", "runs/toy", "--json").output)
    assert told["objective"] == "val_loss" and told["values"].keys() == {"x", "status"}
    assert told["score"] == told["metrics"]["val_loss"] == told["values"]["x"] + 1
    said = searched("best", "runs/toy").output
    assert said.startswith(f"Trial {told['trial']}: val_loss {told['score']:.6g}\nx: ")


def _exported(run, kind):
    done = run("export", "runs/toy", f"out.{kind}")
    assert done.exit_code == 0, done.output
    with Path(f"out.{kind}").open(encoding="utf-8") as file:
        return list(csv.DictReader(file)) if kind == "csv" else json.load(file)


def test_an_export_has_a_row_for_each_trial_and_no_column_twice(searched):
    rows, table = _exported(searched, "json"), _exported(searched, "csv")
    assert [row["trial"] for row in rows] == [row["trial"] for row in table] == list("012345")
    assert rows[2]["failure"] == "error" and rows[2]["score"] is None and table[2]["score"] == ""
    assert rows[0]["status"] == "COMPLETED" and rows[0]["value:status"] in ("a", "b")
    assert float(table[3]["val_loss"]) == rows[3]["val_loss"]
    assert "must end in .csv or .json" in str(searched("export", "runs/toy", "a.txt").exception)


def test_a_running_study_is_shown_with_its_workers(project, tmp_path, run):
    class Looking(BaseTuner):
        def run_trial(self, trial, **kwargs):
            seen.append(run("show", "project").output)
            return 0.5

    seen = []
    tuner = Looking(kt.oracles.RandomSearchOracle(max_trials=1), Model(), **project)
    tuner.search(verbose=0)
    assert "1 running" in seen[0]
    assert re.search(rf"{os.getpid()} +alive +0 +0 +\d+s", seen[0])
    assert len(re.findall(rf"\b{os.getpid()} +\w", seen[0])) == 1
    assert "Workers" not in run("show", "project").output


@pytest.mark.slow
def test_a_failures_cause_is_the_last_line_and_its_place_in_the_script_stands_before(tmp_path):
    script = "def build(hp):\n    hp.Int('x', 0, 1)\n    raise ValueError('the cause')\n"
    (tmp_path / "broken.py").write_text(script)
    done = process(
        tmp_path, "-m", "keratune", "worker", "runs/x", "broken.py:build", "--objective", "loss"
    )
    lines = done.stderr.splitlines()
    assert done.returncode == 1 and lines[-1] == "ValueError: the cause"
    assert 'broken.py", line 3, in build' in done.stderr and "keratune/" not in done.stderr


SLOW = """
import signal, time
import keratune as kt
from keratune.base_tuner import BaseTuner

signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job would ignore it

class Slow(BaseTuner):
    def run_trial(self, trial, **kwargs):
        print("at work", flush=True)
        time.sleep(1)
        return 0.5

def make_tuner():
    oracle = kt.oracles.RandomSearchOracle(max_trials=50)
    return Slow(oracle, lambda hp: hp.Float("x", 0, 1), directory="runs", project_name="slow")

def make_slowly():
    print("at work", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize(
    ("target", "number", "code"),
    [
        ("make_tuner", signal.SIGINT, 130),
        ("make_tuner", signal.SIGTERM, PREEMPTED),
        ("make_slowly", signal.SIGINT, 130),
        ("make_slowly", signal.SIGUSR1, PREEMPTED),
    ],
)
def test_a_signal_ends_a_worker_with_its_code_whatever_it_is_at(tmp_path, target, number, code):
    (tmp_path / "slow.py").write_text(SLOW)
    with subprocess.Popen(
        [sys.executable, "-m", "keratune", "worker", "runs/slow", f"slow.py:{target}"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as started:
        while "at work" not in (line := started.stdout.readline()):
            assert line, "it has ended before"
        started.send_signal(number)
        said = started.communicate(timeout=30)[0]
    assert started.returncode == code and "Traceback" not in said


@pytest.mark.parametrize(
    ("error", "lines"),
    [
        (ValueError("one"), ["ValueError: one"]),
        (RuntimeError("one\ntwo"), ["RuntimeError: one", "two", "RuntimeError: one"]),
        (KeyError(), ["KeyError"]),
    ],
)
def test_an_error_is_told_once_with_its_cause_at_the_end(error, lines):
    assert cli.told(error).splitlines() == lines


@pytest.mark.slow
def test_looking_imports_no_keras_and_the_help_is_there_within_a_second(tmp_path):
    code = """
        import resource, sys
        from keratune.cli import main
        try:
            main()
        except SystemExit as ended:
            used = resource.getrusage(resource.RUSAGE_SELF)
            loaded = {"keras", "jax", "tensorflow", "torch", "sklearn"} & set(sys.modules)
            print("result", ended.code, sorted(loaded), used.ru_utime + used.ru_stime)
    """
    (tmp_path / "look.py").write_text(textwrap.dedent(code))
    for command in (["--help"], ["list", "."], ["show", "runs/toy"]):
        done = process(tmp_path, "look.py", *command)
        code, seconds = re.search(r"result (\d) \[\] ([\d.]+)", done.stdout).groups()
        assert code == ("1" if command[0] == "show" else "0")
        if command == ["--help"]:
            assert float(seconds) < 2.0  # half of it on a machine that does nothing else


def test_without_typer_the_command_says_how_to_install_it(tmp_path):
    (tmp_path / "typer.py").write_text("raise ImportError('no typer')")
    done = process(tmp_path, "-m", "keratune", "--help", PYTHONSAFEPATH="")
    assert done.returncode == 1
    assert 'pip install "keratune[cli]"' in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
