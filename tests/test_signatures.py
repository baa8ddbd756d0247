"""Every public name, signature and default of KerasTuner 1.4.8, beside keratune's.

What may differ stands in the tables of `docs/coming_from_kerastuner.md`, which these tests read:
a difference that the page lacks fails, and so does a row of the page that is no difference.
"""

import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import pytest

import keratune as kt
from keratune.compat.paths import NAMES

with pytest.MonkeyPatch.context() as patch:
    patch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    pytest.importorskip("keras_tuner")

PAGE = Path(__file__).resolve().parent.parent / "docs" / "coming_from_kerastuner.md"


def rows(heading):
    """The cells of the table under a heading of the page; the first row is left out."""
    section = PAGE.read_text(encoding="utf-8").split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def code(cell):
    """The words between backticks."""
    return re.findall(r"`([^`]+)`", cell)


def theirs_at(path):
    """A module of KerasTuner's repository layout."""
    return importlib.import_module(f"keras_tuner.src.{path}".rstrip("."))


def ours(path, name):
    """What keratune has under a name of KerasTuner's."""
    home, _, attribute = NAMES[path][name].partition(":")
    module = importlib.import_module(home)
    return getattr(module, attribute) if attribute else module


def classes():
    """All classes that both libraries have, theirs and ours."""
    for path, names in NAMES.items():
        for name in names:
            if name.startswith("_") or name == "*":
                continue
            try:
                theirs = getattr(theirs_at(path), name)
            except (ImportError, AttributeError):
                continue
            if inspect.isclass(theirs) and theirs.__module__.startswith("keras_tuner"):
                yield theirs, ours(path, name)


def parameters(function):
    """Parameters by name, `self` left out: (kind, default); None where there is no signature."""
    try:
        found = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return None
    return {name: p for name, p in found.items() if name != "self"}


def members(cls):
    """The constructor and the public methods that KerasTuner itself defines."""
    yield "__init__"
    for name in dir(cls):
        if name.startswith("_"):
            continue
        if inspect.isfunction(inspect.getattr_static(cls, name)) or inspect.ismethod(
            getattr(cls, name, None)
        ):
            yield name


def shown(default):
    return getattr(default, "__qualname__", repr(default))


def differences(theirs, given):
    """How a signature of keratune's differs from KerasTuner's, as the page words it."""
    wanted, have = parameters(theirs), parameters(given)
    if wanted is None or have is None:
        return
    # A decorator of KerasTuner's hides the arguments.
    if [p.kind.name for p in wanted.values()] == ["VAR_POSITIONAL", "VAR_KEYWORD"]:
        return
    open_ended = any(p.kind is p.VAR_KEYWORD for p in have.values())
    for name, parameter in wanted.items():
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            continue
        if name not in have:
            if not open_ended:
                yield f"no {name}"
        elif have[name].default is inspect.Parameter.empty and (
            parameter.default is not inspect.Parameter.empty
        ):
            yield f"{name} required"
        elif parameter.default is inspect.Parameter.empty and (
            have[name].default is not inspect.Parameter.empty
        ):
            yield f"{name}={shown(have[name].default)}"
        elif have[name].default != parameter.default:
            yield f"{name}={shown(have[name].default)}"
    order = [n for n, p in wanted.items() if p.kind is p.POSITIONAL_OR_KEYWORD]
    positional = [n for n, p in have.items() if p.kind is p.POSITIONAL_OR_KEYWORD]
    if [n for n in order if n in have] != positional[: len([n for n in order if n in have])]:
        yield f"order {', '.join(positional)}"
    for name, parameter in have.items():
        if name in wanted or parameter.kind in (
            parameter.VAR_KEYWORD,
            parameter.VAR_POSITIONAL,
        ):
            continue
        if parameter.default is inspect.Parameter.empty:
            yield f"{name} required"
        else:
            yield f"{name}={shown(parameter.default)}"


def all_differences():
    """`Class.method` -> what differs, over all classes that both libraries have."""
    found = {}
    for theirs, mine in classes():
        for member in members(theirs):
            label = theirs.__name__ if member == "__init__" else f"{theirs.__name__}.{member}"
            wanted = getattr(theirs, member)
            given = getattr(mine, member, None)
            texts = ["absent"] if given is None else list(differences(wanted, given))
            if texts:
                found.setdefault(label, set()).update(texts)
    return found


def allowed_differences():
    """The page's table: `Class.method`, or `*.method` for every class -> what may differ."""
    return {code(row[0])[0]: set(code(row[1])) for row in rows("Signatures that differ")}


def row_of(label, allowed):
    """The row that covers a difference."""
    return label if label in allowed else f"*.{label.partition('.')[2]}"


def test_a_signature_differs_where_the_page_says_so_and_nowhere_else():
    allowed, found = allowed_differences(), {}
    for label, texts in all_differences().items():
        found.setdefault(row_of(label, allowed), set()).update(texts)
    assert found == allowed


def test_every_name_is_there_or_the_page_says_that_it_is_not():
    absent = {
        (code(row[0])[0], name) for row in rows("Names that are absent") for name in code(row[1])
    }
    missing = set()
    for path in repository_modules():
        top = next((p for p, name in absent if name == "*" and is_below(path, p)), None)
        if top is not None:
            missing.add((top, "*"))
            continue
        assert path in NAMES, path
        if "*" in NAMES[path]:
            continue
        missing |= {(path, name) for name in defined_names(path) if name not in NAMES[path]}
    assert missing == absent


def is_below(path, top):
    return path == top or path.startswith(f"{top}.")


def repository_modules():
    """Every module of the installed KerasTuner, without its `keras_tuner.src.`."""
    package = theirs_at("")
    prefix = f"{package.__name__}."
    return [m.name.removeprefix(prefix) for m in pkgutil.walk_packages(package.__path__, prefix)]


def defined_names(path):
    """The names that a module of KerasTuner's defines itself."""
    module = theirs_at(path)
    for name, thing in vars(module).items():
        if name.startswith("_") or inspect.ismodule(thing):
            continue
        if getattr(thing, "__module__", module.__name__) == module.__name__:
            yield name


@pytest.mark.parametrize(
    "path",
    ["", "applications", "engine.hyperparameters", "engine.trial", "errors", "oracles", "tuners"],
)
def test_the_wheels_public_names_are_keratunes(path):
    module = importlib.import_module(f"keras_tuner.{path}".rstrip("."))
    names = [name for name in vars(module) if not name.startswith("_")]
    for name in names:
        if not inspect.ismodule(getattr(module, name)):
            assert ours(path, name) is not None


@pytest.mark.parametrize(
    "name", ["RandomSearch", "GridSearch", "BayesianOptimization", "Hyperband"]
)
def test_positional_arguments_mean_what_they_mean_in_kerastuner(name):
    import keras_tuner

    for theirs, mine in (
        (getattr(keras_tuner, name), getattr(kt, name)),
        (getattr(keras_tuner.oracles, f"{name}Oracle"), getattr(kt.oracles, f"{name}Oracle")),
    ):
        wanted, have = parameters(theirs.__init__), parameters(mine.__init__)
        assert list(have)[: len(wanted)] == list(wanted)
