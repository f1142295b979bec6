"""Search one device of HW-NAS-Bench's table of FBNet blocks with only the blocks that other devices' fronts use.

Run: python benchmarks/front_blocks.py

Each of five devices is searched with its own times of the blocks that the exact fronts of one other device, or of all
four, use, and with its times of all. Accuracy is made up: a sum over layers of the root of a block's
multiply-accumulates, and noise of its own for each setting, in whole units, so that dynamic programming finds the
fastest network of every accuracy. Ten seeds of that noise; nothing was tuned on them.
"""

from __future__ import annotations

import itertools
import json
import re

import machine
import numpy as np
from fbnet_networks import STAGES, STEM
from note10 import default_data
from numpy.typing import NDArray

SIDE, UNITS, SEEDS = 112, 2000, 10
#: Relative noise of a setting's worth.
NOISE = 0.3
Floats = NDArray[np.float64]


def read_layers() -> tuple[list[list[str]], dict[str, dict[str, float]]]:
    """The settings of each of 22 layers, by the table's names, and device -> setting -> ms. A skip is no setting."""
    table = json.loads((default_data() / "fbnet_lut" / "fbnet_block_lut.json").read_text())
    times = {device: table[f"{device}_latency"] for device in table["devices"]}
    names, layers, width, side = list(times[table["devices"][0]]), list[list[str]](), STEM, SIDE
    for (count, out, _), first in zip(STAGES, (1, 2, 2, 2, 1, 2, 1), strict=True):
        for layer in range(count):
            stride = first if layer == 0 else 1
            word = f"ConvBlock_H{side}_W{side}_Cin{width}_Cout{out}_"
            layers.append([name for name in names if name.startswith(word) and f"_stride{stride}_" in name])
            width, side = out, side // stride
    return layers, times


def macs_of(name: str) -> float:
    """Multiply-accumulates of a block: expand, filter, project."""
    side, _, cin, cout, expand, kernel, stride, groups = map(int, re.findall(r"\d+", name))
    inner, after = cin * expand, (side / stride) ** 2
    return side**2 * cin * inner / groups + after * inner * kernel**2 + after * inner * cout / groups


def worth_of(layers: list[list[str]], seed: int) -> dict[str, int]:
    """Made-up accuracy of each setting in whole units; a network of the best of all has about ``UNITS``."""
    rng, names = np.random.default_rng(seed), sorted(set(itertools.chain(*layers)))
    raw = dict(zip(names, np.sqrt([macs_of(name) for name in names]) * rng.normal(1, NOISE, len(names)), strict=True))
    best = sum(max(raw[name] for name in layer) for layer in layers)
    return {name: max(0, round(UNITS * value / best)) for name, value in raw.items()}


def fastest(
    layers: list[list[str]], ms: dict[str, float], worth: dict[str, int], allowed: set[str] | None = None
) -> tuple[Floats, list[NDArray[np.int8]]]:
    """float64[UNITS + 1 or more]: the least ms of each accuracy, infinite where there is none, and what led there."""
    size = 1 + sum(max(worth[name] for name in layer) for layer in layers)
    best, came = np.full(size, np.inf), list[NDArray[np.int8]]()
    best[0] = 0.0
    for layer in layers:
        following, place = np.full(size, np.inf), np.full(size, -1, np.int8)
        for index, name in enumerate(layer):
            if allowed is None or name in allowed:
                moved = np.full(size, np.inf)
                moved[worth[name] :] = best[: size - worth[name]] + ms[name]
                is_better = moved < following
                following, place = np.where(is_better, moved, following), np.where(is_better, index, place)
        best, came = following, [*came, place.astype(np.int8)]
    return best, came


def front_of(best: Floats) -> list[int]:
    """Accuracies on the front: no larger one is as fast."""
    least, found = np.inf, list[int]()
    for place in range(len(best) - 1, -1, -1):
        if best[place] < least:
            least = best[place]
            found.append(place)
    return found


def used_on(layers: list[list[str]], worth: dict[str, int], found: tuple[Floats, list[NDArray[np.int8]]]) -> set[str]:
    """Settings of the networks on a front."""
    best, came = found
    used = set[str]()
    for left in front_of(best):
        for layer, place in zip(reversed(layers), reversed(came), strict=True):
            name = layer[place[left]]
            used.add(name)
            left -= worth[name]
    return used


def area(best: Floats, slowest: float) -> float:
    """What lies below a front, up to the slowest network of the front of all blocks."""
    reached = np.minimum.accumulate(best[::-1])[::-1]
    return float(np.clip(slowest - reached, 0.0, None).sum())


def main() -> None:
    begun = machine.describe()
    layers, times = read_layers()
    settings = len(set(itertools.chain(*layers)))
    rows = []
    for seed in range(SEEDS):
        worth = worth_of(layers, seed)
        whole = {device: fastest(layers, ms, worth) for device, ms in times.items()}
        used = {device: used_on(layers, worth, found) for device, found in whole.items()}
        for device, ms in times.items():
            full = whole[device][0]
            slowest = float(full[front_of(full)[0]])
            others = {other: used[other] for other in times if other != device}
            others["all four"] = set().union(*others.values())
            others["itself"] = used[device]
            for source, allowed in others.items():
                part = fastest(layers, ms, worth, allowed)[0]
                share = 100 * area(part, slowest) / area(full, slowest)
                used_share = len(allowed) / settings
                rows.append({"device": device, "from": source, "seed": seed, "used": used_share, "share": share})
    kinds = {"one other device": set(times), "all four others": {"all four"}}
    summary = {}
    for kind, names in kinds.items():
        shares = np.array([row["share"] for row in rows if row["from"] in names])
        part = np.array([row["used"] for row in rows if row["from"] in names])
        summary[kind] = {
            "settings": settings,
            "used_percent": float(100 * np.median(part)),
            "hypervolume_percent": {
                "median": float(np.median(shares)),
                "lowest": float(shares.min()),
                "fifth": float(np.percentile(shares, 5)),
            },
        }
        print(f"{kind}: {100 * np.median(part):.0f} % of {settings} settings measured, "
              f"{np.median(shares):.2f} % of the hypervolume (5th {np.percentile(shares, 5):.2f}, "
              f"lowest {shares.min():.2f})")  # fmt: skip
    machine.write("front_blocks", {"summary": summary, "rows": rows}, begun)


if __name__ == "__main__":
    main()
