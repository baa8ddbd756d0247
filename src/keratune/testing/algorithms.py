"""What every search algorithm must do, as functions that raise AssertionError.

Each takes `make`, which returns a fresh algorithm. Studies are simulated: builds declare
hyperparameters and train nothing, and the score is a fixed function of the values.
"""

from __future__ import annotations

import dataclasses
import random
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from keratune import _json
from keratune._random import stream
from keratune.algorithms.base import Algorithm
from keratune.errors import DuplicateTrialError, TrialRejectedError
from keratune.history import Observation, Record, Result
from keratune.objectives import Objective
from keratune.space import HyperParameters
from keratune.storage.base import Storage
from keratune.storage.memory import MemoryStorage
from keratune.study import Limits, Study, Verdict

Make = Callable[[], Algorithm]
Build = Callable[[HyperParameters], object]

# Builds of small finite spaces, which read what is in them in several ways


def build_flat(hp: HyperParameters) -> None:
    """Declare 3 * 4 * 2 = 24 configurations."""
    hp.Choice("optimizer", ["sgd", "adam", None], default="adam")
    hp.Float("dropout", 0.0, 0.6, step=0.2)
    hp.Boolean("norm")


def build_scopes(hp: HyperParameters) -> None:
    """Declare 4 * 4 = 16 configurations in conditional scopes, of namesakes too."""
    hp.Choice("model", ["a", "b", "c", "d"])
    for model in ["a", "b", "c"]:
        with hp.conditional_scope("model", [model]):
            hp.Int(f"units_{model}", 1, 4)
    with hp.conditional_scope("model", ["d"]):
        hp.Boolean("deep")
        hp.Int("size", 1, 2, parent_name="deep", parent_values=True)
        hp.Int("size", 7, 8, parent_name="deep", parent_values=False)


def build_plain_if(hp: HyperParameters) -> None:
    """Declare 3 + 4 * 2 = 11 configurations with `if`, one name having a range in each branch."""
    if hp.Choice("model", ["a", "b"]) == "a":
        hp.Int("units", 1, 3)
    else:
        hp.Int("units", 100, 103, default=102)
        hp.Boolean("norm")


def build_loop(hp: HyperParameters) -> None:
    """Declare 1 + 2 + 4 + 8 = 15 configurations with `for`."""
    for layer in range(hp.Int("layers", 0, 3)):
        hp.Choice(f"kind_{layer}", ["x", "y"])


def build_categories(hp: HyperParameters) -> None:
    """Declare 3 * 2 * 4 = 24 configurations without an order anywhere."""
    hp.Choice("activation", ["relu", "tanh", "gelu"])
    hp.Boolean("norm")
    hp.Choice("optimizer", ["sgd", "adam", "rmsprop", "lion"])


def build_nothing(hp: HyperParameters) -> None:
    """Declare nothing: one configuration."""


FINITE: dict[Build, int] = {
    build_flat: 24,
    build_scopes: 16,
    build_plain_if: 11,
    build_loop: 15,
    build_categories: 24,
    build_nothing: 1,
}


def build_wide(hp: HyperParameters) -> None:
    """Declare every type of hyperparameter, uncountably many configurations."""
    hp.Float("rate", 1e-4, 1e-1, sampling="log")
    hp.Float("momentum", 0.5, 0.99, sampling="reverse_log")
    hp.Float("dropout", 0.0, 0.5)
    hp.Float("weight", 0.0, 1.0, step=0.1)
    hp.Int("units", 8, 128, step=8)
    hp.Int("batch", 16, 256, step=2, sampling="log")
    hp.Int("seed", 2, 30, sampling="log")
    hp.Fixed("epochs", 3)
    if hp.Choice("kernel", [(3, 3), (5, 5), None]) is not None:
        hp.Boolean("separable")


def build_believed(hp: HyperParameters) -> None:
    """Declare hyperparameters about which something is believed."""
    hp.Float("rate", 1e-4, 1e-1, sampling="log", prior=1e-2)
    hp.Int("units", 8, 128, step=8, prior=64)
    if hp.Choice("optimizer", ["sgd", "adam"], prior={"sgd": 1, "adam": 4}) == "sgd":
        hp.Float("momentum", 0.0, 0.99, prior=0.9)


def build_widened(hp: HyperParameters) -> None:
    """Declare what `build_wide` does, and more."""
    build_wide(hp)
    if hp.Boolean("clip"):
        hp.Float("norm", 0.1, 10.0, sampling="log")


# Simulation


def score(values: dict[str, Any]) -> float:
    """Return a fixed number in [0, 1) for a configuration."""
    text = repr([(name, _json.key(value)) for name, value in values.items()])
    return zlib.crc32(text.encode()) / 2**32


@dataclasses.dataclass
class Simulation:
    """A study whose trials are simulated.

    Args:
        make: Returns the algorithm.
        build: Declares the space.
        seed: The study's seed.
        max_trials: How many trials there may be.
        storage: Where the journal is; one that holds a journal is continued.
        late: Declares more while a trial trains.
        loss: Returns a configuration's score.
        fits: Tells whether a built trial may be trained; one that may not is rejected.
        holds: The user's constraint.
    """

    make: Make
    build: Build
    seed: int = 0
    max_trials: int | None = 200
    storage: Storage = dataclasses.field(default_factory=MemoryStorage)
    late: Build | None = None
    loss: Callable[[dict[str, Any]], float] = score
    fits: Callable[[dict[str, Any]], bool] | None = None
    holds: Callable[[dict[str, Any]], bool] | None = None

    def __post_init__(self) -> None:
        """Open the study."""
        self.study = Study.open(
            self.storage,
            Objective("loss", "min"),
            self.make(),
            seed=self.seed,
            limits=Limits(self.max_trials),
        )
        if self.holds is not None:
            self.study.constrain(self.holds)

    def reopened(self) -> Simulation:
        """Return a simulation that continues this one, as another process would."""
        return dataclasses.replace(self)

    def build_trial(self, record: Record) -> HyperParameters | None:
        """Run a trial's build; None when it has shown that the trial is not to be trained."""
        study, number = self.study, record.number
        hp = study.history.space.copy()
        hp.begin(study.history.space.live(record.values), lambda p: study.planner.fill(number, p))
        self.build(hp)
        waiting = {n: v for n, v in dict(hp.values).items() if n in study.history.late_names}
        try:
            study.settle(number, {**waiting, **read(hp)} if waiting else read(hp), hp.declared)
        except DuplicateTrialError:
            return None
        except TrialRejectedError as rejected:
            study.reject(number, str(rejected))
            return None
        if self.fits is not None and not self.fits(read(hp)):
            study.reject(number, "too large")
            return None
        return hp

    def train(self, record: Record, hp: HyperParameters) -> dict[str, Any]:
        """End a trial that was built, with its score; return what it has read."""
        if self.late is not None:
            self.late(hp)
            self.study.update_space(hp.declared, late=True)
        values = read(hp)
        self.study.tell(record.number, {"loss": self.loss(values)}, values=values)
        return values

    def run(self, count: int | None = None) -> list[dict[str, Any]]:
        """Run trials one after the other; return what each has read.

        Args:
            count: How many; None: until the study stops.
        """
        done: list[dict[str, Any]] = []
        while count is None or len(done) < count:
            record = self.study.ask("worker")
            if isinstance(record, Verdict):
                assert record is Verdict.STOP, "told to wait, but nothing runs"
                break
            hp = self.build_trial(record)
            if hp is not None:
                done.append(self.train(record, hp))
        return done


def read(hp: HyperParameters) -> dict[str, Any]:
    """Return what a build has read, in order."""
    return {name: hp.values[name] for name in hp.reads}


def run_interleaved(
    simulation: Simulation, workers: int, chance: random.Random, *, apart: bool = False
) -> list[Any]:
    """Run trials by several workers, whose steps follow each other by chance.

    Args:
        simulation: The study.
        workers: How many.
        chance: Decides whose turn it is.
        apart: Whether each worker has a study of its own over the one storage, as processes have.

    Returns:
        What each trial has read.
    """
    done: list[Any] = []
    own = [simulation.reopened() if apart else simulation for _ in range(workers)]
    hands: dict[int, tuple[Record, HyperParameters | None] | None] = dict.fromkeys(range(workers))
    stopped: set[int] = set()
    waiting: set[int] = set()  # until another worker gets on
    for _ in range(10_000):
        if len(stopped) == workers:
            return done
        worker = chance.choice([w for w in hands if w not in stopped | waiting])
        hand = hands[worker]
        if hand is not None:
            waiting.clear()
        if hand is None:
            answer = own[worker].study.ask(f"worker {worker}")
            if answer is Verdict.STOP:
                stopped.add(worker)
            elif answer is Verdict.WAIT:
                assert any(hands.values()), "told to wait, but nothing runs"
                waiting.add(worker)
            else:
                assert isinstance(answer, Record)
                hands[worker] = (answer, None)
        elif hand[1] is None:
            hp = own[worker].build_trial(hand[0])
            hands[worker] = None if hp is None else (hand[0], hp)
        else:
            done.append(own[worker].train(hand[0], hand[1]))
            hands[worker] = None
    raise AssertionError("the workers came to no end")


def build_cube(hp: HyperParameters) -> None:
    """Declare five numbers between 0 and 1."""
    for j in range(5):
        hp.Float(f"x{j}", 0.0, 1.0)


def bowl(values: dict[str, Any]) -> float:
    """Return the squared distance from 0.3, the same in all directions."""
    return sum((value - 0.3) ** 2 for value in values.values())


def best_losses(
    make: Make,
    build: Build = build_cube,
    loss: Callable[[dict[str, Any]], float] = bowl,
    trials: int = 60,
    seeds: int = 10,
) -> list[float]:
    """Return the smallest loss that a search has come to, for each of several seeds.

    Args:
        make: Returns the algorithm.
        build: Declares the space.
        loss: Returns a configuration's score.
        trials: How many trials a search has.
        seeds: How many searches.
    """
    runs = (Simulation(make, build, s, trials, loss=loss).run() for s in range(seeds))
    return [min(map(loss, run)) for run in runs]


def assert_each_once(found: Iterable[dict[str, Any]], count: int) -> None:
    """Assert that so many configurations were found, each once."""
    counted = Counter(_key(values) for values in found)
    twice = [values for values, times in counted.items() if times > 1]
    assert not twice, f"tried more than once: {twice[:3]}"
    assert len(counted) == count, f"found {len(counted)} configurations of {count}"


def _key(values: dict[str, Any]) -> Any:
    return tuple((name, _json.key(value)) for name, value in values.items())


# The contract


def check_a_finite_space_is_tried_exactly_once_and_then_the_study_stops(make: Make) -> None:
    """Every configuration is found once, however the build declares the space."""
    for build, count in FINITE.items():
        assert_each_once(Simulation(make, build).run(), count)


def check_interleaved_workers_finish_a_finite_space(make: Make) -> None:
    """Several workers find every configuration once, and no one waits for ever."""
    for build, count in FINITE.items():
        for seed in range(2):
            simulation = Simulation(make, build, seed=seed)
            found = run_interleaved(simulation, 2 + seed, random.Random(seed))
            assert_each_once(found, count)


def check_workers_in_processes_of_their_own_finish_a_finite_space(make: Make) -> None:
    """Two studies over one storage find every configuration once."""
    for build in (build_flat, build_plain_if, build_categories):
        found = run_interleaved(Simulation(make, build), 2, random.Random(0), apart=True)
        assert_each_once(found, FINITE[build])


def check_a_space_may_grow_between_trials(make: Make) -> None:
    """What a study has learnt stays of use when its model gets more hyperparameters."""
    simulation = Simulation(make, build_wide, max_trials=24)
    found = simulation.run(12)
    grown = dataclasses.replace(simulation, build=build_widened).run()
    assert all("clip" in values for values in grown)
    assert_each_once(found + grown, 24)


def check_a_space_may_grow_while_trials_train(make: Make) -> None:
    """Hyperparameters that show up while fitting are searched too: (1 + 3) * 2 = 8.

    Of trials that run at once two may turn out as one: what the end of their training does not read
    is not known before.
    """

    def build(hp: HyperParameters) -> None:
        hp.Boolean("norm")

    def late(hp: HyperParameters) -> None:
        if hp.Boolean("augment"):
            hp.Choice("flips", [1, 2, 3])

    assert_each_once(Simulation(make, build, late=late).run(), 8)
    for seed in range(3):
        simulation = Simulation(make, build, seed=seed, late=late)
        found = run_interleaved(simulation, 2, random.Random(seed))
        assert len({_key(values) for values in found}) == 8


def check_values_stay_in_range(make: Make) -> None:
    """Each value is one that its hyperparameter may take."""
    for build in (build_wide, build_believed):
        _assert_in_range(Simulation(make, build, max_trials=25))


def check_equal_losses_do_not_stop_the_search(make: Make) -> None:
    """Where all trials are as good, new ones are tried all the same."""
    simulation = Simulation(make, build_wide, max_trials=25, loss=lambda values: 1.0)
    assert_each_once(_assert_in_range(simulation), 25)


def _assert_in_range(simulation: Simulation) -> list[dict[str, Any]]:
    found = simulation.run()
    for values in found:
        for name, value in values.items():
            [parameter] = simulation.study.history.space.named(name)
            assert parameter.contains(value), f"{name}={value!r} is not in {parameter!r}"
    return found


def check_a_batch_shares_its_structure_and_varies_the_rest(make: Make) -> None:
    """In batches of four, those that follow the first have its values of what is no `Float`."""
    if make().in_order or not make().in_batches:
        return
    simulation = Simulation(make, build_wide, max_trials=24)
    simulation.study.planner.batch = 4
    found = _assert_in_range(simulation)
    assert_each_once(found, 24)
    floats = {"rate", "momentum", "dropout", "weight"}
    structures = [{n: v for n, v in values.items() if n not in floats} for values in found]
    firsts = [structures[number - number % 4] for number in range(24)]
    assert structures == firsts
    assert len({_key(first) for first in firsts}) > 1


def check_conditions_are_kept(make: Make) -> None:
    """Declared conditions decide which values a suggestion has."""
    simulation = Simulation(make, build_scopes)
    for values in simulation.run():
        space = simulation.study.history.space.copy()
        space.begin(values, None)
        assert {parameter.name for parameter in space.active()} == set(values)


def check_running_trials_are_not_proposed_again(make: Make) -> None:
    """Trials that have no result yet count as tried."""
    simulation = Simulation(make, build_wide, max_trials=12)
    found = []
    for worker in range(12):
        record = simulation.study.ask(str(worker))
        if isinstance(record, Verdict):
            assert record is Verdict.WAIT  # for what running trials may open
            break
        hp = simulation.build_trial(record)
        if hp is not None:
            found.append(read(hp))
    assert_each_once(found, len(found))


def check_a_resumed_study_goes_on_as_if_never_stopped(make: Make) -> None:
    """Whenever a study is closed and opened again, the trials that follow are the same."""
    for build in (build_wide, build_plain_if):
        whole = Simulation(make, build, max_trials=8).run()
        for stop in range(1, 8):
            first = Simulation(make, build, max_trials=8)
            found = first.run(stop) + first.reopened().run()
            assert found == whole, f"stopped after {stop}: {found} instead of {whole}"


def check_a_study_reopened_after_each_trial_tries_all(make: Make) -> None:
    """Nothing that matters is kept outside the journal."""
    for build, count in FINITE.items():
        simulation, found = Simulation(make, build), []
        while values := simulation.run(1):
            found += values
            simulation = simulation.reopened()
        assert_each_once(found, count)


def check_equal_seeds_give_equal_trials(make: Make) -> None:
    """The seed decides everything; 0 is a seed like any other."""
    for seed in (0, 1):
        runs = [Simulation(make, build_wide, seed=seed, max_trials=8).run() for _ in range(2)]
        assert runs[0] == runs[1]


def check_different_seeds_give_independent_trials(make: Make) -> None:
    """Two seeds share no value of a continuous hyperparameter, unless chance has no part in it."""

    def build(hp: HyperParameters) -> None:
        hp.Float("x", 0.0, 1.0)
        hp.Float("y", 0.0, 1.0)

    runs = [Simulation(make, build, seed=seed, max_trials=12).run() for seed in (0, 1, 2)]
    if all(run == runs[0] for run in runs):
        return
    inside = [{v for values in run for v in values.values() if 0.0 < v < 1.0} for run in runs]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert not inside[one] & inside[other], f"seeds {one} and {other} share values"


def check_suggesting_changes_nothing(make: Make) -> None:
    """A suggestion depends on the history and the generator alone, and leaves the history alone."""
    simulation = Simulation(make, build_wide, max_trials=9)
    simulation.run(6)
    history = simulation.study.history
    before = (history.space.get_config(), [dict(r.values) for r in history.trials], len(history))
    first, again = (make().suggest(history, stream(0, 6, "suggest", 0)) for _ in range(2))
    assert first == again
    after = (history.space.get_config(), [dict(r.values) for r in history.trials], len(history))
    assert before == after


def check_failed_trials_do_not_stop_the_search(make: Make) -> None:
    """Failed trials count as tried, have no score, and the rest of the space is tried."""
    simulation, found = Simulation(make, build_flat), []
    while isinstance(record := simulation.study.ask("worker"), Record):
        hp = simulation.build_trial(record)
        if hp is None:
            continue
        found.append(read(hp))
        if record.number % 3 == 0:
            simulation.study.fail(record.number, "error", "no good")
        else:
            simulation.train(record, hp)
    assert_each_once(found, FINITE[build_flat])


def check_a_search_that_always_fails_goes_on(make: Make) -> None:
    """Without a single score there is always another configuration to be tried."""
    simulation, found = Simulation(make, build_wide, max_trials=25), []
    while isinstance(record := simulation.study.ask("worker"), Record):
        hp = simulation.build_trial(record)
        if hp is not None:
            found.append(read(hp))
            simulation.study.fail(record.number, "error", "no good")
    assert_each_once(found, 25)


def check_the_constraint_is_kept(make: Make) -> None:
    """Of 24 configurations the 22 that are allowed are tried, each once."""

    def holds(values: dict[str, Any]) -> bool:
        return values["norm"] or values["activation"] == "relu" or values["optimizer"] != "adam"

    found = Simulation(make, build_categories, holds=holds).run()
    assert all(holds(values) for values in found)
    assert_each_once(found, 22)


def check_rejected_configurations_are_not_proposed_again(make: Make) -> None:
    """What is too large is not trained, and the rest of the space is tried."""

    def fits(values: dict[str, Any]) -> bool:
        return not values["norm"] or values["activation"] != "gelu"

    simulation = Simulation(make, build_categories, fits=fits)
    assert_each_once(simulation.run(), 20)
    assert_each_once([r.values for r in simulation.study.history.rejected], 4)


def check_a_journal_read_anew_leads_to_the_same_suggestion(make: Make) -> None:
    """What was computed from a history along its way is a cache, and nothing else."""
    for seed in range(2):
        simulation, chance = Simulation(make, build_believed, seed=seed), random.Random(seed)
        for step in range(40):
            _let_something_happen(simulation, chance)
            if step % 4 == 3:
                histories = [s.study.history for s in (simulation, simulation.reopened())]
                kept, anew = (make().suggest(h, stream(seed, step)) for h in histories)
                assert kept == anew, f"after {step + 1} steps: {kept}, read anew: {anew}"


def _let_something_happen(simulation: Simulation, chance: random.Random) -> None:
    """Have a trial run to one of the ends that there are, or something else happen."""
    study, kind = simulation.study, chance.random()
    scored: Sequence[Record] = study.history.best(len(study.history))
    if scored and kind < 0.15:
        repeats = chance.choice(scored)
        study.confirm(repeats.number, len(repeats.confirmed), Result(1, {"loss": kind}))
        return
    if scored and kind < 0.2:
        values = chance.choice(scored).values
        study.give([Observation(str(kind), {**values, "rate": 2e-3}, kind)])
        return
    record = study.ask("worker")
    hp = simulation.build_trial(record) if isinstance(record, Record) else None
    if hp is None or not isinstance(record, Record) or kind < 0.25:  # the last ones still run
        return
    values = read(hp)
    study.report(record.number, 1, {"loss": score(values)})
    if kind < 0.35:
        study.fail(record.number, "error", "no good")
    elif kind < 0.45:
        study.pause(record.number)
    elif kind < 0.55:
        study.tell_score(record.number, score(values), 0, values, stopped=True)
    elif kind < 0.6:
        study.reject(record.number, "too large")
    else:
        simulation.train(record, hp)


CHECKS: list[Callable[[Make], None]] = [
    check for name, check in list(globals().items()) if name.startswith("check_")
]
