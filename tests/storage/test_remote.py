"""A journal that another process keeps is a journal like any other."""

import functools

import pytest

from keratune.errors import JournalConflictError
from keratune.storage import MemoryStorage
from keratune.storage.base import Enqueued
from keratune.storage.remote import RemoteStorage, answer
from keratune.testing import storages as contract


class Keeper:
    """The process that keeps the journal; counts what it is asked."""

    def __init__(self):
        self.journal = MemoryStorage()
        self.asked = []

    def ask(self, question, *arguments):
        self.asked.append(question)
        return answer(self.journal, question, *arguments)


@pytest.mark.parametrize("check", contract.CHECKS, ids=lambda check: check.__name__)
def test_each_check_of_the_contract_passes(check):
    journal = MemoryStorage()
    check(lambda: RemoteStorage(functools.partial(answer, journal)))


def test_who_has_heard_of_the_end_a_moment_ago_writes_with_one_question():
    keeper = Keeper()
    storage = RemoteStorage(keeper.ask)
    storage.append([contract.OPENED], 0)
    with storage.exclusive():
        assert storage.read(1) == []
        storage.append([Enqueued({})], 1)
    assert keeper.asked == ["append", "append"]


def test_a_refused_write_is_answered_with_what_it_has_missed():
    keeper = Keeper()
    storage = RemoteStorage(keeper.ask)
    storage.append([contract.OPENED], 0)
    missed = keeper.journal.append([Enqueued({"a": 1})], 1)
    with pytest.raises(JournalConflictError), storage.exclusive():
        storage.append([Enqueued({"b": 2})], 1)
    with storage.exclusive():
        assert storage.read(1) == missed
        assert storage.read(2) == []
        storage.append([Enqueued({"b": 2})], 2)
    assert keeper.asked == ["append"] * 3


def test_outside_a_block_the_journal_is_read_anew():
    keeper = Keeper()
    storage = RemoteStorage(keeper.ask)
    storage.append([contract.OPENED], 0)
    missed = keeper.journal.append([Enqueued({})], 1)
    assert storage.read(1) == missed


def test_a_page_is_not_taken_for_all_there_is():
    keeper = Keeper()
    keeper.journal.append([contract.OPENED, *[Enqueued({"n": n}) for n in range(3)]], 0)
    storage = RemoteStorage(keeper.ask)
    with storage.exclusive():
        assert [entry.sequence for entry in storage.read(0, 2)] == [1, 2]
        assert [entry.sequence for entry in storage.read(2)] == [3, 4]


def test_what_is_no_question_to_a_journal_is_refused():
    with pytest.raises(ValueError, match="Received: 'close'"):
        answer(MemoryStorage(), "close")
