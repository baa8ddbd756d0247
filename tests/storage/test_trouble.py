"""Databases that go away, fill up or are damaged, and writers that are stopped or killed."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time

import pytest
import servers
import sqlalchemy as sa

from keratune import _clock
from keratune.errors import JournalConflictError, MissingPackageError, StudyMismatchError
from keratune.journal import Journal
from keratune.storage import database, open_storage, postgres, sql, sqlite
from keratune.storage.base import Enqueued
from keratune.storage.sql import SqlStorage
from keratune.testing import storages as contract


@pytest.fixture
def own_server(server):
    """A server that a test may stop; `server` is asked for its skip."""
    with servers.PostgresServer(fsync="off") as running:
        yield running


def start(script, *arguments, **options):
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **options,
    )


# Clocks


def test_the_servers_clock_is_the_clock_of_all_machines(postgres, close, monkeypatch):
    storage, begun = close(SqlStorage(postgres)), time.time()
    storage.append([contract.OPENED], 0)
    monkeypatch.setattr(_clock, "_START", _clock._START + 3600)  # a machine that is an hour ahead
    close(SqlStorage(postgres)).append([Enqueued({})], 1)
    with storage.exclusive():
        storage.append([Enqueued({})], 2)
        time.sleep(0.05)
        storage.append([Enqueued({})], 3)
    times = [entry.time for entry in storage.read(0)]
    assert times == sorted(times)
    assert begun - 1 < times[0] and times[-1] < time.time() + 1
    assert times[3] - times[2] >= 0.05  # time goes on within a block


# A server that goes away and comes back


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=lambda how: how.name)
def test_a_server_that_restarts_loses_and_doubles_nothing(own_server, close, how):
    url, failures, stop = own_server.new_database(), [], threading.Event()
    counts = [0] * 3

    def write(writer):
        try:
            storage = close(SqlStorage(url))
            while not stop.is_set():
                event = Enqueued({"writer": writer, "count": counts[writer]})
                contract.append_until_written(storage, event)
                storage.beat(str(writer))
                counts[writer] += 1
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(2):
        before = list(counts)
        while not failures and any(a < b + 5 for a, b in zip(counts, before, strict=True)):
            time.sleep(0.01)
        own_server.restart(how)
    stop.set()
    for thread in threads:
        thread.join()
    assert not failures
    wanted = [{"writer": w, "count": c} for w in range(3) for c in range(counts[w])]
    contract.assert_holds(close(SqlStorage(url)), wanted)


def test_a_server_that_does_not_come_back_is_given_up_in_the_end(own_server, close, caplog):
    storage = close(SqlStorage(own_server.new_database(), patience=2.5))
    storage.append([contract.OPENED], 0)
    own_server.stop()
    with caplog.at_level(logging.WARNING, "keratune"):
        with pytest.raises(
            TimeoutError, match=r"keratune-pg-.*waited for .* run this again: it goes on"
        ):
            storage.read(0)
    assert len([r for r in caplog.records if "Waiting for it" in r.message]) == 1
    own_server.start()
    assert len(storage.read(0)) == 1


def at_commit(storage, when, action):
    """Have something happen before or after the next commit of a storage."""
    engine, done = storage._database.engine, []

    def listen(connection, _cursor, statement, *_):
        if statement == "COMMIT" and not done:
            done.append(statement)
            action(connection)

    sa.event.listen(engine, f"{when}_cursor_execute", listen)


def end_session(url, connection):
    """End the session of a connection, as a server that is stopped does."""
    process_id = connection.connection.dbapi_connection.info.backend_pid
    other = sa.create_engine(url)
    with other.connect() as ending:
        ending.execute(sa.text(f"SELECT pg_terminate_backend({process_id}, 5000)"))
    other.dispose()


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("others_write", [False, True])
def test_a_commit_whose_answer_is_lost_is_looked_up(postgres, close, when, others_write):
    storage = close(SqlStorage(postgres))
    storage.append([contract.OPENED], 0)

    def lose_answer(connection):
        end_session(postgres, connection)
        if others_write:
            other = close(SqlStorage(postgres))
            other.append([Enqueued({"other": 1})], len(other.read(0)))
        if when == "after":
            connection.connection.cursor().execute("SELECT 1")  # finds the session ended

    at_commit(storage, when, lose_answer)
    lost = when == "before" and others_write
    with pytest.raises(JournalConflictError) if lost else contextlib.nullcontext():
        storage.append([Enqueued({"mine": 1}), Enqueued({"mine": 2})], 1)
    mine = [] if lost else [{"mine": 1}, {"mine": 2}]
    contract.assert_holds(close(SqlStorage(postgres)), mine + [{"other": 1}] * others_write)


def test_a_block_whose_connection_is_lost_is_decided_anew(postgres, close):
    storage, attempts = close(SqlStorage(postgres)), []
    journal = Journal(storage)
    journal.start(contract.OPENED)

    def work():
        attempts.append(dict(journal.history.enqueued[0]) if journal.history.enqueued else None)
        journal.write_at_once(Enqueued({"attempt": len(attempts)}))
        if len(attempts) == 1:
            end_session(postgres, storage._block.connection)
            other = close(SqlStorage(postgres))
            other.append([Enqueued({"other": 1})], len(other.read(0)))
        journal.write(lambda: [Enqueued({"more": len(attempts)})])

    journal.transact(work)
    assert attempts == [None, {"other": 1}]
    told = [{"other": 1}, {"attempt": 2}, {"more": 2}]
    assert journal.history.enqueued == told  # what was believed before is forgotten
    contract.assert_holds(storage, told)


# Writers that are stopped or killed while they have the study for themselves

HOLDER = """
    import os, signal, sys
    from keratune.errors import JournalConflictError
    from keratune.storage import postgres
    from keratune.storage.base import Enqueued
    from keratune.storage.sql import SqlStorage
    postgres.IDLE = 1
    storage = SqlStorage(sys.argv[1])
    try:
        with storage.exclusive():
            storage.append([Enqueued({"by": "holder"})], 0)
            print("holds", flush=True)
            os.kill(os.getpid(), int(sys.argv[2]))
            storage.append([Enqueued({"by": "holder"})], 1)
        print("kept")
    except JournalConflictError:
        print("decides again")
"""


def test_a_holder_that_is_stopped_is_cut_off_and_decides_again(postgres, close):
    holder = start(HOLDER, postgres, int(signal.SIGSTOP))
    assert holder.stdout.readline() == "holds\n"
    storage = close(SqlStorage(postgres))
    storage.append([contract.OPENED], 0)
    holder.send_signal(signal.SIGCONT)
    assert holder.communicate(timeout=60)[0] == "decides again\n"
    contract.assert_holds(storage, [])


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_a_holder_that_is_killed_holds_nothing(tmp_path, request, close, kind):
    url = f"sqlite:///{tmp_path}/study.db"
    url = request.getfixturevalue("postgres") if kind == "postgres" else url
    holder = start(HOLDER, url, int(signal.SIGKILL))
    assert holder.communicate(timeout=60)[0] == "holds\n"
    storage = close(SqlStorage(url))
    storage.append([contract.OPENED], 0)
    contract.assert_holds(storage, [])


# SQLite: locks, full disks


def test_another_program_that_locks_the_file_is_waited_for(tmp_path, close, monkeypatch):
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT", 0.05)
    file = tmp_path / "study.db"
    storage = close(SqlStorage.at(file))
    other = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    timer = threading.Timer(0.7, other.execute, ["ROLLBACK"])
    timer.start()
    storage.append([contract.OPENED], 0)
    timer.join()
    assert len(storage.read(0)) == 1
    storage._patience = 0.3
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(TimeoutError, match=r"study\.db.*locked.*run this again"):
        storage.append([Enqueued({})], 1)
    other.close()
    storage.append([Enqueued({})], 1)


FILLER = """
    import resource, sys
    from keratune.storage.base import Enqueued
    from keratune.storage.sql import SqlStorage
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
    storage = SqlStorage(sys.argv[1])
    written = 0
    try:
        while True:
            storage.append([Enqueued({"n": n}) for n in range(written, written + 7)], written)
            written += 7
    except OSError as error:
        print(written, error)
"""


def test_a_full_disk_is_named_and_the_study_goes_on_afterwards(tmp_path, close):
    file, largest = tmp_path / "study.db", 300_000
    filler = start(FILLER, f"sqlite:///{file}", largest)
    written, message = filler.communicate(timeout=60)[0].split(" ", 1)
    assert "could not be read or written" in message and "Make room" in message
    assert str(file) in message
    storage = close(SqlStorage.at(file))
    assert int(written) > 100
    contract.assert_holds(storage, [{"n": n} for n in range(int(written))])
    storage.append([Enqueued({"n": int(written)})], int(written))
    contract.assert_holds(storage, [{"n": n} for n in range(int(written) + 1)])


# SQLite: damaged files


def damaged(file, how):
    whole = file.read_bytes()
    pages = 4096
    file.write_bytes(
        {
            "garbage": os.urandom(20_000),
            "text": b"no database at all\n" * 50,
            "cut to a page": whole[:pages],
            "cut in half": whole[: len(whole) // 2],
            "garbage inside": whole[:pages] + os.urandom(len(whole) - pages),
        }[how]
    )


@pytest.mark.parametrize(
    "how", ["garbage", "text", "cut to a page", "cut in half", "garbage inside"]
)
def test_a_damaged_file_is_refused_with_the_way_out_and_left_as_it_is(tmp_path, how):
    file = tmp_path / "study.db"
    whole = SqlStorage.at(file)
    whole.append([Enqueued({"n": n, "text": "x" * 100}) for n in range(500)], 0)
    whole.close()
    damaged(file, how)
    left = file.read_bytes()
    with pytest.raises(StudyMismatchError, match=r"study\.db is damaged.*backup.*overwrite"):
        storage = SqlStorage.at(file)
        try:
            storage.read(0)
        finally:
            storage.close()
    assert file.read_bytes() == left


def test_an_emptied_file_is_no_new_study(tmp_path, close):
    (tmp_path / "study.db").touch()
    close(open_storage(None, tmp_path, "study")).append([contract.OPENED], 0)
    shutil.rmtree(tmp_path)
    tmp_path.mkdir()
    (tmp_path / "study.db").touch()
    (tmp_path / "oracle.json").write_text("{}")
    with pytest.raises(StudyMismatchError, match=r"study\.db is damaged.*empty.*overwrite"):
        open_storage(None, tmp_path, "study")


def test_a_missing_event_is_noticed(tmp_path, close):
    storage = close(SqlStorage.at(tmp_path / "study.db"))
    storage.append([Enqueued({}) for _ in range(5)], 0)
    with sqlite3.connect(tmp_path / "study.db") as connection:
        connection.execute("delete from keratune_events where sequence = 3")
    connection.close()
    with pytest.raises(StudyMismatchError, match="of the events 1 to 5 there are 4"):
        storage.read(0)


# Where files lie

MOUNTS = r"""/dev/sda1 / ext4 rw 0 0
server:/home /home nfs4 rw 0 0
/dev/sdb1 /home/scratch xfs rw 0 0
me@host: /mnt/my\040files fuse.sshfs rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/runs/study.db", None),
        ("/home/me/study.db", "nfs4"),
        ("/home/scratch/study.db", None),
        ("/mnt/my files/runs/study.db", "fuse.sshfs"),
    ],
)
def test_a_network_file_system_is_recognised(tmp_path, path, kind):
    mounts = tmp_path / "mounts"
    mounts.write_text(MOUNTS)
    assert sqlite.network_of(sqlite.Path(path), mounts) == kind
    assert sqlite.network_of(sqlite.Path(path), tmp_path / "none") is None


def test_on_a_network_file_system_there_is_no_write_ahead_log(tmp_path, close, monkeypatch, caplog):
    monkeypatch.setattr(sqlite, "network_of", lambda path: "nfs4")
    with caplog.at_level(logging.WARNING, "keratune"):
        storage = close(SqlStorage.at(tmp_path / "study.db"))
    storage.append([contract.OPENED], 0)
    assert "network file system (nfs4)" in caplog.text and "PostgreSQL" in caplog.text
    with contextlib.closing(sqlite3.connect(tmp_path / "study.db")) as connection:
        assert connection.execute("pragma journal_mode").fetchone() == ("delete",)


# URLs


def test_a_missing_driver_is_answered_with_the_line_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingPackageError, match=r'pip install "keratune\[postgres\]"'):
        open_storage("postgresql+psycopg://host/database", None, "study")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:s3cret@host/db", "postgresql://me:***@host/db"),
        ("postgresql://me@host/db?password=s3cret", "postgresql://me@host/db?password=***"),
        ("postgresql:///db?host=a&sslPassword=s3cret", "postgresql:///db?host=a&sslPassword=***"),
        ("postgresql://me:s3cret@host:port/db", "postgresql://***"),
        ("sqlite:///runs/study.db", "sqlite:///runs/study.db"),
    ],
)
def test_no_password_is_shown_wherever_a_url_has_it(url, shown):
    assert database.shown(url) == shown


def test_a_database_that_is_away_is_named_without_the_password(tmp_path, monkeypatch):
    pytest.importorskip("psycopg")
    monkeypatch.setattr(sql, "OPENING_PATIENCE", 0.0)
    with pytest.raises(TimeoutError) as raised:
        SqlStorage(f"postgresql://me@/database?host={tmp_path}&password=s3cret")
    assert "s3cret" not in str(raised.value)


def test_another_kind_of_database_is_refused_without_its_password():
    with pytest.raises(ValueError, match=r"SQLite or PostgreSQL.*Received: 'mysql://me:\*\*\*@"):
        open_storage("mysql://me:secret@host/database", None, "study")


def test_a_wrong_address_is_told_soon(tmp_path, monkeypatch):
    pytest.importorskip("psycopg")
    monkeypatch.setattr(sql, "OPENING_PATIENCE", 0.2)
    with pytest.raises(TimeoutError, match="waited for 0 seconds"):
        SqlStorage(f"postgresql://me@/database?host={tmp_path}")


def test_the_number_of_a_studys_lock_is_stable():
    assert postgres.lock_number("study") == postgres.lock_number("study")
    numbers = {postgres.lock_number(f"study {n}") for n in range(1000)}
    assert len(numbers) == 1000
    assert all(-(2**63) <= number < 2**63 for number in numbers)
