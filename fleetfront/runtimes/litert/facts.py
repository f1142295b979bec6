"""LiteRT's record, and those of the interpreters that it succeeded, which serve files where it is not installed.

Devices over ADB run its files under the names of the delegates of ``benchmark_model``.
"""

from __future__ import annotations

from fleetfront.quantities import Clock
from fleetfront.runtimes.facts import Half, Listed, OnDevice, Package, RuntimeFacts
from fleetfront.runtimes.operator_lists import LITERT_ENGINES

#: Of processors, and of delegates.
_ON_CPUS = ("fp32", "int8", "w8", "w4")
_DELEGATED = ("fp32", "fp16")
_INSTEAD = "running .tflite files where LiteRT is not installed"

FACTS = RuntimeFacts(
    name="litert",
    title="LiteRT",
    code="fleetfront.runtimes.litert.runtime:LiteRt",
    formats=("tflite",),
    layout="NHWC",
    packages=(
        Package("ai-edge-litert", "cpu", "profiling and proving .tflite files"),
        Package("flatbuffers", "cpu", "writing .tflite files"),
    ),
    on={
        "cpu": (OnDevice("litert", "tflite", _ON_CPUS),),
        "adb": (
            OnDevice("tflite-cpu", "tflite", _ON_CPUS),
            OnDevice("tflite-gpu", "tflite", _DELEGATED, (Clock.WALL,), Half.RUNTIME, delegate="GPU"),
            OnDevice("tflite-npu", "tflite", clocks=(Clock.WALL,), delegate="NPU"),
            OnDevice("tflite-nnapi", "tflite", _DELEGATED, (Clock.WALL,), Half.RUNTIME, delegate="NNAPI"),
        ),
    },
    snippets=("classify_tflite.py", "browser-litert.mjs", "Classifier.kt", "Classifier.swift"),
    # LiteRT.js takes no dynamic batch.
    fixed_batch_snippets=("browser-litert.mjs",),
    engines=LITERT_ENGINES,
    pads_apart=True,
)
TFLITE_RUNTIME = RuntimeFacts(
    name="tflite-runtime",
    title="tflite-runtime",
    code="fleetfront.runtimes.litert.runtime:TfliteRuntime",
    formats=("tflite",),
    layout="NHWC",
    packages=(Package("tflite-runtime", "tflite-runtime", _INSTEAD, listed=Listed.INSTALLED),),
    on={"cpu": (OnDevice("tflite-runtime", "tflite", ("fp32", "int8")),)},
    pads_apart=True,
)
TENSORFLOW_LITE = RuntimeFacts(
    name="tensorflow-lite",
    title="TensorFlow's TFLite interpreter",
    code="fleetfront.runtimes.litert.runtime:TensorFlowLite",
    formats=("tflite",),
    layout="NHWC",
    packages=(Package("tensorflow-cpu", "tensorflow", _INSTEAD, ("tensorflow",), Listed.INSTALLED),),
    on={"cpu": (OnDevice("tensorflow-lite", "tflite", ("fp32", "int8")),)},
    pads_apart=True,
)
