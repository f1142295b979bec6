"""Files of trtexec: the two forms of times that its versions write, profiles, layers, and everything that is wrong."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetfront.errors import InputError
from fleetfront.profilers.gpu.trtexec import read_layers, read_profile, read_times

#: As TensorRT 7's trtexec prints them.
OLD = """[
  { "startInMs" : 10.1, "endInMs" : 10.2, "startComputeMs" : 10.2, "endComputeMs" : 11.45, "startOutMs" : 11.5,
    "endOutMs" : 11.6, "inMs" : 0.1, "computeMs" : 1.25, "outMs" : 0.1, "latencyMs" : 1.45, "endToEndMs" : 2.5 }
, { "startInMs" : 12.1, "endInMs" : 12.2, "startComputeMs" : 12.2, "endComputeMs" : 13.4, "startOutMs" : 13.5,
    "endOutMs" : 13.6, "inMs" : 0.1, "computeMs" : 1.2, "outMs" : 0.1, "latencyMs" : 1.4, "endToEndMs" : 2.4 }
]"""
#: As TensorRT 8 to 11's.
NEW = """[
  { "startEnqMs" : 0.2, "endEnqMs" : 0.3, "startH2dMs" : 0.1, "endH2dMs" : 0.2, "startComputeMs" : 0.3,
    "endComputeMs" : 1.1, "startD2hMs" : 1.1, "endD2hMs" : 1.2, "h2dMs" : 0.1, "computeMs" : 0.8123456, "d2hMs" : 0.1,
    "latencyMs" : 1.0123456 }
]"""
PROFILE = """[
  { "count" : 512 }
, { "name" : "Conv_0 + HardSwish_1", "timeMs" : 6.4, "averageMs" : 0.0125, "medianMs" : 0.0122, "percentage" : 60 }
, { "name" : "Conv_2", "timeMs" : 4.1, "averageMs" : 0.008, "percentage" : 40 }
]"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "file.json"
    path.write_text(text)
    return path


def test_times_of_old_and_new_versions(tmp_path: Path) -> None:
    old = read_times(written(tmp_path, OLD))
    assert (old.compute_ns, old.latency_ns) == ((1_250_000, 1_200_000), (1_450_000, 1_400_000))
    new = read_times(written(tmp_path, NEW))
    assert (new.compute_ns, new.latency_ns) == ((812_346,), (1_012_346,))
    assert read_times(written(tmp_path, '[{"computeMs": 2}]')).latency_ns == ()


@settings(max_examples=30, deadline=None)
@given(values=st.lists(st.floats(1e-3, 1e4), min_size=1, max_size=20))
def test_every_time_is_kept_in_order(tmp_path_factory: pytest.TempPathFactory, values: list[float]) -> None:
    path = tmp_path_factory.mktemp("times") / "t.json"
    path.write_text(json.dumps([{"computeMs": value, "latencyMs": value} for value in values]))
    assert read_times(path).compute_ns == pytest.approx([value * 1e6 for value in values], abs=1)


def test_profiles_with_and_without_medians(tmp_path: Path) -> None:
    profile = read_profile(written(tmp_path, PROFILE))
    assert profile.runs == 512
    assert [(layer.name, layer.average_ms, layer.median_ms) for layer in profile.layers] == [
        ("Conv_0 + HardSwish_1", 0.0125, 0.0122),
        ("Conv_2", 0.008, None),
    ]


@pytest.mark.parametrize(
    "data",
    [
        {"Layers": ["Conv_0", "Conv_1"], "Bindings": ["x", "y"]},
        {"Layers": [{"Name": "Conv_0", "LayerType": "CaskConvolution"}, {"Name": "Conv_1"}], "I/O Tensors": []},
    ],
)
def test_layers_of_both_verbosities(tmp_path: Path, data: dict[str, Any]) -> None:
    assert read_layers(written(tmp_path, json.dumps(data))) == ("Conv_0", "Conv_1")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not JSON"),
        (NEW[:100], "not JSON"),
        ('[{"computeMs" : nan}]', "not JSON"),
        ('{"computeMs": 1}', "not a list"),
        ("[1, 2]", "entry 0 is not an object"),
        ("[]", "no inference"),
        ('[{"computeMs": 1}, {"latencyMs": 1}]', "entry 1 has computeMs None"),
        ('[{"computeMs": 0}]', "computeMs 0"),
        ('[{"computeMs": -1.5}]', "computeMs -1.5"),
        ('[{"computeMs": NaN}]', "it holds NaN"),
        ('[{"computeMs": 1' + "0" * 400 + "}]", "a whole number of 401 digits"),
        ('[{"computeMs": 1e12}]', "computeMs 1000000000000.0"),
        ('[{"computeMs": true}]', "computeMs True"),
        ('[{"computeMs": "1"}]', "computeMs '1'"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_a_failed_parse_is_never_a_time(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InputError) as refusal:
        read_times(written(tmp_path, text))
    assert said in str(refusal.value)
    assert "trtexec" in str(refusal.value)


def test_other_wrong_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_times(tmp_path / "absent.json")
    for text in ("[]", '[{"name": "x"}]', '[{"count": 3}, {"averageMs": 1}]', '[{"count": 3}, {"name": "x"}]'):
        with pytest.raises(InputError):
            read_profile(written(tmp_path, text))
    for text in ("[]", "{}", '{"Layers": [{}]}', '{"Layers": 3}'):
        with pytest.raises(InputError, match="exportLayerInfo"):
            read_layers(written(tmp_path, text))
