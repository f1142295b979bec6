"""Importing trtexec's files into the store, from the function and from the command line."""

import json
from pathlib import Path

import pytest

from fleetfront.cli.main import main
from fleetfront.errors import InputError
from fleetfront.pipelines.importing.trtexec import Measured, import_trtexec
from fleetfront.pipelines.measure.operator_time_files import list_operator_times
from fleetfront.profilers.records import Role
from fleetfront.profilers.store.store import Store
from fleetfront.quantities import Clock
from fleetfront.spaces.ofa_mbv3.space import ofa_mbv3_mini
from fleetfront.spaces.supernet.subnets import smallest
from fleetfront.workspace import Workspace

SPACE = ofa_mbv3_mini()
ARCH = SPACE.arch_id(smallest(SPACE))


@pytest.fixture
def times(tmp_path: Path) -> Path:
    path = tmp_path / "times.json"
    path.write_text(json.dumps([{"computeMs": 1.0 + 0.01 * i, "latencyMs": 1.5} for i in range(20)]))
    return path


def test_a_network_has_a_row_a_clock_and_its_layers(times: Path, tmp_path: Path) -> None:
    profile, layers = tmp_path / "profile.json", tmp_path / "layers.json"
    profile.write_text('[{"count": 9}, {"name": "Conv_0", "timeMs": 9, "averageMs": 1.0, "percentage": 100}]')
    layers.write_text('{"Layers": ["Conv_0"], "Bindings": ["x"]}')
    with Store(tmp_path / "s.sqlite") as store:
        more = {"space": SPACE, "measured": Measured(arch=ARCH), "precision": "fp16", "batch": 64}
        report = import_trtexec(times, "h100", store, profile=profile, layers=layers, **more)  # type: ignore[arg-type]
        assert [str(target) for target in report.targets] == ["h100/tensorrt/fp16/t1/b64"]
        assert (report.new, report.known) == (2, 0)
        device, wall = sorted(store.measurements(), key=lambda row: row.clock)
        again = import_trtexec(times, "h100", store, profile=profile, layers=layers, **more)  # type: ignore[arg-type]
        assert (again.new, again.known) == (0, 2)
    assert (device.clock, wall.clock) == (Clock.DEVICE, Clock.WALL)
    assert (device.role, device.key, device.space, device.flags) == (Role.NETWORK, ARCH, SPACE.name, ("imported",))
    assert device.samples[:2] == (1_000_000, 1_010_000)
    assert len(wall.samples) == 20
    assert device.after["layer_ms"] == [["Conv_0", 1.0, None]]
    assert device.after["layers"] == ["Conv_0"]


def test_blocks_and_files(times: Path, tmp_path: Path) -> None:
    key = SPACE.vocabulary[0].key
    with Store(tmp_path / "s.sqlite") as store:
        import_trtexec(times, "h100", store, space=SPACE, measured=Measured(block=key))
        import_trtexec(times, "h100", store)
        rows = {(row.role, row.space) for row in store.measurements()}
        assert rows == {(Role.BLOCK, SPACE.name), (Role.FILE, "")}
        for wrong in (Measured(block="nonsense"), Measured(ARCH, key), Measured(arch="k3")):
            with pytest.raises(InputError):
                import_trtexec(times, "h100", store, space=SPACE, measured=wrong)
        with pytest.raises(InputError, match="--space"):
            import_trtexec(times, "h100", store, measured=Measured(arch=ARCH))


def test_a_trace_with_its_warm_up_is_pointed_out(tmp_path: Path) -> None:
    path = tmp_path / "times.json"
    path.write_text(json.dumps([{"computeMs": 5.0}, *({"computeMs": 1.0} for _ in range(9))]))
    with Store(tmp_path / "s.sqlite") as store:
        (warning,) = import_trtexec(path, "h100", store).warnings
    assert "warm-up" in warning


def test_the_command(times: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = str(tmp_path / "s.sqlite")
    arguments = ["import", "trtexec", str(times), "--device", "cuda:0", "--store", store, "--json"]
    assert main([*arguments, "--space", SPACE.name, "--arch", ARCH, "--precision", "tf32"]) == 0
    assert json.loads(capsys.readouterr().out)["target"] == "cuda:0/tensorrt/tf32/t1/b1"
    times.write_text('[{"computeMs": nan}]')
    assert main(arguments) == 2
    assert "not JSON" in capsys.readouterr().err


@pytest.mark.parametrize("entry", [{"computeMs": 1e300}, {"computeMs": 1.0, "latencyMs": 1e10}])
def test_impossible_times_are_refused(tmp_path: Path, entry: dict[str, float]) -> None:
    path = tmp_path / "times.json"
    path.write_text(json.dumps([entry]))
    with Store(tmp_path / "s.sqlite") as store, pytest.raises(InputError, match="milliseconds up to 1e"):
        import_trtexec(path, "h100", store)


def test_layers_are_told_beside_both_totals(
    times: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLEETFRONT_HOME", str(tmp_path / "home"))
    profile = tmp_path / "profile.json"
    layers = [{"name": "Conv_0 + Relu_1", "averageMs": 1.5}, {"name": "Softmax_2", "averageMs": 0.6, "medianMs": 0.5}]
    profile.write_text(json.dumps([{"count": 9}, *layers]))
    command = ["import", "trtexec", str(times), "--device", "h100", "--profile", str(profile)]
    assert main([*command, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["operators"]
    # The median of 1.00 to 1.19 ms undisturbed, 2 ms under the profiler: shares of three quarters and one.
    assert told["undisturbed_ms"] == pytest.approx(1.095)
    assert told["operators_ms"] == pytest.approx(2.0)
    assert [(row["share"], row["fused"]) for row in told["operators"]] == [(0.75, True), (0.25, False)]
    assert sum(row["ms"] for row in told["operators"]) == pytest.approx(1.095)
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert "1.095 ms" in shown
    assert "2 ms in all" in shown
    assert "(fused)" in shown
    (kept,), damaged = list_operator_times(Workspace(tmp_path / "home"))
    assert (kept.to_json(), damaged) == (told, [])


@pytest.mark.parametrize(("latency", "count"), [(1.5, 0), (1.0, 0), (0.9951, 0), (0.5, 3)])
def test_an_inference_shorter_than_its_time_on_the_gpu_is_doubted(tmp_path: Path, latency: float, count: int) -> None:
    path = tmp_path / "times.json"
    path.write_text(json.dumps([{"computeMs": 1.0, "latencyMs": latency}] * 3))
    with Store(tmp_path / "s.sqlite") as store:
        warnings = import_trtexec(path, "h100", store).warnings
    assert [text.split()[0] for text in warnings] == ([str(count)] if count else [])
