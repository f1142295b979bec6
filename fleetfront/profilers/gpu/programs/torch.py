"""Graphs as torch modules, channels last, on a GPU; on the CPU for rehearsals. Timing them is in ``visit_timing``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fleetfront.errors import InputError, missing, unknown
from fleetfront.graphs.graph import Graph
from fleetfront.graphs.input_shapes import resolve_shapes
from fleetfront.profilers.gpu.programs.base import random_tensor
from fleetfront.runtimes.base import Port
from fleetfront.runtimes.cuda_device import CudaDevice
from fleetfront.targets import Target

#: Precision -> what torch calls the arithmetic of float32 products and convolutions:
#: https://docs.pytorch.org/docs/stable/notes/numerical_accuracy.html
_FP32_ARITHMETIC = {"fp32": "ieee", "tf32": "tf32", "fp16": "ieee"}


def open_torch(target: Target, device: CudaDevice, cache: Path, stream: Any) -> TorchOpener:
    """See ``OnDevice.program``. It keeps nothing, and runs on whatever stream is current."""
    return TorchOpener(target.device, target.precision)


class TorchOpener:
    """Opens ``.graph`` files as torch modules.

    Kernels are those of cuDNN's heuristics: searching the fastest one anew at each visit would make a block's kernel a
    matter of luck.
    """

    def __init__(self, device: str, precision: str) -> None:
        """Set the arithmetic of float32 for this process, and one thread of the host, until ``close``.

        Args:
            device: as torch spells it, e.g. ``cuda:0`` or ``cpu``.
            precision: ``fp32`` (no TensorFloat-32 anywhere), ``tf32`` or ``fp16`` (weights and activations).

        Raises:
            InputError: another precision.
            MissingDependency: torch is not installed.
        """
        try:
            import torch
        except ImportError as error:
            raise missing("torch", "torch", "Profiling in torch") from error
        if precision not in _FP32_ARITHMETIC:
            raise unknown("precision of torch on a GPU", precision, _FP32_ARITHMETIC)
        self._torch: Any = torch
        self._device = torch.device(device)
        self._dtype = torch.float16 if precision == "fp16" else torch.float32
        self._before = self._settings()
        # One thread launches all; a rehearsal's others would wait for busy cores, many times slower than one.
        self._set((_FP32_ARITHMETIC[precision], _FP32_ARITHMETIC[precision], False, 1))

    def describe(self) -> dict[str, Any]:
        """Versions of torch, CUDA and cuDNN, and the settings that choose kernels."""
        torch = self._torch
        matmul, convolution, searches, threads = self._settings()
        return {
            "runtime": "torch",
            "runtime_version": str(torch.__version__),
            "cuda": torch.version.cuda or "",
            "cudnn": torch.backends.cudnn.version() if self._device.type == "cuda" else 0,
            "memory_format": "channels_last",
            "matmul_fp32": matmul,
            "convolution_fp32": convolution,
            "cudnn_benchmark": searches,
            "host_threads": threads,
        }

    def open(self, path: Path, buffers: int) -> TorchProgram:
        """Load the serial form of a Graph. Raises InputError if it is none."""
        try:
            graph = Graph.from_bytes(path.read_bytes())
        except OSError as error:
            raise InputError(f"{path} cannot be read ({error}).", "Give the path of a .graph file.") from error
        return TorchProgram(graph, self._device, self._dtype, buffers)

    def close(self) -> None:
        self._set(self._before)

    def _settings(self) -> tuple[str, str, bool, int]:
        cuda, cudnn = self._torch.backends.cuda, self._torch.backends.cudnn
        return cuda.matmul.fp32_precision, cudnn.conv.fp32_precision, cudnn.benchmark, self._torch.get_num_threads()

    def _set(self, settings: tuple[str, str, bool, int]) -> None:
        cuda, cudnn = self._torch.backends.cuda, self._torch.backends.cudnn
        cuda.matmul.fp32_precision, cudnn.conv.fp32_precision, cudnn.benchmark, threads = settings
        self._torch.set_num_threads(threads)


class TorchProgram:
    """A Graph as a module in inference mode."""

    can_be_captured = True

    def __init__(self, graph: Graph, device: Any, dtype: Any, buffers: int) -> None:
        """Move ``graph`` and ``buffers`` sets of random inputs to ``device``; floats become ``dtype``."""
        import torch

        from fleetfront.graphs.torch_module import TorchModule

        self._torch: Any = torch
        self.buffers = buffers
        module: Any = TorchModule(graph).eval().requires_grad_(False)
        self._module = module.to(device=device, dtype=dtype, memory_format=torch.channels_last)
        generator = torch.Generator(device).manual_seed(0)
        self._inputs = [
            [self._tensor(graph, name, generator, device, dtype) for name in graph.inputs] for _ in range(buffers)
        ]
        if device.type == "cuda":
            # Draws and conversions were queued on torch's own stream; the stopwatch's must not overtake them.
            torch.cuda.synchronize(device)

    def enqueue(self, index: int) -> None:
        with self._torch.inference_mode():
            self._module(*self._inputs[index])

    def close(self) -> None:
        self._module, self._inputs = None, []

    def _tensor(self, graph: Graph, name: str, generator: Any, device: Any, dtype: Any) -> Any:
        wanted = graph.tensors[name]
        own = getattr(self._torch, wanted.dtype)
        shape = resolve_shapes([Port(name, wanted.shape, wanted.dtype)])[name]
        tensor = random_tensor(shape, dtype if own.is_floating_point else own, device, generator)
        return tensor.contiguous(memory_format=self._torch.channels_last) if tensor.dim() == 4 else tensor
