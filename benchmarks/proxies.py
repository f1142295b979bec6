"""Measure how far scores of untrained networks help the default strategy: as a feature of its model, as first networks.

    python benchmarks/proxies.py [--seeds 5] [--budgets 100,200] [--seconds 240]

NAS-Bench-201, CIFAR-100, 13 devices, the space saying nothing of itself (genes alone), as in ``strategies.py``. Scores
are the published tables' of all cells for CIFAR-100 (logarithm of SynFlow, NASWOT). Rows are added to
``results/proxies.json``; later calls pass over what it holds.
"""

import argparse
import csv
import gzip
import json
import os
import time

# Small matrix products: more threads only wait for each other. Must be set before numpy is loaded.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from machine import RESULTS, describe, write
from note10 import default_data
from scipy.stats import mannwhitneyu
from strategies_problems import CellProblem

from fleetfront.predictors.one_hot import OneHot
from fleetfront.search.front import non_dominated
from fleetfront.search.models.ridge import PairRidge
from fleetfront.search.run import run_search
from fleetfront.search.strategies.catalogue import make_strategy

PATH = RESULTS / "proxies.json"
FIRST, LEARNT_FROM = 16, 300
PLAIN = "surrogate"
#: Name -> scores that are features, and the one whose fronts give the first networks.
VARIANTS = {
    PLAIN: ((), ""),
    "feature synflow": (("synflow",), ""),
    "feature naswot": (("naswot",), ""),
    "features of both": (("synflow", "naswot"), ""),
    "feature synflow, learnt from 300": (("synflow learnt",), ""),
    "feature naswot, learnt from 300": (("naswot learnt",), ""),
    "first from fronts of synflow": ((), "synflow"),
    "first from fronts of naswot": ((), "naswot"),
    "first from fronts of MACs": ((), "macs"),
}


class Scores:
    """Standardised scores of all cells, by genotype."""

    def __init__(self, space):
        with gzip.open(default_data() / "nb201_zc" / "nb201_zero_cost.csv.gz", "rt") as file:
            rows = list(csv.DictReader(file))
        genotypes = space.parse([row["arch"] for row in rows])
        self.at = np.empty(5**6, int)
        self.at[self._key(genotypes)] = np.arange(len(rows))
        values = {
            "synflow": np.log10(1 + np.array([max(float(row["synflow_cifar100"]), 0.0) for row in rows])),
            "naswot": np.array([float(row["naswot_cifar100"]) for row in rows]),
            "macs": space.macs(genotypes).astype(float),
        }
        # Cells without a path score minus infinity.
        self.values = {name: self._standardised(one) for name, one in values.items()}
        # Scores of a few networks, and of the others what these teach: what a large space allows.
        few, genes = np.random.default_rng(0).choice(len(rows), LEARNT_FROM, replace=False), OneHot.of(space)(genotypes)
        for name in ("synflow", "naswot"):
            self.values[f"{name} learnt"] = PairRidge.fit(genes[few], self.values[name][few])(genes)

    def __call__(self, name, genotypes):
        return self.values[name][self.at[self._key(genotypes)]]

    def _key(self, genotypes):
        return genotypes.astype(int) @ 5 ** np.arange(6)

    def _standardised(self, values):
        finite = np.where(np.isfinite(values), values, values[np.isfinite(values)].min())
        return (finite - finite.mean()) / finite.std()


class WithScores:
    """Features of a space and one group more."""

    def __init__(self, features, scores, names):
        self.features, self.scores, self.names = features, scores, names

    def __call__(self, genotypes):
        further = np.stack([self.scores(name, genotypes) for name in self.names], axis=1)
        return (*self.features(genotypes), further)


def from_fronts(problem, scores, name):
    """``FIRST`` networks in even steps along the fronts of a score against every device's cost."""
    every = problem.every()
    value, cost = scores(name, every), problem.cost(every)
    rows = np.unique(np.concatenate([non_dominated(np.stack([c, -value], axis=1)) for c in cost.T]))
    rows = rows[np.argsort(cost[rows].mean(axis=1), kind="stable")]
    return every[rows[np.linspace(0, len(rows) - 1, FIRST).round().astype(int)]]


def run_piece(cells, scores, variant, budget, seed):
    names, start = VARIANTS[variant]
    problem, begun = cells.make(budget, seed), describe()
    strategy = make_strategy(PLAIN, problem, seed)
    if names:
        strategy._features = WithScores(strategy._features, scores, names)
    if start:
        problem.evaluate(from_fronts(problem, scores, start))
    run_search(problem, strategy, name=variant, seed=seed)
    row = {"variant": variant, "budget": budget, "seed": seed, **cells.judge(problem)}
    return {**row, "taken": begun["date"], "load_average": begun["load_average"]}


def summary(runs):
    table = []
    for budget in sorted({row["budget"] for row in runs}):
        of = {v: {r["seed"]: r["share"] for r in runs if (r["variant"], r["budget"]) == (v, budget)} for v in VARIANTS}
        for variant, shares in of.items():
            both = sorted(set(shares) & set(of[PLAIN]))
            if not shares:
                continue
            line = {"budget": budget, "variant": variant, "seeds": len(shares)}
            line |= {"median": round(float(np.median(list(shares.values()))), 3), "lowest": min(shares.values())}
            if variant != PLAIN and len(both) > 1:
                theirs, ours = ([some[seed] for seed in both] for some in (shares, of[PLAIN]))
                line["p"] = round(float(mannwhitneyu(theirs, ours).pvalue), 4)
            table.append(line)
    return table


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--budgets", default="100,200")
    parser.add_argument("--seconds", type=float, default=1e9, help="begin no piece after so many")
    arguments = parser.parse_args()
    started, begun = time.perf_counter(), describe()
    runs = json.loads(PATH.read_text())["runs"] if PATH.is_file() else []
    done = {(row["variant"], row["budget"], row["seed"]) for row in runs}
    cells = CellProblem(genes_only=True)
    scores = Scores(cells.truth.space)
    for seed in range(arguments.seeds):
        for budget in map(int, arguments.budgets.split(",")):
            for variant in VARIANTS:
                if (variant, budget, seed) in done or time.perf_counter() - started > arguments.seconds:
                    continue
                runs.append(run_piece(cells, scores, variant, budget, seed))
                write("proxies", {"summary": summary(runs), "runs": runs}, begun)
    for line in summary(runs):
        print(*(f"{k} {v}" for k, v in line.items()), sep="  ")


if __name__ == "__main__":
    main()
