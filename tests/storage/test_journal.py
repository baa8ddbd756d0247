"""A journal decides on the newest history, and again where it was not the newest."""

from __future__ import annotations

import gc
import threading

import pytest

from keratune.journal import Journal
from keratune.storage.base import Enqueued, Storage
from keratune.storage.memory import MemoryStorage
from keratune.storage.sql import SqlStorage
from keratune.testing import storages as contract


class Open(Storage):
    """A storage that keeps nobody out: somebody writes once, just before the n-th append."""

    def __init__(self, intrusion):
        self.inner, self.intrusion, self.appends = MemoryStorage(), intrusion, 0

    def append(self, events, seen):
        self.appends += 1
        if self.appends == self.intrusion:
            self.inner.append([Enqueued({"by": "other"})], len(self.inner.read(0)))
        return self.inner.append(events, seen)

    def read(self, since):
        return self.inner.read(since)


def started(storage):
    journal = Journal(storage)
    journal.start(contract.OPENED)
    return journal


def test_two_that_begin_a_study_begin_it_once(tmp_path, close):
    journals = [started(close(SqlStorage.at(tmp_path / "study.db"))) for _ in range(2)]
    assert [len(journal._storage.read(0)) for journal in journals] == [1, 1]


def test_a_block_stands_on_the_newest_history(tmp_path, close):
    one, other = (started(close(SqlStorage.at(tmp_path / "study.db"))) for _ in range(2))
    for _ in range(3):
        for journal in (one, other):
            with journal.exclusive():
                journal.write_at_once(Enqueued({"n": len(journal.history.enqueued)}))
    one.sync()
    assert one.history.enqueued == other.history.enqueued == [{"n": n} for n in range(6)]


def test_what_is_written_within_a_block_is_one_step_for_others(tmp_path, close):
    one, other = (started(close(SqlStorage.at(tmp_path / "study.db"))) for _ in range(2))
    with one.exclusive():
        one.write(lambda: [Enqueued({"n": 0})])
        one.transact(lambda: one.write_at_once(Enqueued({"n": 1})))
        other.sync()
        assert other.history.enqueued == []
        assert len(one.history.enqueued) == 2
    other.sync()
    assert len(other.history.enqueued) == 2


def test_another_thread_does_not_enter_a_block():
    journal, order = started(MemoryStorage()), []

    def other():
        with journal.exclusive():
            order.append("other")

    with journal.exclusive():
        thread = threading.Thread(target=other)
        thread.start()
        thread.join(0.1)
        order.append("one")
    thread.join()
    assert order == ["one", "other"]


@pytest.mark.parametrize("intrusion", [2, 3])
def test_a_conflict_within_blocks_begins_the_outermost_anew(intrusion):
    journal, attempts = started(Open(intrusion)), []

    def work():
        attempts.append(len(journal.history.enqueued))
        journal.write(lambda: [Enqueued({"attempt": len(attempts), "part": 1})])
        journal.write(lambda: [Enqueued({"attempt": len(attempts), "part": 2})])
        return "done"

    assert journal.transact(work) == "done"
    assert attempts == [0, intrusion - 1]
    assert journal.history.enqueued[-2:] == [{"attempt": 2, "part": p} for p in (1, 2)]


def test_reading_leaves_the_garbage_collector_as_it_was():
    journal = started(MemoryStorage())
    assert gc.isenabled()
    gc.disable()
    try:
        journal.sync()
        assert not gc.isenabled()
    finally:
        gc.enable()
