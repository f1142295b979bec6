"""Declare what a runtime on this machine does: open a file, say what it wants, run it. What it is says its record."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from fleetfront.graphs.input_shapes import Port as Port

#: ``[ONNXRuntimeError] : 1 : FAIL : ``, ``Load model from FILE failed:`` and ``/onnxruntime_src/x.cc:46 f(...) ``.
_PLACE = r"\S*\.(?:cc|h):\d+ "
_PREFIXES = re.compile(
    r"\[ONNXRuntimeError\] : \d+ : \w+ : (?:Load model from .*? failed:)?|Error in execution: "
    rf"|{_PLACE}(?:[\w:]+ )?[\w:~]+\((?:[^()]|\([^()]*\))*\) |{_PLACE}\w+ (?=[A-Z])|{_PLACE}"
)
_LONGEST = 600


class Session(Protocol):
    """An opened model file."""

    @property
    def inputs(self) -> Sequence[Port]:
        """The inputs that the file wants, in its own layout."""

    @property
    def outputs(self) -> Sequence[Port]:
        """The outputs that the file gives."""

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """One inference; feeds and results in the file's own layout."""

    def bind(self, feeds: Mapping[str, NDArray[Any]]) -> Callable[[], object]:
        """Copy ``feeds`` in once and return the cheapest call that runs one inference on them: what is timed."""

    def close(self) -> None:
        """Free native memory. The session is unusable afterwards."""


class Runtime(Protocol):
    """Something that opens model files on this machine."""

    @property
    def name(self) -> str:
        """E.g. ``onnxruntime``, ``litert``."""

    def version(self) -> str:
        """Version of the installed runtime. Raises MissingDependency if it is not installed."""

    def open(self, path: Path | bytes, *, threads: int = 1) -> Session:
        """Load a file (or its bytes) with a fixed number of threads. Raises InputError if the file is not one."""


def native_words(error: Exception) -> str:
    """The words of a native runtime for what went wrong, without its own prefixes and places in its source."""
    text = " ".join(str(error).split()) or type(error).__name__
    return _PREFIXES.sub("", text)[:_LONGEST].rstrip(". ")
