"""Problems for the search benchmark: real ones where the data are, made-up ones otherwise.

A problem has `name`, `space`, `max_epoch` and `curve(configuration, start, end)`: the losses after
epochs start + 1 to end, smaller is better. The real ones are surrogates and tables of trainings
(YAHPO Gym's LCBench and rbv2, TaskSet), read from the folder that KERATUNE_BENCH names, or from
`../shared/bench`. The made-up ones are classical test functions, turned into trainings by curves
that come down to the function's value at different speeds.
"""

import dataclasses
import json
import math
import os
import sys
import zlib
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
FOLDER = Path(os.environ.get("KERATUNE_BENCH", ROOT.parent / "shared" / "bench"))
EPOCHS = 50


def has_real_problems():
    return (FOLDER / "problems.py").exists()


@dataclasses.dataclass(frozen=True)
class Parameter:
    """A hyperparameter of a made-up problem."""

    name: str
    kind: str  # "float", "int" or "cat"
    low: float = 0.0
    high: float = 1.0
    log: bool = False
    choices: tuple = ()
    parent: str | None = None
    parent_values: tuple = ()


def floats(d):
    return [Parameter(f"x{i}", "float") for i in range(d)]


def branin(c):
    x, y = 15 * c["x0"] - 5, 15 * c["x1"]
    valley = (y - 5.1 / (4 * math.pi**2) * x**2 + 5 / math.pi * x - 6) ** 2
    return valley + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10 - 0.397887


def rosenbrock(c):
    x = [4 * c[f"x{i}"] - 2 for i in range(5)]
    return sum(100 * (b - a * a) ** 2 + (1 - a) ** 2 for a, b in zip(x, x[1:], strict=False))


def ackley(c):
    x = np.array([c[f"x{i}"] for i in range(10)]) * 10 - 4
    waves = math.exp(np.cos(2 * math.pi * x).mean())
    return 20 - 20 * math.exp(-0.2 * math.sqrt((x**2).mean())) + math.e - waves


def hartmann(c):
    P = 1e-4 * np.array(
        [
            [1312, 1696, 5569, 124, 8283, 5886],
            [2329, 4135, 8307, 3736, 1004, 9991],
            [2348, 1451, 3522, 2883, 3047, 6650],
            [4047, 8828, 8732, 5743, 1091, 381],
        ]
    )
    A = np.array(
        [
            [10, 3, 17, 3.5, 1.7, 8],
            [0.05, 10, 17, 0.1, 8, 14],
            [3, 3.5, 1.7, 10, 17, 8],
            [17, 8, 0.05, 10, 0.1, 14],
        ]
    )
    x = np.array([c[f"x{i}"] for i in range(6)])
    return 3.32237 - np.array([1.0, 1.2, 3.0, 3.2]) @ np.exp(-(A * (x - P) ** 2).sum(1))


MIXED = [
    Parameter("rate", "float", 1e-5, 1.0, log=True),
    Parameter("units", "int", 8, 512, log=True),
    Parameter("optimizer", "cat", choices=("sgd", "adam", "rmsprop")),
    Parameter("momentum", "float", 0.0, 0.99, parent="optimizer", parent_values=("sgd",)),
    Parameter("norm", "cat", choices=(True, False)),
    Parameter("dropout", "float", 0.0, 0.8),
]


def mixed(c):
    best_rate = {"sgd": -1.0, "adam": -3.0, "rmsprop": -3.5}[c["optimizer"]]
    off = (math.log10(c["rate"]) - best_rate) / 1.5
    size = (math.log2(c["units"]) - 7) / 3
    extra = {"sgd": abs(c.get("momentum", 0.9) - 0.9), "adam": 0.05, "rmsprop": 0.12}
    return (
        math.tanh(off**2)
        + 0.3 * size**2
        + extra[c["optimizer"]]
        + (0.0 if c["norm"] else 0.1)
        + (c["dropout"] - 0.25) ** 2
    )


LETTERS = [Parameter(f"c{i}", "cat", choices=("a", "b", "c", "d")) for i in range(6)]


def categorical(c):
    text = "".join(c[f"c{i}"] for i in range(6))
    single = sum("abcd".index(letter) * (i + 1) for i, letter in enumerate(text)) / 63
    pairs = sum(zlib.crc32((text[i : i + 2] + str(i)).encode()) % 100 for i in range(5)) / 500
    return single + pairs


@dataclasses.dataclass(frozen=True)
class MadeUp:
    """A test function as a training of `max_epoch` epochs."""

    name: str
    space: list
    function: object
    scale: float
    max_epoch: int = EPOCHS

    def curve(self, configuration, start, end):
        final = math.log1p(self.function(configuration) / self.scale)
        speed = 1 + zlib.crc32(repr(sorted(configuration.items())).encode()) % 7
        epochs = np.arange(start + 1, end + 1)
        return final + (1.5 + 0.3 * final) * np.exp(-epochs * 0.08 * speed / (1 + 0.3 * final))

    def loss(self, configuration):
        return float(self.curve(configuration, self.max_epoch - 1, self.max_epoch)[0])


MADE_UP = [
    MadeUp("made-up/branin", floats(2), branin, 20.0),
    MadeUp("made-up/hartmann", floats(6), hartmann, 1.0),
    MadeUp("made-up/rosenbrock", floats(5), rosenbrock, 300.0),
    MadeUp("made-up/ackley", floats(10), ackley, 5.0),
    MadeUp("made-up/mixed", MIXED, mixed, 0.5),
    MadeUp("made-up/categorical", LETTERS, categorical, 0.5),
]


def sample(space, rng):
    """Return a random configuration."""
    found = {}
    for p in space:
        u = rng.random()
        if p.parent is not None and found.get(p.parent) not in p.parent_values:
            continue
        if p.kind == "cat":
            found[p.name] = p.choices[int(u * len(p.choices))]
            continue
        low, high = (p.low - 0.5, p.high + 0.5) if p.kind == "int" else (p.low, p.high)
        value = low * (high / low) ** u if p.log else low + u * (high - low)
        found[p.name] = int(min(max(round(value), p.low), p.high)) if p.kind == "int" else value
    return found


def problems(suite):
    """Return the problems of a suite: `tune`, `report`, `single`, `multi`, or `made-up`."""
    if suite == "made-up" or not has_real_problems():
        return MADE_UP
    sys.path.insert(0, str(FOLDER))
    import problems as real
    import suites

    return [real.get_problem(name) for name in suites.resolve([suite])]


def references(found):
    """Return (best known, median of random configurations) by problem.

    For real problems with learning curves the best known loss is that of any epoch.
    """
    stored = FOLDER / "refs.json"
    known = json.loads(stored.read_text()) if has_real_problems() else {}
    answer = {}
    for problem in found:
        if problem.name in known:
            entry = known[problem.name]
            answer[problem.name] = {
                "single": min(entry["best_random"], entry["best_es"]),
                "multi": min(entry["best_any"], entry["best_es_any"], entry["best_es"]),
                "median": entry["median_random"],
            }
        else:
            rng = np.random.default_rng(0)
            losses = [problem.loss(sample(problem.space, rng)) for _ in range(2000)]
            best = min(losses)
            answer[problem.name] = {"single": best, "multi": best, "median": np.median(losses)}
    return answer
