"""A search with a scheduler that is killed comes to the same trials, scores and curves.

`python test_scheduled_kills.py FOLDER` runs such a search in FOLDER or continues it.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import kill_search
import pytest
from test_every_step import SOAK, killed_before

import keratune
from keratune import tuner as tuner_module
from keratune.training.jax_cache import compilation_cache

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(keras.backend.backend() != "jax", reason="bit-equal on JAX"),
]


def search(folder, trials=4, scheduler=None, epochs=3):
    tuner = keratune.RandomSearch(
        lambda hp: kill_search.model_of(kill_search.flat(hp)),
        "val_loss",
        max_trials=trials,
        seed=3,
        directory=folder,
        project_name="search",
        checkpoints=1,
        scheduler=scheduler or keratune.schedulers.ASHA(min_epochs=1),
    )
    (x, y), validation = kill_search.data()
    callbacks = kill_search.callbacks()
    tuner.search(x, y, epochs=epochs, validation_data=validation, callbacks=callbacks, verbose=0)
    return tuner


STRIDE = 1 if SOAK else 37  # every n-th step is tried
SEARCHES = {
    "asha": {},
    "median": {"scheduler": keratune.schedulers.Median(min_epochs=1, min_trials=2)},
}


@pytest.mark.parametrize("name", SEARCHES)
def test_a_search_goes_on_the_same_before_whichever_step_it_was_killed(name, tmp_path, monkeypatch):
    monkeypatch.setattr(tuner_module, "YOUNG_DRAFT", 0.0)
    whole = tmp_path / "whole"
    with compilation_cache(tmp_path / "compiled"):
        with killed_before(10**6) as done:
            tuner = search(whole, **SEARCHES[name])
        expected = kill_search.outcome_of(tuner)
        statuses = {record.status for record in tuner.history.trials}
        assert statuses == {"COMPLETED", "PAUSED" if name == "asha" else "STOPPED"}
        for step in range(STRIDE // 2, len(done), STRIDE):
            folder, place = tmp_path / str(step), f"killed before step {step}, {done[step]}"
            with killed_before(step):
                search(folder, **SEARCHES[name])
            tuner = search(folder, **SEARCHES[name])
            assert kill_search.outcome_of(tuner) == expected, place
            assert kill_search.files_of(folder) == kill_search.files_of(whole), place
            assert len(kill_search.drafts_of(folder)) <= 1, place
            assert len(tuner.get_best_models()) == 1, place


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_a_search_that_is_killed_outright_comes_to_the_same(tmp_path):
    folder, cache = tmp_path / "cut", tmp_path / "compiled"
    with compilation_cache(cache):
        expected = kill_search.outcome_of(search(tmp_path / "whole"))
    folder.mkdir()
    process = subprocess.Popen([sys.executable, __file__, str(folder), str(cache)])
    while process.poll() is None and not list(folder.glob("search/trial_1/state.npz")):
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    with compilation_cache(cache):
        assert kill_search.outcome_of(search(folder)) == expected


if __name__ == "__main__":
    with compilation_cache(Path(sys.argv[2])):
        search(sys.argv[1])
