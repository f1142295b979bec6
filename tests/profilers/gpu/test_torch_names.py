"""See that what is asked of torch's CUDA interface exists in the installed torch, which may be built without CUDA."""

import inspect

import pytest

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
