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
        assert getattr(module, name) is not None or name == "tf"


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


def test_keras_is_found_under_the_names_of_the_backend(tmp_path):
    import keras
    from keras_tuner.backend import io, ops, random
    from keras_tuner.src.backend import keras as theirs

    assert theirs.Model is keras.Model
    assert ops.add is keras.ops.add
    assert random.normal is keras.random.normal
    io.makedirs(str(tmp_path / "a" / "b"))
    with io.File(str(tmp_path / "a" / "b" / "c.txt"), "w") as file:
        file.write("text")
    assert io.exists(io.write_filepath(str(tmp_path / "a" / "b" / "c.txt"), None))
    assert io.glob(str(tmp_path / "a" / "*")) == [io.write_dirpath(str(tmp_path / "a/b"), None)]
    io.rmtree(str(tmp_path / "a"))
    assert not io.exists(str(tmp_path / "a"))


def test_the_environment_is_read_when_the_role_is_asked_for(monkeypatch):
    from keras_tuner.distribute.utils import has_chief_oracle, is_chief_oracle

    assert not has_chief_oracle()
    monkeypatch.setenv("KERASTUNER_ORACLE_IP", "127.0.0.1")
    with pytest.raises(RuntimeError, match="KERASTUNER_ORACLE_PORT"):
        has_chief_oracle()
    monkeypatch.setenv("KERASTUNER_ORACLE_PORT", "8000")
    with pytest.raises(RuntimeError, match="KERASTUNER_TUNER_ID"):
        has_chief_oracle()
    monkeypatch.setenv("KERASTUNER_TUNER_ID", "chief")
    assert is_chief_oracle()
    monkeypatch.setenv("KERASTUNER_TUNER_ID", "worker0")
    assert has_chief_oracle()
    assert not is_chief_oracle()


TUTORIAL = """
import sys

import keras
import keras_tuner
import numpy as np
from helper import COLUMNS
from keras_tuner.engine.hyperparameters import HyperParameters


def build_model(hp):
    model = keras.Sequential([keras.Input((COLUMNS,))])
    for i in range(hp.Int("num_layers", 1, 2)):
        model.add(keras.layers.Dense(hp.Int(f"units_{i}", 4, 8, step=4), activation="relu"))
    model.add(keras.layers.Dense(1))
    model.compile(keras.optimizers.Adam(hp.Choice("learning_rate", [1e-2, 1e-3])), loss="mse")
    return model


if __name__ == "__main__":
    assert isinstance(HyperParameters(), HyperParameters)
    assert __file__.endswith("tutorial.py")
    assert sys.modules["__main__"].build_model is build_model
    tuner = keras_tuner.RandomSearch(
        hypermodel=build_model,
        objective="val_loss",
        max_trials=2,
        executions_per_trial=1,
        overwrite=True,
        directory=sys.argv[1],
        project_name="helloworld",
    )
    tuner.search_space_summary()
    x = np.zeros((8, COLUMNS), "float32")
    y = x[:, :1]
    tuner.search(x, y, epochs=1, validation_data=(x, y), verbose=0)
    assert tuner.get_best_models(num_models=1)[0].count_params() > 0
    tuner.results_summary()
    print("argv", sys.argv[1:])
    print("home", keras_tuner.RandomSearch.__module__)
"""


def run_script(tmp_path, text, *arguments):
    (tmp_path / "scripts").mkdir()
    script = tmp_path / "scripts" / "tutorial.py"
    script.write_text(text)
    (tmp_path / "scripts" / "helper.py").write_text("COLUMNS = 4\n")
    command = [sys.executable, "-m", "keratune.compat", str(script), *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def test_a_script_that_imports_keras_tuner_runs_unedited(tmp_path):
    done = run_script(tmp_path, TUTORIAL, "runs", "--more")
    assert done.returncode == 0, done.stderr
    assert "argv ['runs', '--more']" in done.stdout
    assert "home keratune.tuners" in done.stdout
    assert (tmp_path / "runs" / "helloworld" / "trial_0").is_dir()


def test_an_error_of_a_script_shows_the_scripts_lines_and_no_others(tmp_path):
    done = run_script(
        tmp_path, "import keras_tuner\n\ndef f():\n    raise KeyError('mine')\n\nf()\n"
    )
    assert done.returncode == 1
    frames = [line.strip() for line in done.stderr.splitlines() if line.startswith("  File")]
    assert [frame.rpartition(", ")[2] for frame in frames] == ["in <module>", "in f"]
    assert all("tutorial.py" in frame for frame in frames)
    assert done.stderr.rstrip().endswith("KeyError: 'mine'")


def test_a_scripts_exit_status_is_passed_on_and_a_missing_script_is_named(tmp_path):
    assert run_script(tmp_path, "import sys; sys.exit(7)").returncode == 7
    command = [sys.executable, "-m", "keratune.compat"]
    for arguments, text in (([], "Usage"), (["gone.py"], "gone.py cannot be read")):
        done = subprocess.run([*command, *arguments], capture_output=True, text=True)
        assert done.returncode == 1
        assert text in done.stderr
