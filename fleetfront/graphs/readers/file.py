"""Read a model file into a Graph, whatever its format. Which formats there are, is listed here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from fleetfront.errors import FileError, InputError
from fleetfront.graphs.graph import Graph
from fleetfront.graphs.readers.onnx import read_onnx
from fleetfront.graphs.readers.tflite import read_tflite

#: Suffix -> what reads such files.
_READERS: Mapping[str, Callable[[Path, Mapping[str, Sequence[int]], str], Graph]] = {
    ".onnx": read_onnx,
    ".tflite": read_tflite,
}


def read_graph(path: Path | str, shapes: Mapping[str, Sequence[int]] | None = None, signature: str = "") -> Graph:
    """The graph of the model file at ``path``: operators, shapes and types, with placeholders for weights.

    Args:
        path: a ``.onnx`` or ``.tflite`` file.
        shapes: sizes of inputs that the file leaves open, by name; "" stands for the only input.
        signature: which of a TFLite file's signatures; the first by default.

    Raises:
        FileError: the file is missing, damaged, or of a kind that is not read.
        InputError: a size of an input is open and nothing says it.
        MissingDependency: the package that knows the format is not installed.
    """
    path = Path(path)
    if not path.is_file():
        raise FileError(f"{path} is {'no regular file' if path.exists() else 'missing'}.", "Name a model file.")
    read = _READERS.get(path.suffix.lower())
    if read is None:
        raise InputError(f"Files that end in {path.suffix!r} are not read ({path}).", f"Known: {', '.join(_READERS)}.")
    return read(path, shapes or {}, signature)
