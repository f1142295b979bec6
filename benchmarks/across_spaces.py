"""Try tables of one space as teachers about devices in another: NAS-Bench-201's for once-for-all, and back.

Every device of a space is in turn unknown; the others of it teach, with and without what the tables of the other space
say of their devices: operator costs are fitted to these (as shipped estimates are to FBNet's), predict networks of this
space, are made as wrong as estimates are, and join the known devices. Settings of the unknown hardware never teach.
``few`` keeps three devices of the space itself and the shipped estimates, as somebody has who knows few.

    python benchmarks/across_spaces.py [--seeds 3]
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import machine
import numpy as np
from note10 import default_data
from operator_fit import fit_operators
from operator_models import SOURCE, STRENGTH, start_of
from transfer import PI5, family, read_tables

from fleetfront.device_configs.loader import load_device
from fleetfront.pipelines.fit.teachers import noisy_latency_ms
from fleetfront.predictors.few_shot.cost_model import mix
from fleetfront.predictors.few_shot.model import KnownTable, Teacher
from fleetfront.predictors.few_shot.posterior import fit_posterior, found_step, least_latency
from fleetfront.predictors.operators.model import OperatorModel, operator_models
from fleetfront.predictors.operators.work import Mode, NetworkWork
from fleetfront.spaces.catalogue import load_space

SPACES = ("nasbench201", "ofa-mbv3-w1.0")
#: Networks that costs are fitted to, and that a teacher from elsewhere predicts.
FITTED, ASKED = 1000, 2000
NETWORKS = (3, 10)
FEW = 3
SHIPPED = [m for name, m in operator_models().items() if not m.objection(load_device(name))]


def costs_of(work: NetworkWork, table: KnownTable, rng: np.random.Generator) -> OperatorModel:
    """Operator costs of one device, in the mode in which its runtime executes networks."""
    config = load_device(table.name)
    mode = Mode.NEEDED if config.target.runtime == "tflite" else Mode.ALL
    rows = rng.permutation(len(table.ms))[:FITTED]
    return fit_operators(
        work(table.genotypes[rows], mode if mode in work.modes else work.own_mode),
        {config.target.batch: table.ms[rows]},
        start_of(config),
        hardware=family(table.name),
        settings=(table.name,),
        mode=mode,
        fitted_on=SOURCE,
        fitted_space=work.space.name,
        strength=STRENGTH,
    )


def foreign_teachers(work: NetworkWork, costs: list[OperatorModel], seed: int) -> list[KnownTable]:
    """What costs say of networks of this space, made as wrong as estimates are; one a piece of hardware."""
    rng = np.random.default_rng(seed)
    asked = work.space.sample(ASKED, rng)
    kept = asked[~work.space.disconnected(asked)] if hasattr(work.space, "disconnected") else asked
    tables = {}
    for model in costs:
        target = load_device(model.settings[0]).target
        ms = noisy_latency_ms(work, model, target, kept, rng)
        tables.setdefault(model.hardware, KnownTable(f"{model.hardware} of {model.fitted_space}", kept, ms))
    return list(tables.values())


def judge(work: NetworkWork, tables: list[KnownTable], costs: list[OperatorModel], seeds: int) -> list[dict[str, Any]]:
    """Errors of each device with its ``NETWORKS``, by who teaches."""
    rows = []
    for at, table in enumerate(tables):
        others = [other for other in tables if family(other.name) != family(table.name)]
        for seed in range(seeds):
            foreign, shipped = (
                foreign_teachers(work, [m for m in models if family(m.hardware) != family(table.name)], seed)
                for models in (costs, SHIPPED)
            )
            three = [others[i] for i in np.random.default_rng([seed, at]).permutation(len(others))[:FEW]]
            sets = {"others": others, "others and elsewhere": [*others, *foreign]}
            sets |= {"few": [*three, *shipped], "few and elsewhere": [*three, *shipped, *foreign]}
            for who, known in sets.items():
                teacher = Teacher(work.space, known, work=work, seed=seed)
                for k in NETWORKS:
                    row = {"device": table.name, "seed": seed, "who": who, "k": k}
                    rows.append(row | _tried(teacher, table, k, seed))
    return rows


def _tried(teacher: Teacher, table: KnownTable, k: int, seed: int) -> dict[str, float]:
    rng = np.random.default_rng(seed)
    few = teacher.choose(k, rng, table.genotypes)
    rows = [int(np.flatnonzero((table.genotypes == genotype).all(axis=1))[0]) for genotype in few]
    posterior = fit_posterior(teacher.prior, teacher.coordinates(few), table.ms[rows], found_step(table.ms[rows]))
    rest = rng.permutation(np.setdiff1d(np.arange(len(table.ms)), rows))[:ASKED]
    mean, _ = mix(posterior.hypotheses, teacher.coordinates(table.genotypes[rest]), least_latency(table.ms[rows]))
    return {"mape": float(100 * np.mean(np.abs(mean / table.ms[rest] - 1)))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--data", type=Path, default=default_data())
    arguments = parser.parse_args()
    begun, rng = machine.describe(), np.random.default_rng(0)
    works = {name: NetworkWork(load_space(name)) for name in SPACES}
    tables = {name: read_tables(arguments.data, works[name].space) for name in SPACES}
    summary: dict[str, Any] = {}
    for name, elsewhere in (SPACES, SPACES[::-1]):
        known = [table for table in tables[elsewhere] if table.name != PI5]
        costs = [costs_of(works[elsewhere], table, rng) for table in known]
        rows = judge(works[name], tables[name], costs, arguments.seeds)
        for who in dict.fromkeys(row["who"] for row in rows):
            for k in NETWORKS:
                mape = float(np.mean([row["mape"] for row in rows if (row["who"], row["k"]) == (who, k)]))
                summary.setdefault(name, {})[f"{who} {k}"] = mape
                print(f"{name:14s} {who:22s} {k:3d} networks  MAPE {mape:.2f} %", flush=True)
        summary[name]["devices"] = rows
    print(f"written to {machine.write('across_spaces', {'seeds': arguments.seeds, 'results': summary}, machine=begun)}")


if __name__ == "__main__":
    main()
