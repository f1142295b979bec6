"""Write a Graph as a TensorRT plan for the GPU of this machine, through its ONNX file, and say what it is bound to.

Has not run on a GPU yet: what is asked of TensorRT is in ``runtimes.tensorrt_engine``, and tested there without one.
"""

from __future__ import annotations

from typing import Any

from fleetfront.deploy.writers.onnx.writer import write_onnx
from fleetfront.errors import InputError
from fleetfront.graphs.graph import Graph
from fleetfront.runtimes.cuda_device import open_cuda_device
from fleetfront.runtimes.tensorrt.engine import BuildOptions, TimingCache, bound_to, build_plan, import_tensorrt
from fleetfront.workspace import Workspace

#: Plans are built for the first GPU; CUDA_VISIBLE_DEVICES chooses which that is.
_DEVICE = "cuda:0"


def write_plan(graph: Graph) -> bytes:
    """The plan of a graph with fixed shapes. Float32 is computed as such, without TensorFloat-32.

    Kernel timings are kept in the workspace, so that later plans are built faster and alike.

    Raises:
        InputError: the graph has symbolic dimensions, or TensorRT refuses it.
        MissingDependency: TensorRT is not installed.
        DeviceError: there is no GPU.
    """
    check_tensorrt()
    symbolic = [name for name in graph.inputs if any(isinstance(side, str) for side in graph.tensors[name].shape)]
    if symbolic:
        raise InputError(
            f"Input {symbolic[0]!r} has no fixed shape, and plans are built for one batch.", "Give --batch N with trt."
        )
    trt, device = import_tensorrt(), open_cuda_device(_DEVICE)
    cache = TimingCache(Workspace.default().cache / "tensorrt" / "timings", str(trt.__version__), device.name)
    return build_plan(trt, write_onnx(graph), BuildOptions(), cache).data


def check_tensorrt() -> None:
    """Raise what keeps plans from being built here: MissingDependency without TensorRT, DeviceError without a GPU."""
    import_tensorrt()
    open_cuda_device(_DEVICE)


def plan_bound_to() -> dict[str, Any]:
    """The bounds of plans written here: TensorRT's version, GPU, driver and CUDA, and how they were built."""
    trt = import_tensorrt()
    facts = bound_to(str(trt.__version__), open_cuda_device(_DEVICE).to_json())
    return {**facts, "builder": BuildOptions().describe()}


def plan_runtime(_: bytes) -> str:
    """The only runtime that runs a plan written here."""
    facts = plan_bound_to()
    return f"tensorrt {facts['tensorrt']} on {facts['gpu']}, and no other"
