"""Model files: what is written is read back; what is damaged, foreign or newer is refused with a way out."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fleetfront.errors import InputError
from fleetfront.predictors.table.calibrated import CalibratedTable, FittedModel
from fleetfront.predictors.table.fit_files import (
    fit_path,
    list_fits,
    load_fit,
    read_fits,
    read_report,
    report_path,
    save_fit,
    unmarked,
    write_json,
)
from fleetfront.predictors.table.fitting import fit_model
from fleetfront.quantities import ENERGY, LATENCY, Clock
from fleetfront.spaces.ofa_mbv3.space import OfaMbv3Space, ofa_mbv3_mini
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


def test_a_file_of_an_earlier_version_is_found_and_replaced(model: FittedModel, workspace: Workspace) -> None:
    behind = [replace(model, target=replace(model.target, device=f"ssh:{host}/cpu")) for host in ("a@b", "a_b")]
    paths = [save_fit(one, workspace) for one in behind]
    assert [load_fit(path).target for path in paths] == [one.target for one in behind]
    older = paths[0].with_name(f"{behind[0].target.unmarked_file_stem}@wall.json")
    paths[0].rename(older)
    assert unmarked(paths[0], behind[0].target) == older
    assert unmarked(paths[1], behind[1].target) is None, "it is of the other"
    assert sorted(str(fit.target) for _, fit in read_fits(workspace)[0]) == sorted(str(one.target) for one in behind)
    save_fit(behind[1], workspace)
    assert older.exists()
    save_fit(behind[0], workspace)
    assert not older.exists()


def test_round_trip(space: OfaMbv3Space, model: FittedModel, workspace: Workspace) -> None:
    path = save_fit(model, workspace)
    assert path == fit_path(workspace, space.name, model.target, Clock.WALL)
    again = load_fit(path)
    genotypes = space.sample(100, np.random.default_rng(0))
    before, after = (CalibratedTable(space, each).predict(genotypes) for each in (model, again))
    np.testing.assert_array_equal(after.mean, before.mean)
    np.testing.assert_array_equal(after.std, before.std)
    assert after.tier == before.tier
    assert (again.target, again.clock, again.environment) == (model.target, model.clock, model.environment)
    first = path.read_bytes()
    save_fit(again, workspace)
    assert path.read_bytes() == first
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_trees_travel_inside(workspace: Workspace) -> None:
    from tests.predictors.table.test_residual import sample, try_residual

    features, *rest = sample(60, 0.2)
    residual = try_residual(features, *rest).residual
    space = ofa_mbv3_mini()
    model = replace(fit_model(space, SyntheticDevice(space).observe()).model, residual=residual)
    again = load_fit(save_fit(model, workspace))
    assert again.residual is not None
    assert residual is not None
    np.testing.assert_array_equal(again.residual.predict(features), residual.predict(features))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda text: text[: len(text) // 2], "corrupt"),
        (lambda text: "", "corrupt"),
        (lambda text: "[1, 2]", "no object"),
        (lambda text: '{"a": 1}', "not a latency model"),
        (lambda text: text.replace("fleetfront.model/1", "fleetfront.model/99"), "newer fleetfront"),
        (lambda text: text.replace('"calibration"', '"calibrations"'), "corrupt"),
        (lambda text: text.replace("synthetic/litert", "synthetic//litert"), "corrupt"),
        (lambda text: text.replace('"measured"', '"invented"', 1), "corrupt"),
        (lambda text: "[" * 100_000, "nested too deeply"),
        (lambda text: re.sub(r'"relative_std": [\d.e-]+,', '"relative_std": NaN,', text), "NaN"),
        (lambda text: re.sub(r'"relative_std": [\d.e-]+,', '"relative_std": 1e999,', text), "beyond all numbers"),
        (lambda text: re.sub(r'"relative_std": [\d.e-]+,', '"relative_std": -0.1,', text), "relative_std"),
        (lambda text: re.sub(r'"a": [\d.e-]+,', '"a": -1.0,', text), "calibration.a"),
        (lambda text: re.sub(r'"b": [\d.e-]+,', f'"b": {"9" * 400},', text), "400 digits"),
    ],
)
def test_bad_files_are_refused(model: FittedModel, workspace: Workspace, damage: object, words: str) -> None:
    path = save_fit(model, workspace)
    path.write_text(damage(path.read_text()))  # type: ignore[operator]
    with pytest.raises(InputError, match=words) as caught:
        load_fit(path)
    assert "fleetfront fit" in caught.value.remedy


def test_binary_and_missing_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    with pytest.raises(InputError, match="no file"):
        load_fit(path)
    path.write_bytes(bytes(range(256)))
    with pytest.raises(InputError, match="corrupt"):
        load_fit(path)


def test_fits_are_read_with_their_metric_and_damaged_ones_named(model: FittedModel, workspace: Workspace) -> None:
    power = replace(model, metric=ENERGY)
    assert load_fit(save_fit(model, workspace)).metric == LATENCY
    path = save_fit(power, workspace)
    assert path == fit_path(workspace, model.space, model.target, model.clock, ENERGY)
    models, damaged = read_fits(workspace, model.space)
    assert [found.metric.name for _, found in models] == ["energy", "latency"]
    assert damaged == []
    path.write_text("{")
    models, (broken,) = read_fits(workspace)
    assert [found.metric for _, found in models] == [LATENCY]
    assert (broken.device, broken.runtime, broken.metric) == (model.target.device, model.target.runtime, ENERGY)
    older = json.loads(list_fits(workspace)[1].read_text())
    del older["metric"]
    path.write_text(json.dumps(older))
    assert load_fit(path).metric == LATENCY
    assert list_fits(workspace, "another-space") == []


def test_reports_lie_beside_and_are_no_models(model: FittedModel, workspace: Workspace) -> None:
    path = save_fit(model, workspace)
    assert read_report(path) is None
    write_json(report_path(path), {"mape": 1.5})
    assert read_report(path) == {"mape": 1.5}
    assert list_fits(workspace) == [path]


def test_nothing_half_written(model: FittedModel, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save_fit(model, workspace)
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fleetfront.files.os.fsync", full)
    with pytest.raises(InputError, match="No space left"):
        save_fit(replace(model, statistic="median"), workspace)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_files_hold_no_numbers_json_cannot(model: FittedModel, workspace: Workspace) -> None:
    data = json.loads(save_fit(model, workspace).read_text(), parse_constant=lambda name: pytest.fail(name))
    assert data["schema"] == "fleetfront.model/1"
