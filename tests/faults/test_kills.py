"""A search that is killed again and again comes to the same as one that was not."""

import os

import keras
import kill_search
import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(keras.backend.backend() != "jax", reason="bit-equal on JAX"),
    pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL"),
]

SOAK = bool(os.environ.get("KERATUNE_SOAK"))
TRIALS, KILLS = (30, 25) if SOAK else (4, 3)
SEED = int(os.environ.get("KERATUNE_SOAK_SEED", "0"))


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("variant", kill_search.VARIANTS)
def test_a_search_that_is_killed_at_random_moments_comes_to_the_same(variant, tmp_path):
    whole = kill_search.run(tmp_path / "whole", variant, TRIALS)
    cut = kill_search.run(tmp_path / "cut", variant, TRIALS, KILLS, SEED)
    told = (
        f"{variant}: {len(cut.kills)} kills, {cut.starts} starts, {cut.repeated} epochs repeated, "
        f"{whole.seconds:.0f} s whole, {cut.seconds:.0f} s killed. Seed {SEED}: {cut.kills}"
    )
    print(told)
    assert cut.outcome == whole.outcome, told
    assert len(cut.outcome) == TRIALS
    assert cut.repeated <= len(cut.kills), told
    assert kill_search.files_of(tmp_path / "cut") == kill_search.files_of(tmp_path / "whole"), told
    kept = [files for files in kill_search.files_of(tmp_path / "cut").values() if len(files) > 1]
    assert len(kept) == kill_search.KEEP, told
    assert len(kill_search.drafts_of(tmp_path / "cut")) <= 2, told
