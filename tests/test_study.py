"""Claims about a study: asking for trials, ending them, and sharing a journal."""

from __future__ import annotations

import json
import math
import random
import statistics
import threading
import time

import pytest

from keratune import algorithms
from keratune import study as study_module
from keratune.errors import DuplicateTrialError, StudyMismatchError
from keratune.history import Record, Streak
from keratune.objectives import MultiObjective, Objective
from keratune.parameters import Boolean, Choice, Float, Int
from keratune.storage import MemoryStorage
from keratune.storage import base as events
from keratune.storage.sql import SqlStorage
from keratune.study import Limits, NonFiniteScoreError, Study, Verdict, is_broken
from keratune.trial import TrialStatus

LOSS = Objective("loss", "min")


def relu(x):
    return max(x, 0)


def open_study(
    storage=None, *, algorithm="random", objective=LOSS, seed=0, settings=None, **limits
):
    return Study.open(
        MemoryStorage() if storage is None else storage,
        objective,
        algorithms.create(algorithm),
        seed=seed,
        limits=Limits(**limits),
        settings=settings,
    )


@pytest.fixture
def study():
    study = open_study(max_trials=20, max_retries=2)
    study.declare([Float("x", -1.0, 1.0)])
    return study


def finish(study, loss=1.0, worker="me"):
    """Ask for a trial and complete it."""
    record = study.ask(worker)
    study.tell(record.number, {"loss": loss})
    return record


def kinds(study):
    return [type(entry.event).__name__ for entry in study._journal._storage.read(0)]


# One trial


def test_a_trial_is_asked_for_reported_and_told(study):
    record = study.ask("me")
    assert (record.number, record.trial_id, record.status) == (0, "0", TrialStatus.RUNNING)
    assert record.worker == "me" and record.started >= record.created
    study.report(0, 1, {"loss": 3.0})
    study.report(0, 2, {"loss": 2.0, "accuracy": math.nan})
    assert record.curves[0][1] == {"loss": 3.0}
    assert math.isnan(record.curves[0][2]["accuracy"])
    told = study.tell(0, {"loss": 2.0})
    assert told is study.history[0]
    assert (told.status, told.score, told.finished) == (TrialStatus.COMPLETED, 2.0, True)
    assert study.history.best() == [told]
    assert study.history.rank(0) == 0
    assert not (study.history.queue or study.history.running)


def test_the_first_trial_takes_the_defaults(study):
    study.declare([Int("units", 8, 64, default=32)])
    assert study.ask("me").values == {"x": -1.0, "units": 32}
    assert study.history[0].origin == "defaults"
    assert study.ask("me").origin == "algorithm"


def test_the_first_trial_may_be_the_algorithms():
    study = open_study()
    study.planner.defaults_first = False
    study.declare([Float("x", -1.0, 1.0)])
    assert study.ask("me").values["x"] != -1.0


def test_trials_are_named_as_the_asker_wants(study):
    assert study.ask("me", name=lambda number: f"{number:04}").trial_id == "0000"
    assert study.history.number_of("0000") == 0
    assert study.history.number_of("0") is None


def test_the_score_is_the_mean_over_executions(study):
    study.ask("me")
    study.complete_execution(0, 1, events.Result(4, {"loss": 2.0}))
    study.complete_execution(0, 0, events.Result(2, {"loss": 1.0}))
    told = study.tell(0)
    assert told.score == 1.5
    assert told.best_step == 2


def test_metrics_without_the_objective_are_refused(study):
    study.ask("me")
    with pytest.raises(ValueError, match=r"Objective value missing.*\['loss'\].*\['accuracy'\]"):
        study.tell(0, {"accuracy": 1.0})
    with pytest.raises(ValueError, match="no metrics were reported"):
        open_study_with_running_trial().tell(0)


def open_study_with_running_trial():
    study = open_study()
    study.ask("me")
    return study


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_no_number_is_never_the_best(study, bad):
    finish(study, 5.0)
    record = study.ask("me")
    with pytest.raises(NonFiniteScoreError, match="loss is"):
        study.tell(record.number, {"loss": bad})
    with pytest.raises(NonFiniteScoreError):
        study.tell_score(record.number, bad, 0, {})
    assert record.status == TrialStatus.RUNNING
    study.fail(record.number, "diverged", "the loss is no number")
    assert [best.number for best in study.history.best(5)] == [0]


def test_larger_may_be_better():
    study = open_study(objective=Objective("accuracy", "max"))
    study.declare([Float("x", 0, 1)])
    for accuracy in (0.2, 0.9, 0.5, 0.9):
        study.tell(study.ask("me").number, {"accuracy": accuracy})
    assert [record.number for record in study.history.best(4)] == [1, 3, 2, 0]
    assert [study.history.rank(number) for number in range(4)] == [3, 0, 2, 1]


@pytest.mark.parametrize(
    "act",
    [
        lambda study: study.report(7, 1, {"loss": 1.0}),
        lambda study: study.tell(7, {"loss": 1.0}),
        lambda study: study.fail(7, "error"),
        lambda study: study.settle(7, {}),
    ],
)
def test_a_trial_that_does_not_exist_is_an_error_and_the_journal_stays_whole(study, act):
    with pytest.raises(KeyError, match="no trial 7"):
        act(study)
    reopened = open_study(study._journal._storage)
    assert len(reopened.history) == 0


# Settling


def test_a_trial_keeps_what_its_build_has_read_in_that_order(study):
    study.declare([Int("units", 1, 9), Boolean("norm")])
    record = study.ask("me")
    study.settle(record.number, {"norm": True, "x": 0.5})
    assert list(record.values.items()) == [("norm", True), ("x", 0.5)]
    assert record.settled


def test_a_build_that_reads_what_was_chosen_costs_no_event(study):
    record = study.ask("me")
    before = len(kinds(study))
    study.settle(record.number, dict(record.values))
    assert len(kinds(study)) == before


def test_a_build_that_repeats_a_trial_is_discarded_and_the_number_is_used_again():
    study = open_study()
    study.declare([Choice("model", ["a", "b"]), Int("units", 1, 1000)])
    study.settle(study.ask("me").number, {"model": "a"})
    study.tell(0, {"loss": 1.0})
    seen = set()
    while True:
        record = study.ask("me")
        assert record.number == 1
        read = {"model": record.values["model"]}
        if read["model"] == "a":
            pytest.fail("known to repeat trial 0")
        study.settle(1, read)
        study.tell(1, {"loss": 1.0})
        seen.add(read["model"])
        break
    assert study.ask("me") is Verdict.STOP
    assert len(study.history) == 2


def test_two_trials_that_turn_out_equal_while_running_become_one():
    study = open_study()
    study.declare([Choice("model", ["a", "b"]), Int("units", 1, 1000)])
    study.planner.defaults_first = False
    records = [study.ask(str(worker)) for worker in range(3)]
    study.settle(records[0].number, {"model": "a"})
    with pytest.raises(DuplicateTrialError):
        study.settle(records[1].number, {"model": "a"})
    assert 1 not in study.history
    assert study.history.discarded == {1: 1}
    assert study.history.next_number == 1
    again = study.ask("1")
    assert again.number == 1
    assert not study.history.tree.covers({"model": "b"})


def test_builds_that_ignore_their_values_come_to_an_end():
    """A build that reads other values than it is given repeats itself; then a repeat is allowed."""
    study = open_study(max_trials=3)
    study.declare([Int("x", 1, 1000)])
    builds = 0
    while isinstance(record := study.ask("me"), Record):
        builds += 1
        assert builds < 500
        try:
            study.settle(record.number, {"x": 5})
        except DuplicateTrialError:
            continue
        study.tell(record.number, {"loss": 1.0})
    assert len(study.history) == 3


def test_new_hyperparameters_join_the_space_unless_forbidden(study):
    study.ask("me")
    study.settle(0, {"x": 0.1, "new": 3}, [Int("new", 1, 5)])
    assert [p.name for p in study.history.space.space] == ["x", "new"]
    study.planner.tune_new = False
    study.update_space([Int("other", 1, 5)])
    assert len(study.history.space) == 2
    study.allow_new = False
    with pytest.raises(RuntimeError, match="`allow_new_entries` is `False`.*other"):
        study.update_space([Int("other", 1, 5)])
    study.update_space([Int("new", 1, 5)])


def test_values_that_are_not_tuned_take_their_defaults(study):
    study.planner.tune_new = False
    assert study.planner.fill(3, Int("new", 1, 50, default=7)) == 7


def test_functions_among_the_values_are_stored_by_label_and_come_back():
    storage = MemoryStorage()
    study = open_study(storage)
    study.declare([Choice("activation", [relu, (1, 2), None])])
    for record in [study.ask("me") for _ in range(3)]:
        study.tell(record.number, {"loss": 1.0})
    json.dumps([entry.event.to_json() for entry in storage.read(0)])
    reopened = open_study(storage)
    reopened.declare([Choice("activation", [relu, (1, 2), None])])
    lived = [reopened.history.space.live(r.values)["activation"] for r in reopened.history.trials]
    assert set(lived) == {relu, (1, 2), None}
    assert reopened.ask("me") is Verdict.STOP


def test_infinity_among_the_values_is_stored():
    storage = MemoryStorage()
    study = open_study(storage)
    study.declare([Choice("clip", [math.inf, 1.0])])
    record = finish(study)
    assert record.values == {"clip": math.inf}
    storage.read(0)[-1].event.to_json()


# Failures


def test_a_failed_trial_is_tried_again_as_often_as_allowed(study):
    record = study.ask("me")
    study.report(0, 1, {"loss": 1.0})
    for attempt in (1, 2):
        assert study.fail(0, "error", "oh", retry=True).status == TrialStatus.INVALID
        assert record.attempt == attempt and record.curves == {}
        assert study.ask("me") is record
    assert study.fail(0, "error", "oh no", retry=True).status == TrialStatus.FAILED
    assert (record.kind, record.message, record.score) == ("error", "oh no", None)
    assert study.ask("me").number == 1


def test_a_hopeless_failure_is_not_tried_again(study):
    study.ask("me")
    assert study.fail(0, "oversized", "too large").status == TrialStatus.FAILED


def test_waiting_trials_are_served_first_come_first_served(study):
    records = [study.ask(str(worker)) for worker in range(3)]
    for number in (1, 0, 2):
        study.fail(number, "error", retry=True)
    assert [study.ask("me").number for _ in range(4)] == [1, 0, 2, 3]
    assert records[0].worker == "me"


def test_a_released_trial_keeps_what_it_has_reported(study):
    record = study.ask("me")
    study.report(0, 1, {"loss": 1.0})
    study.requeue(0, "interrupted")
    assert (record.attempt, len(record.curves[0]), record.worker) == (0, 1, None)
    assert study.history.queue or study.history.running
    assert study.ask("you") is record


def test_releasing_twice_does_not_give_the_trial_to_two_workers(study):
    study.ask("me")
    study.requeue(0, "interrupted")
    study.requeue(0, "interrupted")
    assert [study.ask(worker).number for worker in "ab"] == [0, 1]


def test_the_trials_of_dead_workers_go_back_into_the_queue(study):
    for worker in ("dead", "alive", "dead too"):
        study.ask(worker)
    assert study.recover(lambda worker: worker == "alive") == [0, 2]
    assert study.history.running == {1}
    assert study.recover(lambda worker: worker == "alive") == []


def test_two_rescuers_do_not_put_a_trial_back_twice():
    storage = MemoryStorage()
    one = open_study(storage)
    one.ask("dead")
    other = open_study(storage)
    one.sync()
    original = storage.read
    storage.read = lambda since: []  # neither has seen what the other one writes
    one.recover(lambda worker: False)
    storage.read = lambda since: original(since) if other._journal._sequence < since + 9 else []
    other.requeue(0, "its worker is gone")
    assert other.history.queue == [0]
    assert sum(kind == "TrialRequeued" for kind in kinds(one)) == 1


def test_a_worker_taken_for_dead_does_not_end_its_trial_twice(study):
    record = study.ask("slow")
    study.recover(lambda worker: False)
    assert study.ask("heir") is record
    study.tell(0, {"loss": 1.0})
    before = kinds(study)
    assert study.tell(0, {"loss": 9.0}).score == 1.0
    study.report(0, 5, {"loss": 9.0})
    study.tell_score(0, 9.0, 0, {})
    assert study.fail(0, "error").status == TrialStatus.COMPLETED
    study.requeue(0, "interrupted")
    study.settle(0, {"x": 0.3})
    assert kinds(study) == before
    assert study.history.ended == [0]


def test_a_worker_taken_for_dead_may_still_end_its_trial(study):
    study.ask("slow")
    study.recover(lambda worker: False)
    assert study.tell(0, {"loss": 1.0}).score == 1.0
    assert study.ask("heir").number == 1


@pytest.mark.parametrize(
    ("streak", "limit", "broken"),
    [
        (Streak(2, 0, 0), 3, False),
        (Streak(3, 0, 0), 3, True),
        (Streak(3, 5, 5), 3, True),  # nothing has ever worked
        (Streak(3, 0, 0, frozenset({"out_of_memory"})), 3, False),  # a hard corner, perhaps
        (Streak(9, 0, 0, causes=frozenset({"here", "there"})), 3, False),
        (Streak(10, 0, 0, frozenset({"not_finite"})), 3, True),  # or everywhere
        (Streak(4, 6, 6, causes=frozenset({"here", "there"})), 3, True),
        (Streak(9, 40, 0, frozenset({"error", "out_of_memory"})), 3, False),  # it has worked
        (Streak(3, 1, 0), 3, False),  # (1/3)**3: may be chance
        (Streak(9, 1, 0), 3, True),  # (1/3)**9 < 1e-4
        (Streak(3, 40, 0), 3, True),  # (1/42)**3: it always worked before
        (Streak(3, 40, 20), 3, False),  # half of them fail anyway
        (Streak(13, 40, 20), 3, False),  # 0.5**13 > 1e-4
        (Streak(14, 40, 20), 3, True),
        (Streak(100, 40, 0), None, False),
        (Streak(0, 1, 0), 0, False),
    ],
)
def test_a_streak_of_failures_is_a_broken_script_when_chance_does_not_explain_it(
    streak, limit, broken
):
    assert is_broken(streak, limit) is broken


def test_failures_in_a_row_end_the_search_with_the_last_message(study):
    for _ in range(3):
        study.refuse_broken("")
        study.fail(study.ask("me").number, "error", "boom")
    with pytest.raises(RuntimeError, match="consecutive failures exceeded the limit of 3.\nboom"):
        study.refuse_broken("boom")


def test_a_success_ends_a_streak(study):
    for _ in range(2):
        study.fail(study.ask("me").number, "error")
    finish(study)
    study.fail(study.ask("me").number, "error")
    streak = study.history.streak
    assert (streak.length, streak.finished, streak.failed) == (1, 3, 2)


# Limits and ends


def test_there_are_no_more_trials_than_allowed():
    study = open_study(max_trials=3)
    study.declare([Float("x", 0, 1)])
    for _ in range(3):
        finish(study)
    assert study.planner.is_full
    assert study.ask("me") is Verdict.STOP
    study.limits = Limits(4)
    assert finish(study).number == 3
    assert study.ask("me") is Verdict.STOP


def test_a_waiting_trial_is_run_even_when_there_are_enough():
    study = open_study(max_trials=1)
    study.ask("me")
    study.requeue(0, "interrupted")
    assert study.ask("me").number == 0


@pytest.mark.parametrize("limit", [None, 0])
def test_without_a_limit_the_space_is_the_limit(limit):
    study = open_study(max_trials=limit)
    study.declare([Int("x", 1, 20)])
    found = []
    while isinstance(record := study.ask("me"), Record):
        found.append(record.values["x"])
        study.tell(record.number, {"loss": 1.0})
    assert sorted(found) == list(range(1, 21))


def test_a_worker_waits_while_a_running_trial_may_open_more():
    study = open_study()
    study.declare([Boolean("b")])
    study.ask("a"), study.ask("b")
    assert study.ask("c") is Verdict.WAIT
    study.settle(0, {"b": False, "x": 1}, [Int("x", 1, 2)])
    record = study.ask("c")
    assert record.values == {"b": False, "x": 2}


def test_a_thousand_cells_give_a_hundred_different_trials():
    study = open_study(max_trials=100)
    study.declare([Int(name, 0, 9) for name in "abc"])
    while isinstance(record := study.ask("me"), Record):
        study.tell(record.number, {"loss": 1.0})
    assert len({tuple(r.values.items()) for r in study.history.trials}) == 100


def test_a_huge_range_beside_a_used_up_branch_is_not_listed():
    study = open_study()
    study.declare([Choice("c", ["a"]), Int("x", 0, 2**62)])
    assert {study.ask(str(i)).number for i in range(5)} == set(range(5))


# Wishes


def test_an_enqueued_configuration_is_next_and_its_gaps_are_filled(study):
    study.declare([Int("units", 1, 9)])
    study.enqueue({"x": 0.25})
    study.enqueue({"x": 0.5, "units": 3})
    first, second, third = (study.ask("me") for _ in range(3))
    assert (first.values["x"], first.origin) == (0.25, "enqueued")
    assert 1 <= first.values["units"] <= 9
    assert second.values == {"x": 0.5, "units": 3}
    assert third.origin == "algorithm"


def test_a_wish_for_a_function_reaches_the_trial():
    study = open_study()
    study.declare([Choice("activation", [None, relu])])
    study.enqueue({"activation": relu})
    values = study.history.space.live(study.ask("me").values)
    assert values == {"activation": relu}


def test_a_wish_that_was_tried_already_is_not_trained_again(study):
    for _ in range(2):
        study.enqueue({"x": 0.25})
    record = study.ask("me")
    study.settle(record.number, {"x": 0.25})
    study.tell(record.number, {"loss": 1.0})
    again = study.ask("me")
    with pytest.raises(DuplicateTrialError):
        study.settle(again.number, {"x": 0.25})
    assert study.ask("me").origin == "algorithm"


def test_wishes_outlive_the_process():
    storage = MemoryStorage()
    study = open_study(storage)
    study.declare([Float("x", 0, 1)])
    study.enqueue({"x": 0.25})
    assert open_study(storage).ask("me").values == {"x": 0.25}


# Values from elsewhere


def test_a_source_of_values_is_asked_instead_of_the_algorithm(study):
    given = iter([{"x": 0.5}, Verdict.WAIT, Verdict.STOP, {"x": 0.5}])
    asked = []

    def source(number):
        asked.append(number)
        return next(given)

    assert study.ask("me", source).values == {"x": 0.5}
    assert study.ask("me", source) is Verdict.WAIT
    assert study.ask("me", source) is Verdict.STOP
    again = study.ask("me", source)
    study.settle(again.number, {"x": 0.5})
    assert again.number == 1  # whoever brings values of their own may bring them twice
    assert asked == [0, 1, 1, 1]


@pytest.mark.parametrize("enqueued", [False, True])
def test_slow_thoughts_stand_although_others_report_meanwhile(enqueued, monkeypatch):
    monkeypatch.setattr(study_module, "BRIEF", -1.0)  # nothing is thought of under the lock
    storage = MemoryStorage()
    slow, busy = open_study(storage), open_study(storage)
    slow.declare([Float("x", 0, 1)])
    trial = busy.ask("busy", lambda number: {"x": 0.5})
    if enqueued:
        slow.enqueue({"x": 0.25})
    thoughts = []

    def think(number):
        thoughts.append(number)
        busy.report(trial.number, len(thoughts), {"loss": 1.0})
        assert len(thoughts) < 5  # or it would think for ever
        return {"x": 0.5}

    def beside():
        think(1)
        return {}

    slow.planner.beside = beside
    record = slow.ask("slow", think)
    assert record.values == ({"x": 0.25} if enqueued else {"x": 0.5}) and len(thoughts) == 1


def test_a_trial_from_elsewhere_is_taken_up_with_its_curve(study):
    record = study.import_trial("0007", {"x": 0.5}, {1: {"loss": 3.0}, 2: {"loss": 2.0}})
    assert record.curves == {0: {1: {"loss": 3.0}, 2: {"loss": 2.0}}}
    study.tell_score(record.number, 2.0, 1, {"x": 0.5})
    assert study.history.best()[0].trial_id == "0007"
    assert study.history.tree.covers({"x": 0.5})


def test_trials_that_two_processes_take_up_at_once_get_two_numbers():
    storage = MemoryStorage()
    one, other = open_study(storage), open_study(storage)
    one.import_trial("a", {"x": 1}, {})
    assert other.import_trial("b", {"x": 2}, {}).number == 1
    one.sync()
    assert [record.trial_id for record in one.history.trials] == ["a", "b"]


# Several studies on one journal


def test_a_stored_study_keeps_its_seed_and_settings_and_takes_new_limits():
    storage = MemoryStorage()
    open_study(storage, seed=0, settings={"a": 1}, max_trials=3)
    study = open_study(storage, seed=5, settings={"a": 2}, max_trials=9)
    assert (study.history.seed, study.settings, study.limits.max_trials) == (0, {"a": 1}, 9)
    study.change_settings({"a": 2})
    study.change_settings({"a": 2})
    assert open_study(storage).settings == {"a": 2}
    assert kinds(study) == ["StudyOpened", "SettingsChanged"]


@pytest.mark.parametrize(
    "other",
    [Objective("loss", "max"), Objective("accuracy", "max"), MultiObjective([LOSS, LOSS])],
)
def test_a_stored_study_with_another_objective_is_not_continued(other):
    storage = MemoryStorage()
    finish(open_study(storage))
    with pytest.raises(StudyMismatchError, match="overwrite=True"):
        open_study(storage, objective=other)


def test_the_objective_may_be_corrected_while_no_trial_has_a_score_by_it():
    storage = MemoryStorage()
    study = open_study(storage)
    study.fail(study.ask("me").number, "error")
    corrected = open_study(storage, objective=Objective("accuracy", "max"))
    study.sync()
    for history in (corrected.history, study.history, fold_again_by(storage, "accuracy").history):
        assert (history.objective.name, history.objective.direction) == ("accuracy", "max")


def fold_again_by(storage, name):
    return open_study(storage, objective=Objective(name, "max"))


def test_a_journal_of_something_else_is_refused():
    storage = MemoryStorage()
    storage.append([events.ObjectiveChanged("")], 0)
    with pytest.raises(ValueError, match="must start with StudyOpened"):
        open_study(storage)


def test_a_journal_that_was_started_anew_ends_the_old_worker():
    storage = MemoryStorage()
    study = open_study(storage)
    study.declare([Float("x", 0, 1)])
    storage._entries.clear()
    with pytest.raises(StudyMismatchError, match="overwrite=True"):
        study.enqueue({"x": 1})


@pytest.fixture(params=["memory", "sqlite"])
def connect(request, tmp_path):
    if request.param == "memory":
        shared = MemoryStorage()
        yield lambda: shared
        return
    opened = []

    def connect():
        opened.append(SqlStorage.at(tmp_path / "study.db"))
        return opened[-1]

    yield connect
    for storage in opened:
        storage.close()


def fold_again(storage):
    return open_study(storage).history


def told(history):
    """What a history says, as plain data."""
    return [
        (r.number, r.trial_id, dict(r.values), r.status, r.score, r.attempt, r.worker)
        for r in history.trials
    ] + [list(history.queue), sorted(history.running), list(history.ended), history.streak]


def test_studies_on_one_journal_take_turns_and_see_the_same(connect):
    chance = random.Random(0)
    studies = [open_study(connect(), max_trials=40, max_retries=1) for _ in range(3)]
    studies[0].declare([Int("x", 1, 200)])
    hands = {}
    for _ in range(400):
        worker = chance.randrange(3)
        study = studies[worker]
        if worker not in hands:
            answer = study.ask(str(worker))
            if isinstance(answer, Record):
                hands[worker] = answer.number
            continue
        number = hands[worker]
        act = chance.choice(["report", "tell", "fail", "requeue", "settle"])
        if act == "report":
            study.report(number, 1, {"loss": 1.0})
            continue
        if act == "settle":
            study.settle(number, dict(study.history[number].values))
            continue
        del hands[worker]
        if act == "tell":
            study.tell(number, {"loss": float(number)})
        elif act == "fail":
            study.fail(number, "error", retry=chance.random() < 0.5)
        else:
            study.requeue(number, "interrupted")
    for study in studies:
        study.sync()
    histories = [study.history for study in studies] + [fold_again(connect())]
    assert all(told(history) == told(histories[0]) for history in histories)
    values = [record.values["x"] for record in histories[0].trials]
    assert len(values) == len(set(values)) == 40


def test_threads_with_their_own_studies_create_no_trial_twice(connect):
    open_study(connect()).declare([Int("x", 1, 1000)])
    failures = []

    def work(worker):
        try:
            study = open_study(connect(), max_trials=40)
            while isinstance(record := study.ask(str(worker)), Record):
                study.tell(record.number, {"loss": 1.0})
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    history = fold_again(connect())
    assert [record.number for record in history.trials] == list(range(40))
    assert len({record.values["x"] for record in history.trials}) == 40
    assert sorted(history.ended) == list(range(40))


def test_two_workers_that_build_the_same_at_once_keep_one_trial(connect):
    one, other = open_study(connect()), open_study(connect())
    one.declare([Choice("model", ["a", "b"]), Int("units", 1, 1000)])
    first, second = one.ask("one"), other.ask("other")
    one.settle(first.number, {"model": "a"})
    with pytest.raises(DuplicateTrialError):  # though it had not read of the other one's build
        other.settle(second.number, {"model": "a"})
    one.sync()
    assert [record.number for record in one.history.trials] == [0]


def test_a_conflict_makes_the_study_read_on_and_decide_again():
    storage = MemoryStorage()
    one, other = open_study(storage), open_study(storage)
    one.declare([Int("x", 1, 50)])
    original, raced = storage.append, []

    def append(happened, seen):
        if not raced and isinstance(happened[0], events.TrialCreated):
            raced.append(True)
            storage.append = original
            other.ask("other")  # is faster
        return original(happened, seen)

    storage.append = append
    assert one.ask("one").number == 1
    assert other.history[0].worker == "other"
    assert one.history[0].values != one.history[1].values


# Cost


class CountingStorage(events.Storage):
    """Counts what is read and written."""

    def __init__(self):
        self.inner, self.read_count, self.written_count = MemoryStorage(), 0, 0

    def append(self, happened, seen):
        self.written_count += len(happened)
        return self.inner.append(happened, seen)

    def read(self, since):
        found = self.inner.read(since)
        self.read_count += len(found)
        return found


def test_a_trial_costs_a_few_events_and_no_event_is_read_twice():
    storage = CountingStorage()
    study = open_study(storage, max_trials=300)
    study.declare([Float("x", 0, 1)])
    for _ in range(300):
        finish(study)
    assert storage.written_count == 2 + 300 * 4  # created, started, execution, completed
    assert storage.read_count == 0  # what it writes itself it need not read


def long_journal(trials):
    storage = MemoryStorage()
    journal = [
        events.StudyOpened(events.objective_config(LOSS), 0, {}),
        events.SpaceGrown([{"class_name": "Int", "config": {**Int("x", 0, 10**6).get_config()}}]),
    ]
    for number in range(trials):
        journal.append(events.TrialCreated(number, str(number), {"x": number}))
        journal.append(events.TrialStarted(number, "me"))
        journal += [events.Reported(number, 0, step, {"loss": 1.0}) for step in range(1, 7)]
        journal.append(events.ExecutionCompleted(number, 0, 6, {"loss": float(number % 7)}))
        journal.append(
            events.TrialCompleted(number, float(number % 7), 5, {"x": number})
            if number % 3
            else events.TrialFailed(number, "error", None, {"x": number})
        )
    storage.append(journal, 0)
    return storage


def test_opening_a_long_journal_takes_time_in_proportion_to_it():
    """Medians over chunks, compared generously: no absolute times."""
    entries = long_journal(2000).read(0)
    assert len(entries) > 20_000
    history = events.start_history(entries[0])
    times = []
    for entry in entries[1:]:
        start = time.perf_counter()
        events.fold(history, entry)
        times.append(time.perf_counter() - start)
    first, last = statistics.median(times[:5000]), statistics.median(times[-5000:])
    assert last < 5 * first + 1e-5
    assert sum(times[-5000:]) < 10 * sum(times[:5000])
    assert len(history) == 2000


@pytest.mark.parametrize("algorithm", ["random", "grid"])
def test_asking_does_not_get_dearer_with_the_trials(algorithm):
    study = open_study(long_journal(2000), algorithm=algorithm)
    young = open_study(long_journal(20), algorithm=algorithm)

    def seconds(study):
        finish(study)  # what is computed once for a history that was just opened
        times = []
        for _ in range(15):
            start = time.perf_counter()
            finish(study)
            times.append(time.perf_counter() - start)
        return statistics.median(times)

    assert seconds(study) < 8 * seconds(young) + 1e-3
