"""``fleetfront search`` from the command line: what it prints at the edges, and how limits are read."""

import json
import shlex
from pathlib import Path

import pytest

from fleetfront.cli.main import main
from fleetfront.cli.search.command import _barred, _held
from fleetfront.cli.search.text import next_search, tell_idle
from fleetfront.errors import InputError
from fleetfront.spaces.catalogue import load_space


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEETFRONT_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


def test_an_empty_front_is_told_and_the_next_command_can_be_typed(capsys: pytest.CaptureFixture[str]) -> None:
    drawn = ["search", "--strategy", "random", "--evaluations", "2", "-q", "--limit", "pixel3=27", "--out", "my fronts"]
    assert main([*drawn, "--devices", "pixel3,pixel2"]) == 0
    told = capsys.readouterr()
    assert "0 points" in told.out
    assert "No network that was evaluated is within its limit." in told.err
    assert "of ten such devices (pixel2), expect one with many latencies outside" in told.err
    (line,) = (line for line in told.err.splitlines() if line.startswith("Next: "))
    assert shlex.split(line)[1:6] == ["fleetfront", "deploy", "--front", "my fronts", "--knee"]

    assert main([*drawn, "--devices", "pixel3"]) == 0
    assert "Every front is empty: search again" in capsys.readouterr().err


def test_a_limit_that_nothing_meets_leaves_no_folder(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", "--devices", "pixel3", "--limit", "1", "-q"]) == 2
    assert "the fastest found takes" in capsys.readouterr().err
    assert not Path("fronts").exists()


def test_what_is_said_twice_must_be_the_same() -> None:
    space = load_space("ofa-mbv3-w1.2")
    assert _held(["resolution=224", "kernel_1=3"], space) == {"resolution": 224, "kernel_1": 3}
    with pytest.raises(InputError, match="holds resolution at 224 and at 192"):
        _held(["resolution=224", "resolution=192"], space)


def test_excluded_values_add_up_and_slips_name_their_option() -> None:
    space = load_space("ofa-mbv3-w1.2")
    barred = _barred(["kernel_1=7", "kernel_1=5", "resolution=224"], space)
    assert barred == {"kernel_1": (7, 5), "resolution": (224,)}
    with pytest.raises(InputError, match="--exclude 'kernel_1' has no value"):
        _barred(["kernel_1"], space)


def test_a_workspace_that_cannot_be_written_costs_no_result(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("file").write_text("")
    monkeypatch.setenv("FLEETFRONT_HOME", str(Path("file/home").absolute()))
    assert main(["search", "--device", "pixel3", "--strategy", "random", "--evaluations", "2", "-q"]) == 0
    told = capsys.readouterr()
    assert "accuracy %" in told.out
    assert "Warning: Cannot write" in told.err
    assert "Next: fleetfront deploy --front fronts --knee" in told.err


def test_a_former_name_of_a_strategy_still_serves_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    told = ["search", "--device", "pixel3", "--strategy", "house", "--evaluations", "30", "-q", "--json"]
    assert main(told) == 0
    shown = capsys.readouterr()
    found = json.loads(shown.out)
    assert found["strategy"] == "hybrid"
    assert {"gene", "value", "share", "difference"} == set(found["devices"]["pixel3"]["choices"][0])
    assert "The strategy house is now called hybrid." in shown.err


def test_the_strategies_are_listed_and_their_settings_read(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", "--strategy", "help"]) == 0
    assert "first=16" in capsys.readouterr().out
    told = ["search", "--device", "pixel3", "--evaluations", "20", "-q", "--json", "--strategy"]
    assert main([*told, "random:batch=7"]) == 0
    assert json.loads(capsys.readouterr().out)["strategy"] == "random:batch=7"
    assert main([*told, "surrogate:frist=3"]) == 2
    assert "Did you mean 'first'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("space", "accuracy"),
    [
        ("ofa-mbv3-w1.2", []),
        ("ofa-mbv3-mini", ["--accuracy", "supernet:WEIGHTS", "--images", "FOLDER"]),
        ("nasbench201", ["--accuracy", "csv:PATH"]),
    ],
)
def test_a_search_is_named_with_an_accuracy_that_it_can_have(
    space: str, accuracy: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    next_search("--device pixel3", space)
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("Next: "))
    assert shlex.split(line) == ["Next:", "fleetfront", "search", "--device", "pixel3", "--space", space, *accuracy]


def test_further_metrics_are_shown_beside_latency(capsys: pytest.CaptureFixture[str]) -> None:
    told = ["search", "--device", "pixel3", "--strategy", "random", "--evaluations", "30", "-q"]
    assert main([*told, "--objective", "macs", "--limit", "pixel3:params=1e7"]) == 0
    shown = capsys.readouterr().out
    (header,) = (line for line in shown.splitlines() if line.strip().startswith("latency ms"))
    assert header.split() == ["latency", "ms", "tier", "accuracy", "%", "tier", "macs", "params", "architecture"]


def test_sizes_are_shown_in_mebibytes_with_where_they_come_from(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from fleetfront.pipelines import file_sizes

    monkeypatch.setattr(file_sizes, "FILES", 8)
    told = ["search", "--device", "pixel3", "--strategy", "random", "--evaluations", "30", "-q"]
    assert main([*told, "--objective", "size", "--limit", "size=24MiB"]) == 0
    shown = capsys.readouterr()
    (header,) = (line for line in shown.out.splitlines() if line.strip().startswith("latency ms"))
    assert header.split()[-3:] == ["size", "MiB", "architecture"]
    assert "Size is that of the file that the device is handed, estimated from written ones to" in shown.err
    assert main([*told, "--limit", "size=24MiBB"]) == 2
    assert "or with a unit: --limit size=4MiB" in capsys.readouterr().err


def test_more_processes_than_networks_a_batch_are_told_how_to_have_work(capsys: pytest.CaptureFixture[str]) -> None:
    for strategy, processes in (("surrogate", 2), ("surrogate:least=8", 8), ("hybrid", 8)):
        tell_idle(strategy, processes)
    assert not capsys.readouterr().err
    tell_idle("surrogate", 8)
    assert "--strategy surrogate:least=8 all 8 processes have work" in " ".join(capsys.readouterr().err.split())


def test_a_slip_in_a_strategys_name_is_told_before_anything_else(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", "--device", "nobody-has-this", "--strategy", "surogate"]) == 2
    told = capsys.readouterr().err
    assert "Unknown strategy 'surogate'" in told
    assert "Did you mean 'surrogate'" in told


def test_classes_are_chosen_among_images(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", "--device", "pixel3", "--classes", "cat,dog", "-q"]) == 2
    assert "the accuracy built-in looks at none" in capsys.readouterr().err
