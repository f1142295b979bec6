"""``profile`` for GPUs: what is refused without one, and several batches walked through with a rehearsing agent."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fleetfront.cli.console import echo
from fleetfront.cli.main import main
from fleetfront.cli.profile.batches import Variant, profile_variants, summarise_variants, variants_of
from fleetfront.cli.profile.space import launch_bound, tell_launch_bound
from fleetfront.errors import BarMissed, MissingDependency
from fleetfront.predictors.table.fit_files import list_fits, load_fit
from fleetfront.profilers.gpu import nvml, open_agent
from fleetfront.profilers.gpu.agent import GpuOptions
from fleetfront.profilers.gpu.visit_timing import TimingOptions
from fleetfront.profilers.store.store import Store
from fleetfront.quantities import Clock
from fleetfront.runtimes.cuda_device import driver_version
from fleetfront.targets import Target
from fleetfront.workspace import Workspace

SPACE = ("--space", "ofa-mbv3-mini")


@pytest.mark.skipif(bool(driver_version()), reason="an NVIDIA GPU is here")
@pytest.mark.parametrize("runtime", ["torch", "onnxruntime", "tensorrt", "onnxruntime-tensorrt"])
def test_without_a_gpu_the_device_is_refused_with_a_remedy(runtime: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    assert main(["profile", "--device", "cuda:0", "--runtime", runtime, *SPACE, "-q"]) == 3
    error = capsys.readouterr().err
    assert "sees no CUDA device" in error
    assert "fleetfront doctor" in error


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--device", "cuda:0", "--precision", "int8"], "not profiled in int8"),
        (["--device", "cuda:0", "--runtime", "litert"], "runtime of a GPU"),
        (["--device", "cuda:0", "--threads", "2"], "means nothing on a GPU"),
        (["--device", "cuda:x"], "not a CUDA device"),
        (["--device", "cuda:0", "--batch", "1,x"], "is not a batch"),
        (["--device", "cuda:0", "--batch", "0"], "is not a batch"),
        (["--device", "cpu", "--batch", "1,2"], "Several batches cannot be had on cpu"),
        (["--device", "cuda:0", "--few", "3"], "--few"),
        (["--device", "cpu", "--calibration", "4", "--target-error", "2"], "too few to tell an error by"),
        (["--device", "cpu", "--precision", "tf32"], "fp32"),
        (["--device", "cpu", "--runtime", "tensorrt"], "runtime"),
    ],
)
def test_wrong_usage_is_explained(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", *arguments, *SPACE, "-q"]) == 2
    assert said in capsys.readouterr().err


def test_a_dry_run_needs_no_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--device", "cuda", "--precision", "tf32", "--batch", "64,1", "--dry-run", "--json"]
    assert main(["profile", *arguments, *SPACE]) == 0
    plans = json.loads(capsys.readouterr().out)
    assert [plan["target"] for plan in plans] == ["cuda:0/torch/tf32/t1/b1", "cuda:0/torch/tf32/t1/b64"]


def test_a_dry_run_says_that_no_driver_tells_of_the_gpu(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_driver() -> Any:
        raise MissingDependency("NVML cannot be started (no driver).", "Install NVIDIA's driver.")

    monkeypatch.setattr(nvml, "import_nvml", no_driver)
    assert main(["profile", "--device", "cuda:99", "--dry-run", *SPACE]) == 0
    assert "Whether there is a cuda:99 is not known: NVML cannot be started" in capsys.readouterr().out


@pytest.mark.parametrize(("device", "code"), [("cuda:1", 0), ("cuda:2", 3)])
def test_a_dry_run_refuses_a_gpu_that_the_driver_does_not_have(
    device: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(nvml, "import_nvml", lambda: SimpleNamespace(nvmlDeviceGetCount=lambda: 2))
    assert main(["profile", "--device", device, "--dry-run", *SPACE]) == code
    told = capsys.readouterr()
    assert "not known" not in told.out
    assert ("this machine has 2 GPUs" in told.err) == bool(code)


def test_batches_are_profiled_and_fitted_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch")

    def rehearse(target: Target, *_: Any, **__: Any) -> Any:
        return open_agent.rehearsal_agent(target, GpuOptions(timing=TimingOptions(buffers=1)))

    monkeypatch.setattr(open_agent, "open_gpu_agent", rehearse)
    # The target ends it after three rounds, however busy this machine is.
    limits = ["--calibration", "5", "--validation", "3", "--target-error", "100", "--budget", "10m"]
    arguments = ["--device", "cuda:0", "--batch", "1,2", *limits]
    store = tmp_path / "store.sqlite"
    assert main(["profile", *arguments, *SPACE, "--store", str(store), "--json", "-q"]) == 0
    results = json.loads(capsys.readouterr().out)
    assert [one["target"].rsplit("/", 1)[1] for one in results] == ["b1", "b2"]
    for one in results:
        assert one["clock"] == "device"
        assert one["fit"]["clock"] == "device"
        assert [other["clock"] for other in one["fit"]["other_clocks"]] == ["wall"]
        assert one["fit"]["target"] == one["target"]
        assert "median_eager_ratio" in one["launches"]
    fits = [load_fit(path) for path in list_fits(Workspace.default(), "ofa-mbv3-mini")]
    assert {(str(fit.target), fit.clock.value, fit.is_preferred) for fit in fits} == {
        (one["target"], clock, clock == "device") for one in results for clock in ("device", "wall")
    }
    with Store(store) as opened:
        rows = list(opened.measurements(target=Target.parse(results[1]["target"])))
    assert {row.clock for row in rows} == {Clock.DEVICE, Clock.WALL}
    assert launch_bound(store, results[0]["campaign"])["networks"] > 0
    summarise_variants([Target.parse(one["target"]) for one in results], "ofa-mbv3-mini")
    table = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [row[1:3] for row in table[1:]] == [["1", "device"], ["1", "wall"], ["2", "device"], ["2", "wall"]]
    assert main(["fit", "--device", "cuda:0", *SPACE, "--store", str(store), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["clock"] == "device"


def test_launch_bound_networks_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    tell_launch_bound({"networks": 70, "launch_bound": 65, "median_eager_ratio": 4.2})
    assert "65 of 70 networks are launch-bound" in capsys.readouterr().err
    tell_launch_bound({"networks": 70, "launch_bound": 0, "median_eager_ratio": 1.1})
    assert "None of 70" in capsys.readouterr().err
    tell_launch_bound({"networks": 0, "launch_bound": 0, "median_eager_ratio": None})
    assert capsys.readouterr().err == ""


def test_one_batch_missing_its_bar_does_not_stop_the_next(capsys: pytest.CaptureFixture[str]) -> None:
    done = []

    def run(one: Variant) -> None:
        done.append(one.batch)
        echo(json.dumps({"batch": one.batch}))
        if one.batch == 1:
            raise BarMissed("The target error of 2 % was not reached.")

    with pytest.raises(BarMissed, match="fp32, batch 1: The target error"):
        profile_variants(variants_of((1, 64), "fp32"), run, True)
    assert done == [1, 64]
    assert json.loads(capsys.readouterr().out) == [{"batch": 1}, {"batch": 64}]
