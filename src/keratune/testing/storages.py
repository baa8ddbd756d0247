"""What every storage must do, as functions that raise AssertionError.

Each takes `make`, which opens the same journal, empty at first, once more at each call; a storage
that lives in one process's memory returns the same object each time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from keratune.errors import JournalConflictError, StudyMismatchError
from keratune.storage.base import Enqueued, Reported, SpaceGrown, Storage, StudyOpened

Make = Callable[[], Storage]

OPENED = StudyOpened({"name": "loss", "direction": "min"}, 0, {"max_trials": 3})


def append_until_written(storage: Storage, event: Enqueued, pause: float = 0.0) -> None:
    """Write an event behind the last one, reading on whenever another writer was faster."""
    seen = 0
    while True:
        seen = max([seen, *(entry.sequence for entry in storage.read(seen))])
        try:
            storage.append([event], seen)
            return
        except JournalConflictError:
            threading.Event().wait(pause)


def assert_holds(storage: Storage, wanted: list[dict[str, object]]) -> None:
    """Assert that a journal holds these wishes, in any order, each once, without a gap."""
    entries = storage.read(0)
    assert [entry.sequence for entry in entries] == list(range(1, len(entries) + 1))
    found = [entry.event.values for entry in entries if isinstance(entry.event, Enqueued)]
    assert sorted(map(repr, found)) == sorted(map(repr, wanted))


def check_an_empty_journal_holds_nothing(make: Make) -> None:
    """Reading comes before writing."""
    assert make().read(0) == []
    assert make().read(5) == []


def check_events_come_back_as_they_were_written(make: Make) -> None:
    """Order, numbers, times and every kind of field survive."""
    reported = Reported(0, 0, 1, {"loss": 0.1, "accuracy": "NaN"})
    grown = SpaceGrown([{"class_name": "Fixed", "config": {"name": "é"}}], late=True)
    wish = Enqueued({"a": None, "b": [1, [2.5, "x"]], "c": True, "d": {"object": "m.f"}})
    written = make().append([OPENED], 0) + make().append([grown, wish, reported], 1)
    assert [entry.sequence for entry in written] == [1, 2, 3, 4]
    read = make().read(0)
    assert read == written
    assert [entry.event for entry in read] == [OPENED, grown, wish, reported]
    assert all(one.time <= other.time for one, other in zip(read, read[1:], strict=False))


def check_reading_on_gives_what_is_new(make: Make) -> None:
    """`since` is the last number that was read."""
    make().append([OPENED, Enqueued({}), Enqueued({"a": 1})], 0)
    assert [entry.sequence for entry in make().read(1)] == [2, 3]
    assert make().read(3) == []


def check_a_limit_gives_the_first_of_what_is_new(make: Make) -> None:
    """So a long journal is read in parts; a writer that has read a part has missed the rest."""
    make().append([OPENED, *[Enqueued({"n": n}) for n in range(4)]], 0)
    storage = make()

    def read(since: int, limit: int) -> list[int]:
        return [entry.sequence for entry in storage.read(since, limit)]

    assert (read(0, 1), read(0, 2), read(2, 2), read(4, 2), read(5, 2)) == (
        [1],
        [1, 2],
        [3, 4],
        [5],
        [],
    )
    with storage.exclusive():
        assert (read(0, 2), read(2, 2)) == ([1, 2], [3, 4])
        try:
            storage.append([Enqueued({"late": 1})], 4)
        except JournalConflictError:
            pass
        else:
            raise AssertionError("wrote over what it had not seen")
    with storage.exclusive():
        assert read(4, 9) == [5]
        storage.append([Enqueued({"n": 4})], 5)
    assert_holds(make(), [{"n": n} for n in range(5)])


def check_a_writer_that_has_missed_something_is_refused(make: Make) -> None:
    """All events of an append are refused together."""
    make().append([OPENED, Enqueued({})], 0)
    for seen in (0, 1):
        try:
            make().append([Enqueued({"late": 1}), Enqueued({"late": 2})], seen)
        except JournalConflictError:
            continue
        raise AssertionError("wrote over what it had not seen")
    assert_holds(make(), [{}])


def check_a_writer_ahead_of_the_journal_is_told(make: Make) -> None:
    """Who has read more than there is has read another journal."""
    make().append([OPENED], 0)
    try:
        make().append([Enqueued({})], 7)
    except StudyMismatchError:
        pass
    else:
        raise AssertionError("left a gap")
    assert len(make().read(0)) == 1
    make().append([Enqueued({})], 1)
    assert_holds(make(), [{}])


def check_writing_nothing_changes_nothing(make: Make) -> None:
    """An empty append is allowed."""
    assert make().append([], 0) == []
    make().append([OPENED], 0)
    assert make().append([], 1) == []
    assert len(make().read(0)) == 1


def check_threads_lose_nothing(make: Make) -> None:
    """Four threads write 15 events each, through one storage and through their own."""
    shared = make()
    failures: list[BaseException] = []

    def write(thread: int) -> None:
        try:
            storage = shared if thread % 2 else make()
            for count in range(15):
                append_until_written(storage, Enqueued({"thread": thread, "count": count}))
        except BaseException as error:
            failures.append(error)

    _run_in_threads(write)
    assert not failures, failures
    assert_holds(make(), [{"thread": t, "count": c} for t in range(4) for c in range(15)])


def _run_in_threads(write: Callable[[int], None]) -> None:
    """Have four threads write at once."""
    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def check_a_block_reads_and_writes_as_usual(make: Make) -> None:
    """Inside `exclusive`, what was written is read; outside, once the block has ended."""
    storage = make()
    with storage.exclusive():
        assert storage.read(0) == []
        storage.append([OPENED], 0)
        with storage.exclusive():
            assert len(storage.read(0)) == 1
            storage.append([Enqueued({"a": 1})], len(storage.read(0)))
        assert [entry.sequence for entry in storage.read(1)] == [2]
        storage.append([Enqueued({"a": 2})], 2)
    assert_holds(make(), [{"a": 1}, {"a": 2}])


def check_a_block_refuses_whoever_has_missed_something(make: Make) -> None:
    """A conflict inside `exclusive` is a mistake of the caller's, and does no harm."""
    storage = make()
    storage.append([OPENED], 0)
    for seen, error in ((0, JournalConflictError), (5, StudyMismatchError)):
        try:
            with storage.exclusive():
                storage.append([Enqueued({"seen": seen})], seen)
        except error:
            continue
        raise AssertionError("wrote at the wrong place")
    with storage.exclusive():
        storage.append([Enqueued({})], 1)
    assert_holds(make(), [{}])


def check_an_exception_takes_nothing_back(make: Make) -> None:
    """What was appended inside `exclusive` has happened, however the block ends."""
    storage = make()
    try:
        with storage.exclusive():
            storage.append([OPENED, Enqueued({"a": 1})], 0)
            raise KeyError
    except KeyError:
        pass
    assert_holds(make(), [{"a": 1}])
    storage.append([Enqueued({"a": 2})], 2)
    assert_holds(make(), [{"a": 1}, {"a": 2}])


def check_nobody_else_writes_meanwhile(make: Make) -> None:
    """Reading and writing inside `exclusive` needs no second attempt, whoever else writes."""
    shared = make()
    failures: list[BaseException] = []

    def write(thread: int) -> None:
        try:
            storage = shared if thread % 2 else make()
            for count in range(15):
                with storage.exclusive():
                    seen = len(storage.read(0))
                    storage.append([Enqueued({"thread": thread, "count": count})], seen)
                storage.beat(f"thread {thread}")
        except BaseException as error:
            failures.append(error)

    if not shared.keeps_others_out:
        return  # whoever was slower learns it by JournalConflictError
    _run_in_threads(write)
    assert not failures, failures
    assert_holds(make(), [{"thread": t, "count": c} for t in range(4) for c in range(15)])


def check_signs_of_life_are_counted(make: Make) -> None:
    """They are no part of the journal, and a worker that was forgotten starts again."""
    storage = make()
    assert storage.beats() == {}
    storage.beat("one")
    with storage.exclusive():
        storage.beat("one")
    make().beat("ö|2|3|x")
    assert make().beats() == {"one": 2, "ö|2|3|x": 1}
    storage.forget("one")
    storage.forget("nobody")
    storage.beat("one")
    assert storage.beats() == {"one": 1, "ö|2|3|x": 1}
    assert storage.read(0) == []


CHECKS: list[Callable[[Make], None]] = [
    check for name, check in list(globals().items()) if name.startswith("check_")
]
