"""Ask TensorRT 10 and 11 in Python: building a plan, opening one, and what a plan is bound to.

Written against https://docs.nvidia.com/deeplearning/tensorrt/latest/_static/python-api/; the names were compared with
those in the bindings of 11.4, but nothing here has run on a GPU yet. Networks are strongly typed: TensorRT 11 knows no
other way, so half precision is written in the ONNX file rather than left to the builder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from fleetfront.errors import InputError, MissingDependency
from fleetfront.files import write_whole
from fleetfront.graphs.input_shapes import ANONYMOUS
from fleetfront.runtimes.base import Port

OLDEST = 10
_REMEDY = "Run: pip install 'fleetfront[tensorrt]'"


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """The options that decide a plan besides the network and the GPU.

    Attributes:
        allow_tf32: compute float32 in TensorFloat-32.
        optimization_level: of the builder, 0 to 5; 3 is its own default.
        workspace_bytes: memory that a kernel may take for itself; None for the builder's own limit.
    """

    allow_tf32: bool = False
    optimization_level: int = 3
    workspace_bytes: int | None = None

    def describe(self) -> dict[str, Any]:
        """Plain values, recorded with everything that is built."""
        return {
            "flags": ["STRONGLY_TYPED", *(["TF32"] if self.allow_tf32 else [])],
            "optimization_level": self.optimization_level,
            "workspace_bytes": self.workspace_bytes,
        }


@dataclass(frozen=True, slots=True)
class Plan:
    """A built engine: its bytes, and with what it was built."""

    data: bytes
    built_with: Mapping[str, Any] = field(default_factory=dict)


def import_tensorrt() -> Any:
    """The module. Raises MissingDependency if it is not installed or too old."""
    try:
        tensorrt: Any = import_module("tensorrt")
    except (ImportError, OSError) as error:
        # The wheel is there but its libraries are not, or it is not there at all.
        raise MissingDependency(f"TensorRT cannot be imported ({_first_line(error)}).", _REMEDY) from error
    version = str(tensorrt.__version__)
    if not version.split(".")[0].isdigit() or int(version.split(".")[0]) < OLDEST:
        raise MissingDependency(f"TensorRT {version} is older than {OLDEST}.", _REMEDY)
    return tensorrt


class TimingCache:
    """The builder's kernel timings on disk, one file a TensorRT version and GPU: TensorRT refuses others."""

    def __init__(self, folder: Path, version: str, gpu: str) -> None:
        name = "".join(c if c.isalnum() or c in "._-" else "_" for c in f"{version}-{gpu}")
        self.path = folder / f"{name}.timing"

    def load(self) -> bytes:
        """Load what an earlier build left; empty if there was none."""
        try:
            return self.path.read_bytes()
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise InputError(f"{self.path} cannot be read ({error}).", "Remove it; it is made again.") from error

    def save(self, data: bytes) -> None:
        """Replace it as a whole."""
        try:
            write_whole(self.path, data)
        except OSError as error:
            raise InputError(f"{self.path} cannot be written ({error}).", "Free space in the workspace.") from error


def build_plan(trt: Any, onnx_file: bytes, options: BuildOptions, cache: TimingCache | None = None) -> Plan:
    """ONNX bytes -> a plan for the current GPU.

    Raises:
        InputError: the file is none, holds what TensorRT does not know, or the builder gave up (memory, for one).
    """
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    # Accepted and ignored by TensorRT 11, which has no other networks.
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(onnx_file):
        problems = "; ".join(str(parser.get_error(i)) for i in range(parser.num_errors))
        raise InputError(f"TensorRT cannot read the ONNX file ({problems[:300]}).", "Leave trt out for this network.")
    config = builder.create_builder_config()
    (config.set_flag if options.allow_tf32 else config.clear_flag)(trt.BuilderFlag.TF32)
    config.builder_optimization_level = options.optimization_level
    if options.workspace_bytes is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_bytes)
    for kept in (cache.load() if cache is not None else b"", b""):
        timings = config.create_timing_cache(kept)
        # None, or refused: damaged, or of another GPU or version. Then the builder begins anew.
        if timings is not None and config.set_timing_cache(timings, ignore_mismatch=False):
            break
    serialized = builder.build_serialized_network(network, config)
    if serialized is None:
        raise InputError("TensorRT built no engine.", "Its messages above say why; free memory on the GPU.")
    if cache is not None:
        cache.save(bytes(config.get_timing_cache().serialize()))
    return Plan(bytes(serialized), {"tensorrt": str(trt.__version__), **options.describe()})


class Engine:
    """An opened plan with one execution context."""

    def __init__(self, trt: Any, plan: bytes) -> None:
        """Raises InputError if this TensorRT on this GPU does not run the plan."""
        self._trt = trt
        # The runtime must outlive what it made.
        self._runtime = trt.Runtime(trt.Logger(trt.Logger.ERROR))
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise InputError(
                f"TensorRT {trt.__version__} does not run this plan on this GPU.",
                "Plans run on the GPU model and TensorRT version that they were built for: see the manifest.",
            )
        self.context = self._engine.create_execution_context()
        if self.context is None:
            raise InputError(
                "TensorRT made no execution context.", "The memory of the GPU may be full (out of memory)."
            )
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        is_input = {name: self._engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT for name in names}
        self.inputs = tuple(self._port(name) for name in names if is_input[name])
        self.outputs = tuple(self._port(name) for name in names if not is_input[name])

    def enqueue(self, addresses: Mapping[str, int], stream: int) -> None:
        """Queue one inference on tensors at device ``addresses``. Raises InputError if TensorRT refuses."""
        for name, address in addresses.items():
            self.context.set_tensor_address(name, address)
        if not self.context.execute_async_v3(stream):
            raise InputError("TensorRT could not enqueue an inference.", "Its messages above say why.")

    def close(self) -> None:
        """Free the device's memory."""
        self.context = self._engine = self._runtime = None

    def _port(self, name: str) -> Port:
        import numpy as np

        shape = tuple(side if side >= 0 else ANONYMOUS for side in self._engine.get_tensor_shape(name))
        dtype = np.dtype(self._trt.nptype(self._engine.get_tensor_dtype(name))).name
        return Port(name, shape, dtype)


def bound_to(version: str, gpu: Mapping[str, Any]) -> dict[str, Any]:
    """The machine that a plan is bound to, for a manifest: TensorRT's version, the GPU's name and architecture, the
    driver, CUDA.

    ``gpu`` has ``name``, ``compute_capability``, ``driver`` and ``cuda``; what is not known is an empty string.
    """
    return {
        "tensorrt": version,
        "gpu": str(gpu.get("name", "")),
        "compute_capability": str(gpu.get("compute_capability", "")),
        "driver": str(gpu.get("driver", "")),
        "cuda": str(gpu.get("cuda", "")),
    }


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
