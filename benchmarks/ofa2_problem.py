"""OFA2's search problem: Note 10 lookup tables against once-for-all's accuracy network, hypervolume vs (100 ms, 25 %).

    python benchmarks/ofa2_problem.py [--seeds 5] [--first-seed 10] [--strategies hybrid,nsga2,...] [--quick]

The hybrid strategy's settings were chosen on seeds 0 to 4; the reported ones start at 10.

The accuracy network is a black box to every strategy; all of its calls count. Published at 100,000 evaluations:
NSGA-II 751.6, SMS-EMOA 722.0, SPEA2 758.3 in 37-44 s (Ito and Von Zuben, "OFA2", 2023). The accuracies within limits of
once-for-all's own finder were taken on a comparable machine, at 18-39 s a limit. Recall is the share of the front of
all runs together that a run found: the true front is not known.
"""

import argparse
import os
import time

# Small matrix products: more threads only wait for each other. Must be set before numpy is loaded.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from machine import describe, write
from note10 import Note10Latency, default_data

from fleetfront.predictors.accuracy.sources import load_accuracy
from fleetfront.search.front import hypervolume, target_front
from fleetfront.search.problem import Problem, ProblemTarget
from fleetfront.search.run import run_search
from fleetfront.search.strategies.catalogue import make_strategy

REFERENCE = (100.0, 25.0)
LIMITS_MS = (15, 20, 25, 30, 40)
FINDER = (78.43, 80.68, 81.44, 82.74, 83.80)
BARS = {("hybrid", 100_000): 775.0, ("hybrid", 20_000): 758.0}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=10)
    parser.add_argument("--strategies", default="hybrid,nsga2,sms-emoa,local-search,random")
    parser.add_argument("--quick", action="store_true", help="20,000 evaluations only, nothing written")
    arguments = parser.parse_args()
    machine = describe()
    latency = Note10Latency(default_data())
    accuracy = load_accuracy(f"ofa-mlp:{default_data() / 'ofa_mbv3' / 'acc_predictor_w12.pth'}", latency.space)
    runs, fronts = [], []
    for name in arguments.strategies.split(","):
        for budget in (20_000,) if arguments.quick or name == "local-search" else (20_000, 100_000):
            for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
                row, front = one_run(latency, accuracy, name, budget, seed)
                runs.append(row)
                fronts.append(front)
                print(*(f"{key} {value}" for key, value in row.items()), sep="  ", flush=True)
    union = np.unique(np.concatenate(fronts), axis=0)
    cost, top = latency.predict(union).mean, accuracy.predict(union).mean
    best = union[target_front(cost, top)]
    best_volume = hypervolume(np.stack([cost, 100 - top], axis=1), REFERENCE)
    known = {row.tobytes() for row in best}
    for row, front in zip(runs, fronts, strict=True):
        row["recall_of_best_known"] = round(sum(g.tobytes() in known for g in front) / len(known), 4)
    table = [summary(runs, key) for key in dict.fromkeys((r["strategy"], r["evaluations"]) for r in runs)]
    show(table, best_volume)
    if not arguments.quick:
        facts = {"reference_point": REFERENCE, "limits_ms": LIMITS_MS, "finder_accuracy": FINDER}
        best_known = {"hypervolume": round(best_volume, 2), "points": len(best)}
        write("ofa2_problem", {**facts, "best_known": best_known, "summary": table, "runs": runs}, machine)


def one_run(latency, accuracy, name, budget, seed):
    problem = Problem(latency.space, (ProblemTarget("note10", latency),), accuracy, budget=budget)
    cpu = time.process_time()
    strategy = make_strategy(name, problem, seed)
    run = run_search(problem, strategy, name=name, seed=seed, references=(REFERENCE,))
    cost, top = problem.archive.cost[:, 0], problem.archive.accuracy
    row = {
        "strategy": name,
        "evaluations": run.evaluations,
        "seed": seed,
        "hypervolume": round(run.trace[-1].hypervolume[0], 2),
        "seconds": round(run.seconds, 2),
        "cpu_seconds": round(time.process_time() - cpu, 2),
        "accuracy_within_limits": [round(float(top[cost <= limit].max()), 2) for limit in LIMITS_MS],
        "front": len(problem.front(0)),
    }
    return row, problem.archive.genotypes[problem.front(0)].copy()


def summary(runs, key):
    chosen = [row for row in runs if (row["strategy"], row["evaluations"]) == key]
    volume = np.array([row["hypervolume"] for row in chosen])
    within = np.array([row["accuracy_within_limits"] for row in chosen])
    return {
        "strategy": key[0],
        "evaluations": key[1],
        "seeds": len(chosen),
        "hypervolume_mean": round(float(volume.mean()), 2),
        "hypervolume_std": round(float(volume.std(ddof=1)), 2) if len(chosen) > 1 else None,
        "hypervolume_worst": float(volume.min()),
        "bar": BARS.get(key),
        "seconds_median": round(float(np.median([row["seconds"] for row in chosen])), 2),
        "cpu_seconds_median": round(float(np.median([row["cpu_seconds"] for row in chosen])), 2),
        "accuracy_within_limits_mean": np.round(within.mean(axis=0), 2).tolist(),
        "accuracy_within_limits_worst": within.min(axis=0).tolist(),
        "recall_of_best_known_mean": round(float(np.mean([row["recall_of_best_known"] for row in chosen])), 4),
    }


def show(table, best_volume):
    print(f"\nbest known hypervolume {best_volume:.1f}; finder {FINDER} within {LIMITS_MS} ms")
    print(
        f"{'strategy':14}{'evals':>8}{'HV mean':>9}{'std':>6}{'worst':>8}{'bar':>7}{'wall s':>8}{'cpu s':>7}{'recall':>8}"  # noqa: E501
    )
    for row in table:
        print(
            f"{row['strategy']:14}{row['evaluations']:8}{row['hypervolume_mean']:9.1f}{row['hypervolume_std'] or 0:6.1f}"  # noqa: E501
            f"{row['hypervolume_worst']:8.1f}{row['bar'] or 0:7.0f}{row['seconds_median']:8.1f}"
            f"{row['cpu_seconds_median']:7.1f}{row['recall_of_best_known_mean']:8.3f}  "
            f"{row['accuracy_within_limits_mean']}"
        )


if __name__ == "__main__":
    main()
