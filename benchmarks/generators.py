"""Generators beside searches: what they reach on devices met and unmet, within budgets, and how long they take.

    python benchmarks/generators.py nb201:0 nb201:1 unmet:0:12 ... [--seconds 200]

A part is followed by its seed (and, for ``unmet``, the device); each takes a minute or two and adds its row to
``results/generators.json``, which later calls pass over. Parts:
``hull`` (what weighted sums can reach at most), ``nb201`` and ``published`` (13 devices, 500 counted accuracies),
``unmet`` (a device left out, ten latencies, no further accuracy), ``variants`` (untrained, gradients,
samplers), ``budgets`` and ``published-budgets`` (PNAG on NAS-Bench-201), ``ofa`` (w1.2, all devices),
``ofa-answers`` (how long those of the generator that ``ofa`` left take), ``ofa-budgets``
(PNAG on eight of these), ``hwgpt`` and ``hwgpt-energy``, ``pnag-networks``.

Accuracies are counted in total over all devices. Hypervolume: latency and error scaled to 0 .. 1 over the whole table,
reference (1, 1), as a share of that of the true front. Settings were chosen with seed 100.
"""

import argparse
import json
import os
import time

# Small matrix products: more threads only wait for each other. Must be set before numpy is loaded.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from machine import RESULTS, describe, write
from nasbench201 import Truth

from fleetfront.predictors.few_shot.model import KnownTable, Teacher
from fleetfront.predictors.operators.work import NetworkWork
from fleetfront.search.front import target_front
from fleetfront.search.problem import Problem, ProblemTarget
from fleetfront.search.run import run_search
from fleetfront.search.strategies.catalogue import make_strategy
from fleetfront.targets import Target

COUNTED = 500
#: Where many trainings are compared, each is short.
SHORT = "modnas:steps=300,round_steps=10"
PUBLISHED = "modnas:network=tables,scalar=sum,features=latencies"
Z90 = 1.645
PATH = RESULTS / "generators.json"
BUDGETS = 50


def trained(problem, name, seed):
    """(generator, seconds) after the problem's budget is spent."""
    strategy = make_strategy(name, problem, seed)
    started = time.perf_counter()
    run_search(problem, strategy, name=name, seed=seed)
    return strategy.generator, time.perf_counter() - started


def retrained(problem, name, seed):
    """The same on the accuracies that another search counted."""
    again = Problem(problem.space, problem.targets, problem.accuracy, budget=problem.budget)
    again.evaluate(problem.archive.genotypes)
    return trained(again, name, seed)


def spread(shares):
    return {"share_mean": round(float(np.mean(shares)), 3), "share_worst": round(float(np.min(shares)), 3)}


def true_share(truth, device, genotypes):
    """Per cent of the true hypervolume of a device that networks reach."""
    cost = np.stack([target.cost.predict(genotypes).mean for target in truth.targets], axis=1)
    accuracy = truth.accuracy.predict(genotypes).mean
    return float(100 * truth.volume(cost, accuracy)[device] / truth.volumes[device])


def answers(truth, generator, ways):
    """Shares of every way of answering on every device that was searched for."""
    found = {}
    for label, way in ways.items():
        shares = [true_share(truth, i, way(generator, [t.cost])) for i, t in enumerate(truth.targets)]
        found[label] = spread(shares)
    return found


def likeliest(generator, models):
    return generator.propose(models, generator.wishes.sweep(101), 0)


def front(refine, pooled):
    from fleetfront.search.generators.answers import front_of

    return lambda generator, models: front_of(generator, models, refine=refine, pooled=pooled).genotypes


def ways():
    return {
        "likeliest network of 101 preferences": likeliest,
        "draws judged": front(0, False),
        "draws and neighbours judged": front(1, False),
        "with what was counted (generate)": front(1, True),
    }


def hull(_):
    truth = Truth()
    every, accuracy = truth.genotypes, truth.accuracy.predict(truth.genotypes).mean
    shares, members = [], []
    for device, target in enumerate(truth.targets):
        cost = target.cost.predict(every).mean
        rows = target_front(cost, accuracy)
        x, y = (cost[rows] - cost.min()) / np.ptp(cost), (accuracy.max() - accuracy[rows]) / np.ptp(accuracy)
        kept = []
        for i in range(len(rows)):
            while len(kept) > 1 and _above(x, y, kept[-2], kept[-1], i):
                kept.pop()
            kept.append(i)
        shares.append(true_share(truth, device, every[rows[kept]]))
        members.append([len(kept), len(rows)])
    names = [target.name for target in truth.targets]
    return {**spread(shares), "hull_and_front_members": dict(zip(names, members, strict=True))}


def _above(x, y, a, b, c):
    return (y[b] - y[a]) * (x[c] - x[a]) >= (y[c] - y[a]) * (x[b] - x[a])


def nb201(arguments, name="modnas"):
    truth = Truth()
    problem = Problem(truth.space, truth.targets, truth.accuracy, budget=COUNTED)
    generator, seconds = trained(problem, name, arguments.seed)
    archive = 100 * truth.volume(problem.archive.cost, problem.archive.accuracy) / truth.volumes
    started = time.perf_counter()
    front(1, True)(generator, [truth.targets[0].cost])
    return {
        "strategy": name,
        "counted": problem.counter.requested,
        "answers": answers(truth, generator, ways()),
        "counted networks alone": spread(archive),
        "training_seconds": round(seconds, 1),
        "front_seconds": round(time.perf_counter() - started, 3),
    }


def published(arguments):
    return nb201(arguments, PUBLISHED)


def unmet(arguments):
    """One device left out; ten latencies of it are known, and no further accuracy is asked for."""
    from fleetfront.search.generators.answers import front_of

    truth, seed, device = Truth(), arguments.seed, arguments.device
    usable = ~truth.space.disconnected(truth.genotypes)
    cells = truth.genotypes[usable]
    met = [target for i, target in enumerate(truth.targets) if i != device]
    known_tables = [KnownTable(t.name, cells, t.cost.predict(cells).mean) for t in met]
    teacher = Teacher(truth.space, known_tables, work=NetworkWork(truth.space), seed=seed)
    few = teacher.choose(10, np.random.default_rng([seed, device]), cells)
    true = truth.targets[device].cost
    model = teacher.fit(Target("new", "litert"), few, true.predict(few).mean, second_opinion=False).model
    problem = Problem(truth.space, tuple(met), truth.accuracy, budget=COUNTED)
    generator, _ = trained(problem, SHORT, seed)
    answer = front_of(generator, [model])
    off = np.abs(true.predict(answer.genotypes).mean - answer.costs[:, 0])
    row = {
        "device": truth.targets[device].name,
        "described by": generator.features.way,
        "latencies_within_90": [int((off <= Z90 * answer.cost_std[:, 0]).sum()), len(off)],
        **{label: round(true_share(truth, device, way(generator, [model])), 3) for label, way in ways().items()},
    }
    other, _ = retrained(problem, SHORT + ",features=latencies", seed)
    for label, way in list(ways().items())[1:3]:
        row[f"{label}, ten latencies as features"] = round(true_share(truth, device, way(other, [model])), 3)
    archive = problem.archive
    kept = target_front(model.predict(archive.genotypes).mean, archive.accuracy)
    row["counted networks re-costed"] = round(true_share(truth, device, archive.genotypes[kept]), 3)
    searched = Problem(truth.space, (ProblemTarget("new", model),), truth.accuracy, budget=100)
    run_search(searched, make_strategy("surrogate", searched, seed), name="surrogate", seed=seed)
    row["few-shot and a search of 100 accuracies"] = round(
        true_share(truth, device, searched.archive.genotypes[searched.front(0)]), 3
    )
    return row


def variants(arguments):
    truth, seed = Truth(), arguments.seed
    problem = Problem(truth.space, truth.targets, truth.accuracy, budget=COUNTED)
    trained(problem, "modnas:steps=0,round_steps=10", seed)
    found = {}
    kept = {k: w for k, w in ways().items() if k in ("likeliest network of 101 preferences", "draws judged")}
    for label, settings in {
        "as it is (MGD, ReinMax)": "modnas:steps=300",
        "untrained": "modnas:steps=0,round_steps=0",
        "mean of gradients": "modnas:steps=300,gradient=mean",
        "a device after another": "modnas:steps=300,gradient=sequential",
        "a random device": "modnas:steps=300,gradient=sampled",
        "GDAS": "modnas:steps=300,sampler=gdas",
        "sums": "modnas:steps=300,scalar=sum",
        "tables": "modnas:steps=300,network=tables",
    }.items():
        generator, seconds = retrained(problem, settings, seed)
        found[label] = answers(truth, generator, kept) | {"seconds": round(seconds, 1)}
        print(label, found[label], flush=True)
    return found


def budgets(arguments, name="pnag"):
    """50 random budgets a device: kept, and how far below the best feasible accuracy."""
    from fleetfront.search.generators.answers import within_limit

    truth, seed = Truth(), arguments.seed
    problem = Problem(truth.space, truth.targets, truth.accuracy, budget=COUNTED)
    generator, seconds = trained(problem, name, seed)
    every, accuracy = truth.genotypes, truth.accuracy.predict(truth.genotypes).mean
    rng, kept, gaps, alone = np.random.default_rng(seed), [], [], []
    for target in truth.targets:
        cost = target.cost.predict(every).mean
        for place in rng.random(BUDGETS):
            limit = float(cost.min() * (cost.max() / cost.min()) ** place)
            best = accuracy[cost <= limit].max()
            for pooled, into in ((True, gaps), (False, alone)):
                found = within_limit(generator, [target.cost], limit, pooled=pooled).genotypes
                kept.append(bool(target.cost.predict(found).mean[0] <= limit))
                into.append(float(best - truth.accuracy.predict(found).mean[0]))
    return {
        "strategy": name,
        "within_budget": float(np.mean(kept)),
        "below_best_mean": round(float(np.mean(gaps)), 3),
        "below_best_p95": round(float(np.quantile(gaps, 0.95)), 3),
        "below_best_mean_without_counted": round(float(np.mean(alone)), 3),
        "training_seconds": round(seconds, 1),
    }


def main():
    from generators_spaces import SPACE_PARTS

    parts = {
        "hull": hull,
        "nb201": nb201,
        "published": published,
        "unmet": unmet,
        "variants": variants,
        "budgets": budgets,
        "published-budgets": lambda a: budgets(a, "pnag:budgets=5"),
        **SPACE_PARTS,
    }
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", metavar="PART[:SEED[:DEVICE]]", help=f"of {', '.join(parts)}")
    parser.add_argument("--seconds", type=float, default=1e9, help="begin no part after so many")
    parser.add_argument("--again", action="store_true", help="also what the results hold already")
    arguments = parser.parse_args()
    started = time.perf_counter()
    for spelled in arguments.parts:
        part, seed, device = (*spelled.split(":"), "0", "0")[:3] if ":" in spelled else (spelled, "0", "0")
        label = f"seed {seed}" + (f", device {device}" if part == "unmet" else "")
        if time.perf_counter() - started > arguments.seconds:
            break
        if arguments.again or label not in known().get(part, {}):
            begun, before = describe(), time.perf_counter()
            found = parts[part](argparse.Namespace(seed=int(seed), device=int(device)))
            keep(part, label, found, begun, round(time.perf_counter() - before, 1))
            print(part, label, json.dumps(found), flush=True)


def known():
    """What the results hold already."""
    return json.loads(PATH.read_text()) if PATH.is_file() else {}


def keep(part, label, found, begun, seconds):
    """Add a part's row to the results, in place of an older one of the same seed."""
    results = known()
    results.pop("machine", None)
    took = {"taken": begun["date"], "load_average": begun["load_average"], "seconds": seconds}
    results.setdefault(part, {})[label] = {**found, **took}
    write("generators", results, begun)


if __name__ == "__main__":
    main()
