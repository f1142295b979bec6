"""Generators beside searches on once-for-all's networks and on language models: parts of ``generators.py``."""

import tempfile
import time
from pathlib import Path

import numpy as np
from note10 import default_data
from scipy.stats import kendalltau

from fleetfront.pipelines.importing.importers import import_ofa_lut
from fleetfront.pipelines.importing.tabular import costs_of
from fleetfront.pipelines.knowledge.cost_models import device_models
from fleetfront.predictors.accuracy.hwgpt_table import learn_perplexity, read_hwgpt
from fleetfront.predictors.accuracy.sources import load_accuracy
from fleetfront.predictors.table.learnt import LearntTable, SummaryRegression
from fleetfront.profilers.store.store import Store
from fleetfront.quantities import ENERGY, LATENCY
from fleetfront.search.front import FULL, hypervolume
from fleetfront.search.problem import Problem, ProblemTarget
from fleetfront.search.run import hypervolumes, reference_points, run_search
from fleetfront.search.strategies.catalogue import make_strategy
from fleetfront.spaces.catalogue import load_space
from fleetfront.targets import Target
from fleetfront.workspace import Workspace

EVALUATIONS = 20_000
#: Devices that are asked for budgets, and the accuracies that the generator counts for all of them.
BUDGET_DEVICES, BUDGET_COUNTED = 8, 2000
GPT = "modnas:steps=300,round_steps=15,fit_steps=200"
#: PNAG's fifteen networks: published MMACs, depths:kernels:expansions, in each platform's order of accuracy.
PNAG = """
cpu 335 2,2,3,3,3:5,5,0,0,5,5,0,0,7,5,7,0,3,5,5,0,7,5,5,0:3,3,0,0,4,3,0,0,4,3,3,0,6,4,4,0,6,6,6,0
cpu 431 2,3,3,3,3:5,3,0,0,5,5,7,0,5,7,7,0,5,5,7,0,7,5,7,0:3,4,0,0,4,6,3,0,6,4,6,0,6,6,6,0,6,6,6,0
cpu 502 2,3,4,4,4:5,3,0,0,7,5,7,0,5,5,3,3,5,7,7,7,3,3,3,7:4,4,0,0,4,4,4,0,4,6,6,4,6,4,6,6,6,6,6,4
cpu 620 2,3,4,4,4:7,5,0,0,7,7,7,0,7,5,3,7,7,7,7,7,7,3,3,7:4,6,0,0,6,6,6,0,6,6,6,6,6,6,6,6,6,6,6,6
cpu 682 3,4,4,4,4:5,3,7,0,5,7,7,7,7,7,3,7,7,7,7,7,5,7,3,7:4,4,6,0,6,6,6,6,6,6,4,6,6,6,6,6,6,6,6,6
gpu 310 2,2,3,3,4:3,3,0,0,5,3,0,0,5,5,3,0,3,7,3,0,5,3,3,7:3,3,0,0,3,4,0,0,3,3,3,0,4,3,4,0,6,6,6,3
gpu 411 2,3,3,4,4:3,3,0,0,5,3,3,0,5,5,3,0,3,5,5,5,7,7,7,5:3,3,0,0,4,4,4,0,4,3,4,0,6,4,6,4,6,6,6,4
gpu 510 2,3,4,4,4:3,3,0,0,7,5,5,0,5,7,5,5,3,5,5,5,7,7,5,5:4,3,0,0,6,4,4,0,4,4,6,6,6,6,6,6,6,6,6,4
gpu 582 2,4,4,4,4:3,3,0,0,7,5,5,5,7,5,7,5,7,7,7,5,7,7,7,5:3,4,0,0,6,6,6,6,6,6,4,6,6,6,6,6,6,6,6,6
gpu 640 3,4,4,4,4:3,3,5,0,7,3,5,7,7,7,5,3,7,5,7,5,7,3,7,3:4,4,6,0,6,4,6,6,6,6,6,6,6,6,6,6,6,6,6,6
mobile 349 2,3,3,3,3:3,3,0,0,3,5,3,0,3,3,5,0,3,3,5,0,5,5,7,0:3,3,0,0,4,3,3,0,4,4,4,0,4,6,6,0,6,6,3,0
mobile 451 2,3,3,4,4:5,3,0,0,5,3,3,0,3,5,5,0,5,5,5,3,7,5,7,5:3,4,0,0,3,4,4,0,3,3,6,0,4,6,6,6,6,6,6,6
mobile 492 2,4,4,4,4:5,3,0,0,5,5,5,3,5,5,5,5,3,5,5,5,7,5,5,5:4,3,0,0,4,4,4,6,6,3,6,3,6,6,4,6,6,6,6,3
mobile 606 3,4,4,4,4:5,3,7,0,5,5,5,5,5,5,5,5,3,5,5,3,7,5,5,5:4,4,6,0,4,4,6,6,6,4,6,6,6,6,4,6,6,6,6,6
mobile 724 4,4,4,4,4:5,5,5,5,5,7,3,5,7,5,5,3,3,5,5,3,5,3,3,5:6,6,6,6,4,6,6,6,6,6,6,6,6,6,6,6,6,6,6,6
"""
#: Published top-1 of the five of each platform, per cent.
PNAG_TOP1 = {
    "mobile": (78.3, 79.4, 79.8, 80.3, 80.5),
    "cpu": (78.3, 79.4, 79.8, 80.2, 80.5),
    "gpu": (78.3, 79.3, 79.7, 80.3, 80.4),
}


def pnag_networks(_):
    space = load_space("ofa-mbv3-w1.2")
    rows = [line.split() for line in PNAG.strip().splitlines()]
    genotypes = space.parse([row[2] for row in rows])
    pixels = space.gene_names.index("resolution")
    genotypes[:, pixels] = space.choices[pixels].index(224)
    counted, told = space.macs(genotypes) / 1e6, np.array([float(row[1]) for row in rows])
    accuracy = load_accuracy("built-in", space).predict(genotypes).mean
    by_platform = {}
    for platform, top1 in PNAG_TOP1.items():
        own = [i for i, row in enumerate(rows) if row[0] == platform]
        by_platform[platform] = round(float(kendalltau(accuracy[own], top1)[0]), 3)
    every = [PNAG_TOP1[platform][i % 5] for i, platform in enumerate(row[0] for row in rows)]
    return {
        "mmacs": [round(float(value), 1) for value in counted],
        "published_mmacs": told.tolist(),
        "largest_difference_percent": round(float(100 * np.abs(counted / told - 1).max()), 2),
        "built_in_accuracy": [round(float(value), 2) for value in accuracy],
        "kendall_by_platform": by_platform,
        "kendall_of_all_fifteen": round(float(kendalltau(accuracy, every)[0]), 3),
    }


def ofa_targets(workspace):
    space = load_space("ofa-mbv3-w1.2")
    with Store(workspace.store) as store:
        import_ofa_lut(default_data() / "ofa_mbv3" / "note10_lut_w12", "note10", store)
    found = device_models(["all"], space, workspace=workspace, store=workspace.store)
    return space, tuple(ProblemTarget(device.name, device.model, str(device.target)) for device in found)


def ofa(arguments, name="modnas:steps=400,round_steps=10,devices=8"):
    """All devices of w1.2: a generator beside a search, both with 20,000 accuracies; hypervolumes of their answers."""
    from fleetfront.search.generators.answers import front_of

    with tempfile.TemporaryDirectory() as folder:
        space, targets = ofa_targets(Workspace(Path(folder)))
        accuracy = load_accuracy("built-in", space)
        searched = Problem(space, targets, accuracy, budget=EVALUATIONS)
        references = reference_points(searched)
        run_search(searched, make_strategy("hybrid", searched, arguments.seed), name="hybrid", seed=arguments.seed)
        theirs = np.array(hypervolumes(searched, references))
        problem = Problem(space, targets, accuracy, budget=EVALUATIONS)
        strategy = make_strategy(name, problem, arguments.seed)
        started = time.perf_counter()
        run_search(problem, strategy, name=name, seed=arguments.seed)
        seconds, generator = time.perf_counter() - started, strategy.generator
        generator.save(kept_generator(arguments.seed))
        shares = {"generate": [], "generator alone": []}
        for i, target in enumerate(targets):
            for label, pooled in (("generate", True), ("generator alone", False)):
                rows = front_of(generator, [target.cost], pooled=pooled).genotypes
                values = np.stack([target.cost.predict(rows).mean, FULL - accuracy.predict(rows).mean], axis=1)
                shares[label].append(100 * hypervolume(values, references[i]) / theirs[i])
        return {
            "strategy": name,
            "devices": len(targets),
            "counted": problem.counter.requested,
            **{
                label: {"of_hybrid_mean": round(float(np.mean(v)), 3), "of_hybrid_worst": round(float(np.min(v)), 3)}
                for label, v in shares.items()
            },
            "counted networks of hybrid's": round(
                float(np.mean(100 * np.array(hypervolumes(problem, references)) / theirs)), 3
            ),
            "training_seconds": round(seconds, 1),
            **timed_answers(generator, targets),
        }


def kept_generator(seed):
    """Where ``ofa`` leaves its generator for ``ofa-answers``."""
    folder = Path(tempfile.gettempdir()) / f"fleetfront-ofa-{seed}"
    folder.mkdir(exist_ok=True)
    return folder / "generator.safetensors"


def timed_answers(generator, targets):
    """Seconds of one answer (a limit in the middle of the front) and of a front: medians over devices."""
    from fleetfront.search.generators.answers import front_of, within_limit

    one, fronts = [], []
    for target in targets:
        began = time.perf_counter()
        cost = front_of(generator, [target.cost]).costs[:, 0]
        fronts.append(time.perf_counter() - began)
        began = time.perf_counter()
        within_limit(generator, [target.cost], float(np.median(cost)))
        one.append(time.perf_counter() - began)
    return {
        "one_answer_seconds_median": round(float(np.median(one)), 3),
        "front_seconds_median": round(float(np.median(fronts)), 3),
    }


def ofa_answers(arguments):
    """How long answers take, of the generator that ``ofa`` left: for a machine that does nothing else."""
    from fleetfront.search.generators.generator import load_generator

    with tempfile.TemporaryDirectory() as folder:
        space, targets = ofa_targets(Workspace(Path(folder)))
        generator = load_generator(kept_generator(arguments.seed), space)
        timed_answers(generator, targets[:2])
        return {"devices": len(targets), **timed_answers(generator, targets)}


def ofa_budgets(arguments, name="pnag"):
    """50 random budgets for each of eight devices of w1.2: kept, and how far below the best that is known: 20,000
    accuracies of ``hybrid`` and the generator's own."""
    from fleetfront.search.generators.answers import within_limit

    with tempfile.TemporaryDirectory() as folder:
        space, every = ofa_targets(Workspace(Path(folder)))
        targets = tuple(every[i] for i in np.linspace(0, len(every) - 1, BUDGET_DEVICES).round().astype(int))
        accuracy = load_accuracy("built-in", space)
        searched = Problem(space, targets, accuracy, budget=EVALUATIONS)
        run_search(searched, make_strategy("hybrid", searched, arguments.seed), name="hybrid", seed=arguments.seed)
        problem = Problem(space, targets, accuracy, budget=BUDGET_COUNTED)
        strategy = make_strategy(name, problem, arguments.seed)
        started = time.perf_counter()
        run_search(problem, strategy, name=name, seed=arguments.seed)
        seconds, generator = time.perf_counter() - started, strategy.generator
        rows = np.concatenate([searched.archive.genotypes, problem.archive.genotypes])
        known = accuracy.predict(rows).mean
        rng, kept, gaps, alone = np.random.default_rng(arguments.seed), [], [], []
        for target in targets:
            cost = target.cost.predict(rows).mean
            for place in rng.random(50):
                limit = float(cost.min() * (cost.max() / cost.min()) ** place)
                for pooled, into in ((True, gaps), (False, alone)):
                    found = within_limit(generator, [target.cost], limit, pooled=pooled).genotypes
                    kept.append(bool(target.cost.predict(found).mean[0] <= limit))
                    into.append(float(known[cost <= limit].max() - accuracy.predict(found).mean[0]))
        return {
            "strategy": name,
            "devices": [target.name for target in targets],
            "counted": problem.counter.requested,
            "within_budget": float(np.mean(kept)),
            "below_best_mean": round(float(np.mean(gaps)), 3),
            "below_best_p95": round(float(np.quantile(gaps, 0.95)), 3),
            "below_best_mean_without_counted": round(float(np.mean(alone)), 3),
            "training_seconds": round(seconds, 1),
        }


def gpt_targets(with_energy):
    """HW-GPT-S on the four GPUs of its table, costs and perplexity learnt from all of it."""
    space, path = load_space("hw-gpt-s"), default_data() / "hwgpt" / "gpt_s.csv.gz"
    table = read_hwgpt(path)
    genotypes = space.parse(table.arch_ids)
    models = {}
    for metric in (LATENCY, ENERGY):
        costs = costs_of(table, metric)
        for device, values in zip(costs.devices, costs.values.T, strict=True):
            known = np.isfinite(values)
            regression = SummaryRegression.fit(space, genotypes[known], values[known])
            models[device, metric.name] = LearntTable(regression, Target(device, "torch"), metric)
    gpus = [device for device, metric in models if metric == "energy"]
    targets = tuple(
        ProblemTarget(gpu, models[gpu, "latency"], further={"energy": models[gpu, "energy"]} if with_energy else {})
        for gpu in gpus
    )
    return space, targets, learn_perplexity(path, space)


def gpt_values(target, accuracy, rows, with_energy):
    """float64[n, 2 or 3]: latency, error of the score, energy."""
    columns = [target.cost.predict(rows).mean, FULL - accuracy.predict(rows).mean]
    return np.stack([*columns, *([target.further["energy"].predict(rows).mean] if with_energy else [])], axis=1)


def hwgpt(arguments):
    """A generator beside NSGA-II at 500 perplexities, on two and three objectives; then each GPU left out in turn,
    known by its own table, and no perplexity asked for. References are 10,000 perplexities of ``hybrid``."""
    return gpt_row((), arguments.seed)


def hwgpt_energy(arguments):
    """The same with energy as a third objective, and no GPU left out."""
    return gpt_row(("energy",), arguments.seed)


def gpt_row(extras, seed):
    from fleetfront.search.generators.answers import front_of

    space, targets, accuracy = gpt_targets(bool(extras))

    def run(name, budget, of=targets):
        problem = Problem(space, of, accuracy, extras, budget=budget)
        strategy = make_strategy(name, problem, seed)
        started = time.perf_counter()
        run_search(problem, strategy, name=name, seed=seed)
        return problem, strategy, time.perf_counter() - started

    best = run("hybrid", 10_000)[0]
    references = reference_points(best)
    whole = np.array(hypervolumes(best, references))

    def shares(generator, pooled, at=None):
        """Per cent of hybrid's hypervolume, of the targets in ``at``."""
        reached = []
        for i in range(len(targets)) if at is None else at:
            rows = front_of(generator, [targets[i].cost, *targets[i].further.values()], pooled=pooled).genotypes
            values = gpt_values(targets[i], accuracy, rows, extras)
            reached.append(float(100 * hypervolume(values, references[i]) / whole[i]))
        return np.round(reached, 3).tolist()

    _, strategy, seconds = run(GPT, 500)
    row = {
        "counted": 500,
        "gpus": [target.name for target in targets],
        "nsga2-shared": np.round(
            100 * np.array(hypervolumes(run("nsga2-shared", 500)[0], references)) / whole, 3
        ).tolist(),
        "generate": shares(strategy.generator, True),
        "generator alone": shares(strategy.generator, False),
        "training_seconds": round(seconds, 1),
    }
    for i, target in enumerate(() if extras else targets):
        _, left, _ = run(GPT, 500, tuple(other for other in targets if other is not target))
        row[f"without {target.name}"] = {
            "generate": shares(left.generator, True, [i])[0],
            "generator alone": shares(left.generator, False, [i])[0],
        }
    return row


SPACE_PARTS = {
    "pnag-networks": pnag_networks,
    "ofa": ofa,
    "ofa-answers": ofa_answers,
    "ofa-budgets": ofa_budgets,
    "hwgpt": hwgpt,
    "hwgpt-energy": hwgpt_energy,
}
