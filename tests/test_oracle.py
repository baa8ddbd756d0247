"""The oracle asked and told by hand, and subclassed as KerasTuner's users subclass theirs."""

import gc
import json
import random
import threading
import weakref

import numpy as np
import pytest

import keratune as kt
from keratune.oracles import GridSearchOracle, RandomSearchOracle

RUNNING, STOPPED, IDLE = "RUNNING", "STOPPED", "IDLE"
COMPLETED, INVALID, FAILED = "COMPLETED", "INVALID", "FAILED"


def space():
    hp = kt.HyperParameters()
    hp.Int("units", 1, 100)
    hp.Float("rate", 0.001, 1.0, sampling="log")
    return hp


def random_oracle(objective="score", hyperparameters=None, **arguments):
    if objective == "score":
        objective = kt.Objective("score", "max")
    return RandomSearchOracle(
        objective,
        hyperparameters=hyperparameters or space(),
        **{"seed": 3, "max_trials": 20, **arguments},
    )


def in_folder(oracle, folder):
    oracle._set_project_dir(str(folder), "project")
    return oracle


def run(oracle, score, status=COMPLETED, worker="me", **metrics):
    """Create a trial, report its score if there is one, and end it."""
    trial = oracle.create_trial(worker)
    if score is not None:
        oracle.update_trial(trial.trial_id, {oracle.objective.name: score, **metrics})
    trial.status = status
    oracle.end_trial(trial)
    return trial


class Scripted(kt.Oracle):
    """Gives the answers that it was given."""

    def __init__(self, *answers, **arguments):
        super().__init__(**{"objective": kt.Objective("score", "max"), **arguments})
        self.answers = list(answers)
        self.asked = []

    def populate_space(self, trial_id):
        self.asked.append(trial_id)
        return self.answers.pop(0) if self.answers else {"status": STOPPED}


# Asking and telling


def test_a_trial_is_asked_for_reported_and_ended():
    oracle = random_oracle(max_trials=2)
    trial = oracle.create_trial("me")
    assert (trial.trial_id, trial.status, trial.score) == ("0", RUNNING, None)
    assert oracle.ongoing_trials == {"me": trial}
    assert oracle.update_trial("0", {"score": 0.25}, step=0) is trial
    oracle.update_trial("0", {"score": 0.75, "other": 3}, step=1)
    oracle.update_trial("0", {"score": 0.5}, step=2)
    trial.status = COMPLETED
    oracle.end_trial(trial)
    assert (trial.score, trial.best_step) == (0.75, 1)
    assert trial.metrics.get_direction("score") == "max"
    assert oracle.ongoing_trials == {}
    assert oracle.start_order == oracle.end_order == ["0"]
    assert oracle.get_trial("0") is trial
    assert oracle.get_best_trials() == [trial]
    assert oracle.remaining_trials() == 1


def test_a_worker_that_has_a_trial_gets_the_same_again():
    oracle = random_oracle()
    first, other = oracle.create_trial("a"), oracle.create_trial("b")
    assert oracle.create_trial("a") is first
    assert other is not first
    assert list(oracle.trials) == [first.trial_id, other.trial_id]
    assert oracle.tuner_ids == {"a", "b"}


def test_a_search_stops_at_max_trials_and_goes_on_when_it_is_raised():
    oracle = random_oracle(max_trials=2)
    run(oracle, 1.0)
    run(oracle, 2.0)
    assert oracle.create_trial("me").status == STOPPED
    assert oracle.tuner_ids == set()
    oracle.max_trials = 3
    assert run(oracle, 3.0).trial_id == "2"
    assert oracle.create_trial("me").status == STOPPED


@pytest.mark.parametrize(
    ("max_trials", "first"), [(9, "0"), (10, "00"), (1000, "0000"), (None, "0000")]
)
def test_trial_ids_have_the_digits_of_max_trials(max_trials, first):
    assert random_oracle(max_trials=max_trials).create_trial("me").trial_id == first


def test_the_end_of_a_trial_may_be_told_by_its_id_and_keeps_its_values():
    oracle = random_oracle()
    endings = [
        lambda trial: oracle.end_trial(trial.trial_id, COMPLETED),
        lambda trial: oracle.end_trial(trial.trial_id),
        lambda trial: oracle.end_trial(trial_id=trial.trial_id, status=COMPLETED),
        lambda trial: oracle.end_trial(trial.trial_id, status=COMPLETED),
    ]
    for end in endings:
        trial = oracle.create_trial("me")
        values = dict(trial.hyperparameters.values)
        oracle.update_trial(trial.trial_id, {"score": 1.0})
        end(trial)
        assert oracle.get_trial(trial.trial_id).status == COMPLETED
        assert dict(oracle.get_trial(trial.trial_id).hyperparameters.values) == values
    assert oracle.end_order == oracle.start_order
    trial = oracle.create_trial("me")
    oracle.end_trial(trial.trial_id, FAILED)
    assert oracle.get_trial(trial.trial_id).status == FAILED


def test_the_end_of_a_trial_may_be_told_by_keyword():
    oracle = random_oracle()
    trial = oracle.create_trial("me")
    oracle.update_trial(trial.trial_id, {"score": 1.0})
    trial.status = COMPLETED
    oracle.end_trial(trial=trial)
    assert trial.score == 1.0


def test_an_overridden_end_trial_is_given_a_trial_by_old_calls_too():
    class Watching(Scripted):
        ended = ()

        @kt.synchronized
        def end_trial(self, trial):
            self.ended = (*self.ended, trial.trial_id, trial.status)
            super().end_trial(trial)

    oracle = Watching({"status": RUNNING, "values": {}})
    trial = oracle.create_trial("me")
    oracle.update_trial(trial.trial_id, {"score": 1.0})
    oracle.end_trial(trial.trial_id, COMPLETED)
    assert oracle.ended == (trial.trial_id, COMPLETED)
    assert oracle.get_best_trials() == [trial]


def test_a_trial_that_nobody_has_is_named_in_the_error():
    oracle = random_oracle()
    run(oracle, 1.0)
    with pytest.raises(KeyError, match="no trial '7'"):
        oracle.update_trial("7", {"score": 1.0})
    with pytest.raises(KeyError):
        oracle.get_trial("7")


def test_metrics_without_the_objective_are_refused_with_what_there_is():
    oracle = random_oracle()
    trial = oracle.create_trial("me")
    with pytest.raises(ValueError, match=r"Objective value missing.*\['score'\].*\['acc'\]"):
        oracle.update_trial(trial.trial_id, {"acc": 1.0})


def test_several_objectives_are_asked_and_told_with_their_own_directions():
    oracle = random_oracle([kt.Objective("loss", "min"), kt.Objective("hits", "max")])
    for loss, hits in [(1.0, 2.0), (1.0, 5.0), (3.0, 0.0)]:
        trial = oracle.create_trial("me")
        oracle.update_trial(trial.trial_id, {"loss": loss, "hits": hits})
        trial.status = COMPLETED
        oracle.end_trial(trial)
    best = oracle.get_best_trials(3)
    assert [trial.score for trial in best] == [-4.0, -1.0, 3.0]
    assert best[0].metrics.get_direction("hits") == "max"
    with pytest.raises(ValueError, match="Objective value missing"):
        oracle.update_trial(oracle.create_trial("me").trial_id, {"loss": 1.0})


def test_the_best_trials_are_the_completed_ones_and_no_others():
    oracle = random_oracle(max_consecutive_failed_trials=None)
    low, failed, high = run(oracle, 1.0), run(oracle, None, FAILED), run(oracle, 2.0)
    running = oracle.create_trial("me")
    assert oracle.get_best_trials(10) == [high, low]
    assert oracle.get_best_trials(1) == [high]
    assert list(oracle.trials.values()) == [low, failed, high, running]


def test_nan_and_infinity_are_failures_and_never_the_best():
    oracle = random_oracle(kt.Objective("loss", "min"), max_consecutive_failed_trials=None)
    for value in (float("nan"), float("inf"), float("-inf"), 0.5):
        run(oracle, value)
    assert [t.status for t in oracle.trials.values()] == [FAILED, FAILED, FAILED, COMPLETED]
    assert [t.score for t in oracle.get_best_trials(4)] == [0.5]
    messages = [trial.message or "" for trial in oracle.trials.values()]
    assert ["nan" in messages[0], "inf" in messages[1], "-inf" in messages[2]] == [True] * 3


# Retries and failures


def test_a_retry_forgets_what_the_first_attempt_reported():
    oracle = random_oracle(max_retries_per_trial=2)
    run(oracle, float("nan"))
    trial = run(oracle, 0.5)
    assert (trial.trial_id, trial.status, trial.score) == ("00", COMPLETED, 0.5)
    assert len(oracle.trials) == 1


def test_retries_are_announced_and_end(capsys):
    oracle = random_oracle(max_retries_per_trial=2)
    for _ in range(3):
        trial = run(oracle, None, INVALID)
    assert trial.status == FAILED
    shown = capsys.readouterr().out
    assert "Trial 00 failed 1 times. 2 retries left." in shown
    assert "Trial 00 failed 2 times. 1 retries left." in shown
    assert oracle.create_trial("me").trial_id == "01"


def test_interrupted_trials_are_taken_up_again_in_the_order_in_which_they_began(tmp_path):
    oracle = in_folder(random_oracle(), tmp_path)
    begun = [oracle.create_trial(worker) for worker in "abc"]
    oracle.save()
    again = in_folder(random_oracle(), tmp_path)
    again.reload()
    resumed = [again.create_trial(worker) for worker in "xyz"]
    assert [t.trial_id for t in resumed] == [t.trial_id for t in begun]
    values = [dict(t.hyperparameters.values) for t in begun]
    assert [dict(t.hyperparameters.values) for t in resumed] == values


@pytest.mark.parametrize(("limit", "failures"), [(3, 3), (1, 1), (0, 1)])
def test_a_search_in_which_nothing_works_ends_at_the_limit_and_stays_usable(limit, failures):
    oracle = random_oracle(max_consecutive_failed_trials=limit)
    for _ in range(failures - 1):
        run(oracle, None, FAILED)
    trial = oracle.create_trial("me")
    trial.status, trial.message = FAILED, "the cause"
    with pytest.raises(RuntimeError, match=r"Number of consecutive failures exceeded[\s\S]*cause"):
        oracle.end_trial(trial)
    assert oracle.ongoing_trials == {}
    assert oracle.end_order[-1] == trial.trial_id
    assert run(oracle, 1.0).score == 1.0


def test_no_limit_lets_everything_fail():
    oracle = random_oracle(max_consecutive_failed_trials=None, max_trials=8)
    while oracle.create_trial("me").status == RUNNING:
        run(oracle, None, FAILED)
    assert len(oracle.end_order) == 8


def test_a_limit_of_zero_lets_trials_that_work_work():
    oracle = random_oracle(max_consecutive_failed_trials=0)
    assert run(oracle, 1.0).status == COMPLETED


def test_a_search_that_has_worked_survives_a_streak_of_bad_luck():
    oracle = random_oracle()
    for _ in range(3):
        run(oracle, 1.0)
        run(oracle, None, FAILED)
    for _ in range(3):
        run(oracle, None, FAILED)
    assert run(oracle, 1.0).status == COMPLETED


# Subclasses


def test_a_subclass_chooses_the_values_and_the_end():
    oracle = Scripted(
        {"status": RUNNING, "values": {"units": 7, "free": "text"}},
        {"status": IDLE},
        {"status": RUNNING, "values": {}},
        hyperparameters=space(),
        max_trials=20,
    )
    trial = oracle.create_trial("me")
    values = trial.hyperparameters.values
    assert (values["units"], values["free"]) == (7, "text")
    assert 0.001 <= values["rate"] <= 1.0
    assert oracle.create_trial("other").status == IDLE
    assert oracle.create_trial("other").status == RUNNING
    assert oracle.create_trial("third").status == STOPPED
    assert oracle.asked == ["00", "01", "01", "02"]
    assert oracle.tuner_ids == {"me", "other"}


def test_a_subclass_without_populate_space_is_told_to_write_it():
    with pytest.raises(NotImplementedError, match="populate_space"):
        kt.Oracle(kt.Objective("score", "max")).create_trial("me")


def test_values_outside_the_space_are_kept_shown_and_hashed(tmp_path, capsys):
    oracle = in_folder(
        Scripted(
            {"status": RUNNING, "values": {"tuner/round": 3}},
            {"status": RUNNING, "values": {"tuner/round": 4}},
            seed=0,
        ),
        tmp_path,
    )
    first, second = run(oracle, 1.0), run(oracle, 2.0)
    assert first.hyperparameters.values == {"tuner/round": 3}
    assert len(oracle._tried_so_far) == 2
    second.summary()
    assert "tuner/round: 4" in capsys.readouterr().out
    again = in_folder(Scripted(seed=0), tmp_path)
    again.reload()
    assert again.get_best_trials()[0].hyperparameters.values == {"tuner/round": 4}


class Counting(kt.Oracle):
    """Keeps a count of its own in `oracle.json`."""

    def __init__(self, **arguments):
        super().__init__(kt.Objective("score", "max"), seed=0, **arguments)
        self.count, self.worst = 0, float("inf")

    def populate_space(self, trial_id):
        self.count += 1
        return {"status": RUNNING, "values": {"turn": self.count}}

    def get_state(self):
        state = super().get_state()
        state.update({"count": self.count, "worst": self.worst})
        return state

    def set_state(self, state):
        super().set_state(state)
        self.count, self.worst = state["count"], state["worst"]


def test_the_state_of_a_subclass_survives_a_reload(tmp_path):
    oracle = in_folder(Counting(), tmp_path)
    run(oracle, 1.0)
    run(oracle, 2.0)
    oracle.save()
    again = in_folder(Counting(), tmp_path)
    again.reload()
    assert (again.count, again.worst) == (2, float("inf"))
    assert run(again, 3.0).hyperparameters.values["turn"] == 3


def test_a_state_that_lacks_what_a_subclass_needs_is_explained(tmp_path):
    oracle = in_folder(Counting(), tmp_path)
    run(oracle, 1.0)
    file = tmp_path / "project" / "oracle.json"
    state = json.loads(file.read_text())
    del state["count"]
    file.write_text(json.dumps(state))
    with pytest.raises(RuntimeError, match="pass `overwrite=True`"):
        in_folder(Counting(), tmp_path).reload()


def test_an_overridden_score_trial_decides_the_ranking():
    class Reversed(Scripted):
        def score_trial(self, trial):
            super().score_trial(trial)
            trial.score = -trial.score
            trial.best_step = 4

    answers = [{"status": RUNNING, "values": {"turn": turn}} for turn in range(2)]
    oracle = Reversed(*answers)
    first, second = run(oracle, 1.0), run(oracle, 2.0)
    assert (first.score, second.score, second.best_step) == (-1.0, -2.0, 4)
    assert oracle.get_best_trials(2) == [first, second]


def test_overridden_methods_may_change_what_a_worker_sees():
    class Meddling(Scripted):
        @kt.synchronized
        def create_trial(self, tuner_id):
            trial = super().create_trial(tuner_id)
            if trial.trial_id.endswith("1"):
                trial.status = STOPPED
            return trial

        def update_trial(self, trial_id, metrics, step=0):
            super().update_trial(trial_id, metrics, step)
            self.trials[trial_id].status = STOPPED
            return STOPPED

    oracle = Meddling(*[{"status": RUNNING, "values": {"turn": turn}} for turn in range(2)])
    trial = oracle.create_trial("me")
    assert oracle.update_trial(trial.trial_id, {"score": 1.0}) == STOPPED
    trial.status = COMPLETED
    oracle.end_trial(trial)
    assert oracle.get_best_trials() == [trial]
    assert oracle.create_trial("me").status == STOPPED


def test_the_old_names_of_the_methods_warn_and_work():
    oracle = random_oracle()
    with pytest.warns(DeprecationWarning, match="populate_space"):
        assert oracle._populate_space("0")["status"] == RUNNING
    trial = oracle.create_trial("me")
    oracle.update_trial(trial.trial_id, {"score": 2.0})
    with pytest.warns(DeprecationWarning, match="score_trial"):
        oracle._score_trial(trial)
    assert trial.score == 2.0


def test_random_values_end_when_a_small_space_is_used_up():
    hp = kt.HyperParameters()
    hp.Boolean("a")
    hp.Boolean("b")
    oracle = random_oracle(hyperparameters=hp)
    drawn = [oracle._random_values() for _ in range(5)]
    assert drawn[4] is None
    assert len({oracle._compute_values_hash(values) for values in drawn[:4]}) == 4


def test_hashes_tell_types_and_borders_apart():
    digest = random_oracle()._compute_values_hash
    assert digest({"a": 1, "b": 2}) != digest({"a": "1b=2"})
    assert digest({"a": 1}) != digest({"a": "1"})
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert len(digest({})) == 32


# Trials and spaces that users put in themselves


def completed(trial_id, score, **values):
    trial = kt.trial.Trial(space(), trial_id, COMPLETED)
    trial.hyperparameters.values.update(values)
    trial.score = score
    return trial


def test_trials_put_in_by_hand_count():
    oracle = random_oracle()
    own = run(oracle, 1.5)
    oracle.trials["a"] = completed("a", 1.0, units=1)
    oracle.trials["b"] = completed("b", 2.0, units=2)
    assert [t.trial_id for t in oracle.get_best_trials(9)] == ["b", own.trial_id, "a"]
    assert oracle.remaining_trials() == 17


def test_trials_may_be_replaced_by_assignment():
    oracle = random_oracle()
    run(oracle, 1.5)
    run(oracle, 2.5)
    oracle.trials = {"a": completed("a", 1.0, units=1)}
    assert list(oracle.trials) == ["a"]
    assert [t.trial_id for t in oracle.get_best_trials(9)] == ["a"]


def test_a_running_trial_put_in_by_hand_can_be_reported_and_ended():
    oracle = random_oracle()
    trial = completed("mine", None, units=1)
    trial.status = RUNNING
    oracle.trials = {"mine": trial}
    oracle.update_trial("mine", {"score": 4.0})
    trial.status = COMPLETED
    oracle.end_trial(trial)
    assert [(t.trial_id, t.score) for t in oracle.get_best_trials()] == [("mine", 4.0)]


def test_several_objectives_rank_trials_put_in_by_hand():
    oracle = random_oracle([kt.Objective("loss", "min"), kt.Objective("hits", "max")])
    oracle.trials = {"a": completed("a", 1.0), "b": completed("b", -1.0, units=3)}
    assert [t.trial_id for t in oracle.get_best_trials(2)] == ["b", "a"]


def test_a_trial_put_in_by_hand_without_a_finite_score_is_never_the_best():
    oracle = random_oracle()
    oracle.trials = {"a": completed("a", float("nan")), "b": completed("b", 1.0, units=3)}
    assert [t.trial_id for t in oracle.get_best_trials(2)] == ["b"]


def test_a_space_may_be_assigned():
    oracle = RandomSearchOracle(kt.Objective("score", "max"), seed=1)
    oracle.hyperparameters = space()
    assert set(oracle.create_trial("me").hyperparameters.values) == {"units", "rate"}


def test_a_users_space_is_left_as_it_was():
    given = space()
    oracle = random_oracle(hyperparameters=given)
    late = kt.HyperParameters()
    late.Boolean("late")
    oracle.update_space(late)
    assert [p.name for p in oracle.get_space().space] == ["units", "rate", "late"]
    assert [p.name for p in given.space] == ["units", "rate"]


def test_a_closed_space_refuses_new_entries_and_a_fixed_one_passes_them_over():
    late = kt.HyperParameters()
    late.Boolean("late")
    with pytest.raises(RuntimeError, match="`allow_new_entries` is `False`.*late"):
        random_oracle(allow_new_entries=False).update_space(late)
    oracle = random_oracle(tune_new_entries=False)
    oracle.update_space(late)
    assert [p.name for p in oracle.get_space().space] == ["units", "rate"]
    for name in ("allow_new_entries", "tune_new_entries"):
        with pytest.raises(ValueError, match=f"{name}=False"):
            kt.Oracle(**{name: False})


# Locks and threads


def test_an_exception_gives_the_lock_back():
    oracle = random_oracle(max_consecutive_failed_trials=1)
    trial = oracle.create_trial("me")
    with pytest.raises(ValueError, match="Objective value missing"):
        oracle.update_trial(trial.trial_id, {})
    trial.status = FAILED
    with pytest.raises(RuntimeError):
        oracle.end_trial(trial)
    others = []
    thread = threading.Thread(target=lambda: others.append(oracle.create_trial("other")))
    thread.start()
    thread.join(timeout=20)
    assert [other.status for other in others] == [RUNNING]


def test_threads_of_one_name_never_share_a_trial():
    oracle = random_oracle(max_trials=24)
    seen, errors = [], []

    def work(worker):
        try:
            while (trial := oracle.create_trial(worker)).status == RUNNING:
                seen.append(trial.trial_id)
                oracle.update_trial(trial.trial_id, {"score": float(trial.trial_id)})
                trial.status = COMPLETED
                oracle.end_trial(trial)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(f"w{i}",), name="same") for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert errors == []
    assert sorted(seen) == [f"{i:02d}" for i in range(24)]
    assert oracle.get_best_trials()[0].score == 23.0


def test_threads_with_equal_names_are_let_in_one_after_the_other():
    inside, most = [], []

    @kt.synchronized
    def visit(oracle, pause):
        inside.append(1)
        most.append(len(inside))
        pause.wait(0.02)
        inside.pop()

    oracle, pause = random_oracle(), threading.Event()
    threads = [threading.Thread(target=visit, args=(oracle, pause), name="same") for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    assert most == [1] * 4


def test_one_oracle_never_waits_for_another():
    first, second = random_oracle(), random_oracle()
    entered, done = threading.Event(), threading.Event()

    @kt.synchronized
    def hold(oracle):
        entered.set()
        return done.wait(20)

    thread = threading.Thread(target=hold, args=(first,))
    thread.start()
    assert entered.wait(20)
    assert second.create_trial("me").status == RUNNING
    done.set()
    thread.join()


def test_synchronized_keeps_the_name_and_the_documentation():
    assert kt.Oracle.create_trial.__name__ == "create_trial"
    assert "worker" in kt.Oracle.create_trial.__doc__


def test_an_oracle_is_garbage_when_nobody_has_it(tmp_path):
    oracles = [
        in_folder(random_oracle(), tmp_path),
        GridSearchOracle(kt.Objective("score", "max"), hyperparameters=space()),
    ]
    for oracle in oracles:
        run(oracle, 1.0)
        run(oracle, 2.0)
    left = [weakref.ref(oracle) for oracle in oracles]
    del oracle, oracles
    gc.collect()
    assert [reference() for reference in left] == [None, None]


# Chance


def conditional_values(seed, noise):
    """Run trials of a space in which values are filled in late, under another global seed."""
    random.seed(noise)
    np.random.seed(noise)
    hp = space()
    kind = hp.Choice("kind", ["a", "b"])
    with hp.conditional_scope("kind", ["b"]):
        hp.Float("only_b", 0.0, 1.0)
    oracle = random_oracle(hyperparameters=hp, seed=seed)
    found = []
    for turn in range(6):
        trial = oracle.create_trial("me")
        if turn > 1:
            kind = trial.hyperparameters.Float(f"late_{trial.hyperparameters['kind']}", 0.0, 1.0)
        found.append((dict(trial.hyperparameters.values), kind))
        oracle.update_trial(trial.trial_id, {"score": 1.0})
        trial.status = COMPLETED
        oracle.end_trial(trial)
    return found


def test_every_value_follows_from_the_seed_and_zero_is_a_seed():
    assert conditional_values(0, noise=1) == conditional_values(0, noise=2)
    assert conditional_values(0, noise=1) != conditional_values(1, noise=1)


def test_neighbouring_seeds_share_no_trials():
    values = [
        {values["rate"] for values, _ in conditional_values(seed, noise=0)[1:]} for seed in (1, 2)
    ]
    assert not values[0] & values[1]


def test_no_seed_means_another_search_each_time():
    seeds = {random_oracle(seed=None).seed for _ in range(8)}
    assert len(seeds) > 1
