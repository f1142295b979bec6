"""Search precision with the network against searching in fp32 and quantising what was found, where everything is known.

On handwritten digits, with the supernet and the profiles of ``precision_search.py`` in the same ``--work``:

- truth: the accuracy of each of the 2,916 networks of a part of ofa-mbv3-mini is measured once and kept. What a killed
  run measured is there.
- part: with the same number of accuracies asked for, the front of a joint search and the front of a search in fp32 with
  the int8 forms of its networks beside it, each as a share of the hypervolume of the true front of all pairs of network
  and precision, over many seeds.
- whole: the same of the whole space, where the best of all pairs that any of the searches found stand for the truth.

int8 accuracies are those in float less the drop that was learnt, as the searches know them; for ``--measured``, the
int8 files on the fronts are judged on the images of the search.

    python benchmarks/precision_joint.py --work DIR --weights digits.safetensors --stage truth   # repeat until done
    python benchmarks/precision_joint.py --work DIR --weights digits.safetensors --stage part
    python benchmarks/precision_joint.py --work DIR --weights digits.safetensors --stage whole [--seeds 10]
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
from fleetfront.deploy.formats import FORMATS
from fleetfront.files import write_whole
from fleetfront.pipelines.fleet import fleet_targets
from fleetfront.pipelines.precision_drops import accuracy_in_precisions, judge_files
from fleetfront.pipelines.search import SearchOptions, search_space
from fleetfront.predictors.accuracy.supernet import SupernetAccuracy
from fleetfront.search.front import area, target_front
from fleetfront.spaces.catalogue import load_space
from fleetfront.spaces.precisions import with_precisions
from fleetfront.spaces.supernet.checkpoints import load_supernet
from fleetfront.workspace import Workspace

SPACE, SIDE = "ofa-mbv3-mini", 32
RUNTIMES = {"onnxruntime": "onnx", "litert": "tflite"}
PRECISIONS = ("fp32", "int8")
WAYS = ("joint", "then")
#: Accuracies asked for, in the part and in the whole space.
BUDGETS = {"part": (60, 150), "whole": (150,)}
STRATEGY = "surrogate"
BAR = {"mean hypervolume of the joint search over that of fp32, then int8": 1.0}

#: Of the part: depths, and the first block's expansion in each stage and kernel in two, are free; others are small.
_EXPANDED, _KERNELS, _BARRED = (1, 5, 9), (5, 9), 5

#: Latency in ms and accuracy in percent of networks, by ``ARCH@precision``.
Points = Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class Setting:
    """What both ways search with.

    Attributes:
        held, barred: the part, as genes that may take one value, or not some values; empty for the whole space.
    """

    folder: Path
    weights: Path
    held: Mapping[str, Any]
    barred: Mapping[str, Sequence[Any]]

    @cached_property
    def accuracy(self) -> SupernetAccuracy:
        """In float, each network measured once."""
        supernet = load_supernet(self.weights, load_space(SPACE))
        source = f"supernet:{self.weights}"
        return SupernetAccuracy(supernet, load_images("digits", SIDE), source, Workspace(self.folder))

    @cached_property
    def space(self) -> Any:
        """In both precisions."""
        return with_precisions(load_space(SPACE), PRECISIONS)

    @cached_property
    def targets(self) -> Any:
        """Both runtimes, both precisions."""
        return fleet_targets([f"cpu/{one}" for one in RUNTIMES], self.space, {}, workspace=Workspace(self.folder))

    @cached_property
    def joint_accuracy(self) -> Any:
        """In both precisions, int8 by the drop that was learnt."""
        return accuracy_in_precisions(self.space, self.accuracy, self.targets, {}, workspace=Workspace(self.folder))

    def searched(self, way: str, seed: int, budget: int) -> dict[str, Points]:
        """Pairs found for each runtime, by one search."""
        options = SearchOptions(STRATEGY, budget, seed, fixed=self.held, excluded=self.barred)
        if way == "joint":
            fronts = search_space(self.space, self.targets, self.joint_accuracy, options)
            return {
                one: {p.arch: (p.latency_ms, p.accuracy) for p in fronts.device(f"cpu-{one}").points}
                for one in RUNTIMES
            }
        plain = load_space(SPACE)
        targets = fleet_targets([f"cpu/{one}" for one in RUNTIMES], plain, {}, workspace=Workspace(self.folder))
        fronts = search_space(plain, targets, self.accuracy, options)
        found = {}
        for place, one in enumerate(RUNTIMES):
            archs = [point.arch for point in fronts.device(f"cpu-{one}").points]
            found[one] = self.pairs(plain.parse(archs), place)
        return found

    def pairs(self, networks: Any, place: int) -> Points:
        """Every network int8[n, v] in both precisions on a runtime."""
        rows = np.concatenate([self.space.in_precision(networks, one) for one in PRECISIONS])
        ms, accuracy = self.targets[place].cost.predict(rows).mean, self.joint_accuracy.predict(rows).mean
        names = self.space.arch_ids(rows)
        return dict(zip(names, zip(ms.tolist(), accuracy.tolist(), strict=True), strict=True))


def part() -> tuple[dict[str, Any], dict[str, tuple[int, ...]]]:
    """The genes that are held in the part, and the values that are barred."""
    free = [*(f"expansion_{block}" for block in _EXPANDED), *(f"kernel_{block}" for block in _KERNELS)]
    held = {
        name: 3
        for name in load_space(SPACE).gene_names
        if name.startswith(("kernel", "expansion")) and name not in free
    }
    return held, {f"kernel_{block}": (_BARRED,) for block in _KERNELS}


def networks_of_part() -> Any:
    """int8[2916, v], canonical."""
    space = load_space(SPACE)
    held, barred = part()
    values = []
    for name, choices in zip(space.gene_names, space.choices, strict=True):
        free = [value for value in choices if value not in barred.get(name, ())]
        values.append([held[name]] if name in held else [SIDE] if name == "resolution" else free)
    indices = [[space.choices[gene].index(value) for value in free] for gene, free in enumerate(values)]
    return np.unique(space.canonical(np.array(list(product(*indices)), np.int8)), axis=0)


def truth(setting: Setting, seconds: float) -> int:
    """Measure what is missing, some at a time; gives how many are left after so many seconds."""
    import time

    networks, began, done = networks_of_part(), time.perf_counter(), 0
    while done < len(networks) and time.perf_counter() - began < seconds:
        setting.accuracy.predict(networks[done : done + 50])
        done += 50
        if done % 500 == 0:
            print(f"{done} of {len(networks)}: {time.perf_counter() - began:.0f} s", flush=True)
    return max(0, len(networks) - done)


def compare(setting: Setting, kind: str, seeds: int, measured: bool) -> dict[str, Any]:
    """Shares of the true hypervolume of both ways, over seeds, budgets and runtimes."""
    found = searches(setting, kind, seeds)
    result = {}
    for place, runtime in enumerate(RUNTIMES):
        every = {name: point for one in found.values() for name, point in one[runtime].items()}
        known = setting.pairs(networks_of_part(), place) if kind == "part" else every
        best = front(known)
        point = reference(best)
        rows = [
            {
                "budget": budget,
                "seed": seed,
                **{way: volume(found[budget, seed, way][runtime], point) / volume(best, point) for way in WAYS},
            }
            for budget in BUDGETS[kind]
            for seed in range(seeds)
        ]
        result[runtime] = {
            "true_front": said(best),
            "reference": point,
            "rows": rows,
            **{str(budget): summary([row for row in rows if row["budget"] == budget]) for budget in BUDGETS[kind]},
        }
        if measured:
            result[runtime]["int8_measured"] = by_files(setting, runtime, {k: v[runtime] for k, v in found.items()})
    return {
        "seeds": seeds,
        "strategy": STRATEGY,
        "networks": len(networks_of_part()) if kind == "part" else None,
    } | result


def searches(setting: Setting, kind: str, seeds: int) -> dict[tuple[int, int, str], dict[str, Points]]:
    """What each search found for each runtime, by budget, seed and way; kept, so that a killed run goes on."""
    path = setting.folder / f"found-{kind}.json"
    kept = json.loads(path.read_text()) if path.exists() else {}
    for budget, seed, way in product(BUDGETS[kind], range(seeds), WAYS):
        key = f"{budget} {seed} {way}"
        if key not in kept:
            kept[key] = setting.searched(way, seed, budget)
            write_whole(path, json.dumps(kept).encode())
            print(kind, key, flush=True)
    return {
        (budget, seed, way): kept[f"{budget} {seed} {way}"]
        for budget, seed, way in product(BUDGETS[kind], range(seeds), WAYS)
    }


def by_files(setting: Setting, runtime: str, found: Mapping[Any, Points]) -> dict[str, Any]:
    """The same with the accuracy of the int8 files on all these fronts, on the images of the search."""
    space = load_space(SPACE)
    archs = sorted({name.removesuffix("@int8") for one in found.values() for name in front(one) if "@int8" in name})
    if not archs:
        return {"files": 0}
    accuracy = setting.accuracy
    judged = judge_files(
        accuracy.supernet,
        accuracy.images,
        space.parse(archs),
        "int8",
        [FORMATS[RUNTIMES[runtime]]],
        workspace=Workspace(setting.folder),
    )
    own = {f"{one.arch}@int8": 100 * one.correct / one.images for one in judged}
    told = {
        key: {name: (ms, own.get(name, top)) for name, (ms, top) in front(one).items()} for key, one in found.items()
    }
    best = front({name: pair for one in told.values() for name, pair in one.items()})
    point = reference(best)
    rows = [
        {"budget": budget, "seed": seed}
        | {way: volume(told[budget, seed, way], point) / volume(best, point) for way in WAYS}
        for budget, seed, way in told
        if way == WAYS[0]
    ]
    budgets = sorted({row["budget"] for row in rows})
    return {"files": len(archs)} | {str(b): summary([row for row in rows if row["budget"] == b]) for b in budgets}


def summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Means, and the mean ratio with its standard error: seeds are paired."""
    joint, then = (np.array([row[way] for row in rows]) for way in WAYS)
    ratio = joint / then
    return {
        "joint": float(joint.mean()),
        "then": float(then.mean()),
        "ratio": float(ratio.mean()),
        "ratio_std_error": float(ratio.std(ddof=1) / np.sqrt(len(ratio))) if len(ratio) > 1 else float("nan"),
        "ratio_least": float(ratio.min()),
        "seeds_not_below": int((ratio >= 1).sum()),
    }


def front(points: Points) -> Points:
    """Those that no other is better than in both."""
    names, values = list(points), np.array(list(points.values()))
    return {names[row]: points[names[row]] for row in target_front(values[:, 0], values[:, 1], None)}


def reference(points: Points) -> tuple[float, float]:
    """The latency of the slowest of a front, and one point of error more than its least accurate has."""
    values = np.array(list(points.values()))
    return float(values[:, 0].max()), float(101 - values[:, 1].min())


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
        "points": {name: list(pair) for name, pair in best.items()},
    }


def missed(results: Mapping[str, Any]) -> list[str]:
    """The bars that the stages so far miss, in words."""
    found = []
    for kind, budgets in BUDGETS.items():
        for runtime in RUNTIMES if kind in results else ():
            for budget in budgets:
                one = results[kind][runtime][str(budget)]
                if one["ratio"] < 1:
                    ratio = f"{one['ratio']:.4f} +- {one['ratio_std_error']:.4f}"
                    found.append(f"{kind}, {runtime}, {budget} accuracies: {ratio} of fp32, then int8")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="where profiles and answers are kept")
    parser.add_argument("--weights", type=Path, required=True, help="of `fleetfront train digits`")
    parser.add_argument("--stage", choices=["truth", "part", "whole"], required=True)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=150.0, help="of one run of the truth")
    parser.add_argument("--measured", action="store_true", help="judge the int8 files of the fronts, too")
    options = parser.parse_args()
    held, barred = part() if options.stage != "whole" else ({}, {})
    setting = Setting(options.work, options.weights, held, barred)
    if options.stage == "truth":
        print(f"{truth(setting, options.seconds)} networks are left")
        return
    found = compare(setting, options.stage, options.seeds, options.measured)
    path = RESULTS / "precision_joint.json"
    before = json.loads(path.read_text()) if path.exists() else {}
    results = {name: before[name] for name in BUDGETS if name in before} | {options.stage: found}
    for runtime in RUNTIMES:
        print(runtime, json.dumps({k: v for k, v in found[runtime].items() if k not in ("rows",)}, indent=1))
    print(", ".join(missed(results)) or "all bars met so far")
    write("precision_joint", {"space": SPACE, "bars": BAR, "missed": missed(results), **results})


if __name__ == "__main__":
    main()
