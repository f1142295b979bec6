"""The kinds of file that a network can be handed out as: who writes each, which runtime runs it, in which layout."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fleetfront.errors import InputError, unknown
from fleetfront.spaces.graph import Graph


@dataclass(frozen=True, slots=True)
class FileFormat:
    """A kind of file.

    Attributes:
        name: what users call it; the suffix of its files is a dot and this name.
        runtime: what runs it on this machine.
        layout: of images in its inputs, ``NCHW`` or ``NHWC``.
        write: Graph -> the file's bytes.
        minimum_runtime: bytes -> the oldest runtime that reads them.
    """

    name: str
    runtime: str
    layout: str
    write: Callable[[Graph], bytes]
    minimum_runtime: Callable[[bytes], str]


def _write_onnx(graph: Graph) -> bytes:
    from fleetfront.deploy.onnx_writer import write_onnx

    return write_onnx(graph)


def _onnx_minimum(_: bytes) -> str:
    from fleetfront.deploy.onnx_writer import MINIMUM_RUNTIME

    return MINIMUM_RUNTIME


def _write_tflite(graph: Graph) -> bytes:
    from fleetfront.deploy.tflite_writer import write_tflite

    return write_tflite(graph)


def _tflite_minimum(data: bytes) -> str:
    from fleetfront.deploy.tflite_writer import minimum_runtime

    return minimum_runtime(data)


FORMATS = {
    "onnx": FileFormat("onnx", "onnxruntime", "NCHW", _write_onnx, _onnx_minimum),
    "tflite": FileFormat("tflite", "litert", "NHWC", _write_tflite, _tflite_minimum),
}


def parse_formats(text: str) -> tuple[FileFormat, ...]:
    """The formats in ``onnx,tflite``, each once. Raises InputError for an unknown one or none."""
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    for name in names:
        if name not in FORMATS:
            raise unknown("format", name, FORMATS)
    if not names:
        raise InputError("No format is given.", f"Choose from {', '.join(FORMATS)}.")
    return tuple(FORMATS[name] for name in names)
