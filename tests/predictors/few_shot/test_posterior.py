import csv
import json
from pathlib import Path

import numpy as np
import pytest

from fleetfront.errors import FileError, InputError
from fleetfront.predictors.few_shot.basis import WorkBasis, count_once
from fleetfront.predictors.few_shot.cost_model import FewShotContent, FewShotModel
from fleetfront.predictors.few_shot.files import load_few_shot, read_few_shot, save_few_shot
from fleetfront.predictors.few_shot.model import KnownTable, Teacher
from fleetfront.predictors.few_shot.posterior import Hypothesis, fit_posterior, found_step
from fleetfront.predictors.few_shot.prior import KnownDevice, learn_device, learn_prior
from fleetfront.predictors.few_shot.report import FewShotFit, FewShotReport
from fleetfront.predictors.operators.work import DETAILED_NAMES, Mode, NetworkWork
from fleetfront.predictors.relaxed import one_hot
from fleetfront.quantities import Clock, Tier
from fleetfront.spaces.nasbench201.space import NasBench201Space
from fleetfront.targets import Target
from fleetfront.workspace import Workspace

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


def test_disturbances_prolong(teacher: Teacher, work: NetworkWork, cells: np.ndarray) -> None:
    """Half of the values are twice too large: the lower half is believed."""
    ms = synthetic(work, cells, 7, Mode.ALL)
    few = teacher.choose(10, np.random.default_rng(2), cells)
    disturbed = ms[rows_of(cells, few)] * np.where(np.isin(np.arange(10), (0, 1, 3, 4, 6)), 2.0, 1.0)
    prediction = teacher.fit(TARGET, few, disturbed, second_opinion=False).model.predict(cells)
    assert np.mean(np.abs(prediction.mean / ms - 1)) < 0.1


def test_model_survives_its_file(teacher: Teacher, work: NetworkWork, cells: np.ndarray, tmp_path: Path) -> None:
    fit = fitted(teacher, cells, synthetic(work, cells, 8, Mode.NEEDED))[0]
    workspace = Workspace(tmp_path)
    path = save_few_shot(fit, workspace, SPACE.name, Clock.WALL)
    ((file,), _) = read_few_shot(workspace)
    assert (file.target, file.clock, file.report) == (TARGET, Clock.WALL, fit.report)
    again = load_few_shot(path, work).predict(cells[:50])
    np.testing.assert_allclose(again.mean, fit.model.predict(cells[:50]).mean)
    np.testing.assert_allclose(again.std, fit.model.predict(cells[:50]).std)


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        ("space", "ofa", "is of ofa"),
        ("basis.work", ["x"], "other classes"),
        ("basis.scale", [1.0], "wrong shape"),
        ("hypotheses.0.coefficients", [1.0, 2.0], "wrong shape"),
        ("hypotheses.0.covariance", [[1.0]], "wrong shape"),
        ("hypotheses.0.relative_std", -1.0, "greater than or equal"),
        ("hypotheses.0.weight", 1e9, "less than or equal"),
        ("hypotheses.0.mode", "backwards", "hypotheses"),
        ("hypotheses", [], "no hypothesis"),
        ("interval_factor", -2.0, "greater than"),
        ("least_ms", "1", "valid number"),
        ("target", "pixel", "not a target"),
    ],
)
def test_damaged_files_are_refused(
    teacher: Teacher, work: NetworkWork, cells: np.ndarray, tmp_path: Path, place: str, value: object, said: str
) -> None:
    hypothesis = Hypothesis(Mode.LIVE, 1.0, np.ones(teacher.basis.rank), np.eye(teacher.basis.rank), 0.1)
    content = FewShotContent(TARGET, SPACE.name, teacher.basis, (hypothesis,))
    report = FewShotReport("transfer", "live", ("a",), 10, 5.0, None, 1.0)
    path = save_few_shot(FewShotFit(FewShotModel(content, work), report), Workspace(tmp_path), SPACE.name, Clock.WALL)
    data = json.loads(path.read_text())
    at = data["model"]
    *steps, last = place.split(".")
    for step in steps:
        at = at[int(step)] if isinstance(at, list) else at[step]
    at[last] = value
    path.write_text(json.dumps(data))
    with pytest.raises(FileError, match=said):
        load_few_shot(path, work)
    for text in ("NaN", "Infinity", "1e999", "9" * 400):
        path.write_text(json.dumps(data).replace('"interval_factor": ', f'"interval_factor": {text}, "x": '))
        with pytest.raises(FileError):
            load_few_shot(path, work)


def test_expected_errors_are_those_of_the_device(teacher: Teacher, work: NetworkWork, cells: np.ndarray) -> None:
    expected, true = [], []
    for noise in (0.003, 0.03, 0.15):
        found = []
        for seed in (11, 21, 31):
            ms = synthetic(work, cells, seed, Mode.ALL, noise)
            fit, rest = fitted(teacher, cells, ms)
            off = np.abs(fit.model.predict(cells[rest]).mean / ms[rest] - 1)
            found.append((fit.report.error, 100 * float(np.mean(off))))
        expected.append(np.mean([said for said, _ in found]))
        true.append(np.mean([was for _, was in found]))
    assert expected[0] < expected[1] < expected[2]
    assert expected[2] > 3 * expected[0]
    np.testing.assert_array_less(np.abs(np.log(np.array(true) / expected)), np.log(3))


def test_measurements_that_say_nothing_make_no_certainty(
    teacher: Teacher, work: NetworkWork, cells: np.ndarray
) -> None:
    ms = synthetic(work, cells, 12, Mode.ALL)
    few = teacher.choose(10, np.random.default_rng(1), cells)
    rows = [int(np.flatnonzero((cells == genotype).all(axis=1))[0]) for genotype in few]
    equal = teacher.fit(TARGET, few, np.full(10, float(np.median(ms))), second_opinion=False)
    assert "say nothing" in equal.report.warnings[0]
    assert equal.report.error > 10
    mixed = teacher.fit(TARGET, few, ms[rows][::-1], second_opinion=False)
    assert any("belongs to its network" in text for text in mixed.report.warnings)
    assert mixed.report.error > 10
    step = 0.25 * float(np.median(ms))
    coarse = np.maximum(np.round(ms / step), 1) * 5.0
    fit = teacher.fit(TARGET, few, coarse[rows], second_opinion=False)
    assert any("steps of 5 ms" in text for text in fit.report.warnings)
    estimate = fit.model.predict(cells)
    assert np.mean(np.abs(estimate.mean - coarse) <= 1.645 * estimate.std) > 0.8


def test_branches_side_by_side_are_found(teacher: Teacher, work: NetworkWork, cells: np.ndarray) -> None:
    ms = synthetic(work, cells, 13, Mode.SIDE_BY_SIDE)
    fit, rest = fitted(teacher, cells, ms)
    assert fit.report.mode == Mode.SIDE_BY_SIDE
    assert np.mean(np.abs(fit.model.predict(cells[rest]).mean / ms[rest] - 1) <= 0.1) > 0.85


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
    widths = [
        float(np.trace(fit_posterior(prior, {Mode.LIVE: design[:k]}, ms[:k]).hypotheses[0].covariance))
        for k in (2, 5, 20)
    ]
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
    few = teacher.choose(10, np.random.default_rng(3), cells)
    rows = [int(np.flatnonzero((cells == genotype).all(axis=1))[0]) for genotype in few]
    fit = teacher.fit(TARGET, few, ms[rows])
    assert fit.report.other_mape is not None
    assert fit.report.mape <= fit.report.other_mape
    assert json.dumps(fit.report.to_json())
    assert teacher.fit(TARGET, few[:6], ms[rows[:6]]).report.other_mape is None


def rows_of(cells: np.ndarray, few: np.ndarray) -> list[int]:
    return [int(np.flatnonzero((cells == genotype).all(axis=1))[0]) for genotype in few]


@pytest.mark.parametrize("k", [20, 50])
def test_a_fifth_of_values_doubled_does_not_count(
    teacher: Teacher, work: NetworkWork, cells: np.ndarray, k: int
) -> None:
    ms = synthetic(work, cells, 14, Mode.ALL)
    few = teacher.choose(k, np.random.default_rng(1), cells)
    disturbed = ms[rows_of(cells, few)]
    disturbed[np.random.default_rng(2).permutation(k)[: k // 5]] *= 2
    prediction = teacher.fit(TARGET, few, disturbed, second_opinion=False).model.predict(cells)
    assert np.mean(np.abs(prediction.mean / ms - 1)) < 0.04


def test_a_drift_over_the_measurements_is_said_and_taken_off(
    teacher: Teacher, work: NetworkWork, cells: np.ndarray
) -> None:
    ms = synthetic(work, cells, 15, Mode.ALL)
    few = teacher.choose(10, np.random.default_rng(1), cells)
    steady = ms[rows_of(cells, few)]
    assert not teacher.fit(TARGET, few, steady, second_opinion=False).report.warnings
    fit = teacher.fit(TARGET, few, steady * np.linspace(0.8, 1.2, 10), second_opinion=False)
    assert "rose by" in fit.report.warnings[0]
    drifting = steady * np.linspace(0.8, 1.2, 10)
    assert not teacher.fit(TARGET, few, drifting, second_opinion=False, in_order=False).report.warnings
    estimate = fit.model.predict(cells)
    assert np.mean(np.abs(estimate.mean / ms - 1)) < 0.1
    assert np.mean(np.abs(estimate.mean - ms) <= 1.645 * estimate.std) > 0.8


def test_a_mode_that_is_known_is_not_inferred(teacher: Teacher, work: NetworkWork, cells: np.ndarray) -> None:
    live = Teacher(SPACE, teacher.known, work=work, mode=Mode.LIVE)
    ms = synthetic(work, cells, 16, Mode.LIVE)
    errors = []
    for one in (live, teacher):
        fit, rest = fitted(one, cells, ms, k=4)
        errors.append(float(np.mean(np.abs(fit.model.predict(cells[rest]).mean / ms[rest] - 1))))
    assert fitted(live, cells, ms, k=4)[0].report.mode == Mode.LIVE
    assert errors[0] < errors[1]


def test_the_own_estimate_of_a_device_teaches(teacher: Teacher, work: NetworkWork, cells: np.ndarray) -> None:
    """Right in how operators relate, wrong in scale: a single measurement mends that."""
    ms = synthetic(work, cells, 17, Mode.ALL, 0.01)
    told = {"new": KnownTable("new", cells, 3 * ms)}
    told |= {table.name: KnownTable(table.name, cells, 2 * table.ms) for table in teacher.known}
    helped = Teacher(SPACE, teacher.known, work=work, estimates=told, device="new")
    errors = []
    for one in (helped, teacher):
        fit, rest = fitted(one, cells, ms, k=1)
        errors.append(float(np.mean(np.abs(fit.model.predict(cells[rest]).mean / ms[rest] - 1))))
    assert errors[0] < 0.7 * errors[1]


def test_a_clock_that_rounds_is_part_of_the_noise(teacher: Teacher, work: NetworkWork, cells: np.ndarray) -> None:
    ms = synthetic(work, cells, 18, Mode.ALL, 0.003)
    ms *= 7.3 / float(np.median(ms))
    few = teacher.choose(10, np.random.default_rng(1), cells)
    measured = ms[rows_of(cells, few)]
    fine = teacher.fit(TARGET, few, measured, second_opinion=False).model.predict(cells)
    coarse = teacher.fit(TARGET, few, measured, second_opinion=False, step_ms=1.0).model.predict(cells)
    assert np.all(coarse.std > 1 / np.sqrt(12))
    assert np.median(coarse.std) > 1.5 * np.median(fine.std)


@pytest.mark.parametrize(
    ("ms", "step"),
    [
        ([5.0, 10.0, 25.0, 15.0], 5.0),
        ([16.6667, 33.3334, 83.3335], 16.6667),
        ([0.3, 0.9, 1.2, 1.5], 0.3),
        ([12.0, 12.0, 12.0], 0.0),
        ([12.31, 17.77, 29.4, 35.01], 0.0),
        ([200.0, 201.0, 350.0], 0.0),
    ],
)
def test_the_step_of_a_coarse_clock_is_found(ms: list[float], step: float) -> None:
    assert found_step(np.array(ms)) == pytest.approx(step, rel=1e-3)


def test_networks_that_were_measured_once_count_once(shared_data: Path) -> None:
    with (shared_data / "nb201/pi5_torchmobile.csv").open() as file:
        rows = list(csv.DictReader(file))
    ms = np.array([float(row["lat_pi5_torchmobile_cifar100"]) for row in rows])
    measured = sum(row["index"] == row["rep_index"] for row in rows)
    assert abs(len(count_once(ms)) / measured - 1) < 0.03
    noisy = ms * np.exp(0.01 * np.random.default_rng(0).standard_normal(len(ms)))
    assert len(count_once(noisy)) == len(ms)
    assert len(count_once(np.ceil(ms))) == len(ms)


@pytest.mark.parametrize("ms", [np.full(10, 12.5), np.full(300, 12.5), np.where(np.arange(300) % 2, 10.71, 12.3)])
def test_a_stuck_clock_makes_no_networks_equal(ms: np.ndarray) -> None:
    assert len(count_once(ms)) == len(ms)


def test_networks_that_nobody_chose_promise_less(teacher: Teacher, work: NetworkWork, cells: np.ndarray) -> None:
    ms = synthetic(work, cells, 31, Mode.ALL)
    chosen, drawn = (
        teacher.fit(TARGET, cells[:4], ms[:4], second_opinion=False, are_chosen=chosen).report
        for chosen in (True, False)
    )
    assert drawn.mape > chosen.mape
    assert drawn.error > chosen.error


def few_shot(work: NetworkWork, weights: tuple[float, ...], step_ms: float = 0.0) -> FewShotModel:
    """A model whose every hypothesis says constantly 10, 20, ... ms, 1 % of that as its noise."""
    count = len(DETAILED_NAMES)
    basis = WorkBasis(np.ones(count), np.zeros(count), np.eye(1 + count))
    hypotheses = tuple(
        Hypothesis(Mode.ALL, weight, 10.0 * (i + 1) * np.eye(1 + count)[0], np.zeros((1 + count, 1 + count)), 0.01)
        for i, weight in enumerate(weights)
    )
    return FewShotModel(FewShotContent(TARGET, SPACE.name, basis, hypotheses, step_ms=step_ms), work)


def test_hypotheses_above_a_thousandth_count_and_others_do_not(work: NetworkWork, cells: np.ndarray) -> None:
    mean = few_shot(work, (0.9985, 0.0015)).predict(cells[:3]).mean
    assert mean == pytest.approx(0.9985 * 10 + 0.0015 * 20, rel=1e-9)
    assert few_shot(work, (0.9992, 0.0008)).predict(cells[:3]).mean == pytest.approx(10, rel=1e-9)


def test_rounding_to_a_step_widens_intervals_by_that_of_a_uniform_error(work: NetworkWork, cells: np.ndarray) -> None:
    fine, coarse = (few_shot(work, (1.0,), step).predict(cells[:3]).std for step in (0.0, 1.0))
    assert fine == pytest.approx(0.1)
    assert coarse**2 - fine**2 == pytest.approx(1 / 12)


def test_relaxed_costs_are_those_predicted_where_a_hypothesis_was_dropped(work: NetworkWork) -> None:
    pytest.importorskip("torch")
    model = few_shot(work, (0.6, 0.399, 0.0009))
    genotypes = SPACE.sample(3, np.random.default_rng(0))
    relaxed = model.relaxed(one_hot(SPACE, genotypes))
    assert relaxed.numpy() == pytest.approx(model.predict(genotypes).mean, rel=1e-5)
