"""Program: one network opened on a device, with several sets of inputs. Each runtime has a file of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

#: Element types of inputs, as files name them, that random numbers are drawn for.
_FLOATS = ("float16", "float32", "float64")


class Program(Protocol):
    """A network that is ready to run."""

    @property
    def buffers(self) -> int:
        """How many sets of inputs it has on the device: runs take turns, so that none finds its input in a cache only
        because the run before has just read it.
        """

    @property
    def can_be_captured(self) -> bool:
        """Whether ``enqueue`` puts everything on the stopwatch's stream, so that it can be timed and captured there.

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


def random_inputs(shape: Sequence[int | str], dtype: str, rng: np.random.Generator) -> NDArray[Any]:
    """Standard normal floats, or integers 0 and 1, of a shape whose symbolic dimensions are taken as 1."""
    sides = tuple(1 if isinstance(side, str) else side for side in shape)
    if dtype in _FLOATS:
        return rng.standard_normal(sides, dtype=np.float32).astype(dtype)
    return rng.integers(0, 2, sides).astype(dtype)
