"""NAS-Bench-201 on CIFAR-100 for 13 devices at once: share of the true hypervolume after few accuracy evaluations.

    python benchmarks/nasbench201.py [--seeds 10] [--first-seed 0] [--strategies surrogate,hybrid,nsga2-shared,random]
    python benchmarks/nasbench201.py --checks [--seeds 5]
    python benchmarks/nasbench201.py --prior [--seeds 3] [--budgets 50,100,200]

Costs are the public latency tables, free of charge; accuracy is the table's column of CIFAR-100, nothing else of it is
read. Every request for an accuracy counts, first and repeated ones, over all devices together. Hypervolume: latency and
error scaled to 0 .. 1 over the whole space, reference (1, 1), as a share of that of the true front. Beside it the share
of the members of the true fronts that were found.

The surrogate strategy was developed on this very problem, with the seeds 100 to 104; so ``--checks`` runs it, as it is,
on CIFAR-10's column, and with nothing but the genes for features, as it would see a space that offers none.

``--prior`` starts from a search of CIFAR-10 with 200 evaluations (seed 0, the same devices), whose order of networks is
a prior on CIFAR-100's and whose accuracies count nowhere.
"""

import argparse
import csv
import os
import time

# Small matrix products: more threads only wait for each other. Must be set before numpy is loaded.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from machine import describe, write
from note10 import default_data

from fleetfront.predictors.accuracy.sources import load_accuracy
from fleetfront.quantities import LATENCY, Estimate, Tier
from fleetfront.search.front import hypervolume, target_front
from fleetfront.search.models.prior import Prior
from fleetfront.search.problem import Problem, ProblemTarget
from fleetfront.search.run import run_search
from fleetfront.search.strategies.catalogue import make_strategy
from fleetfront.spaces.catalogue import load_space

BUDGETS = (200, 500)
BARS = {("surrogate", 200): {"mean": 99.3}, ("surrogate", 500): {"mean": 99.8, "worst": 99.5}}
#: Measured elsewhere, per cent: evaluations *per device*, so 13 times as many in total.
PER_DEVICE_NSGA2 = {200: 98.1, 500: 99.3}


READING = "share_mean: over devices and seeds; share_worst: the lowest of any device in any seed"


class TableLatency:
    """One column of the public table. A CostModel."""

    metric = LATENCY
    tier = Tier.MEASURED

    def __init__(self, space, genotypes, ms):
        self._radix = 5 ** np.arange(len(space.choices))
        self._ms = np.empty(len(ms))
        self._ms[genotypes.astype(int) @ self._radix] = ms

    def predict(self, genotypes):
        mean = self._ms[genotypes.astype(int) @ self._radix]
        return Estimate(mean, np.zeros(len(mean)), self.tier)


class GenesOnly:
    """A space that does not say what explains accuracy."""

    def __init__(self, space):
        self._space = space

    def __getattr__(self, name):
        if name == "network_features":
            raise AttributeError(name)
        return getattr(self._space, name)


class Truth:
    """The whole space, to score with; no strategy sees it."""

    def __init__(self, column="acc_cifar100", genes_only=False):
        path = default_data() / "nb201" / "nb201.csv"
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        self.space = load_space("nasbench201")
        self.genotypes = self.space.parse([row["arch"] for row in rows])
        self.accuracy = load_accuracy(f"csv:{path}:{column}", self.space)
        columns = [name for name in rows[0] if name.startswith("lat_")]
        self.targets = tuple(
            ProblemTarget(
                name.removeprefix("lat_"),
                TableLatency(self.space, self.genotypes, np.array([float(row[name]) for row in rows])),
            )
            for name in columns
        )
        cost = np.stack([target.cost.predict(self.genotypes).mean for target in self.targets], axis=1)
        top = self.accuracy.predict(self.genotypes).mean
        self.low, self.high = cost.min(axis=0), cost.max(axis=0)
        self.best, self.worst = top.max(), top.min()
        self.volumes = self.volume(cost, top)
        self.searched = GenesOnly(self.space) if genes_only else self.space
        self.fronts = [
            {self.genotypes[i].tobytes() for i in target_front(cost[:, t], top)} for t in range(len(columns))
        ]

    def volume(self, cost, top):
        """Scaled hypervolume on each device, float64[t]."""
        scaled = (cost - self.low) / (self.high - self.low)
        error = (self.best - top) / (self.best - self.worst)
        return np.array([hypervolume(np.stack([c, error], axis=1), (1.0, 1.0)) for c in scaled.T])

    def recall(self, genotypes):
        """Share of the members of each device's true front among networks, float64[t]."""
        found = {row.tobytes() for row in genotypes}
        return np.array([len(front & found) / len(front) for front in self.fronts])


def one_run(truth, name, budget, seed, prior=None):
    problem = Problem(truth.searched, truth.targets, truth.accuracy, budget=budget)
    cpu = time.process_time()
    strategy = make_strategy(name, problem, seed)
    if prior is not None:
        strategy.take_prior(prior)
        name += "+prior"
    run = run_search(problem, strategy, name=name, seed=seed)
    archive = problem.archive
    share = 100 * truth.volume(archive.cost, archive.accuracy) / truth.volumes
    recall = truth.recall(archive.genotypes)
    return {
        "strategy": name,
        "budget": budget,
        "seed": seed,
        "evaluations": run.evaluations,
        "share_mean": round(float(share.mean()), 3),
        "share_worst": round(float(share.min()), 3),
        "recall_mean": round(float(recall.mean()), 4),
        "recall_worst": round(float(recall.min()), 4),
        "seconds": round(run.seconds, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "share": dict(zip(problem.names, np.round(share, 3).tolist(), strict=True)),
    }


def all_runs(truth, names, budgets, seeds):
    runs = []
    for name in names:
        for budget in budgets:
            for seed in seeds:
                runs.append(one_run(truth, name, budget, seed))
                print(*(f"{k} {v}" for k, v in runs[-1].items() if k != "share"), sep="  ", flush=True)
    table = [summary(runs, name, budget) for name in names for budget in budgets]
    show(table)
    return runs, table


def with_prior(budgets, seeds):
    """Runs with and without what a search of CIFAR-10 taught, and their summary."""
    there, here = Truth("acc_cifar10"), Truth()
    problem = Problem(there.space, there.targets, there.accuracy, budget=200)
    run_search(problem, make_strategy("surrogate", problem, 0), name="surrogate", seed=0)
    prior = Prior.of(there.space, problem.archive, there.accuracy.source)
    runs = []
    for budget in budgets:
        for seed in seeds:
            runs += [one_run(here, "surrogate", budget, seed), one_run(here, "surrogate", budget, seed, prior)]
            print(*(f"{k} {v}" for k, v in runs[-1].items() if k != "share"), sep="  ", flush=True)
    table = [summary(runs, name, budget) for name in ("surrogate", "surrogate+prior") for budget in budgets]
    show(table)
    return {"summary": [{**row, "bar": None} for row in table], "runs": runs}


def summary(runs, name, budget):
    chosen = [row for row in runs if (row["strategy"], row["budget"]) == (name, budget)]
    means = np.array([row["share_mean"] for row in chosen])
    worst = min(chosen, key=lambda row: row["share_worst"])
    return {
        "strategy": name,
        "budget": budget,
        "seeds": len(chosen),
        "share_mean": round(float(means.mean()), 3),
        "share_mean_of_worst_seed": round(float(means.min()), 3),
        "share_worst": worst["share_worst"],
        "share_worst_is": [min(worst["share"], key=worst["share"].get), worst["seed"]],
        "recall_mean": round(float(np.mean([row["recall_mean"] for row in chosen])), 4),
        "recall_worst": min(row["recall_worst"] for row in chosen),
        "seconds_median": round(float(np.median([row["seconds"] for row in chosen])), 1),
        "cpu_seconds_median": round(float(np.median([row["cpu_seconds"] for row in chosen])), 1),
        "bar": BARS.get((name, budget)),
    }


def show(table):
    print(f"\n{'strategy':14}{'evals':>6}{'seeds':>6}{'mean %':>9}{'worst %':>9}{'recall':>8}{'wall s':>8}{'cpu s':>7}")
    for row in table:
        print(
            f"{row['strategy']:14}{row['budget']:6}{row['seeds']:6}{row['share_mean']:9.3f}{row['share_worst']:9.3f}"
            f"{row['recall_mean']:8.3f}{row['seconds_median']:8.1f}{row['cpu_seconds_median']:7.1f}  {row['bar'] or ''}"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--strategies", default="surrogate,hybrid,nsga2-shared,random")
    parser.add_argument("--budgets", default=",".join(map(str, BUDGETS)))
    parser.add_argument("--checks", action="store_true", help="another accuracy, and without the space's features")
    parser.add_argument("--prior", action="store_true", help="start from a search of CIFAR-10")
    parser.add_argument("--dry-run", action="store_true", help="write nothing")
    arguments = parser.parse_args()
    begun = describe()
    budgets = [int(budget) for budget in arguments.budgets.split(",")]
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    if arguments.prior:
        found = with_prior(budgets, seeds)
        if not arguments.dry_run:
            write("nasbench201_prior", {"reading": READING, **found}, begun)
        return
    if arguments.checks:
        checks = {}
        for label, truth in (("acc_cifar10", Truth("acc_cifar10")), ("genes_only", Truth(genes_only=True))):
            print(label)
            runs, table = all_runs(truth, ["surrogate"], budgets, seeds)
            checks[label] = {"summary": [{**row, "bar": None} for row in table], "runs": runs}
        if not arguments.dry_run:
            write("nasbench201_checks", {"reading": READING, **checks}, begun)
        return
    truth = Truth()
    runs, table = all_runs(truth, arguments.strategies.split(","), budgets, seeds)
    if not arguments.dry_run:
        facts = {
            "reading": READING,
            "devices": [target.name for target in truth.targets],
            "true_front_members": [len(front) for front in truth.fronts],
            "nsga2_per_device_elsewhere": PER_DEVICE_NSGA2,
        }
        write("nasbench201", {**facts, "summary": table, "runs": runs}, begun)


if __name__ == "__main__":
    main()
