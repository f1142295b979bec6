"""List the kinds of file that a network can be handed out as: who writes each, and which runtime runs it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from fleetfront.deploy.quantise.precisions import Piece, half_compute, half_weights, without_hard_swish
from fleetfront.errors import InputError, unknown
from fleetfront.graphs.graph import Graph
from fleetfront.runtimes.catalogue import facts_of

if TYPE_CHECKING:
    from fleetfront.deploy.quantise.rounding import Weight
    from fleetfront.deploy.writers.tflite.metadata import FileDescription


@dataclass(frozen=True, slots=True)
class FileFormat:
    """A kind of file.

    Attributes:
        name: what users call it; the suffix of its files is a dot and this name.
        runtime: what runs it on this machine.
        write: Graph -> the file's bytes.
        minimum_runtime: bytes -> the oldest runtime that reads them.
        half: Graph -> the Graph of an fp16 file.
        quantise: (bytes of a float file, inputs by name as it wants them) -> bytes of the int8 file.
        weights: bytes -> the weights of a float or int8 file by name, to hold one against the other.
        with_weights: (bytes of a float file, weights by name) -> the file with their values.
        narrow: (bytes of a float file, what it holds) -> int8 with made-up ranges, for timing; None for a format
            without such a form.
        weights_alone: (bytes of a float file, 8 or 4 bits) -> the file whose weights alone are narrow.
        computes_in_float: narrow precisions of which a runtime makes floats again before it computes.
        int8: Graph -> an equal Graph that the format's delegates take whole in int8.
        finish: (bytes, what they are) -> the file that is handed out.
        check: raises what keeps such files from being written here at all.
        bound_to: the machine that files written here are bound to; empty if they run anywhere.
        twin: the format whose file computes the same; its times are this one's, too. Empty for none.
    """

    name: str
    runtime: str
    write: Callable[[Graph], bytes]
    minimum_runtime: Callable[[bytes], str]
    half: Callable[[Graph], Graph]
    quantise: Callable[[bytes, Sequence[Mapping[str, NDArray[Any]]]], bytes]
    weights: Callable[[bytes], Mapping[str, Weight]]
    with_weights: Callable[[bytes, Mapping[str, Weight]], bytes]
    narrow: Callable[[bytes, Piece], bytes] | None
    weights_alone: Callable[[bytes, int], bytes]
    computes_in_float: frozenset[str] = frozenset()
    int8: Callable[[Graph], Graph] = lambda graph: graph
    finish: Callable[[bytes, FileDescription], bytes] = lambda data, _: data
    check: Callable[[], None] = lambda: None
    bound_to: Callable[[], Mapping[str, Any]] = dict
    twin: str = ""

    def __reduce__(self) -> tuple[object, ...]:
        """Another process has the same formats, by their names."""
        return _named, (self.name,)

    @property
    def layout(self) -> str:
        """Of images in its inputs, ``NCHW`` or ``NHWC``."""
        return facts_of(self.runtime).layout


def _lazy(name: str) -> Callable[..., Any]:
    """The function ``module:name`` of ``fleetfront.deploy``, imported when it is called: what writes files is heavy."""
    module, function = name.split(":")

    def call(*arguments: Any) -> Any:
        return getattr(import_module(f"fleetfront.deploy.{module}"), function)(*arguments)

    return call


#: The first ONNX Runtime of each operator set and file version, from the table in its docs/reference/compatibility.
_FIRST_WITH_OPSET = {17: (1, 12), 18: (1, 14), 19: (1, 15), 20: (1, 17), 21: (1, 18), 22: (1, 20)}
_FIRST_WITH_IR = {8: (1, 12), 9: (1, 17), 10: (1, 18), 11: (1, 21)}


#: The first with ``MatMulNBits``.
_FIRST_WITH_BLOCKS = (1, 17)


def _onnx_minimum(data: bytes) -> str:
    import onnx

    model = onnx.load_from_string(data)
    opsets = [entry.version for entry in model.opset_import if not entry.domain]
    newest = max(_FIRST_WITH_OPSET.items())[1]
    needed = [_FIRST_WITH_OPSET.get(max(version, 17), newest) for version in opsets]
    if any(node.op_type == "MatMulNBits" for node in model.graph.node):
        needed.append(_FIRST_WITH_BLOCKS)
    needed.append(_FIRST_WITH_IR.get(max(model.ir_version, 8), max(_FIRST_WITH_IR.items())[1]))
    major, minor = max(needed)
    return f"onnxruntime {major}.{minor}"


def _no_int8_plan(_: Graph) -> Graph:
    raise InputError("Plans are not written in int8.", "Leave int8 out of --precisions, or trt out of --formats.")


def _no_narrow_plan(_: bytes, bits: int) -> bytes:
    raise InputError(
        f"Plans are not written in w{bits}.", f"Leave w{bits} out of --precisions, or trt out of --formats."
    )


def _no_narrow_ort(_: bytes, bits: int) -> bytes:
    raise InputError(
        f"ONNX Runtime widens the weights of a file in w{bits} when it turns it into .ort, which is then as large as "
        "in fp32.",
        f"Leave ort out of --formats, or w{bits} out of --precisions; int8 is written as .ort.",
    )


_ONNX = FileFormat(
    name="onnx",
    runtime="onnxruntime",
    write=_lazy("writers.onnx.writer:write_onnx"),
    minimum_runtime=_onnx_minimum,
    half=half_compute,
    quantise=_lazy("quantise.onnx:quantise_onnx"),
    weights=_lazy("quantise.rounding:onnx_weights"),
    with_weights=_lazy("quantise.rounding:onnx_with_weights"),
    narrow=_lazy("quantise.onnx:narrow_onnx"),
    weights_alone=_lazy("quantise.weights_alone:narrow_onnx_weights"),
    computes_in_float=frozenset({"w8"}),
)

_ALL = (
    _ONNX,
    FileFormat(
        name="tflite",
        runtime="litert",
        write=_lazy("writers.tflite.writer:write_tflite"),
        minimum_runtime=_lazy("writers.tflite.writer:minimum_runtime"),
        half=half_weights,
        int8=without_hard_swish,
        quantise=_lazy("quantise.tflite:quantise_tflite"),
        weights=_lazy("quantise.rounding:tflite_weights"),
        with_weights=_lazy("quantise.rounding:tflite_with_weights"),
        narrow=_lazy("quantise.tflite:narrow_tflite"),
        weights_alone=_lazy("quantise.weights_alone:narrow_tflite_weights"),
        finish=_lazy("writers.tflite.metadata:describe_file"),
    ),
    replace(
        _ONNX,
        name="ort",
        minimum_runtime=_lazy("writers.ort.writer:minimum_runtime"),
        weights_alone=_no_narrow_ort,
        finish=_lazy("writers.ort.writer:finish_ort"),
        twin="onnx",
    ),
    replace(
        _ONNX,
        name="trt",
        runtime="tensorrt",
        write=_lazy("writers.tensorrt.writer:write_plan"),
        minimum_runtime=_lazy("writers.tensorrt.writer:plan_runtime"),
        int8=_no_int8_plan,
        narrow=None,
        weights_alone=_no_narrow_plan,
        check=_lazy("writers.tensorrt.writer:check_tensorrt"),
        bound_to=_lazy("writers.tensorrt.writer:plan_bound_to"),
    ),
)

#: All of them, and those that every network is handed out in unless the user says otherwise.
ALL_FORMATS = {kind.name: kind for kind in _ALL}
FORMATS = {name: ALL_FORMATS[name] for name in ("onnx", "tflite")}


def writer_of(name: str) -> Callable[[Graph], bytes]:
    """The writer of Graphs as a kind of file that networks are timed from: a format, or ``graph``, torch's."""
    return _serialise if name == "graph" else ALL_FORMATS[name].write


def _serialise(graph: Graph) -> bytes:
    exported = graph.exported("graph")
    if exported is not None:
        return exported
    graph.check_weights()
    return graph.to_bytes()


def int8_writer_of(name: str) -> Callable[[Graph, Piece], bytes]:
    """The function that writes a float Graph in int8 for timing, as files are handed out but with ranges made up.

    Raises InputError for a format without such a form.
    """
    found = ALL_FORMATS.get(name)
    if found is None or found.narrow is None:
        raise InputError(f"Files of format {name} are not written in int8.", "Measure in float.")
    kind, narrow = found, found.narrow
    return lambda graph, piece: narrow(kind.write(graph if piece.is_operator else kind.int8(graph)), piece)


def weights_writer_of(name: str, bits: int) -> Callable[[Graph], bytes]:
    """The function that writes a float Graph with weights of so many bits, activations in float.

    Raises InputError for files that no runtime here reads so.
    """
    found = ALL_FORMATS.get(name)
    if found is None:
        raise InputError(f"Files of format {name} are not written in w{bits}.", "Measure in fp32.")
    kind = found
    return lambda graph: kind.weights_alone(kind.write(graph), bits)


def _named(name: str) -> FileFormat:
    return ALL_FORMATS[name]


def parse_formats(text: str) -> tuple[FileFormat, ...]:
    """The formats in ``onnx,tflite,ort,trt``, each once. Raises InputError for an unknown one or none."""
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    for name in names:
        if name not in ALL_FORMATS:
            raise unknown("format", name, ALL_FORMATS)
    if not names:
        raise InputError("No format is given.", f"Choose from {', '.join(ALL_FORMATS)}.")
    return tuple(ALL_FORMATS[name] for name in names)
