"""ONNX files as TensorRT engines, built when they are first opened and kept as plans in the workspace.

Has not run on a GPU yet.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from fleetfront.errors import InputError
from fleetfront.graphs.input_shapes import resolve_shapes
from fleetfront.profilers.gpu.programs.base import random_tensor
from fleetfront.profilers.model_files import FileCache
from fleetfront.runtimes.cuda_device import CudaDevice
from fleetfront.runtimes.tensorrt.engine import BuildOptions, Engine, Plan, TimingCache, build_plan, import_tensorrt
from fleetfront.runtimes.tensorrt.runtime import output_tensor
from fleetfront.targets import Target


def open_tensorrt(target: Target, device: CudaDevice, cache: Path, stream: Any) -> TensorRtOpener:
    """See ``OnDevice.program``."""
    return TensorRtOpener(device, target.precision, cache, stream)


class TensorRtOpener:
    """Opens ``.onnx`` files through plans built for one GPU."""

    def __init__(self, device: CudaDevice, precision: str, cache: Path, stream: Any) -> None:
        """Plans and kernel timings are kept in ``cache``; programs enqueue on ``stream``, a torch CUDA stream.

        Raises MissingDependency if TensorRT is not installed.
        """
        self._trt = import_tensorrt()
        self._options = BuildOptions(allow_tf32=precision == "tf32")
        self._timings = TimingCache(cache / "timings", str(self._trt.__version__), device.name)
        self._plans = PlanCache(cache / "plans", self._bound_to(device))
        self._stream = stream
        self._device = f"cuda:{device.index}"

    def describe(self) -> dict[str, Any]:
        """Version and what plans are built with."""
        return {
            "runtime": "tensorrt",
            "runtime_version": str(self._trt.__version__),
            "builder": self._options.describe(),
        }

    def open(self, path: Path, buffers: int) -> TensorRtProgram:
        try:
            onnx_file = path.read_bytes()
        except OSError as error:
            raise InputError(f"{path} cannot be read ({error}).", "Give the path of an .onnx file.") from error
        plan = self._plans.find(onnx_file)
        if plan is None:
            built = build_plan(self._trt, onnx_file, self._options, self._timings)
            plan = self._plans.keep(onnx_file, built)
        return TensorRtProgram(Engine(self._trt, plan), self._device, self._stream, buffers)

    def close(self) -> None:
        self._plans.prune()

    def _bound_to(self, device: CudaDevice) -> dict[str, Any]:
        return {
            "tensorrt": str(self._trt.__version__),
            "gpu": device.name,
            "compute_capability": device.compute_capability,
            "driver": device.driver,
            "builder": self._options.describe(),
        }


class PlanCache:
    """Plans by the ONNX file they were built from and by everything else that decides them."""

    def __init__(self, folder: Path, bound_to: dict[str, Any]) -> None:
        self._files = FileCache(folder, ".trt")
        self._index = folder / "index"
        self._salt = json.dumps(bound_to, sort_keys=True).encode()

    def find(self, onnx_file: bytes) -> bytes | None:
        """The plan that was kept, None if there is none."""
        try:
            sha256 = self._entry(onnx_file).read_text(encoding="ascii").strip()
            data = self._files.path(sha256).read_bytes()
        except OSError:
            return None
        return data if hashlib.sha256(data).hexdigest() == sha256 else None

    def keep(self, onnx_file: bytes, plan: Plan) -> bytes:
        """Keep a plan; returns its bytes. Raises InputError if the disk is full."""
        sha256 = self._files.put(plan.data)
        entry = self._entry(onnx_file)
        entry.parent.mkdir(parents=True, exist_ok=True)
        entry.write_text(f"{sha256}\n", encoding="ascii")
        return plan.data

    def prune(self) -> int:
        """Remove what was used longest ago."""
        return self._files.prune()

    def _entry(self, onnx_file: bytes) -> Path:
        return self._index / hashlib.sha256(self._salt + onnx_file).hexdigest()


class TensorRtProgram:
    """An engine with tensors for each set of inputs; one set of outputs serves all."""

    can_be_captured = True

    def __init__(self, engine: Engine, device: str, stream: Any, buffers: int) -> None:
        import torch

        self.buffers = buffers
        self._engine = engine
        self._stream = stream
        generator = torch.Generator(device).manual_seed(0)
        shapes = resolve_shapes(engine.inputs)
        outputs = {port.name: output_tensor(torch, port, device) for port in engine.outputs}
        self._tensors = [
            {
                **{
                    port.name: random_tensor(shapes[port.name], getattr(torch, port.dtype), device, generator)
                    for port in engine.inputs
                },
                **outputs,
            }
            for _ in range(buffers)
        ]
        torch.cuda.synchronize(device)
        self._addresses = [{name: t.data_ptr() for name, t in tensors.items()} for tensors in self._tensors]

    def enqueue(self, index: int) -> None:
        self._engine.enqueue(self._addresses[index], self._stream.cuda_stream)

    def close(self) -> None:
        self._tensors = []
        self._engine.close()
