"""Find the inputs of a model file whose values decide how much it computes: sizes, counts, axes, conditions."""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from fleetfront.profilers.file_facts import file_inputs, onnx_graph

#: Every place of an operator's inputs.
_ALL = tuple(range(64))

#: ONNX operator -> the inputs whose values, rather than shapes, decide the size of its result or how often it runs.
_ONNX_SLOTS: Mapping[str, tuple[int, ...]] = {
    "Reshape": (1,),
    "Resize": (1, 2, 3),
    "Upsample": (1,),
    "TopK": (1,),
    "Slice": (1, 2, 3, 4),
    "Expand": (1,),
    "Tile": (1,),
    "Pad": (1, 3),
    "ConstantOfShape": (0,),
    "Range": (0, 1, 2),
    "OneHot": (1,),
    "Split": (1,),
    "Squeeze": (1,),
    "Unsqueeze": (1,),
    "CumSum": (1,),
    "CenterCropPad": (1,),
    "DFT": (1, 2),
    "STFT": (1, 3),
    "MelWeightMatrix": _ALL,
    "MaxUnpool": (2,),
    "NonZero": (0,),
    "NonMaxSuppression": _ALL,
    "Compress": (1,),
    "Unique": (0,),
    "SplitToSequence": (1,),
    "SequenceAt": (1,),
    "If": (0,),
    "Loop": (0, 1),
    "LSTM": (4,),
    "GRU": (4,),
    "RNN": (4,),
    "AffineGrid": (1,),
    **dict.fromkeys(
        (f"Reduce{kind}" for kind in ("Sum", "Mean", "Max", "Min", "Prod", "L1", "L2", "LogSum", "SumSquare")), (1,)
    ),
}
#: ONNX operators that hand on sizes and counts: arithmetic, and what picks and joins entries.
_ONNX_CARRIERS = (
    "Cast Concat Squeeze Unsqueeze Slice Identity Reshape Flatten Add Sub Mul Div Mod Floor Ceil Round Neg Abs Min Max "
    "ReduceMax ReduceMin ReduceSum ReduceProd Where Equal Less Greater LessOrEqual GreaterOrEqual Not And Or Clip Sqrt "
    "Pow Range Split Gather"
)
#: The same of TensorFlow Lite.
_TFLITE_SLOTS: Mapping[str, tuple[int, ...]] = {
    **dict.fromkeys(("RESHAPE", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "TOPK_V2", "TILE", "BROADCAST_TO"), (1,)),
    **dict.fromkeys(
        ("PAD", "PADV2", "MIRROR_PAD", "EXPAND_DIMS", "TRANSPOSE", "ONE_HOT", "CUMSUM", "MULTINOMIAL"), (1,)
    ),
    **dict.fromkeys(("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD", "REDUCE_ANY", "REDUCE_ALL"), (1,)),
    **dict.fromkeys(("ARG_MAX", "ARG_MIN", "SPARSE_TO_DENSE"), (1,)),
    **dict.fromkeys(("FILL", "SPLIT", "IF", "WHERE", "UNIQUE", "TRANSPOSE_CONV", "CONV_3D_TRANSPOSE"), (0,)),
    **dict.fromkeys(("RANDOM_UNIFORM", "RANDOM_STANDARD_NORMAL"), (0,)),
    "SLICE": (1, 2),
    "STRIDED_SLICE": (1, 2, 3),
    "SPLIT_V": (1, 2),
    "BATCH_TO_SPACE_ND": (1, 2),
    "SPACE_TO_BATCH_ND": (1, 2),
    "RANGE": (0, 1, 2),
    "SCATTER_ND": (2,),
    "NON_MAX_SUPPRESSION_V4": _ALL,
    "NON_MAX_SUPPRESSION_V5": _ALL,
}
_TFLITE_CARRIERS = (
    "CAST CONCATENATION SQUEEZE EXPAND_DIMS SLICE STRIDED_SLICE RESHAPE PACK UNPACK ADD SUB MUL DIV FLOOR_DIV "
    "FLOOR_MOD FLOOR CEIL ROUND NEG ABS MINIMUM MAXIMUM REDUCE_MAX REDUCE_MIN SUM REDUCE_PROD SELECT SELECT_V2 EQUAL "
    "LESS GREATER LESS_EQUAL GREATER_EQUAL LOGICAL_NOT LOGICAL_AND LOGICAL_OR GATHER RANGE WHILE"
)
#: Their first input alone is handed on: the second says which entries.
_PICKERS = frozenset({"Gather", "GATHER"})

#: More than the largest published file has; beyond, a small file only pretends.
_MOST_OPERATORS = 200_000
#: Operator, inputs and outputs by name or number; absent inputs are None.
_Step = tuple[str, list[Any], list[Any]]


def steering_inputs(path: Path) -> frozenset[str] | None:
    """Names of the inputs on whose values the time of a file depends; None if nothing here reads such files.

    Values are followed through arithmetic and what picks, joins and reshapes them, not through layers: which of
    thousands of words an embedding is asked for decides nothing.
    """
    read = _READERS.get(path.suffix.lower())
    try:
        return None if read is None else read(path)
    except (ImportError, OSError, struct.error, LookupError, ArithmeticError, ValueError, TypeError, AttributeError):
        # Whoever opens the file says what is wrong with it.
        return None


def _followed(
    steps: Iterable[_Step], sources: Mapping[Any, str], slots: Mapping[str, tuple[int, ...]], carriers: str
) -> frozenset[str]:
    """Which ``sources`` (value -> name of the input) reach one of the ``slots``; steps come in the order they run."""
    handed_on = frozenset(carriers.split())
    reached: defaultdict[Any, frozenset[str]] = defaultdict(frozenset)
    reached.update({value: frozenset({name}) for value, name in sources.items()})
    steering: frozenset[str] = frozenset()
    for name, inputs, outputs in steps:
        told = [reached[one] if one in reached else frozenset[str]() for one in inputs]
        for place in slots.get(name, ()):
            if place < len(told):
                steering |= told[place]
        if name in handed_on and any(told):
            carried = told[0] if name in _PICKERS else frozenset().union(*told)
            for one in outputs:
                reached[one] |= carried
    return steering


def _onnx_steering(path: Path) -> frozenset[str]:
    graph = onnx_graph(path)
    weights = {tensor.name for tensor in graph.initializer}
    sources = {port.name: port.name for port in graph.input if port.name not in weights}
    return _followed(islice(_onnx_steps(graph), _MOST_OPERATORS), sources, _ONNX_SLOTS, _ONNX_CARRIERS)


def _onnx_steps(graph: Any) -> Iterable[_Step]:
    """Operators of a graph and of the bodies in it, which see the values around them."""
    pending = [iter(graph.node)]
    while pending:
        node = next(pending[-1], None)
        if node is None:
            pending.pop()
            continue
        yield node.op_type, list(node.input), list(node.output)
        pending += [iter(one.g.node) for one in node.attribute if one.HasField("g")]


def _tflite_steering(path: Path) -> frozenset[str]:
    from ai_edge_litert import schema_py_generated as schema

    words = {number: name for name, number in vars(schema.BuiltinOperator).items() if isinstance(number, int)}
    model = schema.Model.GetRootAs(path.read_bytes(), 0)
    graph = model.Subgraphs(0)
    codes = [model.OperatorCodes(index) for index in range(model.OperatorCodesLength())]
    # Old files have the number in a field of one byte.
    names = [words.get(max(code.BuiltinCode(), code.DeprecatedBuiltinCode()), "") for code in codes]

    def steps() -> Iterable[_Step]:
        for operator in (graph.Operators(index) for index in range(graph.OperatorsLength())):
            inputs = [operator.Inputs(place) for place in range(operator.InputsLength())]
            outputs = [operator.Outputs(place) for place in range(operator.OutputsLength())]
            yield names[operator.OpcodeIndex()], inputs, outputs
            if names[operator.OpcodeIndex()] == "WHILE":
                # Any of its single numbers may be what its condition looks at.
                yield from (("IF", [index], []) for index in inputs if _values(graph.Tensors(index)) == 1)

    ports = [port.name for port in file_inputs(path) or ()]
    sources = dict(zip((graph.Inputs(place) for place in range(graph.InputsLength())), ports, strict=True))
    return _followed(islice(steps(), _MOST_OPERATORS), sources, _TFLITE_SLOTS, _TFLITE_CARRIERS)


def _values(tensor: Any) -> int:
    count = 1
    for axis in range(tensor.ShapeLength()):
        count *= tensor.Shape(axis)
    return count


_READERS: Mapping[str, Callable[[Path], frozenset[str]]] = {".onnx": _onnx_steering, ".tflite": _tflite_steering}
