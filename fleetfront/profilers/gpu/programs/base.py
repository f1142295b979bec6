"""Program: one network opened on a device, with several sets of inputs. Each runtime has a file of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

#: Element types of inputs, as files name them, that random numbers are drawn for.
_FLOATS = ("float16", "float32", "float64")
#: Numbers drawn for one input on the host.
_MOST_DRAWN = 1 << 20


class Program(Protocol):
    """A network that is ready to run."""

    @property
    def buffers(self) -> int:
        """How many sets of inputs it has on the device: runs take turns, so that none finds its input in a cache only
        because the run before has just read it.
        """

    @property
    def can_be_captured(self) -> bool:
        """True if ``enqueue`` puts everything on the stopwatch's stream, so that it can be timed and captured there.

        Otherwise ``enqueue`` returns when the inference is done, and only the wall clock says how long it took.
        """

    def enqueue(self, index: int) -> None:
        """Queue one inference on the inputs number ``index``."""

    def close(self) -> None:
        """Free what it holds on the device."""


class Opener(Protocol):
    """A runtime on one device, in one precision."""

    def describe(self) -> dict[str, Any]:
        """Versions and settings that decide latencies; the same for every program."""

    def open(self, path: Path, buffers: int) -> Program:
        """Load a file with ``buffers`` sets of random inputs. Raises InputError if the file is none."""

    def close(self) -> None:
        """Put back what was changed in this process."""


def random_inputs(shape: Sequence[int], dtype: str, rng: np.random.Generator) -> NDArray[Any]:
    """Standard normal floats, or integers 0 and 1, in the host's memory; repeated after a million, which is faster."""
    drawn = min(_MOST_DRAWN, max(1, math.prod(shape)))
    if dtype in _FLOATS:
        return np.resize(rng.standard_normal(drawn, dtype=np.float32).astype(dtype), shape)
    return np.resize(rng.integers(0, 2, drawn).astype(dtype), shape)


def random_tensor(shape: Sequence[int], dtype: Any, device: Any, generator: Any) -> Any:
    """The same as a tensor of torch's, drawn where it lies: a batch of 64 images would take seconds on the host."""
    import torch

    if dtype.is_floating_point:
        return torch.randn(tuple(shape), dtype=dtype, device=device, generator=generator)
    return torch.randint(0, 2, tuple(shape), dtype=dtype, device=device, generator=generator)
