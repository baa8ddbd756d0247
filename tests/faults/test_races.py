"""Two workers that decide at the same moment: what both want is done once."""

from keratune.algorithms import create
from keratune.execution import heart
from keratune.history import Record
from keratune.limits import Limits
from keratune.objectives import Objective
from keratune.parameters import Float
from keratune.stop import Stop
from keratune.storage import MemoryStorage
from keratune.study import Study


class Meanwhile(Stop):
    """Does something while a worker thinks about what to do next, once."""

    def __init__(self, action):
        self.action = action

    def spent(self, history):
        action, self.action = self.action, lambda: None
        action()
        return 0.0

    def reason(self, history):
        return ""


def study_in(storage, *stops):
    study = Study.open(
        storage, Objective("loss", "min"), create("random"), seed=0, limits=Limits(stops=stops)
    )
    study.declare([Float("x", 0.0, 1.0)])
    return study


def test_a_waiting_trial_that_two_workers_see_at_once_is_started_by_one():
    storage = MemoryStorage()
    first = study_in(storage)
    waiting = first.ask("gone").number
    first.requeue(waiting, "its worker is gone")
    taken = []
    second = study_in(storage, Meanwhile(lambda: taken.append(first.ask("first").number)))
    other = second.ask("second")
    assert taken == [waiting] and isinstance(other, Record) and other.number != waiting
    again = study_in(storage)  # the journal can be read
    assert again.history.running == {waiting, other.number}
    assert again.history[waiting].worker == "first"


def test_a_new_trial_that_two_workers_think_of_at_once_gets_two_numbers():
    storage = MemoryStorage()
    first, taken = study_in(storage), []
    second = study_in(storage, Meanwhile(lambda: taken.append(first.ask("first"))))
    other = second.ask("second")
    assert {taken[0].number, other.number} == {0, 1}
    assert taken[0].values != other.values
    assert len(study_in(storage).history.running) == 2


def test_a_worker_that_was_gone_and_comes_back_has_a_lease_like_any_other():
    worker, now, gone, count = "another-machine|77|12345|worker", [0.0], [], 7
    vigil = heart.Vigil(lambda: now[0])
    for look in range(30):
        now[0] += heart.BEAT
        if vigil.gone({worker: count}):
            gone.append(look)
            vigil.forget(worker)
            count = 0  # from 1 again when it comes back
        count += bool(gone)
    assert len(gone) == 1
