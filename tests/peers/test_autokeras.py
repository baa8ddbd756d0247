"""AutoKeras 3.0 on keratune, in a process of its own: it imports TensorFlow and `keras_tuner`.

Set KERATUNE_AUTOKERAS to a folder that AutoKeras lies in when it is not installed.
"""

import importlib.util
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

FOLDER = os.environ.get("KERATUNE_AUTOKERAS", "")  # a folder that holds it, where pip has not
INSTALLED = importlib.util.find_spec("autokeras") is not None

pytestmark = [
    pytest.mark.skipif(
        not INSTALLED and not (FOLDER and Path(FOLDER, "autokeras").is_dir()),
        reason="AutoKeras is not installed. `pip install autokeras`, or set KERATUNE_AUTOKERAS to "
        "the folder that holds it.",
    ),
    pytest.mark.skipif(
        importlib.util.find_spec("tensorflow") is None, reason="AutoKeras needs TensorFlow."
    ),
]

HEAD = """
    import keratune
    keratune.install_as_keras_tuner()
    import autokeras as ak
    import keras
    import keras_tuner
    import numpy as np

    assert keras_tuner.Tuner is keratune.Tuner

    # AutoKeras 3.0.0 hands NumPy's integers to `Dense`, which Keras of today refuses,
    # whichever tuner library runs it.
    make_dense = keras.layers.Dense.__init__
    keras.layers.Dense.__init__ = lambda self, units, *args, **kwargs: make_dense(
        self, int(units), *args, **kwargs
    )

    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 4)).astype("float32")
"""


def run(script):
    paths = [str(Path(__file__).resolve().parents[2] / "src")]
    paths += [] if INSTALLED else [str(FOLDER)]
    environment = {
        **os.environ,
        "KERAS_BACKEND": "tensorflow",
        "PYTHONPATH": os.pathsep.join(paths),
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    text = textwrap.dedent(HEAD) + textwrap.dedent(script)
    done = subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.split()


def test_a_structured_data_search_fits_and_predicts():
    shown = run("""
        y = (x[:, :1] > 0).astype("float32")
        model = ak.StructuredDataClassifier(max_trials=2, seed=0, overwrite=True)
        model.fit(x, y, epochs=2, verbose=0)
        print(model.predict(x, verbose=0).shape[0], len(model.tuner.oracle.end_order))
        print(len(model.export_model().layers) > 2)
    """)
    assert shown[-3:] == ["64", "2", "True"]


@pytest.mark.parametrize("tuner", ["greedy", "random", "bayesian", "hyperband"])
def test_an_auto_model_is_searched_by_each_of_its_tuners(tuner):
    shown = run(f"""
        y = x.sum(axis=1, keepdims=True)
        inputs = ak.Input()
        outputs = ak.RegressionHead()(ak.DenseBlock(use_batchnorm=False)(inputs))
        model = ak.AutoModel(
            inputs, outputs, max_trials=3, seed=0, overwrite=True, tuner={tuner!r}
        )
        model.fit(x, y, epochs=1, verbose=0, validation_split=0.25)
        trials = model.tuner.oracle.trials.values()
        hashes = {{str(sorted(t.hyperparameters.values.items())) for t in trials}}
        print(len(trials) == len(hashes), all(t.score is not None for t in trials))
        print(len(trials) >= 2, model.evaluate(x, y, verbose=0)[0] < 1e6)
    """)
    assert shown[-4:] == ["True"] * 4


def test_a_search_that_was_interrupted_goes_on():
    shown = run("""
        from autokeras.tuners import greedy

        y = x.sum(axis=1, keepdims=True)
        inputs = ak.Input()
        outputs = ak.RegressionHead()(ak.DenseBlock(use_batchnorm=False)(inputs))

        def make(trials):
            return ak.AutoModel(inputs, outputs, max_trials=trials, seed=0, tuner=greedy.Greedy)

        first = make(2)
        first.fit(x, y, epochs=1, verbose=0, validation_split=0.25)
        before = {t.trial_id: t.score for t in first.tuner.oracle.trials.values()}
        again = make(3)
        again.fit(x, y, epochs=1, verbose=0, validation_split=0.25)
        trials = again.tuner.oracle.trials
        print(len(trials), all(trials[name].score == score for name, score in before.items()))
    """)
    assert shown[-2:] == ["3", "True"]
