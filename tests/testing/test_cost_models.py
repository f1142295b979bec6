"""Every kind of cost model conforms, and each fault is found."""

from collections.abc import Callable

import numpy as np
import pytest

from fleetfront.device_configs.loader import load_device
from fleetfront.predictors.few_shot.model import KnownTable, Teacher
from fleetfront.predictors.operators.model import OperatorEstimate, operator_models
from fleetfront.predictors.operators.work import NetworkWork
from fleetfront.predictors.table.calibrated import CalibratedTable
from fleetfront.predictors.table.fitting import fit_model
from fleetfront.spaces.catalogue import load_space
from fleetfront.targets import Target
from fleetfront.testing.checks import check_name, failures
from fleetfront.testing.cost_models import COST_MODEL_CHECKS, COST_MODEL_FAULTS, CostModelCase, faulty_cost_model
from fleetfront.testing.problems import synthetic_latencies
from tests.predictors.synthetic_device import SyntheticDevice

MINI, CELLS = load_space("ofa-mbv3-mini"), load_space("nasbench201")


def block_sums() -> CostModelCase:
    return CostModelCase(synthetic_latencies(MINI, 1)[0], MINI)


def calibrated() -> CostModelCase:
    return CostModelCase(CalibratedTable(MINI, fit_model(MINI, SyntheticDevice(MINI).observe()).model), MINI)


def estimated() -> CostModelCase:
    name = sorted(operator_models())[0]
    return CostModelCase(OperatorEstimate(NetworkWork(MINI), operator_models()[name], load_device(name).target), MINI)


def few_shot() -> CostModelCase:
    every = CELLS.sample(400, np.random.default_rng(0))
    cells = np.unique(every[~CELLS.disconnected(every)], axis=0)
    models = synthetic_latencies(CELLS, 5)
    known = [KnownTable(f"d{i}", cells, 0.5 + model.predict(cells).mean) for i, model in enumerate(models[1:])]
    teacher = Teacher(CELLS, known)
    few = teacher.choose(10, np.random.default_rng(1), cells)
    fit = teacher.fit(Target("new", "litert"), few, 0.5 + models[0].predict(few).mean, second_opinion=False)
    return CostModelCase(fit.model, CELLS)


CASES = {case.__name__: case for case in (block_sums, calibrated, estimated, few_shot)}
_made: dict[str, CostModelCase] = {}


@pytest.mark.parametrize("check", COST_MODEL_CHECKS, ids=check_name)
@pytest.mark.parametrize("name", CASES)
def test_every_kind_of_cost_model_conforms(name: str, check: Callable[[CostModelCase], None]) -> None:
    if name not in _made:
        _made[name] = CASES[name]()
    check(_made[name])


@pytest.mark.parametrize("fault", COST_MODEL_FAULTS)
def test_each_fault_is_found(fault: str) -> None:
    model = faulty_cost_model(synthetic_latencies(MINI, 1)[0], fault)
    assert failures(COST_MODEL_CHECKS, CostModelCase(model, MINI))
