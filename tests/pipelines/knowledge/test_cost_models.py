"""One model a device from whatever is known of it, best source first; and a search over all of them."""

from dataclasses import replace

import numpy as np
import pytest

from fleetfront.errors import InputError
from fleetfront.pipelines.fit.teachers import find_teacher
from fleetfront.pipelines.fleet import fleet_targets
from fleetfront.pipelines.importing.importers import import_ofa_lut, import_table
from fleetfront.pipelines.knowledge.cost_models import device_models
from fleetfront.pipelines.knowledge.device_model import ForeignFit
from fleetfront.pipelines.knowledge.devices import list_devices
from fleetfront.predictors.few_shot.files import save_few_shot
from fleetfront.predictors.table.calibrated import FittedModel
from fleetfront.predictors.table.calibration import Calibration
from fleetfront.predictors.table.fit_files import load_fit, save_fit
from fleetfront.predictors.table.lookup import Filled, LookupTable
from fleetfront.profilers.store.store import Source, Store
from fleetfront.quantities import Clock, Tier
from fleetfront.spaces.catalogue import load_space
from fleetfront.targets import Target
from fleetfront.workspace import Workspace


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("FLEETFRONT_DEVICES", raising=False)
    return Workspace(tmp_path / "workspace")


@pytest.fixture(scope="module")
def cells():
    return load_space("nasbench201")


def models(names, space, workspace, **keywords):
    return device_models(names, space, workspace=workspace, store=workspace.store, **keywords)


def table(folder, space, name, scale=1.0):
    genotypes = space.sample(400, np.random.default_rng(1))
    path = folder / f"{name}.csv"
    ms = scale * (1 + np.asarray(space.macs(genotypes)) / 1e8)
    rows = [f"{arch},{value:.5f}" for arch, value in zip(space.arch_ids(genotypes), ms, strict=True)]
    path.write_text("\n".join([f"arch,lat_{name}", *dict.fromkeys(rows)]) + "\n")
    return path


def test_nineteen_devices_and_more_without_any_measurement(workspace) -> None:
    space = load_space("ofa-mbv3-mini")
    found = models(["all"], space, workspace)
    assert len(found) >= 19
    assert {device.model.tier for device in found} == {Tier.ESTIMATED}
    assert all(device.warnings for device in found)
    several = models(["pixel3", "all", "raspi4"], space, workspace)
    assert several[0].name == "pixel3"
    assert sorted(device.name for device in several) == [device.name for device in found]
    genotypes = space.sample(50, np.random.default_rng(0))
    for device in found:
        estimate = device.model.predict(genotypes)
        assert (estimate.mean > 0).all()
        assert (estimate.std > 0).all()
        assert str(device.target).startswith(device.name)


def test_a_table_serves_before_an_estimate(workspace, cells, tmp_path) -> None:
    with Store(workspace.store) as store:
        import_table(table(tmp_path, cells, "pixel3"), cells, store, source=Source("somebody", "MIT"))
    (pixel,) = models(["pixel3"], cells, workspace)
    assert pixel.model.tier is Tier.MEASURED
    every = {device.name: device.model.tier for device in models(["all"], cells, workspace)}
    assert every["pixel3"] is Tier.MEASURED
    assert every["eyeriss"] is Tier.ESTIMATED
    (estimate,) = models(["pixel3"], cells, workspace, tiers=(Tier.ESTIMATED,))
    assert estimate.model.tier is Tier.ESTIMATED


def test_of_two_tables_of_a_device_that_of_its_config_serves(workspace, cells, tmp_path) -> None:
    with Store(workspace.store) as store:
        for scale, targets in ((1.0, {"mine": Target("mine", "unknown", "unknown")}), (2.0, None)):
            if targets is None:
                own = tmp_path / "config" / "fleetfront" / "devices"
                own.mkdir(parents=True)
                text = "name: mine\ntitle: Mine\nkind: board\ntarget:\n  runtime: tflite-cpu\n"
                (own / "mine.yaml").write_text(text)
            import_table(table(tmp_path, cells, "mine", scale), cells, store, targets=targets)
    (mine,) = models(["mine"], cells, workspace)
    assert mine.target == Target("mine", "tflite-cpu")


def test_a_search_passes_over_a_table_with_gaps_and_says_so(workspace, cells, tmp_path) -> None:
    with Store(workspace.store) as store:
        import_table(table(tmp_path, cells, "pixel3"), cells, store, source=Source("somebody", "MIT"))
    (pixel,) = models(["pixel3"], cells, workspace, everywhere=True)
    assert pixel.model.tier is Tier.ESTIMATED
    assert "fleetfront fit --device pixel3" in pixel.warnings[-1]
    with pytest.raises(InputError, match="onnxruntime"):
        models(["all"], cells, workspace, runtime="onnxruntime")


def test_few_measurements_serve_before_an_estimate_and_after_a_table(workspace, cells, tmp_path) -> None:
    workspace.root.mkdir(parents=True)
    teacher = find_teacher(cells, workspace=workspace, store=workspace.store, unknown_device="raspi4")
    few = teacher.choose(6, np.random.default_rng(0))
    ms = 3 + np.asarray(cells.macs(few)) / 1e7
    target = Target("raspi4", "litert")
    fit = teacher.fit(target, few, ms, second_opinion=False)
    save_few_shot(fit, workspace, cells.name, Clock.WALL, tmp_path / "elsewhere.sqlite")
    assert "fitted to another store" in models(["raspi4"], cells, workspace)[0].warnings[-1]
    save_few_shot(fit, workspace, cells.name, Clock.WALL, workspace.store)
    (found,) = models(["raspi4"], cells, workspace)
    assert not any("another store" in warning for warning in found.warnings)
    assert (found.model.tier, found.target) == (Tier.TRANSFERRED, target)
    assert "6 networks" in found.warnings[0]
    with pytest.raises(InputError, match="onnxruntime"):
        models(["raspi4"], cells, workspace, runtime="onnxruntime")
    damaged = workspace.fits / cells.name / "few" / "broken@wall.json"
    damaged.write_text('{"schema": "fleetfront.few/1", "space": "nasbench201", "target": "", "report": {"mape": null}}')
    assert models(["raspi4"], cells, workspace)[0].target == target
    with Store(workspace.store) as store:
        import_table(table(tmp_path, cells, "raspi4"), cells, store, source=Source("somebody", "MIT"))
    assert models(["raspi4"], cells, workspace)[0].model.tier is Tier.MEASURED


def fitted(workspace, target: Target, space, per_mac=1e-5):
    macs = space.block_macs(space.vocabulary)
    table = LookupTable(
        tuple(block.key for block in space.vocabulary),
        0.01 + per_mac * macs,
        np.full(len(macs), 0.01),
        (Filled.MEASURED,) * len(macs),
    )
    plain = Calibration(1.0, 0.0, 0.0, 0, 0, 0.0, np.empty(0), np.empty(0))
    model = FittedModel(space.name, target, Clock.WALL, "minimum", table, plain, None, 0.02, 0.0, {}, True, "0.1.0")
    return save_fit(model, workspace)


def test_a_damaged_fit_stops_its_own_device_alone_and_no_worse_source_stands_in(workspace) -> None:
    space = load_space("ofa-mbv3-mini")
    fitted(workspace, Target("cpu", "litert"), space)
    for target in (Target("pixel3", "tflite-cpu"), Target("cuda:0", "torch", "fp16", 1, 64), Target("cpu_2", "litert")):
        fitted(workspace, target, space).write_text("{")
    cpu, raspi4 = models(["cpu", "raspi4"], space, workspace)
    assert (cpu.model.tier, raspi4.model.tier) == (Tier.MEASURED, Tier.ESTIMATED)
    assert models(["cpu/litert"], space, workspace)[0].target == cpu.target
    for name in ("pixel3", "cuda:0", "cpu_2", "cuda:0/b64", "pixel3/tflite-cpu", "all"):
        with pytest.raises(InputError, match="is corrupt") as caught:
            models([name], space, workspace)
        assert "Delete it and fit again" in caught.value.remedy
    # Another runtime was asked for than the damaged one.
    (found,) = models(["pixel3"], space, workspace, runtime="tflite")
    assert found.model.tier is Tier.ESTIMATED


def test_a_fit_of_another_machine_costs_its_own_row_of_all(workspace) -> None:
    space = load_space("ofa-mbv3-mini")
    desk = fitted(workspace, Target("desk", "litert"), space)
    path = fitted(workspace, Target("cpu", "litert"), space)
    save_fit(replace(load_fit(path), environment={"cpu": "Abacus"}), workspace)
    refused: dict[str, ForeignFit] = {}
    found = device_models(["all"], space, workspace=workspace, passed_over=refused)
    assert "desk" in {device.name for device in found}
    assert list(refused) == ["cpu"]
    assert "the processor changed from Abacus" in refused["cpu"].message
    assert "--recalibrate" in refused["cpu"].remedy
    # It is refused where it is named, and where nothing is left.
    for names in (["cpu"], ["all", "cpu"]):
        with pytest.raises(ForeignFit, match="Abacus"):
            device_models(names, space, workspace=workspace, passed_over={})
    desk.unlink()
    with pytest.raises(ForeignFit, match="Abacus"):
        device_models(["all"], space, workspace=workspace, tiers=(Tier.MEASURED,), passed_over={})
    with pytest.warns(UserWarning, match="cpu is left out"):
        targets = fleet_targets("all", space, {}, workspace=workspace)
    assert targets
    assert "cpu" not in {target.name for target in targets}


def test_a_damaged_model_from_few_measurements_gives_way_to_none_worse(workspace, cells) -> None:
    folder = workspace.fits / cells.name / "few"
    folder.mkdir(parents=True)
    (folder / "raspi4_litert_fp32_t1_b1@wall.json").write_text("{")
    (folder / "pixel3_litert_fp32_t1_b1@wall.json").write_text('{"schema": "fleetfront.few/1", "report": {}}')
    assert models(["eyeriss"], cells, workspace)[0].model.tier is Tier.ESTIMATED
    for name in ("raspi4", "pixel3", "all"):
        with pytest.raises(InputError, match="is no whole few-shot model"):
            models([name], cells, workspace)


def test_a_broken_device_file_hides_no_other_device(workspace, cells, tmp_path, monkeypatch) -> None:
    own = tmp_path / "devices"
    own.mkdir()
    (own / "pixel3.yaml").write_text("name: pixel3")
    monkeypatch.setenv("FLEETFRONT_DEVICES", str(own))
    assert models(["raspi4"], cells, workspace, runtime="tflite")[0].name == "raspi4"
    with pytest.raises(InputError, match="not a device config"):
        models(["pixel3"], cells, workspace, runtime="tflite")
    teacher = find_teacher(cells, workspace=workspace, store=workspace.store, unknown_device="raspi4")
    assert "pixel3 (estimated)" not in {device.name for device in teacher.devices}


def test_damaged_fits_do_not_teach_and_the_report_says_so(workspace, cells, tmp_path) -> None:
    names = ["gold_6240", "silver_4114", "titanx_1", "titanx_32"]
    with Store(workspace.store) as store:
        for scale, name in enumerate(names, start=1):
            import_table(table(tmp_path, cells, name, scale), cells, store, source=Source("somebody", "MIT"))
    folder = workspace.fits / cells.name
    folder.mkdir(parents=True)
    (folder / "fpga_litert_fp32_t1_b1@wall.json").write_text("{")
    teacher = find_teacher(cells, workspace=workspace, store=workspace.store, unknown_device="raspi4")
    assert {device.name for device in teacher.devices} == set(names)
    few = teacher.choose(5, np.random.default_rng(0))
    report = teacher.fit(Target("raspi4", "litert"), few, np.linspace(3, 9, 5), second_opinion=False).report
    assert len(report.left_out) == 1
    assert report.left_out[0].startswith("fpga: ")
    assert "is corrupt" in report.to_json()["left_out"][0]


def test_imported_blocks_serve_without_a_fit(workspace, shared_data) -> None:
    space = load_space("ofa-mbv3-w1.2")
    with Store(workspace.store) as store:
        import_ofa_lut(shared_data / "ofa_mbv3/note10_lut_w12", "note10", store)
    (note10,) = models(["note10"], space, workspace)
    assert note10.model.tier is Tier.MEASURED
    assert "not calibrated" in note10.warnings[0]
    # Nobody can be sent to profile a phone that a table was published of.
    assert not any("fleetfront profile" in warning for warning in note10.warnings)
    genotypes = space.sample(20, np.random.default_rng(0))
    ms = note10.model.predict(genotypes).mean
    # The published tables' networks take 10 to 70 ms on this phone.
    assert ((ms > 8) & (ms < 80)).all()


def test_a_device_that_nobody_knows_names_the_near_one(workspace, cells) -> None:
    with pytest.raises(InputError, match="pixel3"):
        models(["pixle3"], cells, workspace)


def test_fits_of_one_device_stand_side_by_side(workspace) -> None:
    space = load_space("ofa-mbv3-mini")
    for runtime, batch, per_mac in (("litert", 1, 1e-5), ("litert", 8, 7e-5), ("onnxruntime", 1, 2e-5)):
        fitted(workspace, Target("cpu", runtime, batch=batch), space, per_mac)
    names = ["cpu/litert/b8", "cpu/onnxruntime", "cpu/litert/fp32/t1/b1"]
    found = models(names, space, workspace)
    assert [device.name for device in found] == ["cpu-litert-b8", "cpu-onnxruntime", "cpu-litert-fp32-t1-b1"]
    slow, middle, fast = (device.model.predict(space.sample(5, np.random.default_rng(0))).mean for device in found)
    assert (fast < middle).all()
    assert (middle < slow).all()
    with pytest.raises(InputError, match="cpu/litert/fp32/t1/b8"):
        models(["cpu/tensorrt"], space, workspace)


def test_int8_serves_where_it_is_named_or_nothing_else_is_known(workspace) -> None:
    space = load_space("ofa-mbv3-mini")
    fitted(workspace, Target("cpu", "litert", "int8"), space)
    (alone,) = models(["cpu"], space, workspace)
    assert alone.target.precision == "int8"
    (searched,) = device_models(["cpu"], space, workspace=workspace, everywhere=True)
    assert any("accuracies are of networks in float" in warning for warning in searched.warnings)
    fitted(workspace, Target("cpu", "litert"), space)
    fitted(workspace, Target("cpu", "litert", "int8"), space)
    found = models(["cpu", "cpu/litert", "cpu/int8"], space, workspace)
    assert [one.target.precision for one in found] == ["fp32", "fp32", "int8"]


def test_an_estimate_that_cannot_be_defended_serves_nobody(workspace) -> None:
    space = load_space("ofa-mbv3-mini")
    assert "gold_6226" not in {device.name for device in models(["all"], space, workspace)}
    with pytest.raises(InputError, match="cannot be defended"):
        models(["gold_6226"], space, workspace)
    (row,) = [row for row in list_devices(workspace) if row.name == "gold_6226"]
    assert (row.tier, row.problem) == ("", "")
    assert "cannot be defended" in row.note
