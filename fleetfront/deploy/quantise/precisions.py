"""Number formats of files: graphs in half precision, and how far each precision may be from torch. Static int8, and
narrow weights alone, are made of finished files: in ``quantise.onnx``, ``quantise.tflite``, ``quantise.weights_alone``.
"""

from __future__ import annotations

import math
from enum import StrEnum

import numpy as np

from fleetfront.deploy.proof import FP32_LIMIT
from fleetfront.errors import InputError, unknown
from fleetfront.graphs.fold import fold_batch_norm
from fleetfront.graphs.graph import Array, Graph, Operator, Rewriter, Tensor
from fleetfront.graphs.operators.catalogue import family_of

#: What files can be written in.
FILE_PRECISIONS = ("fp32", "fp16", "int8", "w8", "w4")

#: Files whose activations stay in float -> the bits of their weights; of w4, those of matrix products.
WEIGHT_BITS = {"w8": 8, "w4": 4}

#: Shares of the logits' spread over inputs that rounding may cost. fp32 files measure around 1e-6 to 1e-5, fp16 around
#: 1e-3 to 2e-3.
SPREAD_LIMITS = {"fp32": FP32_LIMIT, "fp16": 5e-3}

#: What rounding that goes into products may cost, of files whose weights alone are narrow beside the float file with
#: their values: networks measure 0.004 to 0.05.
ROUNDED_INPUTS_LIMIT = 0.15

#: int8, w8 and w4 are judged by how often their class is torch's on real images: rounding to 256 steps moves logits
#: visibly.
AGREEMENT_LIMIT = 0.9
BY_AGREEMENT = frozenset(FILE_PRECISIONS) - SPREAD_LIMITS.keys()


class Piece(StrEnum):
    """A file in int8 for timing alone, whose ranges are made up: what of a network it holds."""

    #: One operator or two, of which each stands between int8 operands and an int8 result.
    OPERATOR = "operator"
    #: The same with weights from 0 to 255, as some quantisers write them.
    UNSIGNED_OPERATOR = "unsigned operator"
    #: A part of a network, as the quantiser of files makes it, between int8 ends.
    BLOCK = "block"
    #: A whole network as it is handed out, between float ends.
    NETWORK = "network"

    @property
    def is_operator(self) -> bool:
        """Tell whether it is no part of a network."""
        return self in (Piece.OPERATOR, Piece.UNSIGNED_OPERATOR)


#: The largest float16.
_LARGEST_HALF = float(np.finfo(np.float16).max)


def parse_precisions(text: str) -> tuple[str, ...]:
    """The precisions in ``fp32,int8``, each once, in their canonical order. Raises InputError for others or none."""
    names = {name.strip() for name in text.split(",") if name.strip()}
    for name in sorted(names):
        if name == "int4":
            raise InputError(
                "No runtime here computes in int4 throughout.",
                "Write w4: the weights of matrix products in int4, those of convolutions in int8.",
            )
        if name not in FILE_PRECISIONS:
            raise unknown("precision", name, FILE_PRECISIONS)
    if not names:
        raise InputError("No precision is given.", f"Choose from {', '.join(FILE_PRECISIONS)}.")
    return tuple(name for name in FILE_PRECISIONS if name in names)


def nothing_to_calibrate_on() -> InputError:
    """The error where int8 is asked for and no input says which values occur."""
    return InputError("int8 is calibrated on images, and there are none.", "Give --images.")


def half_compute(graph: Graph) -> Graph:
    """The network computing in float16 between float32 inputs and outputs: what ONNX calls an fp16 file.

    Raises:
        InputError: a weight does not fit float16.
    """
    folded = fold_batch_norm(graph)

    def declare(writer: Rewriter, tensor: Tensor) -> str:
        name = writer.redeclare(tensor)
        return writer.add("cast", [name], f"{name}/half", dtype="float16") if tensor.dtype == "float32" else name

    def keep(writer: Rewriter, operator: Operator) -> None:
        writer.keep(operator, [f"{name}/half" if name in folded.outputs else name for name in operator.outputs])

    def give(writer: Rewriter, name: str) -> str:
        return writer.add("cast", [writer.now(name)], name, dtype="float32")

    return folded.rewrite(keep, inputs=declare, weights=as_half, outputs=give)


def half_weights(graph: Graph) -> Graph:
    """The network with the weights of convolutions and linears kept in float16 and spread to float32 when a runtime
    opens the file: what TFLite calls an fp16 file, which GPU delegates then compute in float16.

    Raises:
        InputError: a weight does not fit float16.
    """
    folded = fold_batch_norm(graph)

    def spread(writer: Rewriter, operator: Operator) -> None:
        name = operator.inputs[1] if family_of(operator.family).is_weighted else ""
        array = folded.weights.get(name)
        if array is not None and array.dtype == np.float32 and writer.now(name) == name:
            half = writer.weight(name, as_half(name, array))
            writer.stand_in(name, writer.add("cast", [half], f"{name}/float", dtype="float32"))
        writer.keep(operator)

    return folded.rewrite(spread)


def without_hard_swish(graph: Graph) -> Graph:
    """The network with every hard-swish as a product with a hard-sigmoid.

    XNNPACK takes no hard-swish in int8, and each one left to the interpreter cuts the delegated part in two.
    """

    def spell_out(writer: Rewriter, operator: Operator) -> None:
        if operator.family != "hard_swish":
            writer.keep(operator)
            return
        data = writer.now(operator.inputs[0])
        gate = writer.add("hard_sigmoid", [data], f"{operator.output}/gate")
        writer.add("multiply", [data, gate], operator.output)

    return graph.rewrite(spell_out)


def as_half(name: str, array: Array) -> Array:
    """A float32 weight as float16, any other as it is. Raises InputError, with its name, if it does not fit."""
    if array.dtype != np.float32:
        return array
    largest = float(np.abs(array).max(initial=0.0))
    if not largest <= _LARGEST_HALF:
        raise InputError(
            f"Weight {name!r} reaches {largest:.3g}, float16 ends at {_LARGEST_HALF:g}.", "Leave fp16 out for this one."
        )
    return array.astype(np.float16)


def half_rounded(graph: Graph) -> Graph:
    """The network in float32, with its inputs, every weight and every result rounded to float16: what computing in
    float16 costs at least, however a processor adds up.

    Raises:
        InputError: a weight does not fit float16.
    """
    folded = fold_batch_norm(graph)

    def rounded(writer: Rewriter, name: str, now: str) -> str:
        half = writer.add("cast", [now], f"{name}/half", dtype="float16")
        return writer.add("cast", [half], f"{name}/rounded", dtype="float32")

    def declare(writer: Rewriter, tensor: Tensor) -> str:
        name = writer.redeclare(tensor)
        return rounded(writer, tensor.name, name) if tensor.dtype == "float32" else name

    def keep(writer: Rewriter, operator: Operator) -> None:
        writer.keep(operator)
        for name in operator.outputs:
            if folded.tensors[name].dtype == "float32":
                writer.stand_in(name, rounded(writer, name, writer.now(name)))

    def weight(name: str, array: Array) -> Array:
        return as_half(name, array).astype(np.float32) if array.dtype == np.float32 else array

    return folded.rewrite(keep, inputs=declare, weights=weight)


def shaken(graph: Graph, seed: int, larger: float) -> Graph:
    """The network with each product and mean off as if its terms were added up in another order, in steps ``larger``
    times those of float32.

    Of k terms that order may cost sqrt(k) half steps; one sign for all elements of a result is the worst that many
    equal pixels make of it.
    """
    rng = np.random.default_rng(seed)

    def keep(writer: Rewriter, operator: Operator) -> None:
        writer.keep(operator)
        terms = _terms(graph, operator)
        if terms > 1:
            off = larger * float(np.finfo(np.float32).epsneg) * np.sqrt(terms) * rng.choice((-1, 1))
            factor = writer.weight(f"{operator.outputs[0]}/factor", np.array([1 + off], np.float32))
            name = writer.add("multiply", [writer.now(operator.outputs[0]), factor], f"{operator.outputs[0]}/shaken")
            writer.stand_in(operator.outputs[0], name)

    return graph.rewrite(keep)


def _terms(graph: Graph, operator: Operator) -> float:
    """Numbers that are added up for an element of a product or a mean; 1 for other operators."""
    if family_of(operator.family).is_weighted and operator.inputs[1] in graph.weights:
        weight = graph.weights[operator.inputs[1]]
        return weight.size / len(weight)
    if operator.family in ("global_average_pool", "average_pool2d"):
        sizes = (math.prod(map(int, graph.tensors[name].shape)) for name in (operator.inputs[0], operator.outputs[0]))
        return next(sizes) / next(sizes)
    return 1.0


def half_throughout(graph: Graph) -> Graph:
    """The network in float16 from its inputs to its outputs: what blocks are profiled as in half precision.

    Files that are handed out keep float32 at both ends (``half_compute``). A block inside a network has no such ends,
    so a block with them would be timed with two conversions that the network does not make.

    Raises:
        InputError: a weight does not fit float16.
    """

    def declare(writer: Rewriter, tensor: Tensor) -> str:
        return writer.redeclare(tensor, dtype="float16" if tensor.dtype == "float32" else tensor.dtype)

    return fold_batch_norm(graph).rewrite(inputs=declare, weights=as_half)
