"""Checks refuse ONNX files that are damaged, too new, endless, or reach outside their folder."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from fleetfront.errors import FileError
from fleetfront.graphs.readers.onnx_operators import RULES

if TYPE_CHECKING:
    import onnx

    from fleetfront.graphs.graph import Graph

#: Characters of onnx's own words.
REASON_SHOWN = 300
#: Operators that no real network has.
_MOST_NODES = 200_000


def check_location(tensor: onnx.TensorProto, path: Path) -> Path:
    """The file that holds a weight. Raises FileError if it lies outside the model's folder."""
    location = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
    folder = path.resolve().parent
    there = folder / location
    if not location or Path(location).is_absolute() or not there.resolve().is_relative_to(folder):
        raise FileError(
            f"Weight {tensor.name!r} of {path} lies at {location!r}, outside the file's folder.",
            "Keep the data beside the file, and save it with relative paths.",
        )
    return there


def check_functions(model: onnx.ModelProto, path: Path) -> None:
    """Raise FileError if local functions call one another in a circle, or would become very many nodes."""
    functions = {(one.domain, one.name): one for one in model.functions}
    sizes: dict[tuple[str, str], float] = {}

    def size(key: tuple[str, str]) -> float:
        if key not in sizes:
            # Whoever calls itself is found to be endless.
            sizes[key] = math.inf
            sizes[key] = sum(1 + called(node) for node in functions[key].node)
        return sizes[key]

    def called(node: onnx.NodeProto) -> float:
        key = (node.domain, node.op_type)
        inside = sum(1 + called(one) for attribute in node.attribute for one in attribute.g.node)
        return inside + (size(key) if key in functions else 0)

    total = sum(1 + called(node) for node in model.graph.node)
    if total > _MOST_NODES:
        raise FileError(
            f"{path} is more than {_MOST_NODES:,} operators with its functions written out, or they call themselves.",
            "Export it without local functions.",
        )


def check_model(model: onnx.ModelProto, path: Path) -> None:
    """Raise FileError if onnx's checker refuses a file, or its format or opset is newer than the installed onnx."""
    from onnx import IR_VERSION, checker, defs

    if model.ir_version > IR_VERSION:
        raise FileError(
            f"{path} is written in version {model.ir_version} of ONNX's format; the installed onnx knows up to "
            f"{IR_VERSION}.",
            "Update onnx (pip install -U onnx), or set the file's ir_version to one that your runtime knows.",
        )
    newest = defs.onnx_opset_version()
    for one in model.opset_import:
        if one.domain in ("", "ai.onnx") and one.version > newest:
            raise FileError(
                f"{path} is written in ONNX opset {one.version}; the installed onnx knows up to {newest}.",
                "Update onnx (pip install -U onnx), or export the file with an older opset.",
            )
    try:
        checker.check_model(_with_ranks(model))
    except checker.ValidationError as error:
        reason = " ".join(str(error).split("\n\n")[0].split())[:REASON_SHOWN]
        raise FileError(f"onnx refuses {path}: {reason}", "Export the file again.") from error


def check_misfits(graph: Graph, model: onnx.ModelProto, path: Path) -> None:
    """Raise FileError if operators of known kinds could not be read, and onnx says that their operands contradict.

    ``graph`` is what was read of ``model``, whose shapes were inferred leniently: what runtimes allow is no error.
    """
    from onnx import shape_inference

    if not any(one.family == "opaque" and one.origin and one.origin.kind in RULES for one in graph.operators):
        return
    try:
        shape_inference.infer_shapes(model, strict_mode=True)
    except shape_inference.InferenceError as error:
        words = str(error).replace("[ShapeInferenceError]", "").replace("Inference error(s):", "")
        reason = " ".join(words.split())[:REASON_SHOWN]
        raise FileError(f"{path} cannot run: {reason.rstrip('.')}.", "Export the file again.") from error


def _with_ranks(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model as the checker wants it: with a shape, even an empty one, at ports that say none, as runtimes allow."""
    ports = [*model.graph.input, *model.graph.output]
    if all(one.type.tensor_type.HasField("shape") for one in ports if one.type.HasField("tensor_type")):
        return model
    whole = type(model)()
    whole.CopyFrom(model)
    for one in (*whole.graph.input, *whole.graph.output):
        if one.type.HasField("tensor_type"):
            one.type.tensor_type.shape.SetInParent()
    return whole
