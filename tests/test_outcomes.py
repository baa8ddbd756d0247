"""Outcomes: what a trained trial has to keep to count as good."""

import pytest

import keratune as kt
from keratune.algorithms import create
from keratune.errors import FatalValueError
from keratune.objectives import MultiObjective, Objective, Outcome, ParetoObjective
from keratune.oracles import RandomSearchOracle
from keratune.parameters import Float
from keratune.schedulers import ASHA, Action, Median
from keratune.storage import base as events
from keratune.storage.memory import MemoryStorage
from keratune.study import Study


class Measured(kt.Tuner):
    """Trial k reports the k-th of some (error, recall) pairs."""

    pairs = [(0.1, 0.5), (0.4, 0.9), (0.3, 0.8), (0.2, 0.75), (0.5, 0.95)]

    def run_trial(self, trial, *args, **kwargs):
        trial.hyperparameters.Int("x", 0, 100)
        error, recall = self.pairs[int(trial.trial_id)]
        return {"error": error, "recall": recall, "size": 1.0 - error}


ERROR = Objective("error", "min")


def searched(project, objective=ERROR, outcomes=("recall >= 0.8",), trials=5, **arguments):
    tuner = Measured(
        RandomSearchOracle(objective, max_trials=trials, seed=0),
        outcomes=list(outcomes),
        **project,
        **arguments,
    )
    tuner.search(verbose=0)
    return tuner


def ids(trials):
    return [trial.trial_id for trial in trials]


def test_trials_that_keep_the_outcome_come_first_then_those_that_miss_least(project):
    assert ids(searched(project).oracle.get_best_trials(5)) == ["2", "1", "4", "3", "0"]


def test_only_trials_that_keep_it_are_on_the_front(project):
    objectives = [ERROR, Objective("size", "min")]
    free = searched({**project, "project_name": "free"}, objectives, ())
    assert len(free.get_pareto_trials()) == 5
    assert set(ids(searched(project, objectives).get_pareto_trials())) == {"1", "2", "4"}


def test_the_journal_holds_it_and_a_resumed_search_ranks_the_same(project):
    searched(project, trials=2)
    tuner = searched(project, trials=5)
    assert ids(tuner.oracle.get_best_trials(5)) == ["2", "1", "4", "3", "0"]
    opened = tuner.oracle.study._journal._storage.read(0)[0].event
    assert opened.objective["outcomes"] == ["recall >= 0.8"]
    with pytest.raises(RuntimeError, match="optimises"):
        searched(project, outcomes=["recall >= 0.9"], trials=5)


def test_an_outcome_that_is_not_measured_ends_the_search_and_is_named(project):
    with pytest.raises(FatalValueError, match="f1"):
        searched(project, outcomes=["f1 >= 0.8"])


def test_weights_are_kept_for_those_that_rank_first(project):
    tuner = searched(project, checkpoints=2)
    kept = tuner.history.best(2)
    assert [record.number for record in kept] == [2, 1]


@pytest.mark.parametrize(
    ("text", "value", "slack"),
    [
        ("a >= 0.8", 0.6, 0.25),
        ("a>=0.8", 0.8, 0.0),
        ("a <= 0", 0.5, 0.5),
        ("a <= -2", -3.0, -0.5),
        ("a <= 1e3", float("nan"), float("inf")),
    ],
)
def test_slack_is_in_parts_of_the_bound(text, value, slack):
    outcome = Outcome(text)
    assert outcome.slack({"a": value}) == pytest.approx(slack)
    assert Outcome(str(outcome)).slack({"a": value}) == pytest.approx(slack)


@pytest.mark.parametrize("text", ["recall", "recall > 0.5", "recall >= much", "recall >= nan", 3])
def test_anything_else_is_refused_with_an_example(text):
    with pytest.raises(ValueError, match=r"such as 'val_recall >= 0.8'. Received"):
        ERROR.keeping([text])


@pytest.mark.parametrize(
    "objective",
    [
        ERROR,
        MultiObjective([ERROR, "loss"]),
        ParetoObjective([Objective("error", "min", threshold=0.5), "params"]),
    ],
)
def test_every_kind_of_objective_comes_back_from_the_journal(objective):
    for told in (objective, objective.keeping(["recall >= 0.8", "latency <= 0.01"])):
        config = events.objective_config(told)
        back = events.objective_from_config(config)
        assert back == objective and type(back) is type(objective)
        assert events.objective_config(back) == config
        assert back.required == told.required
        assert ("latency" in back.cost_names) == bool(told.outcomes)


# With a scheduler


def scheduled(objective, scheduler, trials):
    """Let trials run for an epoch, (error, recall) each; return the study and the decisions."""
    study = Study.open(MemoryStorage(), objective, create("random"), seed=0)
    study.declare([Float("x", -1.0, 1.0)])
    study.planner.scheduler = scheduler.bound(9)
    records = [study.ask("me") for _ in trials]
    decisions = []
    for record, (error, recall) in zip(records, trials, strict=True):
        metrics = {"error": error, "recall": recall, "params": 9.0}
        study.report(record.number, 1, metrics)
        decisions.append(study.decide(record.number).action)
        if decisions[-1] is Action.PAUSE:
            study.pause(record.number)
    return study, decisions


FRONT = ParetoObjective([ERROR, "params"])
BOUNDED = ParetoObjective([ERROR, Objective("recall", "max", threshold=0.8)])


@pytest.mark.parametrize(
    "objective",
    [ERROR.keeping(["recall >= 0.8"]), FRONT.keeping(["recall >= 0.8"]), BOUNDED],
)
def test_what_keeps_it_goes_on_before_what_scores_better(objective):
    trials = [(0.9, 0.9), (0.8, 0.81), (0.3, 0.1), (0.2, 0.1), (0.1, 0.1), (0.4, 0.2)]
    study, decisions = scheduled(objective, ASHA(min_epochs=1), trials)
    assert set(decisions[2:]) == {Action.PAUSE}
    best = [record.number for record in study.history.best(2)]
    assert sorted(best) == [0, 1]
    assert [study.ask("me").number for _ in range(2)] == best


def test_of_those_that_break_it_the_one_that_misses_least_goes_on():
    trials = [(0.1, 0.1), (0.2, 0.7), (0.3, 0.5)]
    study, _ = scheduled(ERROR.keeping(["recall >= 0.8"]), ASHA(min_epochs=1), trials)
    assert study.ask("me").number == 1


def test_the_median_rule_stops_one_that_breaks_it_though_it_scores_best():
    trials = [(0.5 + 0.01 * k, 0.9) for k in range(5)] + [(0.1, 0.1)]
    rule = Median(min_epochs=1)
    _, decisions = scheduled(ERROR.keeping(["recall >= 0.8"]), rule, trials)
    assert decisions == [Action.CONTINUE] * 5 + [Action.STOP]


# What is refused


def test_a_bare_text_is_refused_by_name(project):
    with pytest.raises(ValueError, match=r"`outcomes` must be a list.*Pass \['recall >= 0.8'\]"):
        Measured(RandomSearchOracle(ERROR, max_trials=1), outcomes="recall >= 0.8", **project)


@pytest.mark.parametrize(
    ("objectives", "message"),
    [
        ("val_loss", "`objectives` must be a list"),
        (ERROR, "`objectives` must be a list"),
        ([], "`objectives` must hold at least one"),
        (["val_loss", "params", "val_loss"], "twice: val_loss"),
    ],
)
def test_objectives_that_are_none_are_refused_by_name(project, objectives, message):
    with pytest.raises(ValueError, match=message):
        Measured(RandomSearchOracle(None, max_trials=1), objectives=objectives, **project)


def test_a_cost_that_a_run_trial_of_the_users_own_does_not_return_is_named(project):
    oracle = RandomSearchOracle(None, max_trials=1, seed=0)
    tuner = Measured(oracle, objectives=[ERROR, "params"], **project)
    with pytest.raises(FatalValueError, match="costs, params, is measured of Keras models"):
        tuner.search(verbose=0)


def test_a_cost_that_a_run_trial_of_the_users_own_returns_is_taken(project):
    class Weighed(Measured):
        def run_trial(self, trial, *args, **kwargs):
            return {**super().run_trial(trial), "params": 3.0}

    oracle = RandomSearchOracle(None, max_trials=2, seed=0)
    tuner = Weighed(oracle, objectives=[ERROR, "params"], **project)
    tuner.search(verbose=0)
    assert tuner.history.completed_count == 2
