"""What every scheduler must do, as functions that raise AssertionError.

Each takes `make`, which returns a fresh scheduler that no length of training was told. Studies are
simulated: a loss falls from 1 towards a level that the trial's values say, nothing is trained. As
the check says, a trial may fail, report NaN, lack validation or be ended early by a callback.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import random
import sys
from collections.abc import Callable, Iterator
from typing import Any

from keratune import algorithms
from keratune.history import History, Record
from keratune.objectives import Objective
from keratune.parameters import Float
from keratune.schedulers.base import Action, Decision, Plan, Scheduler
from keratune.storage import base as events
from keratune.storage.base import Storage
from keratune.storage.memory import MemoryStorage
from keratune.study import Limits, NonFiniteScoreError, Study, Verdict
from keratune.trial import TrialStatus

Make = Callable[[], Scheduler]
Curve = Callable[[Record, int], "float | None"]
Step = tuple[int, int, str]  # trial, epochs trained, what has happened

EPOCHS = 20


def falling(record: Record, epoch: int) -> float | None:
    """Return a loss that falls from 1 towards the trial's level, at the trial's speed."""
    level, speed = float(record.values["level"]), float(record.values["speed"])
    return level + (1.0 - level) * math.exp(-speed * epoch)


def rough(record: Record, epoch: int) -> float | None:
    """Return losses as `falling` does, but NaN or inf in some trials, and None in some epochs."""
    if record.number % 5 == 3:
        return math.nan if epoch % 2 else math.inf
    if record.number % 4 == 2 and epoch % 3:
        return None
    return falling(record, epoch)


def never(record: Record, epoch: int) -> bool:
    """Say no."""
    return False


@dataclasses.dataclass
class Simulation:
    """A study whose trainings are simulated.

    Args:
        make: Returns the scheduler.
        max_trials: How many trials there may be.
        max_epochs: Epochs of a training in full.
        seed: The study's seed.
        curve: Returns a trial's loss at an epoch: None without validation.
        ends: Tells whether a callback ends a trial at an epoch.
        fails: Tells whether a trial fails at an epoch, in its first attempt or for good.
        retries: How often a failed trial is tried again.
        watch: Called with the study whenever the scheduler is about to be asked about a trial.
        storage: Where the journal is; one that holds a journal is continued.
    """

    make: Make
    max_trials: int | None = 20
    max_epochs: int = EPOCHS
    seed: int = 0
    curve: Curve = falling
    ends: Callable[[Record, int], bool] = never
    fails: Callable[[Record, int], bool] = never
    retries: int = 0
    watch: Callable[[Study], None] = lambda study: None
    storage: Storage = dataclasses.field(default_factory=MemoryStorage)

    def __post_init__(self) -> None:
        """Open the study."""
        self.study = Study.open(
            self.storage,
            Objective("loss", "min"),
            algorithms.create("random"),
            seed=self.seed,
            limits=Limits(self.max_trials, self.retries, None),
        )
        self.study.declare([Float("level", 0.0, 1.0), Float("speed", 0.05, 2.0, sampling="log")])
        self.study.planner.scheduler = self.make().bound(self.max_epochs)

    def reopened(self, **changes: Any) -> Simulation:
        """Return a simulation that continues this one, as another process would."""
        again = dataclasses.replace(self, **changes)
        again.study.recover(lambda worker: False)
        return again

    def steps(self, worker: str = "worker") -> Iterator[Step]:
        """Run trials until the study stops, and tell each thing that happens."""
        while True:
            self.watch(self.study)
            record = self.study.ask(worker)
            if record is Verdict.STOP:
                return
            if isinstance(record, Verdict):
                yield -1, 0, "waits"
                continue
            yield record.number, record.trained, "starts" if not record.trained else "goes on"
            yield from self._train(record)

    def _train(self, record: Record) -> Iterator[Step]:
        """Train a trial until it is paused or ends."""
        number = record.number
        while True:
            action = self._action(record)
            if action is Action.PAUSE:
                self.study.pause(number, "paused")
            elif action is Action.STOP:
                self._end(record)
            if action is not Action.CONTINUE:
                yield number, record.trained, action.value
                return
            epoch = record.trained + 1
            if self.fails(record, epoch):
                self.study.fail(number, "error", "no good", retry=True)
                yield number, epoch, "fails"
                return
            loss = self.curve(record, epoch)
            self.study.report(number, epoch, {} if loss is None else {"loss": loss})
            yield number, epoch, "reports"

    def _action(self, record: Record) -> Action:
        """Return what becomes of a trial behind the epochs that it has trained."""
        if not record.trained:
            return Action.CONTINUE
        if record.trained >= self.max_epochs or self.ends(record, record.trained):
            return Action.STOP
        self.watch(self.study)
        return self.study.decide(record.number).action

    def _end(self, record: Record) -> None:
        """End a trial with its best epoch; one without a finite loss fails."""
        whole = record.trained >= self.max_epochs or self.ends(record, record.trained)
        score = min(record.losses.values(), default=math.inf)
        step = min(record.losses, key=lambda s: record.losses[s], default=1) - 1
        try:
            self.study.tell_score(record.number, score, step, record.values, stopped=not whole)
        except NonFiniteScoreError as error:
            self.study.fail(record.number, "not_finite", str(error))

    def run(self, count: int | None = None) -> list[Step]:
        """Run to the end, or so many steps; return what has happened."""
        done: list[Step] = []
        for step in self.steps():
            assert step[2] != "waits", "told to wait, but nothing runs"
            done.append(step)
            if len(done) == count:
                break
        return done


def rough_simulation(make: Make, **kwargs: Any) -> Simulation:
    """Return a simulation in which everything happens that may happen to a trial."""
    kwargs = {
        "curve": rough,
        "ends": lambda record, epoch: record.number % 6 == 1 and epoch == 4,
        "fails": lambda record, epoch: (
            (record.number % 7 == 5 and epoch == 3)
            or (record.number % 7 == 6 and epoch == 3 and not record.attempt)
        ),
        "retries": 1,
        **kwargs,
    }
    return Simulation(make, **kwargs)


def outcome(study: Study) -> dict[int, Any]:
    """Return what two runs of one study must agree on."""
    return {
        r.number: (r.values, r.status, r.score, r.best_step, r.epochs, r.losses, r.attempt)
        for r in study.history.trials
    }


def interleaved(runs: list[Iterator[Step]], chance: random.Random) -> list[Step]:
    """Run the steps of several workers in an order that chance decides."""
    done: list[Step] = []
    waited = 0
    while runs:
        run = chance.choice(runs)
        step = next(run, None)
        if step is None:
            runs.remove(run)
        elif step[2] == "waits":
            waited += 1
            assert waited < 1000, "the workers wait for each other"
        else:
            waited = 0
            done.append(step)
    return done


def now_and_then(check: Callable[[Study], None]) -> Callable[[Study], None]:
    """Return a check that is made the first times, and then ever more rarely."""
    calls = 0

    def watch(study: Study) -> None:
        nonlocal calls
        calls += 1
        if calls % (1 + calls // 40) == 0:
            check(study)

    return watch


def refolded(storage: Storage) -> History:
    """Return a study's history as a process that starts now reads it."""
    entries = storage.read(0)
    history = events.start_history(entries[0])
    for entry in entries[1:]:
        events.fold(history, entry)
    return history


def assert_pure(study: Study, storage: Storage, make: Make) -> None:
    """Assert that a scheduler that reads the journal anew plans and decides as the study's does."""
    study.sync()
    warm, cold = study.planner.scheduler, make().bound(study.planner.scheduler.max_epochs)
    history, anew = study.history, refolded(storage)
    for exhausted in (False, True):
        expected, found = warm.plan(history, exhausted), cold.plan(anew, exhausted)
        assert found == expected, f"planned {found} instead of {expected}"
    for number in sorted(history.running):
        decisions = warm.decide(history, number), cold.decide(anew, number)
        assert decisions[0] == decisions[1], f"decided {decisions[1]} instead of {decisions[0]}"


def assert_ended_well(study: Study, max_trials: int, max_epochs: int) -> None:
    """Assert that nothing is left to be done, and that nobody has trained for too long."""
    history = study.history
    assert len(history) == max_trials
    assert not history.running and not history.queue
    assert study.planner.scheduler.plan(history, exhausted=True) == Plan(Action.STOP)
    for record in history.trials:
        assert record.finished or record.number in history.paused
        assert max(record.curves.get(0, {}), default=0) <= max_epochs
    for winner in history.best():
        assert winner.number not in history.paused, "the best trial was not trained to its end"


# The contract


def check_equal_histories_get_equal_plans_and_decisions(make: Make) -> None:
    """Who reads the journal from its start plans and decides the same, at whatever step."""
    for build, max_trials, seed in ((Simulation, 10, 0), (rough_simulation, 40, 1)):
        storage = MemoryStorage()
        simulation = build(make, max_trials=max_trials, seed=seed, storage=storage)
        simulation.watch = now_and_then(functools.partial(assert_pure, storage=storage, make=make))
        simulation.run()


def check_planning_and_deciding_change_nothing(make: Make) -> None:
    """Whoever asks more often gets the same search."""
    whole = rough_simulation(make)
    whole.run()

    def asked_often(study: Study) -> None:
        for _ in range(2):
            study.planner.scheduler.plan(study.history, study.planner.is_full)
            for number in study.history.running:
                study.planner.scheduler.decide(study.history, number)

    often = rough_simulation(make, watch=asked_often)
    often.run()
    assert outcome(often.study) == outcome(whole.study)


def check_every_search_comes_to_its_end(make: Make) -> None:
    """It stops with all trials tried, the best one trained to its end, nobody beyond the end."""
    for max_trials, max_epochs in ((20, EPOCHS), (40, 30), (7, 2), (7, 1), (1, EPOCHS), (1, 1)):
        for build in (Simulation, rough_simulation):
            simulation = build(make, max_trials=max_trials, max_epochs=max_epochs)
            simulation.run()
            assert_ended_well(simulation.study, max_trials, max_epochs)


def check_plans_name_epochs_that_are_left(make: Make) -> None:
    """Who starts or goes on has epochs to train, up to the end; only paused trials go on."""

    def watch(study: Study) -> None:
        history = study.history
        for exhausted in (False, True):
            plan = study.planner.scheduler.plan(history, exhausted)
            if plan.action is Action.RESUME:
                assert plan.number in history.paused and plan.reason
                trained = history[plan.number].trained
                assert plan.epochs is None or trained < plan.epochs <= EPOCHS
            elif plan.action is Action.START:
                assert not exhausted
                assert plan.epochs is None or 0 < plan.epochs <= EPOCHS
            elif plan.action is Action.WAIT:
                assert history.running or history.queue

    rough_simulation(make, watch=watch).run()


def check_a_trial_that_goes_on_trains_at_least_an_epoch(make: Make) -> None:
    """A trial that was resumed is not paused or stopped again before it has reported."""
    steps = rough_simulation(make, max_trials=40).run()
    for (number, _, before), (_, _, behind) in zip(steps, steps[1:], strict=False):
        if before == "goes on":
            assert behind in ("reports", "fails"), f"trial {number} {before}, then {behind}"


def check_decisions_about_paused_and_stopped_trials_have_reasons(make: Make) -> None:
    """Users can be told why."""

    def watch(study: Study) -> None:
        for number in study.history.running:
            if study.history[number].trained:
                decision: Decision = study.planner.scheduler.decide(study.history, number)
                assert decision.action in (Action.CONTINUE, Action.PAUSE, Action.STOP)
                assert decision.reason or decision.action is Action.CONTINUE

    rough_simulation(make, watch=watch).run()


def check_a_resumed_study_goes_on_as_if_never_stopped(make: Make) -> None:
    """Whenever a process dies, another one comes to the same, trial by trial."""
    whole = rough_simulation(make, max_trials=12)
    count = len(whole.run())
    for stop in range(1, count, 3):
        cut = rough_simulation(make, max_trials=12)
        cut.run(stop)
        again = cut.reopened()
        again.run()
        assert outcome(again.study) == outcome(whole.study), f"killed after {stop} steps"


def check_more_trials_extend_a_search_that_has_ended(make: Make) -> None:
    """A larger `max_trials` goes on with what is there."""
    first = Simulation(make, max_trials=5)
    first.run()
    longer = first.reopened(max_trials=25)
    longer.run()
    assert_ended_well(longer.study, 25, EPOCHS)


def check_failed_trials_take_nobodys_place(make: Make) -> None:
    """Though every best trial fails at its last epoch but one, another is trained to the end."""

    def fails(record: Record, epoch: int) -> bool:
        return float(record.values["level"]) < 0.3 and epoch == EPOCHS - 1

    simulation = Simulation(make, max_trials=30, fails=fails)
    simulation.run()
    assert_ended_well(simulation.study, 30, EPOCHS)
    finished = [r for r in simulation.study.history.trials if r.status == TrialStatus.COMPLETED]
    assert any(record.trained == EPOCHS for record in finished)


def check_workers_on_one_journal_share_the_work(make: Make) -> None:
    """Several processes on one journal come to an end, and plan as one that reads it anew does."""
    for seed in range(2):
        storage = MemoryStorage()
        watch = now_and_then(functools.partial(assert_pure, storage=storage, make=make))
        workers = [
            rough_simulation(make, max_trials=12, storage=storage, watch=watch) for _ in range(2)
        ]
        runs = [each.steps(f"worker {place}") for place, each in enumerate(workers)]
        interleaved(runs, random.Random(seed))
        for each in workers:
            each.study.sync()
            assert_ended_well(each.study, 12, EPOCHS)


def check_a_length_given_before_wins(make: Make) -> None:
    """`bound` leaves the scheduler itself as it is, and may be called again."""
    scheduler = make()
    bound = scheduler.bound(EPOCHS)
    assert bound is not scheduler and bound.max_epochs == EPOCHS
    assert scheduler.max_epochs is None
    assert bound.bound(3).max_epochs == EPOCHS
    assert repr(bound) != repr(scheduler) or not scheduler.needs_max_epochs
    if scheduler.needs_max_epochs:
        try:
            scheduler.bound(None)
        except ValueError as error:
            assert "epochs" in str(error)
        else:
            raise AssertionError("a length of training is needed and was not asked for")


@functools.cache
def crowd(count: int) -> History:
    """Return a history of so many trials, the better ones trained longer, and of one that runs."""
    opened = events.StudyOpened({"name": "loss", "direction": "min"}, 0, {})
    happened: list[events.Event] = [opened]
    for number in range(count + 1):
        loss = (number * 7919 % 10_007) / 10_007
        happened.append(events.TrialCreated(number, str(number), {}))
        happened.append(events.TrialStarted(number, "worker"))
        epochs = 1 if number == count else EPOCHS if loss < 0.13 else 6 if loss < 0.36 else 2
        for epoch in range(1, epochs + 1):
            happened.append(events.Reported(number, 0, epoch, {"loss": loss - 0.001 * epoch}))
        if epochs == EPOCHS:
            happened.append(events.TrialCompleted(number, loss, EPOCHS - 1, {}))
        elif number < count:
            happened.append(events.TrialPaused(number, loss, epochs - 1))
    history = events.start_history(events.Entry(1, 0.0, opened))
    for place, event in enumerate(happened[1:], start=2):
        events.fold(history, events.Entry(place, 0.0, event))
    return history


def operations(work: Callable[[], object]) -> int:
    """Return how many operations of Python's machine a piece of work takes."""
    count = 0

    def trace(frame: Any, event: str, argument: Any) -> Any:
        nonlocal count
        frame.f_trace_opcodes = True
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def check_the_cost_of_a_step_does_not_grow_with_the_trials(make: Make) -> None:
    """Behind a report, deciding and planning look at what is new and not at 10,000 trials."""

    def cost(count: int) -> int:
        scheduler, history = make().bound(EPOCHS), crowd(count)
        number, epoch = count, history[count].trained + 1

        def step() -> None:
            scheduler.decide(history, number)
            scheduler.plan(history)
            scheduler.plan(history, exhausted=True)

        step()
        metrics = {"loss": 0.5}
        events.fold(history, events.Entry(0, 0.0, events.Reported(number, 0, epoch, metrics)))
        return operations(step)

    small, large = cost(100), cost(10_000)
    assert large < 1.5 * small + 200, f"{large} operations at 10,000 trials, {small} at 100"


CHECKS: list[Callable[[Make], None]] = [
    check for name, check in list(globals().items()) if name.startswith("check_")
]
