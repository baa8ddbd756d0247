"""How well and how fast keratune searches, beside its peers.

    python benchmarks/search.py                          # full trainings, a small comparison
    python benchmarks/search.py --suite report --seeds 10 --trials 100
    python benchmarks/search.py --curves --seeds 10      # learning curves, budgets in trainings
    python benchmarks/search.py --cached --plot regret.svg

Normalised regret: (best loss so far - best known) / (median of random - best known), cut to
[0, 1]; the mean over seeds, then over problems, with a 95 % bootstrap interval over problems; and
the mean rank per problem. `--cached` takes the peers' stored results instead of running them.
"""

import argparse
import collections
import json
import math
import time

import _one_thread  # noqa: F401
import _search_methods as methods
import _search_problems as sources
import numpy as np

POINTS = {False: [10, 25, 50, 100], True: [10, 20, 50, 100]}  # of the table
FINE = [5, 7, 10, 14, 20, 25, 35, 50, 70, 100]  # of a chart


def full_trainings(problem, begin, seed, trials):
    """Return the best loss after each trial, and the seconds in the method for each."""
    run = begin(problem.space, seed, 1, trials, None)
    best, losses, seconds = math.inf, [], []
    for _ in range(trials):
        began = time.perf_counter()
        asked = run.next()
        spent = time.perf_counter() - began
        if asked is None:
            break
        handle, configuration, _ = asked
        loss = float(problem.curve(configuration, problem.max_epoch - 1, problem.max_epoch)[0])
        began = time.perf_counter()
        run.report(handle, 1, loss)
        run.end(handle, [loss], True)
        best = min(best, loss)
        losses.append(best)
        seconds.append(spent + time.perf_counter() - began)
    return losses, seconds


def with_curves(problem, begin, seed, equivalents):
    """Return the best loss of any epoch after each epoch, and the seconds in the method."""
    whole = problem.max_epoch
    budget = equivalents * whole
    run = begin(problem.space, seed, whole, None, budget)
    best, losses, seconds = math.inf, [], 0.0
    while len(losses) < budget:
        began = time.perf_counter()
        asked = run.next()
        seconds += time.perf_counter() - began
        if asked is None:
            break
        handle, configuration, start = asked
        curve = problem.curve(configuration, start, whole)
        for epoch, loss in enumerate(map(float, curve), start + 1):
            best = min(best, loss)
            losses.append(best)
            began = time.perf_counter()
            goes_on = run.report(handle, epoch, loss)
            seconds += time.perf_counter() - began
            if not goes_on or epoch == whole:
                break
        began = time.perf_counter()
        run.end(handle, curve[: epoch - start], epoch == whole)
        seconds += time.perf_counter() - began
    return losses, [seconds / max(len(losses), 1) * whole]


def cached(curves, points):
    """Yield (method, problem, {point: best loss}) of the peers' stored results."""
    stored = sources.FOLDER / "results" / ("multi.jsonl" if curves else "single.jsonl")
    if not stored.exists():
        return
    for line in stored.read_text().splitlines():
        record = json.loads(line)
        if curves:
            whole = record["total_epochs"] // record["budget"]
            steps = record["any"]
            found = {
                k: min((loss for at, loss in steps if at <= k * whole), default=math.inf)
                for k in points
                if record["spent"] >= k * whole
                or record["stopped"] is None
                and k <= record["budget"]
            }
        else:
            found = {k: record["best"][k - 1] for k in points if len(record["best"]) >= k}
        yield f"{record['optimizer']} (cached)", record["problem"], found


def interval(values):
    """Return the 95 % bootstrap interval of a mean."""
    rng = np.random.default_rng(0)
    means = np.array(values)[rng.integers(0, len(values), (2000, len(values)))].mean(1)
    return np.quantile(means, 0.025), np.quantile(means, 0.975)


def print_table(regret, seconds, points, names):
    """Print what each method has come to, the best first; regret[method][problem][point]."""
    complete = [m for m in regret if all(regret[m][p][k] for p in names for k in points)]
    means = {m: {k: [np.mean(regret[m][p][k]) for p in names] for k in points} for m in complete}
    print(f"{len(names)} problems; normalised regret (0: best known, 1: median of random)")
    heads = "".join(f"{'@' + str(k):>8}" for k in points)
    print(f"{'method':<28}{'seeds':>6}{heads}{'95 % of the last':>20}{'rank':>6}{'s each':>9}")
    last = points[-1]
    ranks = np.mean(
        [
            [sum(means[o][last][i] < means[m][last][i] for o in complete) + 1.0 for m in complete]
            for i in range(len(names))
        ],
        axis=0,
    )
    for place in np.argsort([np.mean(means[m][last]) for m in complete]):
        method = complete[place]
        low, high = interval(means[method][last])
        row = "".join(f"{np.mean(means[method][k]):8.3f}" for k in points)
        count = min(len(regret[method][p][last]) for p in names)
        cost = f"{np.mean(seconds[method]):9.4f}" if seconds[method] else f"{'':>9}"
        print(
            f"{method:<28}{count:>6}{row}{f'{low:.3f} to {high:.3f}':>20}{ranks[place]:6.1f}{cost}"
        )


def print_pairs(regret, own, k):
    """Print a method beside each peer on the problems that both have run, with k trainings."""
    print(f"\n{own} beside each peer on the problems that both have run, @{k}")
    heads = "".join(f"{head:>8}" for head in ("own", "peer", "ratio"))
    print(f"{'peer':<28}{'problems':>9}{heads}{'95 %':>16}{'better on':>11}")
    for peer in sorted(set(regret) - {own}):
        both = [p for p in regret[own] if regret[own][p][k] and regret[peer][p][k]]
        if len(both) < 2:
            continue
        ours, theirs = (np.array([np.mean(regret[m][p][k]) for p in both]) for m in (own, peer))
        draws = np.random.default_rng(0).integers(0, len(both), (2000, len(both)))
        ratios = ours[draws].mean(1) / np.maximum(theirs[draws].mean(1), 1e-9)
        low, high = np.quantile(ratios, [0.025, 0.975])
        print(
            f"{peer:<28}{len(both):>9}{ours.mean():>8.3f}{theirs.mean():>8.3f}"
            f"{ours.mean() / theirs.mean():>8.2f}{f'{low:.2f} to {high:.2f}':>16}"
            f"{f'{(ours < theirs).sum()} of {len(both)}':>11}"
        )


def plot(regret, names, budgets, file, unit):
    """Draw each method's mean regret against the budget."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 4.5))
    ends = {}
    for method in regret:
        if all(len(regret[method][p]) == len(budgets) for p in names):
            means = [np.mean([np.mean(regret[method][p][k]) for p in names]) for k in budgets]
            ends[method] = means[-1]
            axes.plot(budgets, means, label=method, linewidth=2.5 if "(" not in method else 1.2)
    handles, labels = axes.get_legend_handles_labels()
    order = sorted(range(len(labels)), key=lambda i: ends[labels[i]])
    axes.legend([handles[i] for i in order], [labels[i] for i in order], fontsize=8)
    axes.set(xlabel=unit, ylabel="mean normalised regret", yscale="log")
    axes.grid(alpha=0.3, which="both")
    figure.tight_layout()
    figure.savefig(file)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--suite", help="tune, report, single, multi, made-up or a problem's name")
    parser.add_argument("--curves", action="store_true", help="trainings with learning curves")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--trials", type=int, default=50, help="full trainings, or budgets of them")
    parser.add_argument("--methods", nargs="+", help="keratune's and peers' methods to run")
    parser.add_argument("--cached", action="store_true", help="the peers' stored results")
    parser.add_argument("--against", metavar="METHOD", help="compare it with each other one")
    parser.add_argument("--plot", help="file of a chart of the regret, such as regret.svg")
    return parser


def main(given=()):
    options = arguments().parse_args(list(given))
    suite = options.suite or ("multi" if options.curves else "tune")
    found = [p for p in sources.problems(suite) if not options.curves or p.max_epoch > 1]
    shown = [k for k in POINTS[options.curves] if k <= options.trials]
    points = [k for k in (FINE if options.plot else shown) if k <= options.trials]
    names = [problem.name for problem in found]
    references = sources.references(found)
    regret = collections.defaultdict(
        lambda: collections.defaultdict(lambda: collections.defaultdict(list))
    )
    seconds = collections.defaultdict(list)
    own = methods.KERATUNE_CURVES if options.curves else methods.KERATUNE
    available = {**own, **({} if options.cached else methods.peers(options.curves))}
    unknown = set(options.methods or ()) - available.keys()
    if unknown:
        raise SystemExit(f"Unknown: {sorted(unknown)}. Methods: {sorted(available)}.")

    def note(method, problem, at):
        known = references[problem]
        floor = known["multi" if options.curves else "single"]
        for k, best in at.items():
            share = (best - floor) / (known["median"] - floor)
            regret[method][problem][k].append(min(max(share, 0.0), 1.0))

    evaluate = with_curves if options.curves else full_trainings
    for method in options.methods or available:
        for problem in found:
            for seed in range(options.seeds):
                best, spent = evaluate(problem, available[method], seed, options.trials)
                unit = problem.max_epoch if options.curves else 1
                reached = {k: best[min(k * unit, len(best)) - 1] for k in points}
                note(method, problem.name, reached)
                seconds[method].extend(spent)
    if options.cached:
        for method, problem, at in cached(options.curves, points):
            if problem in names:
                note(method, problem, at)
    print_table(regret, seconds, shown, names)
    if options.against:
        for k in shown:
            print_pairs(regret, options.against, k)
    if options.plot:
        unit = "budget in full trainings" if options.curves else "trials"
        plot(regret, names, points, options.plot, unit)


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
