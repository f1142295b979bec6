"""Time the operators of a TFLite file by cutting each out into a file of its own.

LiteRT's Python API has no profiler, and its delegates run a whole file as one node. Cut out, each operator runs through
the same kernels; what it would share with its neighbours, a warm cache or a layout, it does without.

Importing this module imports the schema of ai-edge-litert, so other modules import it inside functions.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter_ns
from typing import Any

import numpy as np

from fleetfront.errors import FleetfrontError, InputError, missing
from fleetfront.runtimes.base import Session
from fleetfront.runtimes.feeds import random_feeds
from fleetfront.runtimes.litert.buffers import buffer_content
from fleetfront.runtimes.operator_times import OperatorTime, OperatorTimes

try:
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema
except ImportError as error:
    raise missing("ai-edge-litert", "cpu", "Reading TFLite files") from error

_HOW = "each operator cut out of the file and timed alone: LiteRT's Python API has no profiler"
_NS_PER_MS = 1e6
#: Rounds over all operators; of each visit the fastest run counts, and of the visits the median.
_ROUNDS = 3
_NAMES: dict[int, str] = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}


def time_operators(data: bytes, open_bytes: Callable[[bytes], Session], runs: int) -> OperatorTimes:
    """Milliseconds of each operator of the first subgraph, ``runs`` runs each in rounds over all of them.

    Raises InputError if the bytes are no TFLite file, or no operator of it runs alone.
    """
    try:
        model = read_model(data)
        operators = list(model.subgraphs[0].operators)
    except InputError:
        raise
    except Exception as damage:
        raise InputError(
            f"The file cannot be taken apart ({damage}).", "Check that it is a whole .tflite file."
        ) from damage
    cuts: dict[int, bytes] = {}
    taken: dict[int, list[float]] = {}
    for turn in range(_ROUNDS):
        for place in range(len(operators)):
            if turn and place not in taken:
                continue
            try:
                cut = cuts[place] if place in cuts else cuts.setdefault(place, cut_operator(model, place))
                taken.setdefault(place, []).append(_timed(open_bytes(cut), max(2, runs // _ROUNDS)))
            except (FleetfrontError, RuntimeError, ValueError):
                # An operator that needs its neighbours, such as a variable's, has no time of its own.
                taken.pop(place, None)
    if not taken:
        raise InputError("No operator of the file runs alone.", "Time the file as a whole, without --operators.")
    found = tuple(
        OperatorTime(_name(model, place), _kind(model, place), float(np.median(taken[place])))
        for place in sorted(taken)
    )
    left_out = tuple(_name(model, place) for place in range(len(operators)) if place not in taken)
    return OperatorTimes(found, sum(one.ms for one in found), _HOW, left_out)


def _timed(session: Session, runs: int) -> float:
    try:
        call = session.bind(random_feeds(session, np.random.default_rng(0)))
        call()
        fastest = float("inf")
        for _ in range(runs):
            began = perf_counter_ns()
            call()
            fastest = min(fastest, perf_counter_ns() - began)
        return fastest / _NS_PER_MS
    finally:
        session.close()


def read_model(data: bytes) -> Any:
    """A file as the schema's objects, with every constant inside. Raises InputError where one lies outside the file."""
    model = schema.ModelT.InitFromPackedBuf(data, 0)
    for buffer in model.buffers:
        content = buffer_content(buffer, data)
        buffer.data = np.frombuffer(content, np.uint8) if content else None
        buffer.offset = buffer.size = 0
    return model


def cut_operator(model: Any, place: int) -> bytes:
    """The bytes of a file that holds one operator of the first subgraph, with the constants that it reads."""
    graph = model.subgraphs[0]
    operator = graph.operators[place]
    used = [int(index) for index in (*operator.inputs, *operator.outputs) if index >= 0]
    used = list(dict.fromkeys([*used, *(int(i) for i in _given(operator.intermediates))]))
    tensors = [graph.tensors[index] for index in used]
    buffers = list(dict.fromkeys(int(tensor.buffer) for tensor in tensors))
    made = schema.ModelT()
    made.version, made.operatorCodes = model.version, [model.operatorCodes[operator.opcodeIndex]]
    empty = schema.BufferT()
    made.buffers = [empty, *(model.buffers[buffer] for buffer in buffers if buffer)]
    kept = {0: 0} | {buffer: number for number, buffer in enumerate((b for b in buffers if b), start=1)}
    subgraph = schema.SubGraphT()
    subgraph.name = b"cut"
    subgraph.tensors = [_moved(tensor, kept[int(tensor.buffer)]) for tensor in tensors]
    where = {index: number for number, index in enumerate(used)}
    constant = {i for i in used if _holds(model.buffers[int(graph.tensors[i].buffer)])}
    variable = {i for i in used if graph.tensors[i].isVariable}
    fed = [int(i) for i in operator.inputs if i >= 0 and int(i) not in constant | variable]
    subgraph.inputs = [where[i] for i in dict.fromkeys(fed)]
    subgraph.outputs = [where[int(i)] for i in operator.outputs]
    subgraph.operators = [_placed(operator, where)]
    made.subgraphs = [subgraph]
    made.description = b"one operator"
    builder = flatbuffers.Builder(1024)
    builder.Finish(made.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _given(places: Any) -> list[int]:
    return [] if places is None else [int(place) for place in places]


def _holds(buffer: Any) -> bool:
    return buffer.data is not None and len(buffer.data) > 0


def _moved(tensor: Any, buffer: int) -> Any:
    copy = schema.TensorT()
    vars(copy).update(vars(tensor))
    copy.buffer = buffer
    return copy


def _placed(operator: Any, where: dict[int, int]) -> Any:
    copy = schema.OperatorT()
    vars(copy).update(vars(operator))
    copy.opcodeIndex = 0
    copy.inputs = [where.get(int(i), -1) for i in operator.inputs]
    copy.outputs = [where[int(i)] for i in operator.outputs]
    copy.intermediates = [where[i] for i in _given(operator.intermediates)]
    return copy


def _name(model: Any, place: int) -> str:
    graph = model.subgraphs[0]
    outputs = graph.operators[place].outputs
    name = graph.tensors[int(outputs[0])].name if len(outputs) else b""
    return str(name.decode(errors="replace")) if isinstance(name, bytes) else str(name or place)


def _kind(model: Any, place: int) -> str:
    code = model.operatorCodes[model.subgraphs[0].operators[place].opcodeIndex]
    if code.customCode:
        return str(code.customCode.decode(errors="replace"))
    return str(_NAMES.get(max(int(code.builtinCode), int(code.deprecatedBuiltinCode)), "unknown"))
