"""Early stopping with several objectives: rungs compare by fronts, not by a sum."""

import numpy as np
import pytest

from keratune.algorithms import create
from keratune.history import Record
from keratune.numerics import pareto
from keratune.objectives import Objective, ParetoObjective
from keratune.parameters import Float
from keratune.rungs import FrontRung, rungs_of
from keratune.schedulers import ASHA, Action
from keratune.storage.memory import MemoryStorage
from keratune.study import Limits, Study

OBJECTIVE = ParetoObjective([Objective("error", "min"), "params"])


def open_study(storage=None, trials=9):
    study = Study.open(
        storage or MemoryStorage(), OBJECTIVE, create("random"), seed=0, limits=Limits(trials)
    )
    study.declare([Float("x", 0.0, 1.0)])
    study.planner.scheduler = ASHA(min_epochs=1, factor=3).bound(9)
    return study


def curve(x, step):
    """The more parameters, the smaller the error, but for the largest third, which others beat."""
    return {"error": 1.0 - x + 1.0 / step + (x > 0.67), "params": 100.0 * x + 1.0}


def run(study):
    """Train as a worker does until there is nothing left to do."""
    while isinstance(record := study.ask("me"), Record):
        while record.status == "RUNNING":
            step = record.trained + 1
            study.report(record.number, step, curve(record.values["x"], step))
            decision = study.decide(record.number)
            if decision.action is Action.PAUSE:
                study.pause(record.number, decision.reason)
            elif decision.action is Action.STOP or step == 9:
                study.tell(record.number, record.curves[0][step])
    return study.history


def test_a_rung_is_in_the_order_of_its_fronts():
    history = run(open_study())
    rung = rungs_of(history, [1, 3, 9])[0]
    assert isinstance(rung, FrontRung)
    numbers = sorted(rung.losses)
    losses = np.array([OBJECTIVE.get_losses(history[n].curves[0][1]) for n in numbers])
    front = {n for n, kept in zip(numbers, pareto.front(losses), strict=True) if kept}
    ordered = sorted(numbers, key=rung.place)
    assert set(ordered[: len(front)]) == front
    assert front != set(numbers)


def test_the_small_go_on_beside_the_good():
    history = run(open_study(trials=18))
    whole = [record.values["x"] for record in history.trials if record.trained == 9]
    assert max(whole) <= 0.67
    assert min(whole) < 0.33  # by the error alone, only those just below 0.67 would go on
    assert len(whole) < len(history) / 2


def test_a_history_read_anew_decides_the_same():
    storage = MemoryStorage()
    warm = run(open_study(storage))
    cold = open_study(storage).history
    for k in range(3):
        tables = [
            [rungs_of(history, [1, 3, 9])[k].place(n) for n in sorted(warm_losses)]
            for history in (warm, cold)
            for warm_losses in [rungs_of(warm, [1, 3, 9])[k].losses]
        ]
        assert tables[0] == tables[1]


def test_one_objective_is_compared_by_bisection_as_before():
    study = Study.open(MemoryStorage(), Objective("error", "min"), create("random"), seed=0)
    assert not isinstance(rungs_of(study.history, [1, 3])[0], FrontRung)


@pytest.mark.parametrize("kind", ["asha", "hyperband", "median"])
def test_every_scheduler_ends_a_search_with_two_objectives(kind):
    from keratune import schedulers

    study = open_study()
    study.planner.scheduler = schedulers.create(kind).bound(9)
    history = run(study)
    assert len(history) == 9 and not history.running
    assert any(record.trained == 9 for record in history.front())
