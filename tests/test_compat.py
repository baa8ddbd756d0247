"""Old names: what is imported from `keras_tuner` is keratune's own."""

import importlib
import subprocess
import sys
import textwrap

import pytest

import keratune
from keratune.compat.paths import NAMES

PATHS = [
    f"{base}.{path}".rstrip(".") for base in ("keras_tuner", "keras_tuner.src") for path in NAMES
]


@pytest.fixture(autouse=True)
def alias(monkeypatch):
    before = {name for name in sys.modules if name.split(".")[0] == "keras_tuner"}
    kept = {name: sys.modules.pop(name) for name in before}
    keratune.install_as_keras_tuner()
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == "keras_tuner"]:
        del sys.modules[name]
    sys.modules.update(kept)


@pytest.mark.parametrize("path", PATHS)
def test_a_path_of_kerastuners_imports_and_every_name_in_it_is_there(path):
    module = importlib.import_module(path)
    for name in module.__all__:
        assert getattr(module, name) is not None


def test_the_classes_are_keratunes_own():
    import keras_tuner
    from keras_tuner.engine.hyperparameters import HyperParameters
    from keras_tuner.src.engine.tuner import Tuner

    assert keras_tuner.RandomSearch is keratune.RandomSearch
    assert HyperParameters is keratune.HyperParameters
    assert Tuner is keratune.Tuner


def test_a_star_import_brings_the_public_names():
    names = {}
    exec("from keras_tuner import *", names)
    assert names["GridSearch"] is keratune.GridSearch


def test_an_unknown_name_is_an_import_error():
    with pytest.raises(ImportError, match="NoSuchThing"):
        exec("from keras_tuner import NoSuchThing", {})


def test_installing_twice_changes_nothing():
    first = sys.modules["keras_tuner"]
    keratune.install_as_keras_tuner()
    assert sys.modules["keras_tuner"] is first


def test_a_real_kerastuner_that_is_imported_already_is_not_replaced_in_silence():
    script = """
        import sys, types
        sys.modules["keras_tuner"] = types.ModuleType("keras_tuner")
        import keratune
        try:
            keratune.install_as_keras_tuner()
        except RuntimeError as error:
            print("before `keras_tuner` is imported" in str(error))
        keratune.install_as_keras_tuner(replace=True)
        import keras_tuner
        print(keras_tuner.RandomSearch is keratune.RandomSearch)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["True", "True"]


def test_results_of_a_run_convert_as_old_helpers_do():
    from keras_tuner.engine.objective import create_objective
    from keras_tuner.engine.tuner_utils import convert_to_metrics_dict, get_best_step

    objective = create_objective("val_loss")
    assert convert_to_metrics_dict([{"val_loss": 1.0}, {"val_loss": 3.0}], objective) == {
        "val_loss": 2.0
    }
    assert get_best_step({"val_loss": 1.0}, objective) == 0
