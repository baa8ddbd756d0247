"""Every storage keeps the contract; the one in a database also between processes."""

from __future__ import annotations

import contextlib
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
import sqlalchemy as sa

from keratune.storage import MemoryStorage, open_storage
from keratune.storage.base import Enqueued, Event, ObjectiveChanged
from keratune.storage.sql import SqlStorage
from keratune.testing import storages as contract

ODD_NAMES = ["plain", "with space", "50%20", "[glob]*?", "naïve-é-学习", "a#b&c=d;e", "it's"]


@pytest.fixture(params=["memory", "sqlite file", "sqlite url", "postgres"])
def make(request, tmp_path, close):
    if request.param == "postgres":
        url = request.getfixturevalue("postgres")
        return lambda: close(SqlStorage(url, study="it's mine"))
    if request.param == "memory":
        shared = MemoryStorage()
        return lambda: shared
    if request.param == "sqlite url":
        url = f"sqlite:///{tmp_path}/many.db"
        return lambda: close(SqlStorage(url, study="mine"))
    return lambda: close(SqlStorage.at(tmp_path / "study.db"))


@pytest.mark.parametrize("check", contract.CHECKS, ids=lambda check: check.__name__)
def test_each_storage_passes(make, check):
    check(make)


# Files and names


@pytest.mark.parametrize("name", ODD_NAMES)
def test_any_folder_name_will_do(tmp_path, name, close):
    folder = tmp_path / name
    storage = close(open_storage(None, folder, "study"))
    storage.append([contract.OPENED], 0)
    assert [path.name for path in folder.iterdir() if path.suffix == ".db"] == ["study.db"]
    assert len(close(open_storage(None, folder, "study")).read(0)) == 1


def test_a_relative_path_will_do(close):
    close(open_storage(None, Path("runs/pima"), "study")).append([contract.OPENED], 0)
    assert Path("runs/pima/study.db").exists()
    assert len(close(open_storage(None, Path("runs/pima"), "study")).read(0)) == 1


def test_several_studies_share_a_database(tmp_path, close):
    url = f"sqlite:///{tmp_path}/all.db"
    storages = [close(SqlStorage(url, study=name)) for name in ("a", "b", *ODD_NAMES)]
    for count, storage in enumerate(storages):
        storage.append([contract.OPENED] + [Enqueued({"n": i}) for i in range(count)], 0)
    for count, storage in enumerate(storages):
        contract.assert_holds(storage, [{"n": i} for i in range(count)])


def test_no_folder_and_no_url_means_memory():
    assert isinstance(open_storage(None, None, "study"), MemoryStorage)
    mine = MemoryStorage()
    assert open_storage(mine, None, "study") is mine


# What a newer version has written


def test_an_event_of_an_unknown_kind_is_answered_with_the_way_out(tmp_path, close):
    storage = close(SqlStorage.at(tmp_path / "study.db"))
    storage.append([ObjectiveChanged("")], 0)
    with sqlite3.connect(tmp_path / "study.db") as connection:
        connection.execute("update keratune_events set kind = 'StudyTeleported'")
    connection.close()
    with pytest.raises(ValueError, match="'StudyTeleported'.*newer keratune"):
        storage.read(0)


def test_an_event_with_an_unknown_field_is_answered_with_the_way_out():
    with pytest.raises(ValueError, match=r"'ObjectiveChanged'.*\['colour'\].*newer keratune"):
        Event.from_json("ObjectiveChanged", '{"objective": "", "colour": 3}')


def test_an_event_from_before_a_field_was_added_is_read():
    event = Event.from_json("TrialSettled", '{"number": 3, "values": {"a": 1}}')
    assert (event.number, event.values, event.variants) == (3, {"a": 1}, {})


# Several processes

WRITER = """
    import sys
    from pathlib import Path
    from keratune.storage.base import Enqueued
    from keratune.storage.sql import SqlStorage
    from keratune.testing.storages import append_until_written
    storage = SqlStorage.at(Path(sys.argv[1]))
    for count in range(int(sys.argv[3])):
        append_until_written(storage, Enqueued({"writer": sys.argv[2], "count": count}))
    print("done")
"""


def start_writer(file, name, count):
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WRITER), str(file), name, str(count)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_processes_that_write_at_once_lose_nothing(tmp_path, close):
    file = tmp_path / "study.db"
    processes = [start_writer(file, str(name), 25) for name in range(3)]
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    assert outputs == ["done\n"] * 3
    wanted = [{"writer": str(name), "count": count} for name in range(3) for count in range(25)]
    contract.assert_holds(close(SqlStorage.at(file)), wanted)


def test_a_process_that_is_killed_while_writing_leaves_a_whole_journal(tmp_path, close):
    file = tmp_path / "study.db"
    storage = close(SqlStorage.at(file))
    for life in range(3):
        process = start_writer(file, str(life), 10**6)
        deadline = time.monotonic() + 60
        before = len(storage.read(0))
        while len(storage.read(0)) < before + 20 and time.monotonic() < deadline:
            if process.poll() is not None:
                break
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        output = process.communicate(timeout=60)[0]
        entries = storage.read(0)
        assert len(entries) >= before + 20, output
        assert [entry.sequence for entry in entries] == list(range(1, len(entries) + 1))
        storage.append([Enqueued({})], len(entries))
    with contextlib.closing(sqlite3.connect(file)) as connection:
        assert connection.execute("pragma integrity_check").fetchone() == ("ok",)


def test_a_new_database_may_be_opened_by_many_threads_at_once(tmp_path, close):
    failures, barrier = [], threading.Barrier(8)

    def open_it(file):
        try:
            barrier.wait()
            close(SqlStorage.at(file)).read(0)
        except Exception as error:
            failures.append(error)

    for round_ in range(5):
        threads = [
            threading.Thread(target=open_it, args=(tmp_path / f"{round_}.db",)) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not failures


def test_a_reader_does_not_wait_for_a_writer(tmp_path, close):
    storage = close(SqlStorage.at(tmp_path / "study.db"))
    storage.append([contract.OPENED], 0)
    writer = sqlite3.connect(tmp_path / "study.db", isolation_level=None)
    writer.execute("begin immediate")
    assert len(storage.read(0)) == 1
    writer.execute("rollback")
    writer.close()


def test_other_trouble_with_the_database_is_no_conflict(tmp_path, close):
    storage = close(SqlStorage.at(tmp_path / "study.db"))
    with sqlite3.connect(tmp_path / "study.db") as connection:
        connection.execute("drop table keratune_events")
    connection.close()
    with pytest.raises(sa.exc.OperationalError):
        storage.append([contract.OPENED], 0)


def test_what_json_lacks_is_refused_before_anything_is_written(tmp_path, close):
    storage = close(SqlStorage.at(tmp_path / "study.db"))
    with pytest.raises(ValueError, match="not JSON compliant"):
        storage.append([contract.OPENED, Enqueued({"a": float("nan")})], 0)
    assert storage.read(0) == []
