"""Every strategy on one protocol: the same problems, counted accuracies and seeds; the default held against each.

    python benchmarks/strategies.py [--seconds 240] [--seeds 3] [--problems nb201,lamoo] [--strategies "cpe;surrogate"]
        [--budgets 50,100] [--again]
    python benchmarks/strategies.py --show

A piece is a problem, a number of accuracies, a strategy and a seed. Each adds its row to ``results/strategies.json``,
which later calls pass over without ``--again``; three seeds of the first budgets of every problem come first, then what
is dearer. Problems are in ``strategies_problems.py``. Accuracies are counted in total over all devices of a problem.

Shares are of the true hypervolume, of LaMOO's 8.0526, or of what a search of 10,000 accuracies found. The p-value is
Mann and Whitney's, two-sided, of the default's shares against a strategy's over the seeds that both have; three seeds
against three cannot give less than 0.1.
"""

import argparse
import json
import os
import time

# Small matrix products: more threads only wait for each other. Must be set before numpy is loaded.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from machine import RESULTS, describe, write
from scipy.stats import mannwhitneyu
from strategies_problems import BEST_KNOWN, PROBLEMS, ComparedProblem

from fleetfront.search.run import run_search
from fleetfront.search.strategies.catalogue import make_strategy

PATH = RESULTS / "strategies.json"
DEFAULT = "surrogate"
STRATEGIES = (
    DEFAULT,
    "surrogate:design=spread",
    "surrogate:growth=0.04,least=4",
    "lamoo",
    "lamoo:selection=path",
    "lamoo:sampling=cma",
    "lamoo:sampling=random",
    "cpe",
    "hybrid",
    "linas",
    "macs-fronts",
    "pdns",
    "local-search",
    "random",
    "nsga2-shared:population=20",
    "nsga2:population=20",
    "nsga2-diversity:population=20",
    "spea2:population=20",
    "sms-emoa:population=20",
)
#: Half a minute to minutes of a core each.
OUTSIDE = ("botorch-nehvi", "optuna-gp")
#: (problem, accuracies) in the order in which they are run: first budgets, dear ones, and those of outside baselines.
FIRST = (("nb201", 100), ("lamoo", 100), ("nb201-genes", 200), ("fbnet", 200), ("hwgpt-m", 200), ("hwgpt-s", 200))
FURTHER = (("nb201", 50), ("nb201", 200), ("nb201", 500), ("nb201-genes", 500), ("fbnet", 500), ("hwgpt-m", 500))
LAST = (("hwgpt-s", 1000),)
OUTSIDE_ON = (("lamoo", 100), ("nb201", 50), ("nb201", 100))
EARLY_SEEDS = 3
#: A share of the default at these budgets, per cent.
BARS = {("nb201", 100): 99.5, ("nb201", 200): 99.8, ("nb201", 500): 99.93, ("nb201-genes", 200): 99.3,
        ("nb201-genes", 500): 99.85}  # fmt: skip


def pieces(seeds):
    """(problem, accuracies, strategy, seed), the most telling first."""
    early, late = [s for s in seeds if s < EARLY_SEEDS], [s for s in seeds if s >= EARLY_SEEDS]
    order = [(early, FIRST, STRATEGIES), (early, OUTSIDE_ON[:1], OUTSIDE), (early, FURTHER, STRATEGIES)]
    order += [(early, OUTSIDE_ON[1:], OUTSIDE), (early, LAST, STRATEGIES)]
    order += [(late, FIRST + FURTHER, STRATEGIES), (late, OUTSIDE_ON, OUTSIDE), (late, LAST, STRATEGIES)]
    for some, problems, strategies in order:
        for seed in some:
            for problem, budget in problems:
                yield from ((problem, budget, strategy, seed) for strategy in strategies)


def known():
    """What the results hold already."""
    empty = {"best_known": {}, "runs": []}
    return {**empty, **json.loads(PATH.read_text())} if PATH.is_file() else empty


def piece_of(row):
    return row["problem"], row["budget"], row["strategy"], row["seed"]


def keep(begun, problem=None, best=None, row=None):
    """Add a row, or a problem's best known hypervolumes, and sum up anew."""
    results = known()
    if best is not None:
        results["best_known"][problem] = best
    if row is not None:
        same = [kept for kept in results["runs"] if piece_of(kept) == piece_of(row)]
        results["runs"] = [kept for kept in results["runs"] if kept not in same] + [row]
    runs = results["runs"]
    content = {"reading": __doc__.split("\n\n")[-1], "best_known_is": BEST_KNOWN, "best_known": results["best_known"]}
    write("strategies", {**content, "summary": summary(runs), "runs": runs}, begun)


def run_piece(problem, name, budget, strategy, seed):
    begun, cpu = describe(), time.process_time()
    made = problem.make(budget, seed)
    run = run_search(made, make_strategy(strategy, made, seed), name=strategy, seed=seed)
    return {
        "problem": name,
        "budget": budget,
        "strategy": strategy,
        "seed": seed,
        **problem.judge(made),
        "evaluations": run.evaluations,
        "seconds": round(run.seconds, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "taken": begun["date"],
        "load_average": begun["load_average"],
    }


def summary(runs):
    """A row for each problem, budget and strategy, the best median first."""
    table = []
    for problem, budget in dict.fromkeys((row["problem"], row["budget"]) for row in runs):
        of = {}
        for row in runs:
            if (row["problem"], row["budget"]) == (problem, budget):
                of.setdefault(row["strategy"], {})[row["seed"]] = row
        lines = [_line(problem, budget, strategy, rows, of.get(DEFAULT, {})) for strategy, rows in of.items()]
        table += sorted(lines, key=lambda line: -line["median"])
    return table


def _line(problem, budget, strategy, rows, default):
    shares = [row["share"] for row in rows.values()]
    both = sorted(set(rows) & set(default))
    line = {
        "problem": problem,
        "budget": budget,
        "strategy": strategy,
        "seeds": len(shares),
        "median": round(float(np.median(shares)), 3),
        "lowest": min(shares),
        "highest": max(shares),
    }
    if strategy != DEFAULT and len(both) > 1:
        ours, theirs = ([of[seed]["share"] for seed in both] for of in (default, rows))
        line["default_minus_it"] = round(float(np.median(ours) - np.median(theirs)), 3)
        line["p"] = round(float(mannwhitneyu(ours, theirs, alternative="two-sided").pvalue), 4)
    for key in [key for key in next(iter(rows.values())) if key.startswith("accuracies_to")]:
        # A run that never got there took more than all.
        told = float(np.median([np.inf if row[key] is None else row[key] for row in rows.values()]))
        line[key] = told if np.isfinite(told) else None
    if strategy == DEFAULT and (problem, budget) in BARS:
        line["bar"] = BARS[problem, budget]
    line["cpu_seconds"] = round(float(np.median([row["cpu_seconds"] for row in rows.values()])), 1)
    return line


def show(table):
    shown = None
    for line in table:
        if (line["problem"], line["budget"]) != shown:
            shown = line["problem"], line["budget"]
            print(f"\n{line['problem']}, {line['budget']} accuracies: median share %, lowest, highest, seeds, p, CPU s")
        further = {k: v for k, v in line.items() if k.startswith("accuracies_to") or k == "bar"}
        print(
            f"  {line['strategy']:30}{line['median']:9.3f}{line['lowest']:9.3f}{line['highest']:9.3f}"
            f"{line['seeds']:3}  {line.get('p', '-')!s:>7}{line['cpu_seconds']:8.1f}  {further or ''}"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--problems", default=",".join(PROBLEMS))
    parser.add_argument("--strategies", default="", help="separated by semicolons; all by default")
    parser.add_argument("--budgets", default="", help="all by default")
    parser.add_argument("--again", action="store_true", help="also what the results hold already; replaces it")
    parser.add_argument("--seconds", type=float, default=1e9, help="begin no piece after so many")
    parser.add_argument("--show", action="store_true", help="print what the results hold, and run nothing")
    arguments = parser.parse_args()
    started, begun, made = time.perf_counter(), describe(), {}
    wanted = arguments.strategies.split(";") if arguments.strategies else [*STRATEGIES, *OUTSIDE]
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    done = set() if arguments.again else {piece_of(row) for row in known()["runs"]}
    budgets = {int(budget) for budget in arguments.budgets.split(",") if budget}
    for name, budget, strategy, seed in () if arguments.show else pieces(seeds):
        if time.perf_counter() - started > arguments.seconds:
            break
        if name not in arguments.problems.split(",") or strategy not in wanted:
            continue
        if (name, budget, strategy, seed) in done or (budgets and budget not in budgets):
            continue
        problem = made.setdefault(name, None) or PROBLEMS[name]()
        made[name] = problem
        if isinstance(problem, ComparedProblem) and problem.best is None:
            if name not in known()["best_known"]:
                keep(begun, problem=name, best=problem.best_known())
            problem.best = known()["best_known"][name]
        row = run_piece(problem, name, budget, strategy, seed)
        keep(begun, row=row)
        print(*(f"{k} {v}" for k, v in row.items() if k not in ("taken", "load_average")), sep="  ", flush=True)
    show(known().get("summary", []))


if __name__ == "__main__":
    main()
