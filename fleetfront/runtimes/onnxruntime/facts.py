"""ONNX Runtime's record."""

from __future__ import annotations

from fleetfront.quantities import Clock
from fleetfront.runtimes.facts import Half, Library, OnDevice, Package, RuntimeFacts
from fleetfront.runtimes.operator_lists import ONNXRUNTIME_ENGINES

_GPU_BUILD = "pip install onnxruntime-gpu"
_OTHER_BUILD = f"pip uninstall onnxruntime && {_GPU_BUILD}"
_WITHOUT = "this ONNX Runtime is built without"

FACTS = RuntimeFacts(
    name="onnxruntime",
    title="ONNX Runtime",
    code="fleetfront.runtimes.onnxruntime.runtime:OnnxRuntime",
    formats=("onnx", "ort"),
    layout="NCHW",
    packages=(
        Package("onnxruntime", "cpu", "profiling and proving .onnx files", aliases=("onnxruntime-gpu",)),
        Package("onnx", "cpu", "writing ONNX files"),
    ),
    on={
        "cpu": (OnDevice("onnxruntime", "onnx", ("fp32", "int8", "w8", "w4")),),
        "cuda": (
            OnDevice(
                "onnxruntime",
                "onnx",
                precisions=("fp32", "tf32", "fp16"),
                # Its stream waits for the device at the end of a run, so that only the host can tell the time.
                clocks=(Clock.WALL,),
                half=Half.FILE,
                delegates={"onnxruntime-tensorrt": "tensorrt"},
                program="fleetfront.profilers.gpu.programs.onnxruntime:open_onnxruntime",
            ),
        ),
    },
    snippets=("classify_onnx.py", "node.mjs", "browser-onnx.mjs", "Classifier.kt", "Classifier.swift"),
    libraries=(
        Library(
            "ONNX Runtime's CUDA provider",
            "onnxruntime",
            "capi/*onnxruntime_providers_cuda",
            "profiling .onnx files on a GPU",
            _WITHOUT,
            _GPU_BUILD,
            _OTHER_BUILD,
        ),
        Library(
            "ONNX Runtime's TensorRT provider",
            "onnxruntime",
            "capi/*onnxruntime_providers_tensorrt",
            "the same through TensorRT",
            _WITHOUT,
            _GPU_BUILD,
            _OTHER_BUILD,
        ),
    ),
    engines=ONNXRUNTIME_ENGINES,
    merges_equal=True,
)
