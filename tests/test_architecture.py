"""The house rules of the package, read from its syntax trees without importing it.

A module imports only from floors beneath its own, at module level, inside functions and under
`TYPE_CHECKING` alike. Modules of one floor do not import each other: what two of them share moves
down a floor. Two tables below are the place to edit when a module is added: `FLOORS`, and
`IMPORTED_BY` for a package that is heavy or optional.
"""

import ast
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parent.parent / "src" / "keratune"

# Module or package below keratune -> floor. The most exact entry counts: `algorithms.base` before
# `algorithms.*`, which stands for the package itself and everything in it.
FLOORS = {
    "errors": -1,  # the ground: floor 0 stands on it as well
    "_clock": 0,
    "_files": 0,
    "_json": 0,
    "_processes": 0,
    "_random": 0,
    "_runtime": 0,
    "numerics.*": 0,
    "numerics.acquisition": -1,  # no other part of numerics is beneath it
    "conditions": 1,
    "objectives": 1,
    "surrogates.surrogate": 1,
    "metrics": 2,
    "model_limits": 2,
    "ranking": 2,
    "parameters": 2,
    "priors": 1,
    "surrogates.beliefs": 6,
    "configurations": 3,
    "space": 3,
    "structure": 4,
    "constraints": 4,
    "trial": 4,
    "history": 5,
    "algorithms.base": 6,
    "surrogates.candidates": 7,
    "surrogates.filling": 7,
    "surrogates.front_search": 6,
    "surrogates.encoding": 5,
    "surrogates.short_trainings": 6,
    "surrogates.observations": 7,
    "surrogates.curve_observations": 6,
    "_registry": 0,
    "halving": 7,
    "limits": 7,
    "stop": 6,
    "halt": 0,
    "rungs": 6,
    "surrogates.spacing": 6,
    "surrogates.*": 4,
    "schedulers.base": 6,
    "schedulers.none": 7,
    "storage.base": 6,
    "storage.database": 5,
    "storage.postgres": 6,
    "storage.sqlite": 6,
    "training.base": 6,
    "training.checkpoints": 6,
    "training.failures": 6,
    "training.flops_jax": 6,
    "training.flops_tensorflow": 6,
    "training.flops_torch": 6,
    "training.keras_callback_state": 6,
    "training.keras_state": 6,
    "training.keras_variables": 5,
    "training.results": 6,
    "training.threads": 7,
    "algorithms.*": 8,
    "applications.*": 8,
    "applications.images": 7,
    "population": 7,
    "rounds": 7,
    "schedulers.*": 8,
    "endings": 7,
    "journal": 7,
    "settling": 8,
    "planning": 8,
    "proposals": 7,
    "storage.*": 7,
    "storage.http": 8,
    "training.keras_callbacks": 7,
    "training.keras_costs": 8,
    "training.model_cost": 7,
    "noise": 6,
    "racing": 7,
    "confirmation": 7,
    "mirror": 8,
    "transfer": 8,
    "training.*": 8,
    "training.keras": 9,
    "vectorized.*": 0,
    "vectorized.anatomy": 6,
    "vectorized.families": 9,
    "vectorized.fleet": 10,
    "vectorized.members": 8,
    "vectorized.program": 8,
    "vectorized.steps": 7,
    "together": 13,
    "study": 9,
    "execution.*": 12,
    "execution.base": 10,
    "execution.devices": 0,
    "execution.heart": 10,
    "execution.interrupts": 10,
    "execution.keras_settings": 7,
    "execution.lines": 0,
    "execution.local": 13,
    "execution.local_worker": 10,
    "execution.ray": 13,
    "execution.ray_worker": 11,
    "execution.memory": 3,
    "execution.packing": 8,
    "execution.roles": 0,
    "execution.supervisor": 11,
    "execution.worker": 10,
    "execution.working": 9,
    "executors": 14,
    "job": 11,
    "reporting.*": 10,
    "reporting.following": 9,
    "reporting.progress": 8,
    "study_owner": 10,
    "oracle": 11,
    "base_tuner": 15,
    "oracles": 12,
    "sklearn_tuner": 16,
    "tuner": 16,
    "tuners": 17,
    "testing.*": 17,
    "places": 8,
    "scripts": 0,
    "begun": 18,
    "commands": 19,
    "cli": 20,
    "__main__": 21,
    "compat.*": 18,
}

# The face of the package may import everything. It shows floors up to this one, so only
# modules above may import it in turn. Its `__version__` is for all.
FACE_FLOOR = 17

# Heavy or optional package -> the modules that may import it, beside those that bear its name
# (`keras_state` bears Keras's). The values are reasons; `applications.*` stands for the folder.
IMPORTED_BY = {
    "httpx": {"storage.http": "asks the chief for the study"},
    "jax": {"vectorized.*": "trains many trials in one JAX program"},
    "keras": {
        "applications.*": "ready-made Keras models",
        "reporting.tensorboard": "writes the scalars of a fit through a Keras callback",
        "together": "asks which backend it is",
        "training.checkpoints": "saves and restores in Keras's own format",
        "training.flops_jax": "traces a Keras model",
        "training.flops_tensorflow": "traces a Keras model",
        "training.flops_torch": "traces a Keras model",
        "training.initial_jax": "has Keras draw initial values",
        "training.model_cost": "asks Keras models and their backend",
        "vectorized.*": "runs Keras's own training steps for many trials",
    },
    "pandas": {"reporting.results": "gives the results as a DataFrame"},
    "plotly": {"reporting.plots": "draws with it"},
    "psycopg": {"storage.postgres": "SQLAlchemy's driver for PostgreSQL"},
    "ray": {},
    "rich": {
        "commands": "prints tables",
        "reporting.progress": "draws the display of a running search",
        "reporting.summaries": "prints tables",
        "reporting.tables": "makes tables",
    },
    "sklearn": {},
    "sqlalchemy": {
        "storage.database": "asks it what an error means",
        "storage.postgres": "connects through it",
        "storage.sql": "the tables that a study is kept in",
        "storage.sqlite": "connects through it",
    },
    "starlette": {
        "execution.server": "answers over HTTP",
        "reporting.dashboard": "answers over HTTP",
    },
    "tensorboard": {},
    "tensorflow": {"training.keras_state": "restores its seed and frees its kernels"},
    "torch": {},
    "typer": {"cli": "says what is missing", "commands": "reads the command line"},
    "uvicorn": {
        "execution.server": "serves the study",
        "reporting.dashboard": "serves the pages",
    },
}

MAY_PRINT = {"cli", "reporting.progress", "reporting.summaries"}
MAY_ASSERT = {"testing.*"}  # the contract suites that ship are tests


# Reading the package


@dataclass(frozen=True)
class Module:
    """One source file, named below keratune: `""` is the face, `"storage"` a package's face."""

    name: str
    tree: ast.Module
    is_package: bool

    def at(self, node):
        """The place of a node, as the messages name it."""
        file = self.name.replace(".", "/") + ("/__init__" if self.is_package else "")
        return f"{file.lstrip('/')}.py:{getattr(node, 'lineno', 1)}"


@dataclass(frozen=True)
class Import:
    """One imported name: `target` is dotted, and below keratune if `internal`."""

    target: str
    internal: bool
    node: ast.AST


def read(root):
    """All modules under a package folder, by name."""
    modules = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        modules[name] = Module(name, ast.parse(path.read_text(encoding="utf-8")), is_package)
    return modules


def imports(module, modules):
    """Every import of a module, wherever in the file it stands."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield _resolved(alias.name, modules, node)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute_base(module, node)
            for alias in node.names:
                yield _resolved(f"{base}.{alias.name}", modules, node)
        elif isinstance(node, ast.Call) and _called(node) in {"require", "import_module"}:
            if node.args and isinstance(node.args[0], ast.Constant):
                yield _resolved(str(node.args[0].value), modules, node)


def _absolute_base(module, node):
    """The dotted package or module that a `from ... import` names."""
    if not node.level:
        return node.module
    parts = ["keratune", *filter(None, module.name.split("."))]
    parts = parts[: len(parts) - node.level + module.is_package]
    return ".".join([*parts, *filter(None, [node.module])])


def _resolved(dotted, modules, node):
    """The module that a dotted name lies in: `keratune.trial.Trial` is the module `trial`."""
    first, _, rest = dotted.partition(".")
    if first != "keratune":
        return Import(dotted, False, node)
    if rest == "__version__":
        return Import(rest, True, node)
    while rest and rest not in modules:
        rest = rest.rpartition(".")[0]
    return Import(rest, True, node)


def _called(node):
    return getattr(node.func, "id", None) or getattr(node.func, "attr", None)


def entry(table, name):
    """The most exact key of a table that stands for a module, or None."""
    if name in table:
        return name
    parts = name.split(".")
    folders = (".".join(parts[:end]) + ".*" for end in range(len(parts), 0, -1))
    return next((folder for folder in folders if folder in table), None)


def floor_of(name):
    return FACE_FLOOR if name == "" else FLOORS.get(entry(FLOORS, name))


# The rules: each gives the list of its breaches


def modules_without_floor(modules):
    return [
        f"{module.at(None)} has no floor. Add {name!r} to FLOORS in tests/test_architecture.py."
        for name, module in modules.items()
        if name and floor_of(name) is None
    ]


def imports_that_point_up(modules):
    found = []
    for name, module in modules.items():
        if name == "" or floor_of(name) is None:
            continue
        for item in imports(module, modules):
            if not item.internal or item.target == "__version__":
                continue
            own = module.is_package and item.target.startswith(name + ".")
            floor = floor_of(item.target)
            if own or floor is None or floor < floor_of(name):
                continue
            target = f"keratune.{item.target}".rstrip(".")
            found.append(
                f"{module.at(item.node)} (floor {floor_of(name)}) imports {target} "
                f"(floor {floor}). Import only from lower floors; move what both need down."
            )
    return found


def heavy_imports_out_of_place(modules):
    found = []
    for name, module in modules.items():
        for item in imports(module, modules):
            package = item.target.split(".")[0]
            if item.internal or package not in IMPORTED_BY:
                continue
            if package in name.split(".")[-1].split("_") or entry(IMPORTED_BY[package], name):
                continue
            found.append(
                f"{module.at(item.node)} imports {package}. Move it to the file that bears its "
                "name, or add the module and a reason to IMPORTED_BY in tests/test_architecture.py."
            )
    return found


def missing_docstrings(modules):
    found = []
    for module in modules.values():
        if not ast.get_docstring(module.tree):
            found.append(f"{module.at(None)} has no docstring.")
        for node in module.tree.body:
            named = isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            if named and not node.name.startswith("_") and not ast.get_docstring(node):
                if not _is_overload(node):
                    found.append(f"{module.at(node)} {node.name} has no docstring.")
    return found


def _is_overload(node):
    return any(ast.unparse(item).endswith("overload") for item in node.decorator_list)


def wrong_export_lists(modules):
    """Where `__all__` stands, it names what the module offers: no more, no less, nothing twice."""
    found = []
    for name, module in modules.items():
        for node in module.tree.body:
            if not (isinstance(node, ast.Assign) and _targets(node) == ["__all__"]):
                continue
            try:
                listed = list(ast.literal_eval(node.value))
            except ValueError:
                found.append(f"{module.at(node)} __all__ must be a plain list of names.")
                continue
            bound, offered = _bound_names(module.tree.body), _offered_names(module)
            below = {child.rpartition(".")[2] for child in modules if _parent(child) == name}
            lazy = "__getattr__" in bound
            unknown = [] if lazy else [x for x in listed if x not in bound | below]
            for problem, names in [
                ("names what the module does not have", unknown),
                ("leaves out", sorted(offered - set(listed))),
                ("names twice", sorted({x for x in listed if listed.count(x) > 1})),
            ]:
                if names:
                    found.append(f"{module.at(node)} __all__ {problem}: {', '.join(names)}.")
    return found


def _parent(name):
    return name.rpartition(".")[0] if name else None


def _targets(node):
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return [
        item.id for target in targets for item in ast.walk(target) if isinstance(item, ast.Name)
    ]


def _statements(body):
    """Statements that run when the module is imported, those inside `if` and `try` included."""
    for node in body:
        yield node
        for block in ("body", "orelse", "finalbody"):
            if isinstance(node, ast.If | ast.Try):
                yield from _statements(getattr(node, block, []))
        for handler in getattr(node, "handlers", []):
            yield from _statements(handler.body)


def _bound_names(body):
    names = set()
    for node in _statements(body):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
            names.update(_targets(node))
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names.update(alias.asname or alias.name.split(".")[0] for alias in node.names)
    return names


def _offered_names(module):
    """Public classes and functions; for a package also what it imports from keratune."""
    names = set()
    for node in module.tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif module.is_package and isinstance(node, ast.ImportFrom):
            if node.level or (node.module or "").split(".")[0] == "keratune":
                names.update(alias.asname or alias.name for alias in node.names)
    return {name for name in names if not name.startswith("_")}


def asserts_and_prints(modules):
    found = []
    for name, module in modules.items():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Assert) and not entry(dict.fromkeys(MAY_ASSERT), name):
                found.append(f"{module.at(node)} asserts. Raise an error that tells the rule.")
            prints = isinstance(node, ast.Call) and getattr(node.func, "id", None) == "print"
            if prints and not entry(dict.fromkeys(MAY_PRINT), name):
                found.append(f"{module.at(node)} prints. Use the logger of keratune._runtime.")
    return found


RULES = [
    modules_without_floor,
    imports_that_point_up,
    heavy_imports_out_of_place,
    missing_docstrings,
    wrong_export_lists,
    asserts_and_prints,
]


@cache
def package():
    return read(SOURCE)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_package_keeps(rule):
    breaches = rule(package())
    assert not breaches, "\n" + "\n".join(breaches)


def test_there_is_a_package_to_read():
    assert "errors" in package()


# The rules themselves, tried on small packages


@pytest.fixture
def build(tmp_path):
    """Write files of a package and read it: `build({"trial": "import os"})`."""

    def write(files):
        for name, source in files.items():
            path = tmp_path / "keratune" / f"{name}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(source, encoding="utf-8")
        return read(tmp_path / "keratune")

    return write


@pytest.mark.parametrize(
    "source",
    [
        "from keratune.study import Study",
        "from keratune import study",
        "import keratune.study",
        "from .study import Study",
        "from . import study",
        "def f():\n    from keratune.study import Study",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from keratune.study import Study",
        "import importlib\nimportlib.import_module('keratune.study')",
        "from keratune.history import History",
        "from keratune import Study",
    ],
)
def test_an_import_from_the_same_floor_or_above_is_found(build, source):
    [breach] = imports_that_point_up(build({"trial": source, "study": "", "history": ""}))
    assert breach.startswith("trial.py:") and "floor 4" in breach


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("study", "from keratune.trial import Trial"),
        ("study", "from keratune.algorithms import available"),
        ("algorithms/random_search", "from .base import Algorithm\nfrom ..trial import Trial"),
        ("algorithms/__init__", "from . import base, grid\nfrom .grid import Grid"),
        ("_runtime", "from keratune.errors import KeratuneError"),
        ("trial", "from keratune import __version__"),
        ("cli", "import keratune as kt"),
        ("__init__", "from keratune.cli import main"),
    ],
)
def test_an_import_from_below_is_allowed(build, name, source):
    others = ["errors", "trial", "cli", "algorithms/__init__", "algorithms/base", "algorithms/grid"]
    modules = build({**dict.fromkeys(others, ""), name: source})
    assert imports_that_point_up(modules) == []


def test_members_of_a_folder_do_not_import_each_other_or_their_registry(build):
    files = {"algorithms/__init__": "", "algorithms/grid": "", "algorithms/base": ""}
    files["algorithms/tpe"] = "from .grid import Grid\nfrom . import available"
    assert len(imports_that_point_up(build(files))) == 2


def test_a_module_that_no_floor_is_given_for_is_named_with_the_way_out(build):
    modules = build({"attic": "", "trial": "", "algorithms/new": ""})
    assert modules_without_floor(modules) == [
        "attic.py:1 has no floor. Add 'attic' to FLOORS in tests/test_architecture.py."
    ]


@pytest.mark.parametrize(
    ("name", "source", "breaches"),
    [
        ("study", "import keras", 1),
        ("study", "def f():\n    from jax import numpy", 1),
        ("study", "require('plotly.graph_objects', extra='plots')", 1),
        ("study", "import numpy, json", 0),
        ("training/keras_state", "import keras", 0),
        ("applications/hyper_resnet", "import keras", 0),
        ("storage/sql", "import sqlalchemy as sa", 0),
        ("execution/ray", "require('ray', extra='ray')", 0),
    ],
)
def test_heavy_packages_are_imported_in_their_own_file_only(build, name, source, breaches):
    assert len(heavy_imports_out_of_place(build({name: source}))) == breaches


def test_missing_docstrings_are_found(build):
    modules = build({"trial": "class Trial: ...\ndef _f(): ...\n\ndef fold(): 'Folds.'"})
    assert missing_docstrings(modules) == [
        "trial.py:1 has no docstring.",
        "trial.py:1 Trial has no docstring.",
    ]


@pytest.mark.parametrize(
    ("name", "source", "breaches"),
    [
        ("trial", "__all__ = ['Trial']\nclass Trial: ...\ndef _f(): ...", 0),
        ("trial", "__all__ = ['Trial', 'Gone']\nclass Trial: ...", 1),
        ("trial", "__all__ = ['Trial']\nclass Trial: ...\ndef fold(): ...", 1),
        ("trial", "__all__ = ['Trial', 'Trial']\nclass Trial: ...", 1),
        ("trial", "__all__ = [*other]", 1),
        ("trial", "__all__ = ['read']\ntry:\n    from a import read\nexcept E:\n    read = 1", 0),
        ("storage/__init__", "from .sql import Sql\n__all__ = ['Sql', 'sql']", 0),
        ("storage/__init__", "from .sql import Sql, Table\n__all__ = ['Sql']", 1),
        ("storage/__init__", "__all__ = ['Late']\ndef __getattr__(name): ...", 0),
    ],
)
def test_an_export_list_names_what_the_module_offers(build, name, source, breaches):
    files = {"storage/sql": "class Sql: ...\nclass Table: ...", name: source}
    assert len(wrong_export_lists(build(files))) == breaches


def test_asserts_and_prints_are_found_where_they_do_not_belong(build):
    source = "assert x\nprint(x)\n"
    files = ["trial", "cli", "reporting/progress", "testing/algorithms"]
    breaches = asserts_and_prints(build(dict.fromkeys(files, source)))
    assert [breach.split(".")[0] for breach in breaches] == [
        "cli",
        "reporting/progress",
        "testing/algorithms",
        "trial",
        "trial",
    ]
