"""The newest fit of a device serves, whatever became of other devices' files."""

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fleetfront.errors import InputError
from fleetfront.pipelines.knowledge.cost_models import newest_fit
from fleetfront.pipelines.knowledge.known import Known, list_known
from fleetfront.predictors.table.calibrated import FittedModel
from fleetfront.predictors.table.fit_files import save_fit
from fleetfront.predictors.table.fitting import fit_model
from fleetfront.quantities import ENERGY, LATENCY, Clock, Metric
from fleetfront.spaces.ofa_mbv3.space import OfaMbv3Space, ofa_mbv3_mini
from fleetfront.targets import Target
from fleetfront.workspace import Workspace
from tests.predictors.synthetic_device import SyntheticDevice


@pytest.fixture(scope="module")
def space() -> OfaMbv3Space:
    return ofa_mbv3_mini()


@pytest.fixture(scope="module")
def model(space: OfaMbv3Space) -> FittedModel:
    return fit_model(space, SyntheticDevice(space).observe()).model


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "home")


def newest(workspace: Workspace, space: OfaMbv3Space, metric: Metric = LATENCY, **narrow: Any) -> Known:
    return newest_fit(list_known(workspace, None, space.name, metric), space.name, metric, **narrow)


def test_the_newest_fit_is_found(space: OfaMbv3Space, model: FittedModel, workspace: Workspace) -> None:
    with pytest.raises(InputError, match=f"fleetfront profile --device cpu --space {space.name}"):
        newest(workspace, space, device="cpu")
    wall, cpu = model, replace(model, clock=Clock.THREAD_CPU, is_preferred=False)
    other = replace(model, target=Target("pixel3", "litert"))
    now = time.time()
    for age, each in ((30, other), (20, wall), (10, cpu)):
        os.utime(save_fit(each, workspace), (now - age, now - age))
    # The other clock's file is newer, but of clocks fitted together the preferred one is meant.
    assert newest(workspace, space).clock == Clock.WALL
    assert newest(workspace, space, clock=Clock.THREAD_CPU).clock == Clock.THREAD_CPU
    assert newest(workspace, space, device="pixel3").device == "pixel3"
    assert newest(workspace, space, target=model.target, runtime="litert").target == model.target
    with pytest.raises(InputError, match="onnxruntime"):
        newest(workspace, space, runtime="onnxruntime")
    with pytest.raises(InputError, match="no energy model"):
        newest(workspace, space, metric=ENERGY)


def test_one_devices_broken_file_does_not_stop_another(
    space: OfaMbv3Space, model: FittedModel, workspace: Workspace
) -> None:
    save_fit(model, workspace)
    save_fit(replace(model, target=Target("pixel3", "litert")), workspace).write_text("{")
    assert newest(workspace, space, device="synthetic").device == "synthetic"
    assert newest(workspace, space, target=model.target).device == "synthetic"
    with pytest.raises(InputError, match="corrupt"):
        newest(workspace, space, device="pixel3")
