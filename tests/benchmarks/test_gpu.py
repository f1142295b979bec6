"""``benchmarks/gpu.py`` runs where torch, numpy and scipy are all there is, and says so where there is no GPU."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fleetfront.runtimes.cuda_device import driver_version

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "benchmarks" / "gpu.py"

#: Everything that pyproject.toml asks for besides numpy, scipy and torch.
ABSENT = (
    "ai_edge_litert", "ai_edge_quantizer", "adb_shell", "click", "flatbuffers", "jinja2", "moocore", "onnx",
    "onnxruntime", "onnxscript", "PIL", "pydantic", "pymoo", "pynvml", "rich", "safetensors",
    "sklearn", "tensorrt", "xgboost", "yaml",
)  # fmt: skip

HOOK = f"""
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {ABSENT!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
"""


def run(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # Python imports sitecustomize before anything of ours.
    (tmp_path / "sitecustomize.py").write_text(HOOK)
    # torch's own threads would fight with those of other tests.
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, str(PROGRAM), *arguments],
        capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=300, check=False,
    )  # fmt: skip


def results() -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (ROOT / "benchmarks" / "results").glob("*gpu*")}


def test_the_hook_hides_what_is_installed(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(HOOK)
    code = "import numpy\ntry:\n    import click\nexcept ModuleNotFoundError:\n    print('hidden')"
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(tmp_path)}, check=True,
    )  # fmt: skip
    assert run.stdout.strip() == "hidden"


def test_a_rehearsal_needs_torch_numpy_and_scipy_alone(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    before = results()
    done = run(tmp_path, "--rehearse")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "rehearsed cuda:0/torch/fp32/t1/b1: " in lines[0]
    assert "rehearsed cuda:0/torch/fp32/t1/b2: " in lines[1]
    assert all("clocks fitted: device, wall" in line for line in lines[:2])
    assert results() == before


def test_a_checkout_without_the_command_lines_packages_says_what_runs(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(HOOK)
    done = subprocess.run(
        [sys.executable, "-m", "fleetfront", "profile", "--device", "cuda:0"],
        capture_output=True, text=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(tmp_path)}, check=False,
    )  # fmt: skip
    assert done.returncode == 4
    assert done.stderr.startswith("Error: the command line needs the package click")
    assert "benchmarks/gpu.py --keep" in done.stderr


def test_without_torch_it_names_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError('torch')")
    done = run(tmp_path)
    assert done.returncode == 4
    assert "needs the package torch" in done.stderr


@pytest.mark.skipif(bool(driver_version()), reason="an NVIDIA GPU is here")
def test_without_a_gpu_it_stops_with_a_sentence(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    before = results()
    done = run(tmp_path)
    assert done.returncode == 4
    assert done.stderr.count("\n") == 1
    assert "sees no CUDA device" in done.stderr
    assert results() == before
