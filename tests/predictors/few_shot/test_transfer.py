import csv
import json
from pathlib import Path

import numpy as np
import pytest

from fleetfront.errors import InputError
from fleetfront.predictors.few_shot.model import FewShotFit, KnownTable, Teacher
from fleetfront.predictors.few_shot.prior import KnownDevice, learn_device, learn_prior
from fleetfront.predictors.few_shot.transfer import TransferModel, fit_few
from fleetfront.predictors.operators.work import Mode, NetworkWork
from fleetfront.quantities import Tier
from fleetfront.spaces.nasbench201.space import NasBench201Space
from fleetfront.targets import Target

SPACE = NasBench201Space()
TARGET = Target("new", "litert")


@pytest.fixture(scope="module")
def work() -> NetworkWork:
    return NetworkWork(SPACE)


@pytest.fixture(scope="module")
def cells() -> np.ndarray:
    every = SPACE.every()
    return np.random.default_rng(0).permutation(every[~SPACE.disconnected(every)])[:1500]


def synthetic(work: NetworkWork, cells: np.ndarray, seed: int, mode: Mode, noise: float = 0.02) -> np.ndarray:
    """A device whose time is linear in what it executes, with its own prices."""
    rng = np.random.default_rng(seed)
    done = work(cells, mode)
    prices = rng.lognormal(0, 0.4, done.shape[1]) / np.maximum(done.mean(axis=0), 1e-9)
    prices[done.mean(axis=0) == 0] = 0
    ms: np.ndarray = rng.lognormal(1, 1) * (done @ prices + 2) * np.exp(noise * rng.standard_normal(len(cells)))
    return ms


@pytest.fixture(scope="module")
def teacher(work: NetworkWork, cells: np.ndarray) -> Teacher:
    modes = [Mode.ALL, Mode.ALL, Mode.NEEDED, Mode.LIVE, Mode.ALL, Mode.LIVE]
    known = [KnownTable(f"d{i}", cells, synthetic(work, cells, i, mode)) for i, mode in enumerate(modes)]
    return Teacher(SPACE, known, work=work)


def fitted(teacher: Teacher, cells: np.ndarray, ms: np.ndarray, k: int = 10) -> tuple[FewShotFit, np.ndarray]:
    """The fit from chosen cells, and the rows of all others."""
    few = teacher.choose(k, np.random.default_rng(1), cells)
    rows = [int(np.flatnonzero((cells == genotype).all(axis=1))[0]) for genotype in few]
    fit = teacher.fit(TARGET, few, ms[rows], second_opinion=False)
    return fit, np.setdiff1d(np.arange(len(cells)), rows)


def test_known_devices_are_read_in_the_mode_that_they_have(teacher: Teacher) -> None:
    assert [device.mode for device in teacher.devices] == [
        Mode.ALL, Mode.ALL, Mode.NEEDED, Mode.LIVE, Mode.ALL, Mode.LIVE,
    ]  # fmt: skip
    assert all(0.015 < device.relative_std < 0.03 for device in teacher.devices)


@pytest.mark.parametrize("mode", [Mode.LIVE, Mode.NEEDED, Mode.ALL])
def test_ten_measurements_give_mode_mean_and_interval(
    teacher: Teacher, work: NetworkWork, cells: np.ndarray, mode: Mode
) -> None:
    ms = synthetic(work, cells, 100, mode)
    fit, rest = fitted(teacher, cells, ms)
    estimate = fit.model.predict(cells[rest])
    # Few cells tell a runtime that removes dead ends from one that also folds zeros; taking one for the other is cheap.
    assert (fit.report.mode == Mode.ALL) == (mode is Mode.ALL)
    assert estimate.tier is Tier.TRANSFERRED
    error = np.abs(estimate.mean / ms[rest] - 1)
    assert np.mean(error <= 0.1) > (0.75 if mode is Mode.NEEDED else 0.9)
    coverage = np.mean(np.abs(estimate.mean - ms[rest]) <= 1.645 * estimate.std)
    assert coverage > 0.8


def test_one_disturbed_measurement_is_seen_through(teacher: Teacher, work: NetworkWork, cells: np.ndarray) -> None:
    ms = synthetic(work, cells, 7, Mode.ALL)
    few = teacher.choose(10, np.random.default_rng(2), cells)
    rows = [int(np.flatnonzero((cells == genotype).all(axis=1))[0]) for genotype in few]
    disturbed = ms[rows].copy()
    disturbed[4] *= 2.5
    prediction = teacher.fit(TARGET, few, disturbed, second_opinion=False).model.predict(cells)
    assert np.median(np.abs(prediction.mean / ms - 1)) < 0.08


def test_model_survives_json(teacher: Teacher, work: NetworkWork, cells: np.ndarray) -> None:
    model = fitted(teacher, cells, synthetic(work, cells, 8, Mode.NEEDED))[0].model
    assert isinstance(model, TransferModel)
    data = json.loads(json.dumps(model.to_json()))
    again = TransferModel.from_json(data, work).predict(cells[:50])
    np.testing.assert_allclose(again.mean, model.predict(cells[:50]).mean)
    np.testing.assert_allclose(again.std, model.predict(cells[:50]).std)
    with pytest.raises(ValueError, match="is of ofa"):
        TransferModel.from_json({**data, "space": "ofa"}, work)
    with pytest.raises(ValueError, match="other classes"):
        TransferModel.from_json({**data, "basis": {**data["basis"], "work": ["x"]}}, work)


def test_choice_leaves_disconnected_cells_out_and_says_when_there_are_too_few(teacher: Teacher) -> None:
    every = SPACE.every()
    apart = every[SPACE.disconnected(every)]
    with pytest.raises(InputError, match="of 3 networks"):
        teacher.choose(5, np.random.default_rng(0), np.concatenate([apart, every[-3:]]))
    chosen = teacher.choose(8, np.random.default_rng(0))
    assert not SPACE.disconnected(chosen).any()
    assert len(np.unique(chosen, axis=0)) == 8


def test_bad_input_is_refused(teacher: Teacher, work: NetworkWork, cells: np.ndarray) -> None:
    with pytest.raises(InputError, match="not a positive number"):
        teacher.fit(TARGET, cells[:3], np.array([1.0, 0.0, 2.0]))
    with pytest.raises(InputError, match="too few to transfer"):
        Teacher(SPACE, teacher.known[:2], work=work)
    with pytest.raises(InputError, match="d0 cannot teach"):
        learn_device("d0", teacher.coordinates(cells[:4]), np.ones(4))
    with pytest.raises(InputError, match="not positive"):
        learn_device("d0", teacher.coordinates(cells[:40]), np.zeros(40))


def test_more_measurements_narrow_the_posterior() -> None:
    rng = np.random.default_rng(0)
    devices = [KnownDevice(f"d{i}", Mode.LIVE, rng.normal([1, 0.3], 0.1), 0.03) for i in range(6)]
    prior = learn_prior(devices, (Mode.LIVE,))
    design = np.column_stack([np.ones(20), rng.normal(size=20)])
    ms = 5 * (design @ np.array([1.0, 0.4])) * np.exp(0.01 * rng.standard_normal(20))
    widths = [float(np.trace(fit_few(prior, {Mode.LIVE: design[:k]}, ms[:k])[0].covariance)) for k in (2, 5, 20)]
    assert widths[0] > widths[1] > widths[2]


def test_public_devices_that_nobody_showed_the_model(shared_data: Path, work: NetworkWork) -> None:
    with (shared_data / "nb201/nb201.csv").open() as file:
        rows = list(csv.DictReader(file))
    genotypes = SPACE.parse([row["arch"] for row in rows])
    names = [name.removeprefix("lat_") for name in rows[0] if name.startswith("lat_")]
    tables = {name: np.array([float(row[f"lat_{name}"]) for row in rows]) for name in names}
    kept = np.random.default_rng(0).permutation(np.flatnonzero(~SPACE.disconnected(genotypes)))[:4000]
    genotypes = genotypes[kept]
    expected = {"pixel3": (Mode.NEEDED, 0.6), "silver_4210r": (Mode.ALL, 0.8)}
    for unseen, (mode, share) in expected.items():
        known = [KnownTable(name, genotypes, ms[kept]) for name, ms in tables.items() if name != unseen]
        teacher = Teacher(SPACE, known, work=work)
        fit, rest = fitted(teacher, genotypes, tables[unseen][kept])
        error = np.abs(fit.model.predict(genotypes[rest]).mean / tables[unseen][kept][rest] - 1)
        assert fit.report.mode == mode
        assert fit.report.teachers == tuple(name for name in names if name != unseen)
        assert np.mean(error <= 0.1) > share


def test_the_second_opinion_is_heard(teacher: Teacher, work: NetworkWork, cells: np.ndarray) -> None:
    pytest.importorskip("xgboost")
    ms = synthetic(work, cells, 9, Mode.ALL)
    teacher = Teacher(SPACE, teacher.known[:4], work=work)
    few = teacher.choose(6, np.random.default_rng(3), cells)
    rows = [int(np.flatnonzero((cells == genotype).all(axis=1))[0]) for genotype in few]
    fit = teacher.fit(TARGET, few, ms[rows])
    assert fit.report.other_mape is not None
    assert fit.report.mape <= fit.report.other_mape
    assert json.dumps(fit.report.to_json())
