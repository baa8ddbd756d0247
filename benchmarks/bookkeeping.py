"""What a trial costs beside its evaluation: asking, storing and telling, with an instant evaluator.

Random search over ten floats; the evaluator adds them up. The cost at trial n is the median over
the fifty trials up to n (the first fifty but five for n = 10).
"""

import json
import statistics
import sys
import tempfile
import time

import _child

TRIALS = 2000


def run(name):
    tuners = _child.library(name)
    stamps = []

    class Instant(tuners.RandomSearch):
        def run_trial(self, trial, *args, **kwargs):
            stamps.append(time.perf_counter())
            hp = trial.hyperparameters
            return sum(hp.Float(f"x{i}", 0.0, 1.0) for i in range(10))

    with tempfile.TemporaryDirectory() as folder:
        tuner = Instant(max_trials=TRIALS, seed=1, directory=folder, project_name="p")
        tuner.search(verbose=0)
    costs = [1000 * (b - a) for a, b in zip(stamps, stamps[1:], strict=False)]
    return {"first": statistics.median(costs[5:50]), "last": statistics.median(costs[-50:])}


def main():
    ours = _child.measure("bookkeeping.py", "keratune")
    theirs = _child.measure("bookkeeping.py", "keras_tuner")
    print(f"{'ms per trial':<14}{'trial 10':>10}{f'trial {TRIALS}':>12}{'ratio':>8}")
    for name, cost in (("keratune", ours), ("KerasTuner", theirs)):
        ratio = cost["last"] / cost["first"]
        print(f"{name:<14}{cost['first']:>10.2f}{cost['last']:>12.2f}{ratio:>8.2f}")
    print(f"keratune / KerasTuner at trial {TRIALS}: {ours['last'] / theirs['last']:.3f}")


if __name__ == "__main__":
    print(json.dumps(run(sys.argv[1])))
