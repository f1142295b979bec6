import csv
import math
import subprocess
import sys
from pathlib import Path

import pytest

from fleetfront.device_configs import loader
from fleetfront.device_configs.facts import FACT_KINDS
from fleetfront.device_configs.loader import device_names, load_device

LITERATURE = [
    "1080ti_1",
    "1080ti_32",
    "1080ti_256",
    "titanx_1",
    "titanx_32",
    "titanx_256",
    "titan_rtx_256",
    "silver_4114",
    "silver_4210r",
    "gold_6226",
    "gold_6240",
    "samsung_a50",
    "samsung_s7",
    "pixel2",
    "pixel3",
    "essential_ph_1",
    "raspi4",
    "fpga",
    "eyeriss",
]
SHIPPED = sorted(path.stem for path in Path(loader.__file__).parent.glob("*.yaml"))
WHOLE_MILLISECONDS = {"pixel2", "samsung_a50", "samsung_s7", "essential_ph_1"}


@pytest.fixture(autouse=True)
def _no_user_devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FLEETFRONT_DEVICES", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


def test_every_setting_of_the_literature_is_there() -> None:
    assert {*LITERATURE, "note10", "cpu", "cuda", "android"} <= set(device_names())
    assert len(LITERATURE) == 19


@pytest.mark.parametrize("name", SHIPPED)
def test_every_file_is_valid_and_names_its_sources(name: str) -> None:
    config = load_device(name)
    assert config.name == config.target.device == name
    assert config.title
    for key, fact in config.facts.items():
        assert FACT_KINDS[key].low <= fact.value <= FACT_KINDS[key].high
        assert (
            "http" in fact.source or "computed" in fact.source or "NVIDIA GP102" in fact.source or "IEEE" in fact.source
        )
    if name not in {"cpu", "cuda", "android"}:
        assert "http" in config.setting


@pytest.mark.parametrize("name", SHIPPED)
def test_peak_rates_follow_from_cores_and_clock(name: str) -> None:
    config = load_device(name)
    cores, clock, peak = (config.fact(key) for key in ("cores", "clock_ghz", "peak_fp32_gflops"))
    if peak is None:
        return
    assert cores is not None
    assert clock is not None
    per_cycle = {"gpu": {2}, "cpu": {32, 64}, "phone": {8}, "board": {8}}[config.kind]
    assert any(math.isclose(peak, cores * clock * flops, abs_tol=0.06) for flops in per_cycle)


def test_batch_is_part_of_the_name() -> None:
    for name in device_names():
        stem, _, last = name.rpartition("_")
        if load_device(name).kind == "gpu" and stem and last.isdigit():
            assert load_device(name).target.batch == int(last)


@pytest.mark.parametrize("table", ["nb201/nb201.csv", "fbnet/latency.csv", "ofa_mbv3/latency_gpus.csv"])
def test_every_column_of_the_public_tables_has_a_config(shared_data: Path, table: str) -> None:
    with (shared_data / table).open() as file:
        columns = [name.removeprefix("lat_") for name in next(csv.reader(file)) if name.startswith("lat_")]
    assert columns
    for column in columns:
        config = load_device(column)
        assert column in (config.name, *config.aliases)


def test_whole_millisecond_tables_are_marked(shared_data: Path) -> None:
    with (shared_data / "fbnet/latency.csv").open() as file:
        rows = list(csv.DictReader(file))[:50]
    rounded = {
        column.removeprefix("lat_")
        for column in rows[0]
        if column.startswith("lat_") and all(float(row[column]).is_integer() for row in rows)
    }
    assert rounded == WHOLE_MILLISECONDS
    marked = {name for name in LITERATURE if load_device(name).timing_resolution_ms is not None}
    assert marked == WHOLE_MILLISECONDS


def test_importing_the_package_loads_neither_yaml_nor_pydantic() -> None:
    code = (
        "import sys, fleetfront.device_configs.loader, fleetfront.device_configs.facts\n"
        "heavy = {'yaml', 'pydantic'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
