"""The runtimes of this machine by name, and which of them opens which file."""

from __future__ import annotations

from pathlib import Path

from fleetfront.errors import InputError, unknown
from fleetfront.runtimes.base import Runtime
from fleetfront.runtimes.litert.runtime import LiteRt
from fleetfront.runtimes.onnxruntime.runtime import OnnxRuntime
from fleetfront.runtimes.tensorrt.runtime import TensorRt
from fleetfront.runtimes.torch.runtime import TorchRuntime

_RUNTIMES: dict[str, type[Runtime]] = {
    "litert": LiteRt,
    "onnxruntime": OnnxRuntime,
    "torch": TorchRuntime,
    "tensorrt": TensorRt,
}


def runtime_names() -> tuple[str, ...]:
    """Every runtime that ``load_runtime`` knows, installed or not."""
    return tuple(_RUNTIMES)


def load_runtime(name: str) -> Runtime:
    """The runtime of that name. Loads nothing heavy until a file is opened.

    Raises:
        InputError: there is none of that name; the message has the nearest.
    """
    if name not in _RUNTIMES:
        raise unknown("runtime", name, _RUNTIMES)
    return _RUNTIMES[name]()


def runtime_for_file(path: Path) -> Runtime:
    """The runtime that opens files with the ending of ``path``.

    Raises:
        InputError: none does.
    """
    runtimes = [load_runtime(name) for name in _RUNTIMES]
    for runtime in runtimes:
        if path.suffix.lower() == runtime.suffix:
            return runtime
    known = ", ".join(f"{runtime.suffix} ({runtime.name})" for runtime in runtimes)
    raise InputError(f"No runtime here opens files that end in {path.suffix!r} ({path}).", f"Known: {known}.")
