"""See that what is asked of torch's CUDA interface exists in the installed torch, which may be built without CUDA."""

import inspect

import pytest

from fleetfront.profilers.gpu.programs.onnxruntime import OnnxRuntimeProgram
from fleetfront.profilers.gpu.programs.torch import TorchOpener, TorchProgram

torch = pytest.importorskip("torch")


def test_graphs_events_and_streams_are_called_as_torch_has_them() -> None:
    cuda = torch.cuda
    assert "stream" in inspect.signature(cuda.graph.__init__).parameters
    assert "enable_timing" in inspect.signature(cuda.Event.__new__).parameters
    for owner, names in (
        (cuda, ("CUDAGraph", "Stream", "stream", "set_device", "synchronize", "empty_cache", "get_device_properties")),
        (cuda.Event, ("record", "elapsed_time")),
        (cuda.Stream, ("synchronize",)),
        (torch, ("OutOfMemoryError", "inference_mode", "channels_last")),
    ):
        for name in names:
            assert hasattr(owner, name), (owner, name)


def test_precisions_of_float32_are_set_by_names_that_torch_knows() -> None:
    matmul, convolution = torch.backends.cuda.matmul, torch.backends.cudnn.conv
    before = matmul.fp32_precision, convolution.fp32_precision
    try:
        for name in ("ieee", "tf32"):
            matmul.fp32_precision = convolution.fp32_precision = name
            assert (matmul.fp32_precision, convolution.fp32_precision) == (name, name)
        with pytest.raises(RuntimeError):
            matmul.fp32_precision = "fp32"
    finally:
        matmul.fp32_precision, convolution.fp32_precision = before


def test_kernels_are_not_searched_for_while_it_measures() -> None:
    """A search would choose another kernel in another process, so that two sittings time two networks."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        opener = TorchOpener("cpu", "fp32")
        assert opener.describe()["cudnn_benchmark"] is False
        opener.close()
        assert torch.backends.cudnn.benchmark is True
    finally:
        torch.backends.cudnn.benchmark = before


def test_only_runs_that_do_not_wait_are_captured() -> None:
    """A session of ONNX Runtime ends each run by waiting for the device, which a capture forbids."""
    assert TorchProgram.can_be_captured
    assert not OnnxRuntimeProgram.can_be_captured
