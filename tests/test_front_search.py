"""Proposals for several objectives and for outcomes that have to be kept."""

import numpy as np
import pytest

from keratune.algorithms import create
from keratune.history import Observation, Record
from keratune.numerics import hypervolume
from keratune.objectives import Objective, ParetoObjective
from keratune.parameters import Float
from keratune.priors import Prior
from keratune.storage.memory import MemoryStorage
from keratune.study import Limits, Study
from keratune.surrogates import front_search
from keratune.surrogates.observations import observe


def branin_currin(x, y):
    """Two losses on the unit square (Belakaria et al., 2019, the problem "BC")."""
    u, v = 15 * x - 5, 15 * y
    branin = (v - 5.1 / (4 * np.pi**2) * u * u + 5 / np.pi * u - 6) ** 2
    branin += 10 * (1 - 1 / (8 * np.pi)) * np.cos(u) + 10
    currin = 1 - np.exp(-1 / (2 * max(y, 1e-9)))
    currin *= (2300 * x**3 + 1900 * x**2 + 2092 * x + 60) / (100 * x**3 + 500 * x**2 + 4 * x + 20)
    return branin, currin


BOTH = ParetoObjective([Objective("branin", "min"), Objective("currin", "min")])


def study_of(algorithm, seed, trials, objective=BOTH):
    study = Study.open(MemoryStorage(), objective, algorithm, seed=seed, limits=Limits(trials))
    study.declare([Float("x", 0.0, 1.0), Float("y", 0.0, 1.0)])
    while isinstance(trial := study.ask("me"), Record):
        branin, currin = branin_currin(trial.values["x"], trial.values["y"])
        study.tell(trial.number, {"branin": branin, "currin": currin, "params": 10.0 + branin})
    return study


def area(study):
    losses = np.array([study.history.losses(record) for record in study.history.trials])
    return hypervolume.hypervolume(losses, np.array([18.0, 6.0]))


def test_it_covers_more_of_two_losses_than_a_random_search():
    found, by_chance = [], []
    for seed in range(5):
        found.append(area(study_of(create("bayesian"), seed, 20)))
        by_chance.append(area(study_of(create("random"), seed, 20)))
    assert np.median(found) > 45.0 > 2 * np.median(by_chance)


OBJECTIVES = {
    "two": BOTH,
    "a threshold": ParetoObjective([Objective("branin", "min", threshold=20.0), "params"]),
    "a threshold that nothing meets": ParetoObjective(
        [Objective("branin", "min", threshold=-5.0), Objective("currin", "min")]
    ),
    "three": ParetoObjective([Objective("branin", "min"), Objective("currin", "min"), "params"]),
    "one and an outcome": Objective("branin", "min").keeping(["currin <= 5"]),
    "two and an outcome": BOTH.keeping(["params <= 40"]),
    "an outcome that nothing keeps": Objective("branin", "min").keeping(["currin <= -1"]),
}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_slopes_are_those_of_the_values(name):
    history = study_of(create("random"), 0, 12, OBJECTIVES[name]).history
    seen = observe(history)
    pending = np.array([[0.3, 0.3]])
    failed = np.array([[0.9, 0.9], [0.8, 0.9], [0.9, 0.8]])
    promise, _ = front_search.promise(
        history, seen.encoding, failed, pending, 1e-4, np.random.default_rng(1)
    )
    rows = np.random.default_rng(0).uniform(0.05, 0.95, (6, 2))
    values, slopes = promise.slopes(rows)
    assert np.allclose(values, promise(rows))
    step = 1e-5
    for j in range(2):
        shift = np.zeros(2)
        shift[j] = step
        numeric = (promise(rows + shift) - promise(rows - shift)) / (2 * step)
        assert np.allclose(slopes[:, j], numeric, rtol=2e-3, atol=1e-3)


def test_proposals_go_where_the_outcome_is_kept():
    objective = Objective("branin", "min").keeping(["currin <= 5"])
    history = study_of(create("bayesian"), 0, 30, objective).history
    late = [record.metrics["currin"] for record in history.trials[15:]]
    assert sum(value <= 5.0 for value in late) >= 10
    assert history.best()[0].metrics["currin"] <= 5.0


def test_the_same_history_and_chance_give_the_same_proposal():
    study = study_of(create("random"), 3, 10)
    proposals = [
        create("bayesian").suggest(made.history, np.random.default_rng(7))
        for made in (study, study, study_of(create("random"), 3, 10))
    ]
    assert proposals[0] == proposals[1] == proposals[2]


def test_proposals_keep_away_from_what_was_rejected():
    study = Study.open(
        MemoryStorage(), Objective("loss", "min"), create("bayesian"), seed=0, limits=Limits(25)
    )
    study.declare([Float("x", 0.0, 1.0), Float("y", 0.0, 1.0)])
    while isinstance(trial := study.ask("me"), Record):
        x, y = trial.values["x"], trial.values["y"]
        if x + y > 0.8:  # the better, the more is rejected
            study.reject(trial.number, "params 2 > 1", {"params": 2.0})
        else:
            study.tell(trial.number, {"loss": (x - 0.7) ** 2 + (y - 0.7) ** 2})
    assert len(study.history) == 25
    assert len(study.history.rejected) <= 50  # without learning from them: 141
    assert study.history.best()[0].score < 0.2  # 0.18 is the best that is allowed


def test_proposals_are_allowed_by_the_constraint_at_once(monkeypatch):
    asked = []
    algorithm = create("bayesian")
    suggest = type(algorithm).suggest
    monkeypatch.setattr(type(algorithm), "suggest", lambda *args: asked.append(1) or suggest(*args))
    study = Study.open(
        MemoryStorage(), Objective("loss", "min"), algorithm, seed=0, limits=Limits(15)
    )
    study.declare([Float("x", 0.0, 1.0), Float("y", 0.0, 1.0)])
    study.constrain(lambda hp: hp["x"] + hp["y"] <= 0.8)
    while isinstance(trial := study.ask("me"), Record):
        x, y = trial.values["x"], trial.values["y"]
        assert x + y <= 0.8
        study.tell(trial.number, {"loss": (x - 0.7) ** 2 + (y - 0.7) ** 2})
    assert len(asked) <= 15
    assert study.history.best()[0].score < 0.2


def test_what_was_given_is_learnt_from_where_an_outcome_is_to_be_kept():
    def after(given):
        objective = Objective("loss", "min").keeping(["recall >= 0.5"])
        study = Study.open(MemoryStorage(), objective, create("bayesian"), seed=0, limits=Limits(6))
        study.planner.defaults_first = False
        study.declare([Float("x", 0.0, 1.0), Float("y", 0.0, 1.0)])
        study.give([Observation(str(i), v, bowl(v)) for i, v in enumerate(given)])
        while isinstance(trial := study.ask("me"), Record):
            study.tell(trial.number, {"loss": bowl(trial.values), "recall": 0.9})
        return [bowl(record.values) for record in study.history.trials]

    given = [{"x": float(x), "y": float(y)} for x, y in np.random.default_rng(0).random((40, 2))]
    assert max(after(given)[2:]) < 0.1
    assert min(after(given)) < 0.25 * min(after([]))


def bowl(values):
    return (values["x"] - 0.9) ** 2 + (values["y"] - 0.1) ** 2


@pytest.mark.parametrize("kind", ["an outcome", "two objectives"])
def test_priors_have_a_share_behind_the_first_points(kind):
    objective = Objective("loss", "min").keeping(["other >= 0.5"])
    if kind == "two objectives":
        objective = ParetoObjective([Objective("loss", "min"), Objective("other", "min")])

    def away(prior):
        study = Study.open(
            MemoryStorage(), objective, create("bayesian"), seed=0, limits=Limits(10)
        )
        study.planner.defaults_first = False
        study.declare([Float(f"x{i}", 0.0, 1.0, prior=prior) for i in range(5)])
        while isinstance(trial := study.ask("me"), Record):
            loss = sum((value - 0.9) ** 2 for value in trial.values.values())
            study.tell(trial.number, {"loss": loss, "other": 0.9})
        late = [list(record.values.values()) for record in study.history.trials[6:]]
        return float(np.abs(np.array(late) - 0.9).mean())

    assert away(Prior(0.9, "strong")) < 0.4 * away(None)
