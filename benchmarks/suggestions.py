"""What a suggestion costs, over kinds of spaces and numbers of past trials.

    python benchmarks/suggestions.py --algorithms bayesian tpe --trials 10 100 1000 10000

CPU milliseconds of a study's `ask`, median of five behind each number of random trials, on one
thread; and how many of the suggestions repeat a trial, which must be none while something is left
to try.
"""

import argparse
import time

import _one_thread  # noqa: F401
import _search_problems as sources
import numpy as np
from _search_methods import declared

from keratune import algorithms
from keratune.configurations import decisions
from keratune.objectives import Objective
from keratune.storage.memory import MemoryStorage
from keratune.study import Study, Verdict

PARAMETER = sources.Parameter


def mixed(d):
    kinds = [
        PARAMETER("", "float", 1e-5, 1.0, log=True),
        PARAMETER("", "int", 1, 64),
        PARAMETER("", "cat", choices=("a", "b", "c")),
        PARAMETER("", "float", 0.0, 1.0),
    ]
    return [
        PARAMETER(f"x{i}", k.kind, k.low, k.high, k.log, k.choices)
        for i in range(d)
        for k in [kinds[i % 4]]
    ]


def spaces():
    """Return (space, loss) by name."""
    letters = [PARAMETER(f"c{i}", "cat", choices=tuple("abcde")) for i in range(8)]
    found = {
        f"{d} numbers": (sources.floats(d), lambda c: sum((v - 0.3) ** 2 for v in c.values()))
        for d in (1, 5, 10, 30)
    }
    return found | {
        "10 mixed": (mixed(10), lambda c: sum(len(str(v)) for v in c.values())),
        "8 categories": (letters, lambda c: sum(map(ord, c.values()))),
        "conditional": (sources.MIXED, sources.mixed),
        "10 numbers, constant": (sources.floats(10), lambda c: 1.0),
    }


def filled(algorithm, space, loss, count):
    """Return a study with so many random trials."""
    study = Study.open(
        MemoryStorage(), Objective("loss", "min"), algorithms.create(algorithm), seed=0
    )
    study.planner.defaults_first = False
    study.declare(declared(space))
    rng = np.random.default_rng(0)
    for number in range(count):
        values = sources.sample(space, rng)
        record = study.import_trial(str(number), values, {})
        study.tell(record.number, {"loss": float(loss(values))})
    return study


def measured(study, loss, suggestions):
    """Return the milliseconds of each suggestion, and how many have repeated a trial."""
    seen = {decisions(record.values) for record in study.history.trials}
    times, repeats = [], 0
    for _ in range(suggestions):
        began = time.process_time()
        record = study.ask("benchmark")
        times.append(1e3 * (time.process_time() - began))
        if isinstance(record, Verdict):
            break
        repeats += decisions(record.values) in seen
        seen.add(decisions(record.values))
        study.tell(record.number, {"loss": float(loss(record.values))})
    return times, repeats


def main(given=()):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    known = [name for name in algorithms.available() if name != "grid"]
    parser.add_argument("--algorithms", nargs="+", default=known, choices=known)
    parser.add_argument("--trials", nargs="+", type=int, default=[1, 10, 100, 1000])
    options = parser.parse_args(list(given))
    heads = "".join(f"{count:>9}" for count in options.trials)
    print(f"{'algorithm':<13}{'space':<22}{heads}   CPU ms behind so many trials; repeats")
    for algorithm in options.algorithms:
        for name, (space, loss) in spaces().items():
            row, repeated = "", 0
            for count in options.trials:
                study = filled(algorithm, space, loss, count)
                times, repeats = measured(study, loss, 5)
                row += f"{np.median(times):9.1f}"
                repeated += repeats
            print(f"{algorithm:<13}{name:<22}{row}   {repeated}", flush=True)


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
