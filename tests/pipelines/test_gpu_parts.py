"""See what ``doctor`` says of GPUs: from the files of this installation, without loading torch."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from fleetfront.cli.main import main
from fleetfront.pipelines.gpu_parts import gpu_parts, torch_cuda
from fleetfront.runtimes.cuda_device import driver_version


@pytest.mark.parametrize(
    ("text", "cuda"),
    [
        ("__version__ = '2.13.0+cpu'\ncuda: Optional[str] = None\nhip: Optional[str] = None\n", ""),
        ("__version__ = '2.13.0'\ndebug = False\ncuda: Optional[str] = '12.6'\ngit_version = 'a'\n", "12.6"),
        ("cuda = '13.0'\n", "13.0"),
        ("cuda_home = '12.1'\n", ""),
    ],
)
def test_torchs_cuda_is_read_from_its_version_file(tmp_path: Path, text: str, cuda: str) -> None:
    (tmp_path / "version.py").write_text(text)
    assert torch_cuda(tmp_path) == cuda
    assert torch_cuda(tmp_path / "absent") == ""


def test_it_agrees_with_torch_itself() -> None:
    torch = pytest.importorskip("torch")
    assert torch_cuda(Path(torch.__file__).parent) == (torch.version.cuda or "")


def test_every_missing_part_comes_with_what_to_run(capsys: pytest.CaptureFixture[str]) -> None:
    parts = gpu_parts()
    assert [part.name for part in parts[:6]] == [
        "NVIDIA driver",
        "torch with CUDA",
        "ONNX Runtime's CUDA provider",
        "ONNX Runtime's TensorRT provider",
        "tensorrt",
        "nvidia-ml-py",
    ]
    assert all(part.found for part in parts if part.is_there)
    assert main(["doctor"]) == 0
    shown = capsys.readouterr()
    for part in parts:
        assert part.name in shown.out
        assert part.install in shown.err
    assert main(["doctor", "--json"]) == 0
    assert [part["name"] for part in json.loads(capsys.readouterr().out)["gpu"]] == [part.name for part in parts]


@pytest.mark.skipif(bool(driver_version()), reason="an NVIDIA GPU is here")
def test_no_runtime_is_loaded_for_it() -> None:
    code = (
        "import sys; from fleetfront.pipelines.gpu_parts import gpu_parts; gpu_parts();"
        "print([name for name in ('torch', 'onnxruntime', 'tensorrt') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
