"""The kinds of file that a network can be handed out as: who writes each, which runtime runs it, in which layout."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from fleetfront.deploy.quantise.precisions import half_compute, half_weights, without_hard_swish
from fleetfront.errors import InputError, unknown
from fleetfront.graphs.graph import Graph

if TYPE_CHECKING:
    from fleetfront.deploy.writers.tflite.metadata import FileDescription


@dataclass(frozen=True, slots=True)
class FileFormat:
    """A kind of file.

    Attributes:
        name: what users call it; the suffix of its files is a dot and this name.
        runtime: what runs it on this machine.
        layout: of images in its inputs, ``NCHW`` or ``NHWC``.
        write: Graph -> the file's bytes.
        minimum_runtime: bytes -> the oldest runtime that reads them.
        half: Graph -> the Graph of an fp16 file.
        int8: Graph -> an equal Graph that the format's delegates take whole in int8.
        quantise: (bytes of a float file, name of its input, images as it wants them) -> bytes of the int8 file.
        finish: (bytes, what they are) -> the file that is handed out.
        check: raises what keeps such files from being written here at all.
        bound_to: the machine that files written here are bound to; empty if they run anywhere.
    """

    name: str
    runtime: str
    layout: str
    write: Callable[[Graph], bytes]
    minimum_runtime: Callable[[bytes], str]
    half: Callable[[Graph], Graph]
    int8: Callable[[Graph], Graph]
    quantise: Callable[[bytes, str, Sequence[NDArray[Any]]], bytes]
    finish: Callable[[bytes, FileDescription], bytes]
    check: Callable[[], None] = lambda: None
    bound_to: Callable[[], Mapping[str, Any]] = dict


def _write_onnx(graph: Graph) -> bytes:
    from fleetfront.deploy.writers.onnx.writer import write_onnx

    return write_onnx(graph)


def _quantise_onnx(data: bytes, name: str, images: Sequence[NDArray[Any]]) -> bytes:
    from fleetfront.deploy.quantise.onnx import quantise_onnx

    return quantise_onnx(data, name, images)


#: The first ONNX Runtime of each operator set and file version, from the table in its docs/reference/compatibility.
_FIRST_WITH_OPSET = {17: (1, 12), 18: (1, 14), 19: (1, 15), 20: (1, 17), 21: (1, 18), 22: (1, 20)}
_FIRST_WITH_IR = {8: (1, 12), 9: (1, 17), 10: (1, 18), 11: (1, 21)}


def _onnx_minimum(data: bytes) -> str:
    import onnx

    model = onnx.load_from_string(data)
    opsets = [entry.version for entry in model.opset_import if not entry.domain]
    newest = max(_FIRST_WITH_OPSET.items())[1]
    needed = [_FIRST_WITH_OPSET.get(max(version, 17), newest) for version in opsets]
    needed.append(_FIRST_WITH_IR.get(max(model.ir_version, 8), max(_FIRST_WITH_IR.items())[1]))
    major, minor = max(needed)
    return f"onnxruntime {major}.{minor}"


def _same(graph: Graph) -> Graph:
    return graph


def _as_it_is(data: bytes, _: FileDescription) -> bytes:
    return data


def _finish_ort(data: bytes, _: FileDescription) -> bytes:
    from fleetfront.deploy.writers.ort.writer import write_ort

    return write_ort(data)


def _ort_minimum(_: bytes) -> str:
    from fleetfront.deploy.writers.ort.writer import MINIMUM_RUNTIME

    return MINIMUM_RUNTIME


def _write_plan(graph: Graph) -> bytes:
    from fleetfront.deploy.writers.tensorrt.writer import write_plan

    return write_plan(graph)


def _plan_runtime(data: bytes) -> str:
    from fleetfront.deploy.writers.tensorrt.writer import plan_runtime

    return plan_runtime(data)


def _no_int8_plan(_: Graph) -> Graph:
    raise InputError("Plans are not written in int8.", "Leave int8 out of --precisions, or trt out of --formats.")


def _check_tensorrt() -> None:
    from fleetfront.deploy.writers.tensorrt.writer import check_tensorrt

    check_tensorrt()


def _plan_bound_to() -> Mapping[str, Any]:
    from fleetfront.deploy.writers.tensorrt.writer import plan_bound_to

    return plan_bound_to()


def _write_tflite(graph: Graph) -> bytes:
    from fleetfront.deploy.writers.tflite.writer import write_tflite

    return write_tflite(graph)


def _quantise_tflite(data: bytes, name: str, images: Sequence[NDArray[Any]]) -> bytes:
    from fleetfront.deploy.quantise.tflite import quantise_tflite

    return quantise_tflite(data, name, images)


def _finish_tflite(data: bytes, description: FileDescription) -> bytes:
    from fleetfront.deploy.writers.tflite.metadata import describe_file

    return describe_file(data, description)


def _tflite_minimum(data: bytes) -> str:
    from fleetfront.deploy.writers.tflite.writer import minimum_runtime

    return minimum_runtime(data)


#: The formats that every network is handed out in unless the user says otherwise.
FORMATS = {
    "onnx": FileFormat(
        "onnx", "onnxruntime", "NCHW", _write_onnx, _onnx_minimum, half_compute, _same, _quantise_onnx, _as_it_is
    ),
    "tflite": FileFormat(
        "tflite",
        "litert",
        "NHWC",
        _write_tflite,
        _tflite_minimum,
        half_weights,
        without_hard_swish,
        _quantise_tflite,
        _finish_tflite,
    ),
}

#: All of them.
ALL_FORMATS = {
    **FORMATS,
    "ort": FileFormat(
        "ort", "onnxruntime", "NCHW", _write_onnx, _ort_minimum, half_compute, _same, _quantise_onnx, _finish_ort
    ),
    "trt": FileFormat(
        "trt",
        "tensorrt",
        "NCHW",
        _write_plan,
        _plan_runtime,
        half_compute,
        _no_int8_plan,
        _quantise_onnx,
        _as_it_is,
        _check_tensorrt,
        _plan_bound_to,
    ),
}


def writer_of(name: str) -> Callable[[Graph], bytes]:
    """What writes a Graph as a kind of file that networks are timed from: a format, or ``graph``, torch's."""
    return Graph.to_bytes if name == "graph" else ALL_FORMATS[name].write


def parse_formats(text: str) -> tuple[FileFormat, ...]:
    """The formats in ``onnx,tflite,ort,trt``, each once. Raises InputError for an unknown one or none."""
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    for name in names:
        if name not in ALL_FORMATS:
            raise unknown("format", name, ALL_FORMATS)
    if not names:
        raise InputError("No format is given.", f"Choose from {', '.join(ALL_FORMATS)}.")
    return tuple(ALL_FORMATS[name] for name in names)
