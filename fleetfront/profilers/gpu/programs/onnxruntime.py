"""ONNX files in ONNX Runtime's CUDA or TensorRT provider, with inputs and outputs bound to buffers on the device.

The CUDA provider has timed a space's files and others' on an H200 (``benchmarks/gpu.py``); TensorRT's has not run yet.
"""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from fleetfront.errors import InputError
from fleetfront.graphs.input_shapes import resolve_shapes
from fleetfront.profilers.gpu.programs.base import random_inputs
from fleetfront.runtimes.cuda_device import CudaDevice
from fleetfront.runtimes.onnxruntime.cuda import (
    CUDA,
    TENSORRT,
    cuda_options,
    import_onnxruntime,
    open_session,
    require_provider,
    require_start,
    tensorrt_options,
)
from fleetfront.runtimes.onnxruntime.runtime import OnnxRuntimeSession
from fleetfront.targets import Target

#: The delegate of a target whose files go to the TensorRT provider.
TENSORRT_DELEGATE = "tensorrt"


def open_onnxruntime(target: Target, device: CudaDevice, cache: Path, stream: Any) -> OnnxRuntimeOpener:
    """See ``OnDevice.program``. Its sessions have streams of their own."""
    return OnnxRuntimeOpener(device.index, target.precision, target.delegate, cache)


class OnnxRuntimeOpener:
    """Opens ``.onnx`` files on one GPU, every node there."""

    def __init__(self, index: int, precision: str, delegate: str, cache: Path) -> None:
        """Choose providers and their options; TensorRT keeps its caches in ``cache``.

        Raises:
            InputError: a delegate that is neither empty nor ``tensorrt``.
            MissingDependency: ONNX Runtime, or its provider, is not installed or does not start.
        """
        if delegate not in ("", TENSORRT_DELEGATE):
            raise InputError(f"ONNX Runtime has no GPU delegate {delegate!r} here.", "Use none, or tensorrt.")
        self._ort = import_onnxruntime()
        self.providers = [(CUDA, cuda_options(index, precision))]
        if delegate:
            require_provider(self._ort, TENSORRT)
            cache.mkdir(parents=True, exist_ok=True)
            self.providers.insert(0, (TENSORRT, tensorrt_options(index, precision, cache)))
        require_provider(self._ort, CUDA)
        if delegate:
            _load_tensorrt()
        require_start(self._ort, self.providers)
        self._index = index

    def describe(self) -> dict[str, Any]:
        """Version and options."""
        # Where caches lie decides no latency.
        options = [
            [name, {k: v for k, v in given.items() if not k.endswith("_path")}] for name, given in self.providers
        ]
        return {"runtime": "onnxruntime", "runtime_version": str(self._ort.__version__), "providers": options}

    def open(self, path: Path, buffers: int) -> OnnxRuntimeProgram:
        return OnnxRuntimeProgram(
            self._ort, open_session(self._ort, path, self.providers), "cuda", self._index, buffers
        )

    def close(self) -> None:
        return


def _load_tensorrt() -> None:
    """Load the libraries of TensorRT's pip package, which the loader does not find by itself, if it is installed."""
    # Without the package they may lie where the loader looks; whether they do shows when the provider starts.
    with suppress(ImportError, OSError):
        import_module("tensorrt")


class OnnxRuntimeProgram:
    """A session with one binding for each set of inputs. ``enqueue`` waits: only the wall clock tells of it."""

    can_be_captured = False

    def __init__(self, ort: Any, session: Any, device_type: str, device_id: int, buffers: int) -> None:
        """Copy ``buffers`` sets of random inputs to the device and bind outputs to it."""
        self._session = session
        self.buffers = buffers
        ports = OnnxRuntimeSession(session)
        shapes, rng = resolve_shapes(ports.inputs), np.random.default_rng(0)
        self._bindings = []
        for _ in range(buffers):
            binding = session.io_binding()
            for port in ports.inputs:
                array = random_inputs(shapes[port.name], port.dtype, rng)
                value = ort.OrtValue.ortvalue_from_numpy(array, device_type, device_id)
                binding.bind_ortvalue_input(port.name, value)
            for port in ports.outputs:
                binding.bind_output(port.name, device_type, device_id)
            self._bindings.append(binding)

    def enqueue(self, index: int) -> None:
        # Without options the run ends by waiting for the device.
        self._session.run_with_iobinding(self._bindings[index])

    def close(self) -> None:
        self._session, self._bindings = None, []
