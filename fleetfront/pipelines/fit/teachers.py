"""Find who can teach about a new device: every device of which the workspace knows many networks of the space.

Imported tables and fits of measured blocks teach; where there are fewer than three, shipped estimates join in. What is
learnt from them is written in ``predictors.few_shot``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fleetfront.device_configs.loader import load_device
from fleetfront.errors import InputError
from fleetfront.pipelines.knowledge.cost_models import measured_models
from fleetfront.pipelines.knowledge.known import device_facts
from fleetfront.predictors.base import CostModel, NetworkCosts
from fleetfront.predictors.few_shot.model import KnownTable, Teacher, usable
from fleetfront.predictors.operators.model import OperatorEstimate, OperatorModel, operator_models
from fleetfront.predictors.operators.work import CLASSES, KERNEL_SIZES, NetworkWork
from fleetfront.predictors.table.calibrated import block_sum
from fleetfront.quantities import LATENCY, Metric
from fleetfront.spaces.base import SearchSpace
from fleetfront.targets import Target
from fleetfront.workspace import Workspace

if TYPE_CHECKING:
    from fleetfront.quantities import FloatArray
    from fleetfront.spaces.base import Genotypes

#: Networks asked of each model that can predict any network.
_ASKED = 2000
#: A device teaches from this many networks on.
_FEWEST_NETWORKS = 100
#: With fewer real teachers than this, estimates join in.
_FEWEST_TEACHERS = 4

#: Standard deviation of log(block / operator model) once the model is fitted to the device: 0.074 over the public
#: tables of a Galaxy Note 10, 0.08 to 0.10 over ONNX Runtime's blocks on a two-core x86 machine.
_BLOCK_STD = 0.09
#: The same of how much more a multiply-accumulate costs in a large depthwise kernel: 0.1 where the runtime has fast
#: paths for all kernels, 1.6 where it lacks one (LiteRT on x86, 7 x 7).
_KERNEL_STD = 0.7
#: Of whole networks in spaces whose runtimes execute dead branches, where blocks do not add up.
_NETWORK_STD = 0.05


def find_teacher(
    space: SearchSpace,
    *,
    workspace: Workspace,
    store: Path,
    unknown_device: str,
    seed: int = 0,
    own_files: bool = False,
    metric: Metric = LATENCY,
) -> Teacher:
    """Everything known of the space except the device that is to be predicted, ready to choose networks and to fit.

    If that device has an estimate of its own, it joins in as far as estimates of known devices proved right. With
    ``own_files`` its networks are this project's files, of which it is known what they hold. Where fewer than four
    devices are known by another ``metric`` than latency, those known by their latencies teach too: how a cost splits
    over operators is learnt as shares, whatever its unit.

    Raises InputError if nothing is known and no estimate is shipped.
    """
    work = NetworkWork(space)
    asked = usable(space, space.sample(_ASKED, np.random.default_rng(seed)))
    known, left_out = _known_tables(space, workspace, store, asked, unknown_device, metric)
    if metric != LATENCY and len(known) < _FEWEST_TEACHERS:
        timed, broken = _known_tables(space, workspace, store, asked, "", LATENCY)
        known = [*known, *(replace(table, name=f"{table.name} (latency)") for table in timed)]
        left_out = [*left_out, *broken]
    if len(known) < _FEWEST_TEACHERS:
        taken = {table.name for table in known} | {unknown_device}
        estimated, broken = _estimated_tables(work, asked, taken, seed)
        known, left_out = [*known, *estimated], [*left_out, *broken]
    estimates = own_estimates(work, asked, [unknown_device, *(table.name for table in known)])
    return Teacher(
        space,
        known,
        work=work,
        seed=seed,
        left_out=left_out,
        metric=metric,
        estimates=estimates if unknown_device in estimates and metric == LATENCY else None,
        device=unknown_device,
        mode=work.own_mode if own_files else None,
    )


def own_estimates(work: NetworkWork, genotypes: Genotypes, names: Sequence[str]) -> dict[str, KnownTable]:
    """Shipped estimates of n genotypes int8[n, v], of those devices that have one to be defended."""
    models, found = operator_models(), {}
    for name in names:
        try:
            config = load_device(name) if name in models else None
        except InputError:
            # A broken config of one device is told where that device is asked for.
            continue
        if config is not None and not models[name].objection(config):
            ms = OperatorEstimate(work, models[name], config.target).predict(genotypes).mean
            found[name] = KnownTable(name, genotypes, ms)
    return found


def _known_tables(
    space: SearchSpace, workspace: Workspace, store: Path, asked: Genotypes, unknown_device: str, metric: Metric
) -> tuple[list[KnownTable], list[str]]:
    """Of each measured device that can be read; and why others cannot."""
    models, left_out = measured_models(space, workspace=workspace, store=store, without=unknown_device, metric=metric)
    tables = []
    for found in models:
        try:
            tables.append(_table(found.name, found.model, asked))
        except InputError as error:
            left_out.append(f"{found.name}: {error}")
    return [table for table in tables if len(table.ms) >= _FEWEST_NETWORKS], left_out


def _table(name: str, model: CostModel, asked: Genotypes) -> KnownTable:
    networks = model.networks() if isinstance(model, NetworkCosts) else asked
    return KnownTable(name, networks, model.predict(networks).mean, device_facts(name))


def _estimated_tables(
    work: NetworkWork, asked: Genotypes, taken: set[str], seed: int
) -> tuple[list[KnownTable], list[str]]:
    """Estimates as teachers, each made as wrong as estimates are: exact ones would teach too much certainty."""
    hardware: set[str] = set()
    tables: list[KnownTable] = []
    left_out: list[str] = []
    for name, model in operator_models().items():
        # One batch size a piece of hardware: more would weigh GPUs above all else.
        if name in taken or model.hardware in hardware:
            continue
        try:
            config, facts = load_device(name), device_facts(name)
        except InputError as error:
            left_out.append(f"{name}: {error}")
            continue
        objection = model.objection(config)
        if objection:
            left_out.append(f"{name}: {objection}")
            continue
        hardware.add(model.hardware)
        rng = np.random.default_rng([seed, len(tables)])
        tables.append(
            KnownTable(f"{name} (estimated)", asked, noisy_latency_ms(work, model, config.target, asked, rng), facts)
        )
    return tables, left_out


def noisy_latency_ms(
    work: NetworkWork, model: OperatorModel, target: Target, genotypes: Genotypes, rng: np.random.Generator
) -> FloatArray:
    """float64[n] ms of n genotypes int8[n, v] on a device that might be the one that ``model`` describes.

    As wrong as estimates are, so that what learns from them does not learn certainty.
    """
    if model.mode in work.modes and model.mode is not work.own_mode:
        ms = model.latency_ms(work(genotypes, model.mode), target.batch)
        return ms * np.exp(_NETWORK_STD * rng.standard_normal(len(ms)))
    launches, busy = model.parts(work.blocks, target.batch)
    surplus = np.exp(_KERNEL_STD * rng.standard_normal(len(KERNEL_SIZES))) - 1
    rate = float(model.ms_per_mmac[CLASSES.index("depthwise")])
    busy = busy + target.batch * rate * (work.kernels @ surplus)
    factors = np.exp(_BLOCK_STD * rng.standard_normal(len(busy)))
    parts = (block_sum(work.space, part * factors)(genotypes) for part in (launches, busy))
    return model.combine(*parts)
