"""TensorRT's record. Networks are timed from ``.onnx`` files, of which plans are built on the GPU they run on."""

from __future__ import annotations

from fleetfront.quantities import Clock
from fleetfront.runtimes.facts import Half, Listed, OnDevice, Package, RuntimeFacts
from fleetfront.runtimes.operator_lists import TENSORRT_ENGINES

FACTS = RuntimeFacts(
    name="tensorrt",
    title="TensorRT",
    code="fleetfront.runtimes.tensorrt.runtime:TensorRt",
    formats=("trt",),
    layout="NCHW",
    packages=(Package("tensorrt", "tensorrt", "profiling in TensorRT, and writing plans", listed=Listed.GPU),),
    on={
        "cuda": (
            OnDevice(
                "tensorrt",
                "onnx",
                precisions=("fp32", "tf32", "fp16"),
                clocks=(Clock.DEVICE, Clock.WALL),
                half=Half.FILE,
                program="fleetfront.profilers.gpu.programs.tensorrt:open_tensorrt",
            ),
        ),
    },
    engines=TENSORRT_ENGINES,
)
