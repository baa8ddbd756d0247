"""A search that is cut off before any one step that outlasts the process, and then continued.

A kill is played within this process: before the n-th write, rename or deletion an exception is
raised, and from then on before each of them, so that nothing which happens after the kill is left.
"""

import contextlib
import os
from pathlib import Path

import keras
import kill_search
import pytest

import keratune
from keratune import tuner as tuner_module
from keratune.storage.sql import SqlStorage
from keratune.training.jax_cache import compilation_cache

pytestmark = pytest.mark.skipif(keras.backend.backend() != "jax", reason="bit-equal on JAX")

SOAK = bool(os.environ.get("KERATUNE_SOAK"))
STRIDE = 1 if SOAK else 13  # every n-th step is tried
DURABLE = [(os, "replace"), (Path, "unlink"), (SqlStorage, "append")]


class Killed(BaseException):
    """Stands for SIGKILL."""


@contextlib.contextmanager
def killed_before(step):
    """Allow `step` durable steps, no more; yields the list of those that were done."""
    done = []

    def counting(function):
        def counted(*args, **kwargs):
            if len(done) >= step:
                raise Killed
            done.append(function.__name__)
            return function(*args, **kwargs)

        return counted

    with pytest.MonkeyPatch.context() as patch:
        for owner, name in DURABLE:
            patch.setattr(owner, name, counting(getattr(owner, name)))
        with contextlib.suppress(Killed):
            yield done


class Tuned(keratune.HyperModel):
    def build(self, hp):
        parts = {"layers": [hp.Choice("units", [3, 4, 5])], "dropout": 0.3, "normalise": True}
        if hp.Boolean("fast"):
            parts["rate"] = hp.Choice("rate", [0.01, 0.03])
        return kill_search.model_of({"rate": 0.003, **parts}, inputs=False)

    def fit(self, hp, model, *args, **kwargs):
        return model.fit(*args, batch_size=hp.Choice("batch_size", [16, 32]), **kwargs)


def search(folder):
    tuner = keratune.RandomSearch(
        Tuned(),
        "val_loss",
        max_trials=3,
        seed=1,
        executions_per_trial=2,
        directory=folder,
        project_name="search",
        checkpoints=1,
    )
    (x, y), validation = kill_search.data()
    callbacks = kill_search.callbacks()
    tuner.search(x, y, epochs=2, validation_data=validation, callbacks=callbacks, verbose=0)
    return tuner


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    with compilation_cache(folder), killed_before(10**6) as done:
        tuner = search(folder)
    return folder, kill_search.outcome_of(tuner), kill_search.files_of(folder), done


@pytest.mark.slow
def test_a_search_goes_on_the_same_before_whichever_step_it_was_killed(
    whole, tmp_path, monkeypatch
):
    monkeypatch.setattr(tuner_module, "YOUNG_DRAFT", 0.0)
    folder_of_whole, outcome, files, done = whole
    for step in range(STRIDE // 2, len(done), STRIDE):
        folder, place = tmp_path / str(step), f"killed before step {step}, {done[step]}"
        with compilation_cache(folder_of_whole):
            with killed_before(step):
                search(folder)
            tuner = search(folder)
        assert kill_search.outcome_of(tuner) == outcome, place
        assert kill_search.files_of(folder) == files, place
        assert kill_search.drafts_of(folder) == [], place
        assert len(tuner.get_best_models()) == 1, place
