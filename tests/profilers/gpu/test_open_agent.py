"""See that what a target asks of float32 is refused where NVIDIA's libraries would compute something else."""

import pytest

from fleetfront.errors import InputError
from fleetfront.profilers.gpu.open_agent import check_tf32, gpu_target


@pytest.mark.parametrize(
    ("runtime", "precision", "override"),
    [
        ("torch", "tf32", "0"),
        ("torch", "fp32", "1"),
        ("tensorrt", "fp32", "1"),
        ("onnxruntime-tensorrt", "fp32", ""),
        ("onnxruntime-tensorrt", "tf32", "0"),
    ],
)
def test_float32_that_would_be_something_else_is_refused(runtime: str, precision: str, override: str) -> None:
    with pytest.raises(InputError, match=r"NVIDIA_TF32_OVERRIDE"):
        check_tf32(gpu_target("cuda:0", runtime, precision, 1), override)


@pytest.mark.parametrize(
    ("runtime", "precision", "override"),
    [
        ("torch", "fp32", ""),
        ("torch", "fp32", "0"),
        ("torch", "fp16", "1"),
        ("tensorrt", "fp32", ""),
        ("onnxruntime-tensorrt", "fp32", "0"),
        ("onnxruntime-tensorrt", "tf32", ""),
        ("onnxruntime-tensorrt", "fp16", ""),
    ],
)
def test_everything_else_is_measured(runtime: str, precision: str, override: str) -> None:
    check_tf32(gpu_target("cuda:0", runtime, precision, 1), override)
