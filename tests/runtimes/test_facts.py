"""A runtime's facts lie in one record: what other rooms say of runtimes is read from it."""

import sys
from pathlib import Path

import pytest

from fleetfront.deploy.formats import ALL_FORMATS
from fleetfront.errors import InputError
from fleetfront.quantities import Clock
from fleetfront.runtimes.catalogue import all_facts, facts_of, find_facts, load_runtime, place_of, places
from fleetfront.runtimes.facts import Half
from fleetfront.targets import PRECISIONS

PLUGIN = """
from fleetfront.runtimes.facts import OnDevice, Package, RuntimeFacts

class Ncnn:
    name = "ncnn"

FACTS = RuntimeFacts(
    name="ncnn", title="ncnn", code="strangers_runtime:Ncnn", formats=("param",), layout="NCHW",
    packages=(Package("ncnn", "", "opening .param files"),), on={"cpu": (OnDevice("ncnn", "onnx"),)},
)
WRONG = 1
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A package of somebody else's with a runtime, installed as pip would leave it."""

    def install(entry: str) -> None:
        (tmp_path / "strangers_runtime.py").write_text(PLUGIN)
        info = tmp_path / "strangers_runtime-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: strangers-runtime\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[fleetfront.runtimes]\n{entry}\n")
        monkeypatch.syspath_prepend(str(tmp_path))
        all_facts.cache_clear()

    yield install
    all_facts.cache_clear()
    sys.modules.pop("strangers_runtime", None)


def test_records_speak_of_what_exists() -> None:
    for name, facts in all_facts().items():
        assert facts.name == name
        assert facts.layout in ("NCHW", "NHWC")
        assert load_runtime(name).name == name
        assert facts.packages
        for kind, on in facts.on.items():
            assert kind in ("cpu", "cuda", "adb")
            for place in on:
                assert set(place.precisions) <= set(PRECISIONS)
                assert place.clocks
                assert ("fp16" in place.precisions) == (place.half != Half.NOBODY)
    for name, kind in ALL_FORMATS.items():
        assert name in facts_of(kind.runtime).formats


def test_names_on_devices_lead_to_their_runtime() -> None:
    assert facts_of("tflite-gpu") is facts_of("litert")
    assert find_facts("eyeriss-simulator") is None
    assert tuple(places("adb")) == ("tflite-cpu", "tflite-gpu", "tflite-npu", "tflite-nnapi")
    assert [next(iter(places(kind))) for kind in ("cpu", "cuda", "adb")] == ["litert", "torch", "tflite-cpu"]
    assert place_of("cuda", "onnxruntime").clocks[0] == Clock.WALL
    assert place_of("cuda", "tensorrt").clocks[0] == Clock.DEVICE
    with pytest.raises(InputError, match="tflite-gpu"):
        place_of("adb", "tflite-gpuu")


def test_a_package_brings_a_runtime(installed) -> None:
    installed("ncnn = strangers_runtime:FACTS\nlitert = strangers_runtime:WRONG")
    assert load_runtime("ncnn").name == "ncnn"
    assert "ncnn" in places("cpu")
    assert facts_of("litert").title == "LiteRT"


@pytest.mark.parametrize("entry", ["ncnn = strangers_runtime:WRONG", "other = strangers_runtime:FACTS"])
def test_a_package_without_a_record_is_named(installed, entry: str) -> None:
    installed(entry)
    with pytest.raises(InputError, match="strangers-runtime"):
        all_facts()
