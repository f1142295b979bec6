"""Results to report on: a fleet of nineteen made-up devices, searched for real, and this machine's CPU, measured."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fleetfront.deploy.formats import FORMATS
from fleetfront.pipelines.deploy.deploy import Measuring, Pick, Weights, deploy_picks
from fleetfront.pipelines.deploy.picks import pick_spread
from fleetfront.pipelines.fit.fit import fit_target
from fleetfront.pipelines.importing.importers import import_table
from fleetfront.pipelines.knowledge.cost_models import device_models
from fleetfront.pipelines.measure.profile import Budget, profile_space
from fleetfront.pipelines.search import SearchOptions, search_space
from fleetfront.predictors.accuracy.sources import load_accuracy
from fleetfront.profilers.plan import PlanOptions
from fleetfront.profilers.store.store import Source, Store
from fleetfront.quantities import Clock, Estimate, Tier
from fleetfront.search.problem import ProblemTarget
from fleetfront.spaces.base import SearchSpace
from fleetfront.spaces.nasbench201.space import NasBench201Space
from fleetfront.spaces.ofa_mbv3.space import ofa_mbv3_mini
from fleetfront.targets import Target
from fleetfront.testing.problems import BlockSums
from fleetfront.workspace import Workspace

NINETEEN = (
    *("1080ti_1", "1080ti_32", "1080ti_256", "titanx_1", "titanx_32", "titanx_256", "titan_rtx_256"),
    *("silver_4114", "silver_4210r", "titanxp_1", "gold_6240", "samsung_a50", "samsung_s7", "pixel2", "pixel3"),
    *("essential_ph_1", "raspi4", "fpga", "eyeriss"),
)
#: Enough networks to fit and judge a model of the mini space on, in two quick rounds.
FEW = PlanOptions(calibration=10, validation=12)
#: Networks of each device's table: rank correlations and heat maps come from these.
TABLE = 200


class SizeAccuracy:
    """The larger, the more accurate, with less and less gain. An AccuracyModel."""

    source = "made up"
    tier = Tier.PREDICTED
    lowest = 0.0

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        sample = space.sample(500, np.random.default_rng(0))
        self.scale = float(space.params(sample).mean())

    def predict(self, genotypes: np.ndarray) -> Estimate:
        size = self.space.params(genotypes) / self.scale
        wiggle = 0.3 * np.sin(genotypes @ np.arange(1, genotypes.shape[1] + 1))
        mean = 78 - 8 * np.exp(-2 * size) + wiggle
        return Estimate(mean, np.full(len(mean), 0.2), self.tier)


@dataclass(frozen=True)
class Made:
    """A workspace with a store, and folders of fronts, the main one first."""

    workspace: Workspace
    fronts: tuple[Path, ...]
    bundles: tuple[Path, ...] = ()


def block_latency(space: SearchSpace, seed: int) -> BlockSums:
    """A device with a taste of its own: every kind of block has its price."""
    rng = np.random.default_rng(seed)
    macs = space.block_macs(space.vocabulary) / 1e6
    taste = {block.family: rng.uniform(0.3, 3.0) for block in space.vocabulary}
    values = np.array([taste[block.family] * cost + 0.05 for block, cost in zip(space.vocabulary, macs, strict=True)])
    return BlockSums(space, values * rng.uniform(0.2, 5.0), relative_std=0.03)


def make_fleet(root: Path, names: Sequence[str] = NINETEEN, evaluations: int = 300) -> Made:
    """Tables in a store, one search with two seeds and one at random, all on NAS-Bench-201."""
    space, workspace = NasBench201Space(), Workspace(root / "home")
    models = {name: block_latency(space, seed) for seed, name in enumerate(names)}
    networks = space.sample(TABLE, np.random.default_rng(1))
    networks = networks[~space.disconnected(networks)]
    rows = np.stack([model.predict(networks).mean for model in models.values()], axis=1)
    table = root / "table.csv"
    lines = [",".join(("arch", *(f"lat_{name}" for name in names)))]
    lines += [
        f"{arch},{','.join(f'{ms:.6f}' for ms in row)}"
        for arch, row in zip(space.arch_ids(networks), rows, strict=True)
    ]
    table.write_text("\n".join(lines) + "\n")
    workspace.root.mkdir(parents=True)
    with Store(workspace.store) as store:
        report = import_table(table, space, store, source=Source("a made-up table", "CC0"))
    spelled = {target.device: str(target) for target in report.targets}
    targets = [ProblemTarget(name, model, spelled[name]) for name, model in models.items()]
    runs = (("nsga2-shared", 0), ("nsga2-shared", 1), ("random", 0))
    for strategy, seed in runs:
        options = SearchOptions(strategy, evaluations, seed)
        search_space(space, targets, SizeAccuracy(space), options, out=root / f"{strategy}-{seed}")
    return Made(workspace, tuple(root / f"{strategy}-{seed}" for strategy, seed in runs))


def make_public(root: Path, data: Path, evaluations: int = 200) -> Made:
    """Public results: NAS-Bench-201's tables of thirteen devices, estimates of six more, searched with its accuracies
    by two seeds and at random."""
    space, workspace = NasBench201Space(), Workspace(root / "home")
    workspace.root.mkdir(parents=True)
    table = data / "nb201" / "nb201.csv"
    with Store(workspace.store) as store:
        import_table(table, space, store, source=Source("NAS-Bench-201 latencies of HELP", "MIT"))
    found = device_models(NINETEEN, space, workspace=workspace, store=workspace.store)
    targets = [ProblemTarget(one.name, one.model, str(one.target)) for one in found]
    accuracy = load_accuracy(f"csv:{table}:acc_cifar100", space)
    runs = (("hybrid", 0), ("hybrid", 1), ("random", 0))
    for strategy, seed in runs:
        options = SearchOptions(strategy, evaluations, seed)
        search_space(space, targets, accuracy, options, out=root / f"{strategy}-{seed}")
    return Made(workspace, tuple(root / f"{strategy}-{seed}" for strategy, seed in runs))


def make_measured(root: Path) -> Made:
    """The steps of quickstart with real measurements of this machine, but for the training: two runtimes profiled and
    fitted, searched together, three picks deployed and timed.
    """
    space, workspace = ofa_mbv3_mini(), Workspace(root / "home")
    workspace.root.mkdir(parents=True)
    targets, statistics, tables, clock = [], {}, {}, Clock.THREAD_CPU
    with Store(workspace.store) as store:
        for runtime in ("onnxruntime", "litert"):
            target = Target("cpu", runtime)
            profile_space(
                space, target, store=store, budget=Budget("test", 120.0), rounds=2, options=FEW, workspace=workspace
            )
            outcome = fit_target(store, target, space, workspace=workspace)
            statistics[target], tables[target] = outcome.chosen.fitted.model.statistic, outcome.chosen.table
            targets.append(ProblemTarget(f"cpu-{runtime}", outcome.chosen.table, str(target)))
        options = SearchOptions("nsga2-shared", 400, explain=True)
        fronts = search_space(space, targets, SizeAccuracy(space), options, out=root / "fronts")
        picks = [
            Pick(f"size-{i}", p.arch, p.latency, p.accuracy) for i, p in enumerate(pick_spread(fronts, "cpu-litert", 2))
        ]
        timed = tuple(Target.parse(t.target) for t in targets)
        measuring = Measuring(store, timed, clock, statistics, space=space.name, workspace=workspace, models=tables)
        done = deploy_picks(picks, space, Weights(), tuple(FORMATS.values()), root / "bundles", measuring=measuring)
    assert all(one.folder is not None for one in done)
    return Made(workspace, (root / "fronts",), tuple(one.folder for one in done if one.folder is not None))
