"""Search precision with the network against searching in fp32 and quantising what was found, over many seeds.

With the same number of accuracies asked for: the front of a joint search, and the front of a search in fp32 with the
int8 forms of its networks beside it, each as a share of the hypervolume of the best pairs of network and precision that
are known. One search is of both runtimes of this machine's CPU.

- digits: ofa-mbv3-mini on handwritten digits, with the supernet and the profiles of ``precision_search.py`` in the same
  ``--work``. Accuracies are measured; int8's are those in float less the drop that was learnt. Best are those that any
  of the searches found. Small networks lose little on digits, so that fronts hold a few networks, and luck counts.
- built-in: ofa-mbv3-w1.0 by the built-in accuracy of ImageNet, with the profiles of ``precision.py`` in ``--work``.
  Accuracies follow from the network, so that no luck is in them; int8 loses what nine published networks did. Best are
  those of a joint search with 20,000 accuracies, and what any other found.

What was searched is kept in ``--work``, so that a killed run goes on.

    python benchmarks/precision_joint.py --work DIR --stage digits --weights digits.safetensors
    python benchmarks/precision_joint.py --work DIR --stage built-in
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from machine import RESULTS, write

from fleetfront.datasets import load_images
from fleetfront.files import write_whole
from fleetfront.pipelines.fleet import fleet_targets
from fleetfront.pipelines.precision_drops import accuracy_in_precisions
from fleetfront.pipelines.search import SearchOptions, search_space
from fleetfront.predictors.accuracy.sources import load_accuracy
from fleetfront.predictors.accuracy.supernet import SupernetAccuracy
from fleetfront.search.front import area, target_front
from fleetfront.spaces.catalogue import load_space
from fleetfront.spaces.precisions import with_precisions
from fleetfront.spaces.supernet.checkpoints import load_supernet
from fleetfront.workspace import Workspace

SPACES, SIDE = {"digits": "ofa-mbv3-mini", "built-in": "ofa-mbv3-w1.0"}, 32
RUNTIMES = ("onnxruntime", "litert")
PRECISIONS = ("fp32", "int8")
WAYS = ("joint", "then")
#: Accuracies asked for.
BUDGETS = {"digits": (150,), "built-in": (100, 300)}
STRATEGY = "surrogate"
#: The search that stands for the truth where accuracies are free.
TRUTH, EVERY = "hybrid", 20_000
BAR = {"mean hypervolume of the joint search over that of fp32, then int8": 1.0}

#: Latency in ms and accuracy in percent of networks, by ``ARCH@precision``.
Points = Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class Setting:
    """What both ways search with."""

    stage: str
    folder: Path
    weights: Path | None

    @cached_property
    def accuracy(self) -> Any:
        """Of networks in float."""
        plain = load_space(SPACES[self.stage])
        if self.stage == "built-in":
            return load_accuracy("built-in", plain)
        if self.weights is None:
            raise SystemExit("Give --weights.")
        supernet, source = load_supernet(self.weights, plain), f"supernet:{self.weights}"
        return SupernetAccuracy(supernet, load_images("digits", SIDE), source, Workspace(self.folder))

    @cached_property
    def space(self) -> Any:
        """In both precisions."""
        return with_precisions(load_space(SPACES[self.stage]), PRECISIONS)

    def targets(self, space: Any) -> Any:
        """Both runtimes."""
        return fleet_targets([f"cpu/{one}" for one in RUNTIMES], space, {}, workspace=Workspace(self.folder))

    @cached_property
    def in_both(self) -> tuple[Any, Any]:
        """Targets and accuracies in both precisions."""
        targets = self.targets(self.space)
        return targets, accuracy_in_precisions(self.space, self.accuracy, targets, {}, workspace=Workspace(self.folder))

    def searched(self, way: str, seed: int, budget: int, strategy: str = STRATEGY) -> dict[str, Points]:
        """Pairs found for each runtime, by one search."""
        options = SearchOptions(strategy, budget, seed)
        if way == "joint":
            targets, accuracy = self.in_both
            fronts = search_space(self.space, targets, accuracy, options)
            return {
                one: {p.arch: (p.latency_ms, p.accuracy) for p in fronts.device(f"cpu-{one}").points}
                for one in RUNTIMES
            }
        plain = load_space(SPACES[self.stage])
        fronts = search_space(plain, self.targets(plain), self.accuracy, options)
        archs = [[point.arch for point in fronts.device(f"cpu-{one}").points] for one in RUNTIMES]
        return {one: self.pairs(plain.parse(archs[place]), place) for place, one in enumerate(RUNTIMES)}

    def pairs(self, networks: Any, place: int) -> Points:
        """Networks int8[n, v] in both precisions on a runtime."""
        targets, accuracy = self.in_both
        rows = np.concatenate([self.space.in_precision(networks, one) for one in PRECISIONS])
        ms, top = targets[place].cost.predict(rows).mean.tolist(), accuracy.predict(rows).mean.tolist()
        return dict(zip(self.space.arch_ids(rows), zip(ms, top, strict=True), strict=True))


def searches(setting: Setting, seeds: int) -> dict[tuple[int, int, str], dict[str, Points]]:
    """Pairs that each search found for each runtime, by budget, seed and way."""
    path = setting.folder / f"found-{setting.stage}.json"
    kept = json.loads(path.read_text()) if path.exists() else {}
    wanted = list(product(BUDGETS[setting.stage], range(seeds), WAYS))
    if setting.stage == "built-in":
        wanted.append((EVERY, 0, "joint"))
    for budget, seed, way in wanted:
        key = f"{budget} {seed} {way}"
        if key not in kept:
            kept[key] = setting.searched(way, seed, budget, TRUTH if budget == EVERY else STRATEGY)
            write_whole(path, json.dumps(kept).encode())
            print(key, flush=True)
    return {one: kept[f"{one[0]} {one[1]} {one[2]}"] for one in wanted}


def compare(setting: Setting, seeds: int) -> dict[str, Any]:
    """Shares of the best hypervolume of both ways, over seeds, budgets and runtimes."""
    found, result = searches(setting, seeds), {}
    for runtime in RUNTIMES:
        every = {name: pair for one in found.values() for name, pair in one[runtime].items()}
        best = front(every)
        point = reference(best)
        volumes = {key: volume(one[runtime], point) / volume(best, point) for key, one in found.items()}
        rows = [
            {"budget": budget, "seed": seed, **{way: volumes[budget, seed, way] for way in WAYS}}
            for budget, seed in product(BUDGETS[setting.stage], range(seeds))
        ]
        result[runtime] = {"best": said(best), "reference": point, "rows": rows} | {
            str(budget): summary([row for row in rows if row["budget"] == budget]) for budget in BUDGETS[setting.stage]
        }
    _, accuracy = setting.in_both
    drops = {name: drop.to_json() for name, drop in accuracy.drops.items() if name != "fp32"}
    facts = {"space": SPACES[setting.stage], "seeds": seeds, "strategy": STRATEGY, "drops": drops}
    return facts | result


def summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Means, and the mean ratio with its standard error: seeds are paired."""
    joint, then = (np.array([row[way] for row in rows]) for way in WAYS)
    ratio = joint / then
    return {
        "joint": float(joint.mean()),
        "then": float(then.mean()),
        "ratio": float(joint.mean() / then.mean()),
        "ratio_std_error": float((joint - then).std(ddof=1) / np.sqrt(len(rows)) / then.mean()),
        "ratio_least": float(ratio.min()),
        "ratio_most": float(ratio.max()),
        "seeds_not_below": int((ratio >= 1).sum()),
    }


def front(points: Points) -> Points:
    """Those that no other is better than in both."""
    names, values = list(points), np.array(list(points.values()))
    return {names[row]: points[names[row]] for row in target_front(values[:, 0], values[:, 1], None)}


def reference(best: Points) -> tuple[float, float]:
    """The latency of the slowest of a front, and one point of error more than its least accurate has."""
    return max(ms for ms, _ in best.values()), 101 - min(accuracy for _, accuracy in best.values())


def volume(points: Points, point: tuple[float, float]) -> float:
    """Hypervolume in ms x percent."""
    found = np.array(list(front(points).values()))
    return float(area(found[:, 0], 100 - found[:, 1], *point))


def said(best: Points) -> dict[str, Any]:
    """Where a front's int8 forms lie."""
    narrow = sorted(ms for name, (ms, _) in best.items() if name.endswith("@int8"))
    reach = sorted(ms for ms, _ in best.values())
    return {
        "networks": len(best),
        "int8": len(narrow),
        "int8_ms": [narrow[0], narrow[-1]] if narrow else None,
        "front_ms": [reach[0], reach[-1]],
    }


def missed(results: Mapping[str, Any]) -> list[str]:
    """The bars that the stages so far miss, in words."""
    found = []
    for stage, budgets in BUDGETS.items():
        for runtime, budget in product(RUNTIMES, budgets) if stage in results else ():
            one = results[stage][runtime][str(budget)]
            if one["ratio"] < 1:
                ratio = f"{one['ratio']:.4f} +- {one['ratio_std_error']:.4f}"
                found.append(f"{stage}, {runtime}, {budget} accuracies: {ratio} of fp32, then int8")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="where profiles and answers are kept")
    parser.add_argument("--weights", type=Path, help="of `fleetfront train digits`")
    parser.add_argument("--stage", choices=list(SPACES), required=True)
    parser.add_argument("--seeds", type=int, default=10)
    options = parser.parse_args()
    found = compare(Setting(options.stage, options.work, options.weights), options.seeds)
    path = RESULTS / "precision_joint.json"
    before = json.loads(path.read_text()) if path.exists() else {}
    results = {name: before[name] for name in SPACES if name in before} | {options.stage: found}
    for runtime in RUNTIMES:
        print(runtime, json.dumps({name: one for name, one in found[runtime].items() if name != "rows"}, indent=1))
    print(", ".join(missed(results)) or "all bars met so far")
    write("precision_joint", {"bars": BAR, "missed": missed(results), **results})


if __name__ == "__main__":
    main()
