"""Inspect files and networks on the command line."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

Told = Callable[..., tuple[int, str, str]]

NETWORK = """
import torch
from torch import nn

def make():
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())
"""


def test_a_file_is_told_and_what_comes_next(told: Told, tmp_path: Path, onnx_bytes: bytes) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(onnx_bytes)
    code, out, err = told("inspect", str(path), "--operators")
    assert code == 0
    assert "0.1475 million" in out
    assert "Conv" in out
    assert f"fleetfront profile --file {path}" in err
    code, out, _ = told("inspect", str(path), "--json")
    assert code == 0
    assert json.loads(out)["macs"] == 8 * 8 * 9 * 16 * 16


def test_what_comes_next_runs_at_the_sizes_that_were_inspected(told: Told, tmp_path: Path) -> None:
    from tests.pipelines.measure.test_file_inputs import convolution

    path = tmp_path / "my detector.onnx"
    path.write_bytes(convolution("batch", 3, "height", "width"))
    code, _, err = told("inspect", str(path))
    assert code == 2
    assert "--shape x=1,3,640,640" in err
    assert "--inputs" not in err
    code, _, err = told("inspect", str(path), "--shape", "x=1,3,12,20")
    assert code == 0
    (line,) = [line for line in err.splitlines() if "Next: " in line]
    command = shlex.split(line.partition("fleetfront ")[2])
    code, out, _ = told(*command, "--json")
    assert code == 0
    assert json.loads(out)["inputs"] == [{"name": "x", "shape": [1, 3, 12, 20], "dtype": "float32"}]


def test_what_comes_next_has_arrays_where_the_file_goes_by_them(told: Told, shared_data: Path) -> None:
    code, _, err = told("inspect", str(shared_data / "cases" / "onnx" / "e_topk_k.onnx"))
    assert code == 0
    assert "--device cpu --inputs x.npz" in err


def test_a_torch_network_is_told(told: Told, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(NETWORK)
    spec = f"{tmp_path / 'net.py'}:make"
    code, out, _ = told("inspect", "--torch", spec, "--shape", "1,3,10,10", "--json")
    assert code == 0
    assert json.loads(out)["macs"] == 8 * 8 * 8 * 27
    (tmp_path / "inputs.py").write_text("import torch\nexample = torch.zeros(2, 3, 10, 10)\n")
    code, out, _ = told("inspect", "--torch", spec, "--example", f"{tmp_path / 'inputs.py'}", "--json")
    assert code == 0
    assert json.loads(out)["macs"] == 2 * 8 * 8 * 8 * 27


def test_a_function_may_give_the_input_with_its_network(told: Told, tmp_path: Path) -> None:
    pair = f"{NETWORK}\ndef both():\n    return make(), torch.zeros(1, 3, 10, 10)\n"
    (tmp_path / "net.py").write_text(pair)
    spec = f"{tmp_path / 'net.py'}:both"
    code, out, _ = told("inspect", "--torch", spec, "--json")
    assert code == 0
    assert json.loads(out)["macs"] == 8 * 8 * 8 * 27
    code, _, err = told("inspect", "--torch", spec, "--shape", "1,3,10,10")
    assert code == 2
    assert "gave the input, too, and --shape says another" in err


def test_names_from_files_cannot_act_on_the_terminal(told: Told, tmp_path: Path, onnx_bytes: bytes) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(onnx_bytes.replace(b"x", b"\x1b"))
    code, out, err = told("inspect", str(path), "--operators")
    assert code == 0
    assert "\x1b" not in (out + err).replace("\x1b[1m", "").replace("\x1b[0m", "")
    assert "\\x1b float32" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Name one model"),
        (["missing.onnx"], "missing.onnx is missing"),
        (["README.md"], "end in '.md'"),
        (["m.onnx", "--example", "x.npz"], "--example is for --torch"),
        (["m.onnx", "--signature", "s"], "no signatures"),
    ],
)
def test_wrong_usage_is_refused(
    told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, onnx_bytes: bytes, arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "README.md").write_text("x")
    (tmp_path / "m.onnx").write_bytes(onnx_bytes)
    code, _, err = told("inspect", *arguments)
    assert code == 2
    assert said in err
