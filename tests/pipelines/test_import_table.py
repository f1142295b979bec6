from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleetfront.errors import InputError
from fleetfront.pipelines.importing.importers import import_table
from fleetfront.predictors.table.networks import load_network_table
from fleetfront.profilers.records import Role
from fleetfront.profilers.store.store import Source, Store
from fleetfront.quantities import Clock, Tier
from fleetfront.spaces.ofa_mbv3.space import ofa_mbv3_w10
from fleetfront.targets import Target

SPACE = ofa_mbv3_w10()
SOURCE = Source("somebody's table", "MIT", "https://example.org")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store.sqlite") as opened:
        yield opened


def archs(n: int) -> list[str]:
    return SPACE.arch_ids(SPACE.sample(n, np.random.default_rng(0)))


def table(tmp_path: Path, lines: list[str], name: str = "table.csv") -> Path:
    path = tmp_path / name
    path.write_text("\n".join(lines) + "\n")
    return path


def test_public_table_arrives_as_it_stands(shared_data: Path, store: Store) -> None:
    report = import_table(shared_data / "ofa_mbv3/latency_gpus.csv", SPACE, store, source=SOURCE)
    assert (report.items, report.new, report.known, report.warnings) == (5000, 40_000, 0, ())
    target = Target("titanxp_32", "pytorch", "fp32", 1, 32)
    assert target in report.targets  # the table says titan_xp_32, an alias
    row = next(store.measurements(target=target, key="k75007700570053005350_e64006300360036006430_d22223_r204"))
    assert row.samples == (28_963_050,)
    assert (row.role, row.clock, row.flags) == (Role.NETWORK, Clock.UNKNOWN, ("imported",))
    assert store.sources(target)[0].licence == "MIT"


def test_importing_again_or_in_another_order_adds_nothing(tmp_path: Path, store: Store) -> None:
    a, b, c = archs(3)
    first = import_table(table(tmp_path, ["arch,lat_pixel3", f"{a},1.5", f"{b},2.5", f"{c},3.5"]), SPACE, store)
    assert first.new == 3
    wider = table(tmp_path, ["lat_pixel3,arch,lat_fpga", f"2.50,{b},7", f"1.5,{a},8", f"3.5,{c},9"], "wider.csv")
    second = import_table(wider, SPACE, store)
    assert (second.new, second.known) == (3, 3)
    third = import_table(wider, SPACE, store)
    assert (third.new, third.known) == (0, 6)


def test_a_network_given_twice_has_two_visits(tmp_path: Path, store: Store) -> None:
    a, b = archs(2)
    import_table(table(tmp_path, ["arch,lat_pixel3", f"{a},1", f"{b},5", f"{a},3"]), SPACE, store)
    model = load_network_table(store, SPACE, Target("pixel3", "tflite", "unknown"))
    estimate = model.predict(SPACE.parse([a, b]))
    assert estimate.mean.tolist() == [2.0, 5.0]
    assert estimate.std.tolist() == [1.0, 0.0]


@pytest.mark.parametrize("cell", ["0", "-1", "nan", "inf", "fast", "1,5", "1e-9", "1e300", "1e13"])
def test_bad_values_are_refused_with_line_and_column(tmp_path: Path, store: Store, cell: str) -> None:
    a, b, c = archs(3)
    path = table(tmp_path, ["arch,lat_fpga,lat_pixel3", f"{a},1,2", "", f'{b},3,"{cell}"', f"{c},5,6"])
    with pytest.raises(InputError, match=r"line 4, lat_pixel3: .* not a positive number") as caught:
        import_table(path, SPACE, store)
    assert "--skip-invalid" in caught.value.remedy
    assert store.holdings() == []
    report = import_table(path, SPACE, store, skip_invalid=True)
    assert report.new == 5
    assert [(problem.line, problem.column) for problem in report.problems] == [(4, "lat_pixel3")]


def test_unknown_architectures_are_refused_with_line_and_reason(tmp_path: Path, store: Store) -> None:
    a, b = archs(2)
    wrong = a.rpartition("_r")[0] + "_r130"
    path = table(tmp_path, ["arch,lat_pixel3", f"{a},1", f"{wrong},2", f"{b},3", "f7818488874147327324245,4"])
    with pytest.raises(InputError, match=r"line 3, arch: .*the resolution is one of.*line 5, arch"):
        import_table(path, SPACE, store)
    report = import_table(path, SPACE, store, skip_invalid=True)
    assert (report.items, report.new, len(report.problems)) == (2, 2, 2)


def test_another_spaces_table_is_refused(shared_data: Path, store: Store) -> None:
    for skip_invalid in (False, True):
        with pytest.raises(InputError, match=r"holds no architecture of ofa-mbv3-w1\.0 \(line 2, arch") as caught:
            import_table(shared_data / "fbnet/latency.csv", SPACE, store, skip_invalid=skip_invalid)
        assert "--space" in caught.value.remedy


def test_whole_milliseconds_are_a_warning_and_a_flag(tmp_path: Path, store: Store) -> None:
    lines = [f"{arch},{20 + i % 7},{20.5 + i}" for i, arch in enumerate(archs(30))]
    report = import_table(table(tmp_path, ["arch,lat_pixel2,lat_pixel3", *lines]), SPACE, store)
    assert [text.split()[0] for text in report.warnings] == ["lat_pixel2"]
    assert "whole milliseconds" in report.warnings[0]
    flags = {row.target.device: row.flags for row in store.measurements()}
    assert flags == {"pixel2": ("imported", "whole-milliseconds"), "pixel3": ("imported",)}


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["architecture,lat_pixel3", "x,1"], "Rename the column 'architecture'"),
        (["arch,pixel3", "x,1"], "no column lat_<device>"),
        (["arch,lat_pixel3,lat_pixel3", "x,1,2"], "occurs twice"),
        (["arch,lat_pixel3"], "holds no network"),
        ([""], "no column 'arch'"),
        (["arch;lat_pixel3", "x;1,234"], "x"),
        (["arch,latency_pixel3", "x,1"], "Found: arch, latency_pixel3"),
        (["arch,lat_pixel3", "x,1,2"], "line 2: 3 cells where the header has 2"),
        (['arch,lat_pixel3\n"x,1'], "not CSV"),
    ],
)
def test_what_is_no_table_says_so(tmp_path: Path, store: Store, lines: list[str], expected: str) -> None:
    with pytest.raises(InputError, match=r".") as caught:
        import_table(table(tmp_path, lines), SPACE, store)
    assert expected in str(caught.value)


def test_short_lines_binary_and_missing_files(tmp_path: Path, store: Store) -> None:
    a, b = archs(2)
    with pytest.raises(InputError, match="line 3: 1 cells where the header has 2"):
        import_table(table(tmp_path, ["arch,lat_pixel3", f"{a},1", b]), SPACE, store)
    (tmp_path / "binary.csv").write_bytes(b"arch\xff,lat_x")
    with pytest.raises(InputError, match="UTF-8"):
        import_table(tmp_path / "binary.csv", SPACE, store)
    with pytest.raises(InputError, match="cannot be read"):
        import_table(tmp_path / "absent.csv", SPACE, store)
    with pytest.raises(InputError, match=r"str_arch2idx\.pt"):
        import_table(tmp_path, SPACE, store)


def test_devices_without_config_are_kept_and_said(tmp_path: Path, store: Store) -> None:
    (a,) = archs(1)
    path = table(tmp_path, ["arch,lat_pixle3,lat_mine", f"{a},1,2"])
    mine = Target("mine", "litert", "int8", 4, 1)
    report = import_table(path, SPACE, store, targets={"mine": mine})
    assert report.targets == (Target("pixle3", "unknown", "unknown"), mine)
    assert len(report.warnings) == 1
    assert "Did you mean 'pixel3'?" in report.warnings[0]


def test_empty_cells_are_warnings_and_odd_units_must_be_said(tmp_path: Path, store: Store) -> None:
    a, b = archs(2)
    path = table(tmp_path, ["arch,lat_pixel3,lat_fpga", f"{a},0.0012,", f"{b},0.0013,4"])
    with pytest.raises(InputError, match="above any device known here"):
        import_table(path, SPACE, store)
    report = import_table(path, SPACE, store, unit="ms")
    assert report.new == 3
    assert any("1 empty cells" in text for text in report.warnings)
    assert any("which would mean that networks run at" in text for text in report.warnings)


def test_a_table_without_any_latency_is_refused(tmp_path: Path, store: Store) -> None:
    (a,) = archs(1)
    with pytest.raises(InputError, match="holds no latency"):
        import_table(table(tmp_path, ["arch,lat_pixel3", f"{a},"]), SPACE, store)


def test_repeated_architectures_are_counted_once_and_said(tmp_path: Path, store: Store) -> None:
    a, b = archs(2)
    report = import_table(table(tmp_path, ["arch,lat_pixel3", f"{a},1.5", f"{b},5", f"{a},3"]), SPACE, store)
    assert (report.items, report.new) == (2, 3)
    assert report.warnings == ("1 lines repeat an architecture and count as further measurements: the median serves.",)


def test_sources_are_kept_as_one_printable_line(tmp_path: Path, store: Store) -> None:
    (a,) = archs(1)
    path = table(tmp_path, ["arch,lat_pixel3", f"{a},1.5"], "a\nb\x1b[31m.csv")
    assert import_table(path, SPACE, store).source.name == "a b [31m.csv"


def test_a_corrected_table_does_not_replace_the_first_and_says_so(tmp_path: Path, store: Store) -> None:
    a, b, c = archs(3)
    import_table(table(tmp_path, ["arch,lat_pixel3,lat_fpga", f"{a},1.5,1.5", f"{b},50,2.5"]), SPACE, store)
    corrected = table(tmp_path, ["arch,lat_pixel3", f"{a},1.5", f"{b},5.5", f"{c},6.5"], "corrected.csv")
    (warning,) = import_table(corrected, SPACE, store).warnings
    assert "2 networks of pixel3 were imported before" in warning
    assert "--store" in warning
    assert import_table(corrected, SPACE, store).warnings == ()


def test_ten_measurements_in_whole_milliseconds_are_said(tmp_path: Path, store: Store) -> None:
    lines = [f"{arch},{20 + i}" for i, arch in enumerate(archs(10))]
    (warning,) = import_table(table(tmp_path, ["arch,lat_pixel3", *lines]), SPACE, store).warnings
    assert "whole milliseconds" in warning


@pytest.mark.parametrize(
    ("column", "said"),
    [
        ([5, 10, 15, 20], "comes in steps of 5 ms: rounding alone is up to 20.0 %"),
        ([0.3, 0.9, 1.2, 1.5], "comes in steps of 0.3 ms"),
        ([10.7, 12.31], "has only 2 different values for 20 networks"),
        ([8830, 7450, 2620, 7265, 8540], ""),
    ],
)
def test_coarse_and_stuck_clocks_are_said(tmp_path: Path, store: Store, column: list[float], said: str) -> None:
    lines = [f"{arch},{column[i % len(column)]}" for i, arch in enumerate(archs(20 if said else 5))]
    report = import_table(table(tmp_path, ["arch,lat_pixel3", *lines]), SPACE, store)
    assert said in "".join(report.warnings)
    assert bool(report.warnings) == bool(said)


def test_few_networks_are_kept_in_the_order_of_the_file(tmp_path: Path, store: Store) -> None:
    rows = [f"{arch},{1.5 + i}" for i, arch in enumerate(sorted(archs(12), reverse=True))]
    assert import_table(table(tmp_path, ["arch,lat_pixel3", *rows]), SPACE, store).new == 12
    assert [row.key for row in store.measurements()] == [row.split(",")[0] for row in rows]
    assert import_table(table(tmp_path, ["arch,lat_pixel3", *reversed(rows)]), SPACE, store).new == 0


def test_help_folder(tmp_path: Path, store: Store) -> None:
    torch = pytest.importorskip("torch")
    a, b = archs(2)
    (tmp_path / "latency").mkdir()
    torch.save({b: 1, a: 0}, tmp_path / "str_arch2idx.pt")
    torch.save(torch.tensor([1.5, 2.5]), tmp_path / "latency" / "pixel3.pt")
    report = import_table(tmp_path, SPACE, store)
    assert report.new == 2
    model = load_network_table(store, SPACE, Target("pixel3", "tflite", "unknown"))
    assert model.predict(SPACE.parse([a, b])).mean.tolist() == [1.5, 2.5]
    torch.save([1.0, float("nan")], tmp_path / "latency" / "fpga.pt")
    with pytest.raises(InputError, match="line 2, lat_fpga"):
        import_table(tmp_path, SPACE, store)
    for index in ({a: 0, b: "1"}, {a: 0, b: 0}, [a, b], {}):
        torch.save(index, tmp_path / "str_arch2idx.pt")
        with pytest.raises(InputError, match=r"does not number|holds no"):
            import_table(tmp_path, SPACE, store)
    torch.save({b: 1, a: 0}, tmp_path / "str_arch2idx.pt")
    torch.save(print, tmp_path / "latency" / "fpga.pt")
    with pytest.raises(InputError, match="not a torch file of plain values"):
        import_table(tmp_path, SPACE, store)


def test_lookup_refuses_what_it_does_not_know(tmp_path: Path, store: Store) -> None:
    a, b, c = archs(3)
    target = Target("pixel3", "tflite", "unknown")
    with pytest.raises(InputError, match="holds no whole network"):
        load_network_table(store, SPACE, target)
    import_table(table(tmp_path, ["arch,lat_pixel3", f"{a},1", f"{b},2"]), SPACE, store, source=SOURCE)
    model = load_network_table(store, SPACE, target, resolution_ms=1.0)
    estimate = model.predict(SPACE.parse([b, a, b]))
    assert estimate.mean.tolist() == [2.0, 1.0, 2.0]
    assert estimate.std == pytest.approx([0.288675] * 3, rel=1e-5)
    assert estimate.tier is Tier.MEASURED
    assert model.source == "somebody's table (MIT)"
    with pytest.raises(InputError, match="1 of 2 are not") as caught:
        model.predict(SPACE.parse([a, c]))
    assert c in str(caught.value)
    assert "fleetfront fit --device pixel3 --space ofa-mbv3-w1.0" in caught.value.remedy


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_table_reads_back_to_the_nanosecond(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    names = archs(6)
    picked = data.draw(st.lists(st.sampled_from(names), unique=True, min_size=1))
    values = data.draw(st.lists(st.floats(1e-6, 1e6), min_size=len(picked), max_size=len(picked)))
    folder = tmp_path_factory.mktemp("import")
    lines = [f"{arch},{value!r}" for arch, value in zip(picked, values, strict=True)]
    with Store(folder / "store.sqlite") as store:
        import_table(table(folder, ["arch,lat_pixel3", *lines]), SPACE, store, unit="ms")
        model = load_network_table(store, SPACE, Target("pixel3", "tflite", "unknown"))
        np.testing.assert_allclose(model.predict(SPACE.parse(picked)).mean, values, atol=0.5e-6)
