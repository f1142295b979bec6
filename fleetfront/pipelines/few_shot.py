"""Who can teach about a new device: every device of which the workspace knows many networks of the space.

Imported tables and fits of measured blocks teach; where there are fewer than three, shipped estimates join in. What is
learnt from them is written in ``predictors.few_shot``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fleetfront.device_configs.loader import device_names, load_device
from fleetfront.errors import InputError
from fleetfront.pipelines.cost_models import ALL, device_models
from fleetfront.predictors.base import CostModel
from fleetfront.predictors.doubt import doubtful_latency_ms
from fleetfront.predictors.few_shot import KnownTable, Teacher, usable
from fleetfront.predictors.network_table import NetworkTable
from fleetfront.predictors.operator_model import operator_models
from fleetfront.predictors.operator_work import NetworkWork
from fleetfront.quantities import Tier
from fleetfront.spaces.base import SearchSpace
from fleetfront.workspace import Workspace

if TYPE_CHECKING:
    from fleetfront.spaces.base import Genotypes

#: Networks asked of each model that can predict any network.
_ASKED = 2000
#: A device teaches from this many networks on.
_FEWEST_NETWORKS = 100
#: With fewer real teachers than this, estimates join in.
_FEWEST_TEACHERS = 4


def find_teacher(
    space: SearchSpace, *, workspace: Workspace, store: Path, unknown_device: str, seed: int = 0
) -> Teacher:
    """Everything known of the space except the device that is to be learnt, ready to choose networks and to fit.

    Raises InputError if nothing is known and no estimate is shipped.
    """
    work = NetworkWork(space)
    asked = usable(space, space.sample(_ASKED, np.random.default_rng(seed)))
    known = [table for table in _known_tables(space, workspace, store, asked) if table.name != unknown_device]
    if len(known) < _FEWEST_TEACHERS:
        taken = {table.name for table in known} | {unknown_device}
        known.extend(_estimated_tables(work, asked, taken, seed))
    return Teacher(space, known, work=work, seed=seed)


def device_facts(device: str) -> Mapping[str, float]:
    """Values of a device config's facts, empty for a device without config."""
    if device not in device_names():
        return {}
    return {key: fact.value for key, fact in load_device(device).facts.items()}


def _known_tables(space: SearchSpace, workspace: Workspace, store: Path, asked: Genotypes) -> list[KnownTable]:
    try:
        models = device_models([ALL], space, workspace=workspace, store=store, tiers=(Tier.MEASURED,))
    except InputError:
        return []
    tables = [_table(found.name, found.model, asked) for found in models]
    return [table for table in tables if len(table.ms) >= _FEWEST_NETWORKS]


def _table(name: str, model: CostModel, asked: Genotypes) -> KnownTable:
    if isinstance(model, NetworkTable):
        return KnownTable(name, model.genotypes, model.ms, device_facts(name))
    return KnownTable(name, asked, model.predict(asked).mean, device_facts(name))


def _estimated_tables(work: NetworkWork, asked: Genotypes, taken: set[str], seed: int) -> list[KnownTable]:
    """Estimates as teachers, each made as wrong as estimates are: exact ones would teach too much certainty."""
    hardware: set[str] = set()
    tables: list[KnownTable] = []
    for name, model in operator_models().items():
        # One batch size a piece of hardware: more would weigh GPUs above all else.
        if name in taken or model.hardware in hardware:
            continue
        hardware.add(model.hardware)
        rng = np.random.default_rng([seed, len(tables)])
        ms = doubtful_latency_ms(work, model, load_device(name).target, asked, rng)
        tables.append(KnownTable(f"{name} (estimated)", asked, ms, device_facts(name)))
    return tables
