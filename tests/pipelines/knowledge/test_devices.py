import json
from pathlib import Path

import numpy as np
import pytest

from fleetfront.cli.main import main
from fleetfront.pipelines.fit.teachers import find_teacher
from fleetfront.pipelines.importing.importers import import_table
from fleetfront.pipelines.knowledge.devices import DeviceKnowledge, list_devices
from fleetfront.pipelines.knowledge.known import device_facts
from fleetfront.predictors.few_shot.files import load_few_shot, read_few_shot, save_few_shot
from fleetfront.predictors.operators.model import operator_models
from fleetfront.predictors.table.calibrated import FittedModel
from fleetfront.predictors.table.calibration import Calibration
from fleetfront.predictors.table.fit_files import report_path, save_fit, write_json
from fleetfront.predictors.table.lookup import Filled, LookupTable
from fleetfront.profilers.records import Measurement, Role
from fleetfront.profilers.store.store import Source, Store
from fleetfront.quantities import Clock
from fleetfront.spaces.nasbench201.space import NasBench201Space
from fleetfront.targets import Target
from fleetfront.workspace import Workspace

SPACE = NasBench201Space()


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("FLEETFRONT_DEVICES", raising=False)
    return Workspace(tmp_path / "workspace")


def rows_of(rows: list[DeviceKnowledge], name: str) -> list[DeviceKnowledge]:
    return [row for row in rows if row.name == name]


def small_table(folder: Path, devices: list[str], n: int = 300) -> Path:
    every = SPACE.every()
    genotypes = np.random.default_rng(0).permutation(every[~SPACE.disconnected(every)])[:n]
    counts = [(genotypes == operation).sum(axis=1) for operation in range(5)]
    lines = [",".join(["arch", *(f"lat_{device}" for device in devices)])]
    columns = []
    for at, _ in enumerate(devices):
        prices = np.random.default_rng(at).uniform(0.5, 3, 5)
        columns.append(2 + at + sum(price * count for price, count in zip(prices, counts, strict=True)))
    for row, arch in enumerate(SPACE.arch_ids(genotypes)):
        lines.append(",".join([arch, *(f"{column[row]:.4f}" for column in columns)]))
    path = folder / "table.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_without_measurements_there_are_estimates_and_empty_rows(workspace: Workspace) -> None:
    rows = list_devices(workspace)
    (eyeriss,) = rows_of(rows, "eyeriss")
    assert (eyeriss.tier, eyeriss.mape) == ("estimated", None)
    assert "Nobody could check" in eyeriss.note
    assert "nobody could check" in eyeriss.how
    (card,) = rows_of(rows, "titan_rtx_32")
    assert card.mape == pytest.approx(operator_models()["titan_rtx_32"].foreign_checks[0].mape)
    assert card.title == "NVIDIA TITAN RTX, batch 32"
    (cpu,) = rows_of(rows, "cpu")
    assert (cpu.tier, cpu.kind, cpu.target) == ("", "cpu", "cpu/litert/fp32/t1/b1")
    assert json.dumps([row.to_json() for row in rows])


def test_imported_tables_stand_before_estimates(workspace: Workspace, tmp_path: Path) -> None:
    with Store(workspace.store) as store:
        source = Source("somebody", "MIT")
        import_table(small_table(tmp_path, ["pixel3", "mine"]), SPACE, store, source=source)
        rows = list_devices(workspace, store)
    assert [row.tier for row in rows_of(rows, "pixel3")] == ["measured", "estimated"]
    assert rows_of(rows, "pixel3")[0].how == "300 networks imported from somebody (MIT)"
    assert rows_of(rows, "pixel3")[0].when == ""
    (mine,) = rows_of(rows, "mine")
    assert (mine.title, mine.space, mine.target) == ("", "nasbench201", "mine/unknown/unknown/t1/b1")


def test_own_measurements_fits_and_their_errors(workspace: Workspace) -> None:
    target = Target("cpu", "litert")
    with Store(workspace.store) as store:
        day = 1_700_000_000_000_000_000  # 2023-11-14
        store.append([Measurement(target, "nasbench201", Role.BLOCK, "b", Clock.WALL, (5,), "c", 0, day)])
        (row,) = rows_of(list_devices(workspace, store), "cpu")
        assert (row.when, row.how, row.clock) == ("2023-11-14", "1 blocks measured, not fitted yet", "wall")
        assert "fleetfront fit" in row.note
        plain = Calibration(1.0, 0.0, 0.0, 0, 0, 0.0, np.empty(0), np.empty(0))
        table = LookupTable(("b",), np.ones(1), np.zeros(1), (Filled.MEASURED,))
        model = FittedModel(
            "nasbench201", target, Clock.WALL, "minimum", table, plain, None, 0.02, 0.0, {}, True, "0.1.0"
        )
        path = save_fit(model, workspace)
        write_json(report_path(path), {"held_out": {"mape": 1.9}})
        folder = path.parent
        (folder / "broken@wall.json").write_text("{")
        (folder / "odd@wall.json").write_text('["x"]')
        (row,) = rows_of(list_devices(workspace, store), "cpu")
    assert (row.how, row.mape, row.clock) == ("blocks and networks measured", 1.9, "wall")
    assert row.when


def test_a_broken_device_file_is_a_row_that_says_so(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "devices"
    own.mkdir()
    monkeypatch.setenv("FLEETFRONT_DEVICES", str(own))
    (own / "broken.yaml").write_text("name: broken\nkind: phone\n")
    (row,) = rows_of(list_devices(workspace), "broken")
    assert "'title' is missing" in row.problem
    (own / "pixel3.yaml").write_text("name: pixel3\n")
    (pixel,) = rows_of(list_devices(workspace), "pixel3")
    assert pixel.tier == "estimated"
    assert "'title' is missing" in pixel.problem


def test_damaged_models_are_rows_that_say_so(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    folder = Workspace.default().fits / "nasbench201"
    (folder / "few").mkdir(parents=True)
    (folder / "pixel3_litert_fp32_t1_b1@wall.json").write_text("{")
    (folder / "few" / "raspi4_litert_fp32_t1_b1@wall.json").write_text("{")
    assert main(["devices", "--known"]) == 0
    said = capsys.readouterr().err
    assert "pixel3_litert_fp32_t1_b1@wall.json is corrupt" in said
    assert "raspi4_litert_fp32_t1_b1@wall.json is no whole few-shot model" in said
    rows = list_devices(Workspace.default())
    assert [row.space for row in rows if row.problem] == ["nasbench201"] * 2


def test_a_few_measurements_become_a_file_that_is_listed(workspace: Workspace, tmp_path: Path) -> None:
    names = ["gold_6240", "silver_4114", "pixel3", "titanx_1", "titanx_32"]
    with Store(workspace.store) as store:
        import_table(small_table(tmp_path, names), SPACE, store)
    teacher = find_teacher(SPACE, workspace=workspace, store=workspace.store, unknown_device="pixel3")
    assert {device.name for device in teacher.devices} == set(names) - {"pixel3"}
    few = teacher.choose(6, np.random.default_rng(0))
    target = Target("pixel3", "tflite-cpu")
    fit = teacher.fit(target, few, np.linspace(3, 9, 6), second_opinion=False, facts=device_facts("pixel3"))
    path = save_few_shot(fit, workspace, SPACE.name, Clock.WALL)
    ((file,), _) = read_few_shot(workspace)
    assert (file.path, file.target, file.clock, file.store) == (path, target, "wall", None)
    for store_path in (workspace.store, tmp_path / "elsewhere" / "other.sqlite"):
        save_few_shot(fit, workspace, SPACE.name, Clock.WALL, store_path)
        assert [one.store for one in read_few_shot(workspace)[0]] == [store_path.resolve()]
    again = load_few_shot(path, teacher.work).predict(few)
    np.testing.assert_allclose(again.mean, fit.model.predict(few).mean)
    rows = rows_of(list_devices(workspace), "pixel3")
    assert [row.tier for row in rows] == ["transferred", "estimated"]
    assert rows[0].how.startswith("6 networks measured")
    assert rows[0].mape == pytest.approx(fit.report.expected_mape)


def test_estimates_teach_where_nothing_else_is_known(workspace: Workspace) -> None:
    teacher = find_teacher(SPACE, workspace=workspace, store=workspace.store, unknown_device="pixel3")
    names = [device.name for device in teacher.devices]
    assert len(names) >= 10
    assert all(name.endswith("(estimated)") for name in names)
    assert not any(name.startswith("pixel3") for name in names)


def test_a_store_that_is_named_must_be_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["devices", "--json"]) == 0
    assert main(["devices", "--store", str(tmp_path / "none.sqlite")]) == 2
    assert "does not exist" in capsys.readouterr().err


def test_loose_files_are_no_networks_of_a_space(tmp_path: Path) -> None:
    with Store(tmp_path / "store.sqlite") as store:
        for role in (Role.FILE, Role.ANCHOR):
            store.append([Measurement(Target("cpu", "litert"), "", role, "0" * 64, Clock.WALL, (5,), "files", 0, 1)])
        assert [row for row in list_devices(Workspace(tmp_path), store) if row.name == "cpu" and row.tier] == []
