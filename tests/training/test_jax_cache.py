"""Programs that were compiled before are read from the project's folder."""

import os
import sys

import pytest

jax = pytest.importorskip("jax")

from keratune.training.jax_cache import (  # noqa: E402
    CACHE_FOLDER,
    OLDEST_JAX,
    compilation_cache,
    drop_oldest,
)

pytestmark = pytest.mark.skipif(
    jax.__version_info__ < OLDEST_JAX, reason="this JAX is too old for its cache to be trusted"
)


def compile_something(number):
    jax.jit(lambda x: x * number + 1)(2.0).block_until_ready()


def test_compiled_programs_lie_in_the_projects_folder_and_the_setting_is_put_back(tmp_path):
    before = jax.config.jax_compilation_cache_dir
    with compilation_cache(tmp_path):
        compile_something(3)
    files = set(os.listdir(tmp_path / CACHE_FOLDER))
    assert any(name.endswith("-cache") for name in files)
    assert jax.config.jax_compilation_cache_dir == before
    compile_something(4)
    assert set(os.listdir(tmp_path / CACHE_FOLDER)) == files


def test_a_cache_of_the_users_own_is_used_instead(tmp_path):
    with compilation_cache(tmp_path / "own"), compilation_cache(tmp_path / "project"):
        compile_something(5)
    assert os.listdir(tmp_path / "own" / CACHE_FOLDER)
    assert not (tmp_path / "project").exists()


def test_nothing_is_imported_where_jax_is_not_in_use(tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "jax")
    with compilation_cache(tmp_path):
        assert "jax" not in sys.modules


def test_the_oldest_files_go_when_the_cache_is_too_large(tmp_path):
    for age, name in enumerate(["newest", "middle", "oldest"]):
        (tmp_path / name).write_bytes(b"x" * 100)
        os.utime(tmp_path / name, (1000 - age, 1000 - age))
    drop_oldest(tmp_path, 250)
    assert {file.name for file in tmp_path.iterdir()} == {"newest", "middle"}
