"""Fits the accuracy models that fleetfront ships, to public facts, and writes them to fleetfront/predictors/built_in.

    python benchmarks/fit_accuracy.py [--data ../shared/data] [--only ofa-mbv3-w1.0]

ofa-mbv3-w1.0: measured ImageNet top-1 at 224 px (DyNAS-T), regressed on pairs of genes; its error is that on clusters
of architectures left out. ofa-mbv3-w1.2: the ranking of once-for-all's accuracy network, learned by a small network,
mapped monotonically onto the published accuracy of networks that once-for-all's finder picked. About ten minutes.
"""

import argparse
import csv
import json
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
from note10 import Note10Latency, default_data

from fleetfront.predictors.accuracy.built_in import FOLDER
from fleetfront.predictors.accuracy.ofa_mlp import OfaMlpAccuracy
from fleetfront.predictors.dense_network import DenseNetwork
from fleetfront.predictors.one_hot import OneHot
from fleetfront.spaces.catalogue import load_space

SCHEMA = "fleetfront.accuracy/1"

# Both found by the grouped error itself over a few values each: a mild choice, as the error is flat around them.
KERNEL_OFFSET, RIDGE = 60.0, 0.03
CLUSTERS, FOLDS = 20, 5

#: Top-1 (%) without fine-tuning of the networks that once-for-all's finder picked at these Note 10 limits (ms), as the
#: project published them, and how far one such number is to be trusted.
PUBLISHED_LIMITS_MS = (15, 20, 25, 30, 35, 40, 45, 50, 55)
PUBLISHED_TOP1 = (73.6, 75.9, 77.0, 77.6, 78.1, 78.4, 78.8, 79.1, 78.9)
PUBLISHED_STD = 0.5


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=default_data())
    parser.add_argument("--only", choices=["ofa-mbv3-w1.0", "ofa-mbv3-w1.2"])
    parser.add_argument("--out", type=Path, default=FOLDER)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name, fit in (("ofa-mbv3-w1.0", fit_measured), ("ofa-mbv3-w1.2", fit_ranking)):
        if arguments.only in (None, name):
            start = time.perf_counter()
            about, arrays = fit(arguments.data / "ofa_mbv3")
            np.savez_compressed(arguments.out / f"{name}.npz", **arrays)
            (arguments.out / f"{name}.json").write_text(json.dumps(about, indent=1) + "\n")
            print(json.dumps(about, indent=1), f"{time.perf_counter() - start:.0f} s", sep="\n", flush=True)


# ofa-mbv3-w1.0


def fit_measured(folder):
    from scipy.stats import kendalltau, spearmanr
    from sklearn.cluster import KMeans
    from sklearn.model_selection import GroupKFold

    space = load_space("ofa-mbv3-w1.0")
    with (folder / "imagenet_top1_w10_r224.csv").open() as file:
        rows = list(csv.DictReader(file))
    genotypes = space.parse([row["arch_active"] for row in rows])
    top1 = np.array([float(row["top1"]) for row in rows])
    x = OneHot.of(space)(genotypes)[:, : -len(space.choices[-1])].astype(np.float64)
    # Search trajectories hold many near copies: whole clusters are left out, so that no copy vouches for another.
    cluster = KMeans(CLUSTERS, n_init=4, random_state=0).fit_predict(x)
    folds = [test for _, test in GroupKFold(FOLDS).split(x, top1, cluster)]

    def fit_without(*left_out):
        keep = np.setdiff1d(np.arange(len(x)), np.concatenate([folds[i] for i in left_out] or [[]]).astype(int))
        return quadratic(x[keep], top1[keep])

    members = [fit_without(), *(fit_without(i) for i in range(FOLDS))]
    predicted, spread = np.empty(len(x)), np.empty(len(x))
    for i, test in enumerate(folds):
        predicted[test] = evaluate(members[i + 1], x[test])
        others = [evaluate(fit_without(i, j), x[test]) for j in range(FOLDS) if j != i]
        spread[test] = np.std(others, axis=0, ddof=1)
    error = predicted - top1
    per_spread, floor = noise_model(error, spread)
    std = np.hypot(floor, per_spread * spread)
    about = {
        "schema": SCHEMA,
        "space": space.name,
        "kind": "measured-regression",
        "resolution": 224,
        "source": "DyNAS-T search trajectories (Apache-2.0): measured ImageNet top-1 of once-for-all MobileNetV3 w1.0 "
        "subnets at 224 px, without fine-tuning",
        "networks": len(x),
        "range": [float(top1.min()), float(top1.max())],
        "method": f"ridge regression on one-hots and all their pairs; {FOLDS} folds over {CLUSTERS} clusters",
        "held_out": {
            "mae": round(float(np.abs(error).mean()), 4),
            "rmse": round(float(np.sqrt((error**2).mean())), 4),
            "worst": round(float(np.abs(error).max()), 3),
            "kendall": round(float(kendalltau(predicted, top1)[0]), 4),
            "spearman": round(float(spearmanr(predicted, top1)[0]), 4),
            "coverage_90": round(float((np.abs(error) <= 1.645 * std).mean()), 3),
        },
        "std": {"floor": round(floor, 4), "per_spread": round(per_spread, 3)},
    }
    constant, linear, pairs = (np.stack(part).astype(np.float32) for part in zip(*members, strict=True))
    return about, {"constant": constant, "linear": linear, "quadratic": pairs}


def quadratic(x, y):
    """Kernel ridge with (x.x' + c)^2 / 1000, rewritten as constant + linear x + x' pairs x."""
    mean = y.mean()
    kernel = (x @ x.T + KERNEL_OFFSET) ** 2 / 1000
    dual = np.linalg.solve(kernel + RIDGE * np.eye(len(x)), y - mean) / 1000
    return mean + KERNEL_OFFSET**2 * dual.sum(), 2 * KERNEL_OFFSET * dual @ x, (x * dual[:, None]).T @ x


def evaluate(member, x):
    constant, linear, pairs = member
    return constant + x @ linear + np.einsum("nf,nf->n", x @ pairs, x)


def noise_model(error, spread):
    """(a, floor) of std = hypot(floor, a * spread), the most likely ones if errors are normal."""
    a, floor = np.meshgrid(np.linspace(0, 6, 61), np.geomspace(0.02, 0.3, 40))
    variance = floor[..., None] ** 2 + (a[..., None] * spread) ** 2
    loss = (np.log(variance) + error**2 / variance).sum(axis=-1)
    best = np.unravel_index(np.argmin(loss), loss.shape)
    return float(a[best]), float(floor[best])


# ofa-mbv3-w1.2


def fit_ranking(folder):
    from scipy.stats import kendalltau, spearmanr

    space = load_space("ofa-mbv3-w1.2")
    latency = Note10Latency(folder.parent)
    teacher = OfaMlpAccuracy.load(folder / "acc_predictor_w12.pth", space)

    def teach(genotypes):
        return teacher.predict(genotypes).mean

    rng = np.random.default_rng(0)
    picks, visited = [], []
    for seed in range(3):
        found = [finder(space, teach, latency, limit, seed) for limit in PUBLISHED_LIMITS_MS]
        picks.append([best for best, _ in found])
        visited.extend(seen for _, seen in found)
    teacher_picks = np.mean(picks, axis=0)
    train = distinct(np.concatenate([space.sample(400_000, rng), *visited]))
    student = distil(space, train, teach(train))
    for _ in range(2):  # What a search would exploit in the student is shown to the teacher, and learned.
        one_hot = OneHot.of(space)
        guess = lambda g, s=student, f=one_hot: 100 * s(g, f)  # noqa: E731
        exploited = [finder(space, guess, latency, limit, 9)[1] for limit in (*PUBLISHED_LIMITS_MS, 12, 70, 100)]
        train = distinct(np.concatenate([train, *exploited]))
        student = distil(space, train, teach(train), student)
    fresh = space.sample(50_000, np.random.default_rng(99))
    near = distinct(np.concatenate([finder(space, teach, latency, limit, 50)[1] for limit in (13, 17, 23, 33, 43, 60)]))
    errors = {}
    for name, tested in (("random", fresh), ("near_the_front", near)):
        truth, said = teach(tested), 100 * student(tested, OneHot.of(space))
        some = rng.permutation(len(truth))[:20_000]
        errors[name] = {
            "networks": len(truth),
            "rmse": round(float(np.sqrt(((said - truth) ** 2).mean())), 4),
            "kendall": round(float(kendalltau(said[some], truth[some])[0]), 4),
            "spearman": round(float(spearmanr(said, truth)[0]), 4),
        }
    level = monotone(teacher_picks, np.array(PUBLISHED_TOP1))
    slope = np.diff(level[1]) / np.diff(level[0])
    std = float(np.hypot(PUBLISHED_STD, slope.mean() * errors["near_the_front"]["rmse"]))
    about = {
        "schema": SCHEMA,
        "space": space.name,
        "kind": "ranked-level",
        "source": "once-for-all (MIT): ranking of its accuracy network for w1.2, level of the published top-1 of the "
        "networks that its finder picks under Note 10 latency limits, without fine-tuning",
        "method": "fully connected network fitted to the accuracy network's answers; isotonic map through the picks of "
        "an evolutionary finder as published (population 100, 500 generations, mutation 0.1, parents 0.25)",
        "held_out": errors,
        "limits_ms": list(PUBLISHED_LIMITS_MS),
        "teacher_of_picks": np.round(teacher_picks, 3).tolist(),
        "published_top1": list(PUBLISHED_TOP1),
        "level": {"teacher": np.round(level[0], 4).tolist(), "measured": np.round(level[1], 4).tolist()},
        "std": round(std, 3),
    }
    return about, state(student)


def distinct(genotypes):
    return np.unique(genotypes, axis=0)


def finder(space, accuracy, latency, limit_ms, seed, population=100, generations=500, mutation=0.1, parents=0.25):
    """Once-for-all's evolutionary finder: (best accuracy under the limit, every architecture it looked at)."""
    rng = np.random.default_rng(seed)
    counts = np.array([len(values) for values in space.choices])

    def feasible(make, wanted):
        found = []
        while sum(map(len, found)) < wanted:
            drawn = space.canonical(make(4 * wanted))
            found.append(drawn[latency.predict(drawn).mean <= limit_ms])
        return np.concatenate(found)[:wanted]

    def mutated(n):
        drawn = rng.integers(0, counts, (n, len(counts)), dtype=np.int8)
        return np.where(rng.random(drawn.shape) < mutation, drawn, best[rng.integers(0, len(best), n)])

    def crossed(n):
        mothers, fathers = best[rng.integers(0, len(best), n)], best[rng.integers(0, len(best), n)]
        return np.where(rng.random(mothers.shape) < 0.5, mothers, fathers)

    # Below the limits that random architectures meet, the draw leans towards the small choices.
    lean = 1.0 if limit_ms >= 20 else 3.0
    pool = feasible(lambda n: (rng.random((n, len(counts))) ** lean * counts).astype(np.int8), population)
    score = accuracy(pool)
    seen = [pool]
    for _ in range(generations):
        order = np.argsort(-score)[: int(parents * population)]
        best = pool[order]
        children = np.concatenate([feasible(mutated, population // 2), feasible(crossed, population - population // 2)])
        pool, score = np.concatenate([best, children]), np.concatenate([score[order], accuracy(children)])
        seen.append(children)
    return float(score.max()), distinct(np.concatenate(seen))


def distil(space, genotypes, percent, start=None, hidden=(192, 96), epochs=24, batch=2048):
    """A fully connected network that says what the teacher says, in shares of 1."""
    import torch

    torch.manual_seed(0)
    torch.set_num_threads(1)
    one_hot = OneHot.of(space)
    sizes = [one_hot.width, *hidden, 1]
    layers = [torch.nn.Linear(a, b) for a, b in pairwise(sizes)]
    model = torch.nn.Sequential(*[m for layer in layers for m in (layer, torch.nn.ReLU())][:-1])
    if start is not None:
        for layer, weight, bias in zip(layers, start.weights, start.biases, strict=True):
            layer.weight.data = torch.from_numpy(weight.T.copy())
            layer.bias.data = torch.from_numpy(bias.copy())
    else:
        layers[-1].bias.data.fill_(float(percent.mean()) / 100)
    target = torch.from_numpy((percent / 100).astype(np.float32))
    steps = epochs * (len(genotypes) // batch)
    optimizer = torch.optim.Adam(model.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    for _ in range(epochs):
        order = np.random.default_rng(steps).permutation(len(genotypes))
        for i in range(len(genotypes) // batch):
            rows = order[i * batch : (i + 1) * batch]
            x = torch.from_numpy(one_hot(genotypes[rows]))
            # In percentage points, so that the loss is of the order of 1.
            loss = ((100 * (model(x)[:, 0] - target[rows])) ** 2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return DenseNetwork.from_state({k: v.numpy() for k, v in model.state_dict().items()})


def state(network):
    arrays = {}
    for i, (weight, bias) in enumerate(zip(network.weights, network.biases, strict=True)):
        arrays[f"{2 * i}.weight"], arrays[f"{2 * i}.bias"] = weight.T.astype(np.float16), bias
    return arrays


def monotone(teacher, published):
    """Knots (both strictly ascending) through picks in the order of their limits; neighbours that fall are averaged."""
    from sklearn.isotonic import IsotonicRegression

    order = np.arange(len(teacher))
    rising = [IsotonicRegression().fit_transform(order, values) for values in (teacher, published)]
    # Where either was averaged, both are: a flat piece would tie networks that the teacher tells apart.
    starts = np.flatnonzero(np.append(True, np.all(np.diff(rising, axis=1) > 0, axis=0)))
    counts = np.diff(np.append(starts, len(order)))
    return tuple(np.add.reduceat(values, starts) / counts for values in rising)


if __name__ == "__main__":
    main()
