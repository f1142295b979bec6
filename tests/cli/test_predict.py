"""Read files of architectures with `predict`, and see it refuse others. The numbers are tested in the pipelines."""

import json
from dataclasses import replace

import numpy as np
import pytest

from fleetfront.cli.main import main
from fleetfront.predictors.table.fit_files import save_fit
from fleetfront.predictors.table.fitting import fit_model
from fleetfront.spaces.catalogue import load_space
from fleetfront.spaces.ofa_mbv3.space import ofa_mbv3_mini, ofa_mbv3_w10
from fleetfront.targets import Target
from fleetfront.workspace import Workspace
from tests.predictors.synthetic_device import SyntheticDevice

SPACE = load_space("nasbench201")
COMMAND = ["predict", "--space", SPACE.name, "--device", "pixel3", "--accuracy", "none", "--json"]


@pytest.fixture
def archs() -> list[str]:
    return SPACE.arch_ids(SPACE.sample(3, np.random.default_rng(0)))


@pytest.mark.parametrize("text", ["{0}\n{1}\n{2}\n", "\ufeff{0}\r\n\r\n {1} \r\n{2}", "\ufeffarch\n{0}\n{1}\n{2}\n"])
def test_files_of_architectures(tmp_path, capsys, archs: list[str], text: str) -> None:
    path = tmp_path / "archs.txt"
    path.write_bytes(text.format(*archs).encode())
    assert main([*COMMAND, "--archs", str(path)]) == 0
    assert [row["arch"] for row in json.loads(capsys.readouterr().out)] == archs


def test_what_comes_next_is_said(capsys, archs: list[str]) -> None:
    assert main([*COMMAND[:-1], archs[0], "--device", "raspi4"]) == 0
    assert (
        "fleetfront search --devices pixel3,raspi4 --space nasbench201 --accuracy csv:PATH\n" in capsys.readouterr().err
    )


def test_a_store_that_is_not_there_is_no_reason_to_estimate(tmp_path, capsys, archs: list[str]) -> None:
    assert main([*COMMAND, archs[0], "--store", str(tmp_path / "none.sqlite")]) == 2
    assert "There is no store" in capsys.readouterr().err


def test_a_wrong_line_is_named(tmp_path, capsys, archs: list[str]) -> None:
    path = tmp_path / "archs.txt"
    path.write_text(f"{archs[0]}\n\nnonsense\n{archs[1]}\n")
    assert main([*COMMAND, "--archs", str(path)]) == 2
    assert "line 3: 'nonsense' is not an architecture" in capsys.readouterr().err


def test_estimates_that_nobody_could_check_are_named(capsys, archs: list[str]) -> None:
    assert main([*COMMAND, archs[0], "--devices", "pixel3,raspi4,fpga,eyeriss,silver_4114"]) == 0
    said = capsys.readouterr().err
    assert "5 of 5 devices are estimated" in said
    assert "Nobody could check the estimates of raspi4, fpga, eyeriss" in said


def test_a_device_of_another_machine_is_a_row_with_its_remedy(capsys) -> None:
    space = ofa_mbv3_mini()
    model = fit_model(space, SyntheticDevice(space).observe()).model
    save_fit(model, Workspace.default())
    save_fit(replace(model, target=Target("cpu", "litert"), environment={"cpu": "Abacus"}), Workspace.default())
    arch = space.arch_ids(space.sample(1, np.random.default_rng(0)))[0]
    common = ["predict", arch, "--devices", "all", "--space", space.name, "--accuracy", "none"]
    assert main([*common, "--json"]) == 2
    said = capsys.readouterr()
    rows = {row["device"]: row for row in json.loads(said.out)}
    assert rows["synthetic"]["latency_ms"] > 0
    assert rows["cpu"]["latency_ms"] is None
    assert "fleetfront fit --device cpu --runtime litert" in rows["cpu"]["error"]
    assert f"1 of {len(rows)} devices were left out: cpu" in said.err
    assert main(common) == 2
    said = capsys.readouterr()
    assert "synthetic" in said.out
    assert "cpu is left out" in said.err


def test_numbers_that_may_be_far_off_are_marked(capsys) -> None:
    arch = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"
    common = ["predict", arch, "--device", "eyeriss", "--space", "nasbench201", "--accuracy", "none"]
    assert main([*common, "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["may_be_far_off"] is True
    # Nobody could check estimates of it: a factor of six either way.
    assert row["latency_low_ms"] == pytest.approx(row["latency_ms"] / 6)
    assert row["latency_high_ms"] == pytest.approx(row["latency_ms"] * 6)
    assert main(common) == 0
    said = capsys.readouterr()
    assert " ?" in said.out
    assert "x/3" in said.out
    assert "further than 20%" in said.err


def test_both_spreads_are_shown_as_json_tells_them(capsys) -> None:
    """Within the sitting of the model, and when somebody runs it: only for models that tell them apart."""
    space = ofa_mbv3_mini()
    save_fit(fit_model(space, SyntheticDevice(space).observe()).model, Workspace.default())
    arch = space.arch_ids(space.sample(1, np.random.default_rng(0)))[0]
    common = ["predict", arch, "--device", "synthetic", "--space", space.name, "--accuracy", "none"]
    assert main([*common, "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert main(common) == 0
    heading, *_, shown = capsys.readouterr().out.strip().splitlines()
    assert heading.index("+- when you run it") < heading.index("+- same sitting")
    assert row["latency_std_ms"] > row["latency_std_same_sitting_ms"]
    for name, spread in (("+- when you run it", "latency_std_ms"), ("+- same sitting", "latency_std_same_sitting_ms")):
        assert shown[heading.index(name) :].split()[0] == f"{row[spread]:.2g}"
    large = ofa_mbv3_w10()
    save_fit(fit_model(large, SyntheticDevice(large).observe(validation=0)).model, Workspace.default())
    arch = large.arch_ids(large.sample(1, np.random.default_rng(0)))[0]
    assert main(["predict", arch, "--device", "synthetic", "--space", large.name, "--accuracy", "none"]) == 0
    said = capsys.readouterr()
    heading, *_, shown = said.out.strip().splitlines()
    assert shown[heading.index("+- when you run it") :].split()[0] == "-"
    assert "no interval is promised for when you run them" in said.err
    assert main([*COMMAND[:-1], SPACE.arch_ids(SPACE.sample(1, np.random.default_rng(0)))[0]]) == 0
    assert "same sitting" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--file", "net.onnx", "--metric", "peak_memory"], "files and modules are predicted in latency alone"),
        (["--file", "net.onnx", "--space", "fbnet"], "--space: for architectures of a space alone"),
        (["--torch", "net.py:both", "--shape", "1,3,8,8"], "gave the input, too, and --shape says another"),
        (["5,5,5", "--shape", "1,3,8,8", "--by", "operator"], "--shape, --by: for files and modules alone"),
    ],
)
def test_options_that_would_mean_nothing_are_refused(tmp_path, capsys, monkeypatch, options, words) -> None:
    pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(
        "import torch\ndef both():\n    return torch.nn.Conv2d(3, 8, 1), torch.empty(1, 3, 16, 16)\n"
    )
    assert main(["predict", *options]) == 2
    said = capsys.readouterr()
    assert words in said.err
    assert said.out == ""
