"""The problems of ``strategies.py``: each makes a search of a budget and says what share of the possible its archive
reached.

``best_known`` is a hypervolume of one long search per device where nobody knows the true one; a share may exceed 100.
"""

import numpy as np
from fbnet_networks import work_tables
from generators_spaces import gpt_targets
from nasbench201 import TableLatency, Truth
from note10 import default_data

from fleetfront.pipelines.importing.tabular import costs_of
from fleetfront.predictors.accuracy.hwgpt_table import learn_perplexity, read_hwgpt
from fleetfront.predictors.base import covers_all
from fleetfront.predictors.one_hot import OneHot
from fleetfront.predictors.operators.work import WORK_NAMES
from fleetfront.predictors.table.learnt import LearntTable, SummaryRegression
from fleetfront.quantities import LATENCY, Estimate, Tier
from fleetfront.search.front import hypervolume
from fleetfront.search.problem import Problem, ProblemTarget
from fleetfront.search.run import hypervolumes, reference_points, run_search
from fleetfront.search.strategies.catalogue import make_strategy
from fleetfront.spaces.catalogue import load_space
from fleetfront.spaces.tabular.space import Group, TabularSpace
from fleetfront.targets import Target

#: Accuracies, strategy and seed of the search that shares are of where no true front is known.
BEST_KNOWN = (10_000, "hybrid", 1000)
#: Hypervolumes of the ten first networks of LaMOO's ten published runs, of 8.06987, and what it is with our column.
LAMOO_STARTS = (6.892, 6.363, 7.511, 7.448, 7.361, 7.016, 7.325, 7.306, 7.152, 7.029)
LAMOO_BEST = 8.0526
LAMOO_LEVELS = (95.0, 99.0, 99.9)
FBNET_DEVICES = ("pixel3", "raspi4", "eyeriss", "fpga", "1080ti_1", "2080ti_64", "gold_6226", "samsung_s7")


class CellProblem:
    """NAS-Bench-201 on 13 devices, CIFAR-100; with ``genes_only`` the space does not say what explains accuracy."""

    is_tuned_on = "the default's settings, on this very problem with the seeds 100 to 104"

    def __init__(self, genes_only=False):
        self.truth = Truth(genes_only=genes_only)

    def make(self, budget, seed):
        return Problem(self.truth.searched, self.truth.targets, self.truth.accuracy, budget=budget)

    def judge(self, problem):
        archive = problem.archive
        share = 100 * self.truth.volume(archive.cost, archive.accuracy) / self.truth.volumes
        return {"share": round(float(share.mean()), 3), "share_worst": round(float(share.min()), 3)}


class LamooProblem:
    """LaMOO's: standardised MACs and CIFAR-10 accuracy of one device; ten networks of its start level are given."""

    is_tuned_on = "nothing"

    def __init__(self):
        truth = Truth("acc_cifar10")
        self.space, self.accuracy, self.every = truth.space, truth.accuracy, truth.genotypes
        macs, top = self.space.macs(self.every).astype(float), self.accuracy.predict(self.every).mean
        self.moments = macs.mean(), macs.std(), top.mean(), top.std()
        self.targets = (ProblemTarget("macs", TableLatency(self.space, self.every, macs / 1e6)),)

    def volume(self, genotypes):
        """Of maximised (A - 2, -(F + 2)) above (-3, -6)."""
        mean, std, centre, spread = self.moments
        macs, top = self.space.macs(genotypes), self.accuracy.predict(genotypes).mean
        values = np.stack([(macs - mean) / std + 2, 2 - (top - centre) / spread], axis=1)
        return hypervolume(values, (6.0, 3.0))

    def make(self, budget, seed):
        """The ten random networks of many whose hypervolume is nearest to that of a published run's first ten."""
        rng = np.random.default_rng(1000 + seed)
        sets = [self.every[rng.choice(len(self.every), 10, replace=False)] for _ in range(1000)]
        wanted = LAMOO_STARTS[seed % len(LAMOO_STARTS)]
        problem = Problem(self.space, self.targets, self.accuracy, budget=budget)
        rows = min(sets, key=lambda rows: abs(self.volume(self.space.canonical(rows)) - wanted))
        problem.evaluate(np.unique(problem.complete(rows), axis=0))
        return problem

    def judge(self, problem):
        rows = problem.archive.genotypes
        shares = np.array([100 * self.volume(rows[:n]) / LAMOO_BEST for n in range(1, len(rows) + 1)])
        found = {}
        for level in LAMOO_LEVELS:
            is_reached = shares[-1] >= level
            found[f"accuracies_to_{level:g}"] = int(np.argmax(shares >= level)) + 1 if is_reached else None
        return {"share": round(float(shares[-1]), 3), "start": round(float(shares[9]), 3), **found}


class ComparedProblem:
    """A space whose true front nobody knows."""

    is_tuned_on = "nothing"

    def __init__(self, space, targets, accuracy, extras=()):
        self.space, self.targets, self.accuracy, self.extras = space, targets, accuracy, extras
        self.references, self.best = None, None

    def make(self, budget, seed):
        return Problem(self.space, self.targets, self.accuracy, self.extras, budget=budget)

    def best_known(self):
        """Hypervolume of each device after a long search."""
        budget, name, seed = BEST_KNOWN
        problem = self.make(budget, seed)
        run_search(problem, make_strategy(name, problem, seed), name=name, seed=seed)
        return [float(volume) for volume in hypervolumes(problem, reference_points(problem))]

    def judge(self, problem):
        self.references = self.references or reference_points(problem)
        share = 100 * np.array(hypervolumes(problem, self.references)) / np.array(self.best)
        return {"share": round(float(share.mean()), 3), "share_worst": round(float(share.min()), 3)}


def hwgpt_s():
    """Latency, energy and perplexity on four GPUs."""
    space, targets, accuracy = gpt_targets(True)
    return ComparedProblem(space, targets, accuracy, ("energy",))


def hwgpt_m():
    """Latency and perplexity on the four GPUs of the table of M."""
    space, path = load_space("hw-gpt-m"), default_data() / "hwgpt" / "gpt_m.csv.gz"
    table = read_hwgpt(path).of_space(space)
    genotypes, costs = space.parse(table.arch_ids), costs_of(table, LATENCY)
    targets = []
    for device, values in zip(costs.devices[:4], costs.values.T[:4], strict=True):
        known = np.isfinite(values)
        regression = SummaryRegression.fit(space, genotypes[known], values[known])
        targets.append(ProblemTarget(device, LearntTable(regression, Target(device, "torch"))))
    return ComparedProblem(space, tuple(targets), learn_perplexity(path, space))


class FbnetSpace(TabularSpace):
    """22 layers, nine operations each."""

    importer = "none"

    def macs(self, genotypes):
        fixed, choices = work_tables()
        counts = [i for i, name in enumerate(WORK_NAMES) if name.endswith(".mmacs")]
        per_choice = choices[:, :, counts].sum(axis=2)
        return np.rint(1e6 * (fixed[counts].sum() + per_choice[np.arange(22), genotypes].sum(axis=1))).astype(np.int64)

    def params(self, genotypes):
        fixed, choices = work_tables()
        counts = [i for i, name in enumerate(WORK_NAMES) if name.endswith(".mweights")]
        per_choice = choices[:, :, counts].sum(axis=2)
        return np.rint(1e6 * (fixed[counts].sum() + per_choice[np.arange(22), genotypes].sum(axis=1))).astype(np.int64)


class LinearCost:
    """Milliseconds as a sum over layers, fitted to a public table. A CostModel."""

    metric, tier = LATENCY, Tier.TRANSFERRED

    def __init__(self, space, genotypes, ms):
        self.one_hot = OneHot.of(space)
        design = self.one_hot(genotypes).astype(float)
        gram = design.T @ design + 0.1 * np.eye(design.shape[1])
        self.mean = ms.mean()
        self.weights = np.linalg.solve(gram, design.T @ (ms - self.mean))
        self.least = ms.min() / 2

    def predict(self, genotypes):
        mean = np.maximum(self.one_hot(genotypes) @ self.weights + self.mean, self.least)
        return Estimate(mean, np.zeros(len(mean)), self.tier)

    def covers(self, genotypes):
        return covers_all(genotypes)


class MadeUpAccuracy:
    """Grows with the logarithm of MACs; choices and pairs of neighbours add a little of their own, drawn once."""

    source, tier = "made up", Tier.PREDICTED

    def __init__(self, space):
        rng = np.random.default_rng(22)
        self.space, self.own, self.pairs = space, rng.normal(0, 0.25, (22, 9)), rng.normal(0, 0.25, (21, 9, 9))
        self.lowest = float(self.predict(space.sample(20_000, rng)).mean.min())

    def predict(self, genotypes):
        layer = np.arange(22)
        own = self.own[layer, genotypes].sum(axis=1)
        pairs = self.pairs[layer[:-1], genotypes[:, :-1], genotypes[:, 1:]].sum(axis=1)
        mean = np.clip(60 + 6 * np.log2(self.space.macs(genotypes) / 5e7) + own + pairs, 40, 99)
        return Estimate(mean, np.zeros(len(mean)), self.tier)


def fbnet():
    """Eight devices of HELP's table, their latencies as sums over layers, and a made-up accuracy."""
    space = FbnetSpace("fbnet", (Group("o", "operation", tuple(range(9)), 22),))
    lines = (default_data() / "fbnet" / "latency.csv").read_text().split()
    names = lines[0].split(",")
    cells = [line.split(",") for line in lines[1:]]
    genotypes = np.array([[int(digit) for digit in row[0][1:]] for row in cells], np.int8)
    targets = []
    for device in FBNET_DEVICES:
        ms = np.array([float(row[names.index(f"lat_{device}")]) for row in cells])
        targets.append(ProblemTarget(device, LinearCost(space, genotypes, ms)))
    return ComparedProblem(space, tuple(targets), MadeUpAccuracy(space))


def cells():
    """CIFAR-100, 13 devices."""
    return CellProblem()


def cells_by_genes():
    """The same, with genes alone for features."""
    return CellProblem(genes_only=True)


#: Name -> what makes it.
PROBLEMS = {
    "nb201": cells,
    "nb201-genes": cells_by_genes,
    "lamoo": LamooProblem,
    "hwgpt-s": hwgpt_s,
    "hwgpt-m": hwgpt_m,
    "fbnet": fbnet,
}
