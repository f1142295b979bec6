"""Numbers in another unit than milliseconds: asked for with --unit, else said; and metrics other than latency."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from fleetfront.cli.main import main
from fleetfront.device_configs import loader
from fleetfront.device_configs.facts import DeviceConfig, Fact
from fleetfront.errors import InputError
from fleetfront.pipelines.importing.importers import import_ofa_lut, import_table
from fleetfront.pipelines.importing.units import doubt_unit
from fleetfront.pipelines.knowledge.cost_models import device_models
from fleetfront.predictors.table.networks import load_network_table
from fleetfront.profilers.records import Role
from fleetfront.profilers.store.store import Store
from fleetfront.quantities import ENERGY, LATENCY
from fleetfront.spaces.catalogue import load_space
from fleetfront.targets import Target
from fleetfront.workspace import Workspace

CELLS = load_space("nasbench201")
MINE = Target("mydev", "unknown", "unknown")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store.sqlite") as opened:
        yield opened


def test_frames_a_second_are_no_times(tmp_path: Path, store: Store) -> None:
    networks = CELLS.sample(40, np.random.default_rng(0))
    ms = 2.0 + CELLS.macs(networks) / 1e7
    for name, column, said in (("ms", ms, ""), ("fps", 1e3 / ms, "as frames a second do")):
        lines = [f"{arch},{value}" for arch, value in zip(CELLS.arch_ids(networks), column, strict=True)]
        table = tmp_path / f"{name}.csv"
        table.write_text("\n".join(["arch,lat_mydev", *lines]))
        if said:
            with pytest.raises(InputError, match=said) as caught:
                import_table(table, CELLS, store)
            assert "write 1000 / them" in caught.value.remedy
        else:
            import_table(table, CELLS, store)
    assert doubt_unit("lat_x", np.full(40, 5.0), CELLS.macs(networks)) == []


@pytest.mark.parametrize("column", ["lat_mydev_std", "lat_mydev (err)", "lat_mydev.ci95"])
def test_spreads_are_no_latencies_of_another_device(tmp_path: Path, store: Store, column: str) -> None:
    table = tmp_path / "spread.csv"
    (arch,) = CELLS.arch_ids(CELLS.sample(1, np.random.default_rng(0)))
    table.write_text(f"arch,lat_mydev,{column}\n{arch},10,0.3\n")
    with pytest.raises(InputError, match="a spread is no latency"):
        import_table(table, CELLS, store)
    table.write_text(f"arch,lat_{column.removeprefix('lat_mydev').strip('_ .()')}\n{arch},10\n")
    assert import_table(table, CELLS, store)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("09_seconds.csv", "give --unit s."),
        ("10_micros.csv", "give --unit us."),
        ("34_mixed_units.csv", "as numbers in two units do"),
    ],
)
def test_strangers_tables_in_other_units_are_refused_until_their_unit_is_said(
    shared_data: Path, store: Store, name: str, said: str
) -> None:
    cells = load_space("nasbench201")
    with pytest.raises(InputError, match="was not imported") as caught:
        import_table(shared_data / "cases/tables" / name, cells, store, skip_invalid=True)
    assert said in str(caught.value)
    assert "--unit ms" in caught.value.remedy
    assert store.holdings() == []
    assert any(
        said.split(" give ")[0] in text or "median" in text
        for text in import_table(shared_data / "cases/tables" / name, cells, store, unit="ms").warnings
    )


def test_the_data_sheet_bounds_what_a_unit_can_mean() -> None:
    """A board that does 6 GFLOP/s does no 300, which any GPU might."""
    target = Target("board", "tflite-cpu")
    facts = {"peak_fp32_gflops": Fact(6.0, "printed on the box")}
    config = DeviceConfig("board", "A board", "board", target, "", facts)
    ms, macs = np.full(9, 0.01), np.full(9, 1_500_000)
    assert doubt_unit("lat_board", ms, macs) == []
    ((said, todo),) = doubt_unit("lat_board", ms, macs, config=config)
    assert "above what the data sheet of A board allows" in said
    assert "--unit s" in todo
    assert doubt_unit("lat_board", 1e3 * ms, macs, config=config) == []
    batched = replace(config, target=replace(target, batch=64))
    assert doubt_unit("lat_board", 64e3 * ms, macs, config=batched) == []


def test_tables_of_public_devices_are_in_no_doubt(shared_data: Path, store: Store) -> None:
    cells = load_space("nasbench201")
    report = import_table(shared_data / "nb201/nb201.csv", cells, store)
    assert len(report.targets) == 13
    assert not any("median" in text or "two groups" in text for text in report.warnings)


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("1_0", "with underscores"),
        ("\uff11\uff12", "in other digits"),
        ("1,5", "with a comma"),
        ("0x1p4", "hexadecimal"),
        ("infinity", "not finite"),
        ("5 ms", "with a unit"),
    ],
)
def test_cells_that_only_python_reads_are_no_numbers(tmp_path: Path, store: Store, cell: str, said: str) -> None:
    cells = load_space("nasbench201")
    a, b = cells.arch_ids(cells.sample(2, np.random.default_rng(3)))
    path = tmp_path / "table.csv"
    path.write_text(f'arch,lat_mine\n{a},5\n{b},"{cell}"\n', encoding="utf-8")
    with pytest.raises(InputError, match=f"line 3, lat_mine: .*{said}"):
        import_table(path, cells, store)


def test_spreadsheets_first_lines_and_comments_are_understood(shared_data: Path, tmp_path: Path) -> None:
    cells = load_space("nasbench201")
    seen = []
    for name in ("06_sep_line_excel.csv", "28_comment_lines.csv"):
        with Store(tmp_path / f"{name}.sqlite") as store:
            assert import_table(shared_data / "cases/tables" / name, cells, store).items == 60
            seen.append(load_network_table(store, cells, MINE).ms.tolist())
    assert seen[0] == seen[1]


def test_names_of_columns_become_names_of_devices_and_it_is_said(
    shared_data: Path, tmp_path: Path, store: Store
) -> None:
    cells = load_space("nasbench201")
    report = import_table(shared_data / "cases/tables/38_device_name_slash.csv", cells, store)
    assert [target.device for target in report.targets] == ["my-dev:1", "uni"]
    assert any("'my/dev:1'" in text and "my-dev:1/unknown" in text for text in report.warnings)
    (a,) = cells.arch_ids(cells.sample(1, np.random.default_rng(3)))
    for header in ("lat_a/b,lat_a-b", "lat_a/b,lat_a|b", "lat_///,lat_x"):
        path = tmp_path / "table.csv"
        path.write_text(f"arch,{header}\n{a},5,6\n")
        with pytest.raises(InputError, match="cannot be the name of a device"):
            import_table(path, cells, store)


def test_a_unit_that_is_given_serves(shared_data: Path, store: Store) -> None:
    cells = load_space("nasbench201")
    path = shared_data / "cases/tables/10_micros.csv"
    report = import_table(path, cells, store, unit="us")
    assert not any("unit" in text for text in report.warnings)
    assert np.median(load_network_table(store, cells, MINE).ms) == pytest.approx(9.323, rel=0.2)
    with pytest.raises(InputError, match="'hours' is not a unit of latency"):
        import_table(path, cells, store, unit="hours")


@pytest.mark.parametrize(("scale", "unit"), [(1e-3, "s"), (1e3, "us")])
def test_lookup_tables_in_other_units(shared_data: Path, tmp_path: Path, store: Store, scale: float, unit: str) -> None:
    folder = tmp_path / "lut"
    shutil.copytree(shared_data / "ofa_mbv3/note10_lut_w12", folder)
    for path in folder.iterdir():
        path.chmod(0o644)
        values = yaml.safe_load(path.read_text())
        path.write_text(yaml.safe_dump({k: {**v, "mean": v["mean"] * scale} for k, v in values.items()}))
    with pytest.raises(InputError, match=rf"give --unit {unit}\."):
        import_ofa_lut(folder, "note10", store)
    assert store.holdings() == []
    with Store(tmp_path / "right.sqlite") as right:
        assert import_ofa_lut(folder, "note10", right, unit=unit).warnings == ()
        key = "mbconv(act=hard_swish,e=4,k=7,out=192,s=1,se=1)@192x7x7"
        assert 1_525_178 in {row.samples[0] for row in right.measurements(key=key, role=Role.BLOCK)}


@pytest.mark.parametrize("text", ["1" + "0" * 400, "-1" + "0" * 400, ".inf", "-.inf", ".nan", "true", "[1]"])
def test_numbers_that_are_none_are_problems_of_their_line(
    shared_data: Path, tmp_path: Path, store: Store, text: str
) -> None:
    folder = tmp_path / "lut"
    folder.mkdir()
    source = (shared_data / "ofa_mbv3/note10_lut_w12/224_lookup_table.yaml").read_text()
    lines = source.splitlines()
    at = next(i for i, line in enumerate(lines) if line.strip().startswith("mean:"))
    lines[at] = lines[at].partition("mean:")[0] + f"mean: {text}"
    (folder / "224_lookup_table.yaml").write_text("\n".join(lines))
    with pytest.raises(InputError, match="mean is") as caught:
        import_ofa_lut(folder, "note10", store)
    assert len(str(caught.value)) < 400


def test_energy_is_imported_and_serves_under_its_own_metric(tmp_path: Path) -> None:
    cells = load_space("nasbench201")
    genotypes = cells.every()
    workspace = Workspace(tmp_path)
    mj = 1 + cells.macs(genotypes) / 1e8
    rows = zip(cells.arch_ids(genotypes), mj.tolist(), (2 * mj).tolist(), strict=True)
    path = tmp_path / "table.csv"
    path.write_text("arch,energy_pixel3,lat_pixel3\n" + "".join(f"{a},{e:.6f},{t:.6f}\n" for a, e, t in rows))
    with Store(workspace.store) as store:
        with pytest.raises(InputError, match="unit of energy is not given"):
            import_table(path, cells, store, metric=ENERGY)
        report = import_table(path, cells, store, metric=ENERGY, unit="mJ")
        assert report.new == len(genotypes)
    (found,) = device_models(["pixel3"], cells, workspace=workspace, metric=ENERGY, everywhere=True)
    assert found.model.metric == ENERGY
    np.testing.assert_allclose(found.model.predict(genotypes[:9]).mean, 1e3 * mj[:9], atol=1e-3)
    (other,) = device_models(["pixel3"], cells, workspace=workspace)
    assert (other.model.metric, other.model.tier.value) == (LATENCY, "estimated")
    with pytest.raises(InputError, match="no energy model"):
        device_models(["raspi4"], cells, workspace=workspace, metric=ENERGY)


def test_configs_are_read_once_however_many_columns_have_none(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = load_space("nasbench201")
    (arch,) = cells.arch_ids(cells.sample(1, np.random.default_rng(3)))
    read = []
    monkeypatch.setattr(loader, "_read", lambda path, _read=loader._read: read.append(path) or _read(path))
    names = [f"board_{i}" for i in range(50)]
    path = tmp_path / "wide.csv"
    path.write_text(",".join(["arch", *(f"lat_{name}" for name in names)]) + f"\n{arch},{','.join(['5'] * 50)}\n")
    assert len(import_table(path, cells, store).targets) == 50
    # A config may be like another one, which is read for it.
    assert len(read) <= 2 * len(loader.device_names())


def test_predict_names_the_metric(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cells = load_space("nasbench201")
    archs = cells.arch_ids(cells.sample(3, np.random.default_rng(5)))
    path = tmp_path / "table.csv"
    path.write_text("arch,energy_pixel3\n" + "".join(f"{arch},{i + 1}\n" for i, arch in enumerate(archs)))
    assert main(["import", "table", str(path), "--space", "nasbench201", "--metric", "energy", "--unit", "mJ"]) == 0
    capsys.readouterr()
    common = ["--device", "pixel3", "--space", "nasbench201", "--accuracy", "none", "--metric", "energy"]
    assert main(["predict", archs[2], *common, "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["energy_uJ"], row["tier"]) == (3000.0, "measured")
    assert main(["predict", archs[2], *common]) == 0
    assert "energy uJ" in capsys.readouterr().out


def test_repeats_are_noticed(tmp_path: Path, store: Store) -> None:
    cells = load_space("nasbench201")
    archs = cells.arch_ids(np.unique(cells.sample(200, np.random.default_rng(0)), axis=0)[:120])
    once, shared = np.arange(120) + 3.14159, np.arange(120) // 2 + 3.14159
    lines = [f"{arch},{a:.5f},{b:.5f}" for arch, a, b in zip(archs, once, shared, strict=True)]
    table = tmp_path / "table.csv"
    table.write_text("\n".join(["arch,lat_once,lat_shared", *lines]) + "\n")
    told = [text for text in import_table(table, cells, store).warnings if "measured once" in text]
    assert len(told) == 1
    assert "lat_shared has 60 different values for 120 networks" in told[0]


def test_two_numbers_of_one_network_that_are_far_apart_are_refused(tmp_path: Path, store: Store) -> None:
    """The median of 10 ms and 999 ms is a time that nobody measured."""
    archs = CELLS.arch_ids(CELLS.sample(12, np.random.default_rng(0)))
    path = tmp_path / "table.csv"
    lines = [f"{arch},{10 + i}" for i, arch in enumerate(archs)]
    path.write_text("\n".join(["arch,lat_foo", *lines, f"{archs[1]},12", f"{archs[0]},999", f"{archs[2]},0.5"]) + "\n")
    with pytest.raises(InputError, match="line 15, lat_foo: 999 for the architecture that line 2 gives 10; line 16"):
        import_table(path, CELLS, store)
    report = import_table(path, CELLS, store, skip_invalid=True)
    assert (report.items, report.new, len(report.problems)) == (12, 13, 2)


@pytest.mark.parametrize(("scale", "unit"), [(1e-3, "s"), (1e3, "us"), (1e6, "ns")])
def test_the_unit_that_is_advised_is_one_that_makes_sense(
    tmp_path: Path, store: Store, scale: float, unit: str
) -> None:
    macs = CELLS.macs(genotypes := CELLS.sample(30, np.random.default_rng(0)))
    rows = [
        f"{arch},{scale * (1 + work / 5e6):.9g}" for arch, work in zip(CELLS.arch_ids(genotypes), macs, strict=True)
    ]
    path = tmp_path / "table.csv"
    path.write_text("\n".join(["arch,lat_foo", *rows]) + "\n")
    with pytest.raises(InputError) as caught:
        import_table(path, CELLS, store)
    assert f"give --unit {unit}." in caught.value.remedy


def test_a_cell_without_end_is_quoted_in_part(tmp_path: Path, store: Store) -> None:
    path = tmp_path / "table.csv"
    path.write_text(f"arch,lat_foo\n{CELLS.arch_ids(CELLS.sample(1, np.random.default_rng(0)))[0]},{'9' * 400}\n")
    with pytest.raises(InputError, match=r"line 2, lat_foo: '9{40}'\.\.\. \(400 letters\) is not a positive number"):
        import_table(path, CELLS, store)
