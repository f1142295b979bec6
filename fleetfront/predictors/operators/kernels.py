"""Describe each operator of a graph by its kind and by the numbers that its time depends on.

Operators of one kind share a model (``costs``): families are split where devices have kernels of their own, as for
convolutions of one pixel, of one channel a group, and all others. Everything is counted at the batch of the graph's
inputs, a symbolic one as 1: images of a batch are more rows of the same product.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Set
from dataclasses import dataclass, replace

import numpy as np

from fleetfront.graphs.channels_last import pad_apart
from fleetfront.graphs.graph import Graph, Operator
from fleetfront.graphs.operators.base import IMAGE, elements
from fleetfront.graphs.prune import share_equal
from fleetfront.predictors.operators.features import FEATURES as FEATURES
from fleetfront.predictors.operators.features import (
    VECTOR,
    filled,
    moved_elements,
    one_by_one,
    plain_features,
    sized,
    work_of,
)
from fleetfront.predictors.operators.quantised import IN_FLOATS, NARROW, UNSIGNED, quantised_codes
from fleetfront.predictors.operators.spellings import reading_weights, spelled_activations
from fleetfront.predictors.operators.variants import PADS as PADS
from fleetfront.predictors.operators.variants import Stored, beside, variant_of
from fleetfront.quantities import FloatArray
from fleetfront.runtimes.catalogue import find_facts
from fleetfront.targets import Target

#: Convolutions that runtimes with channels first compute on blocks of sixteen: not those of sixteen and more channels
#: that are no multiple of a quarter of that (seen in ONNX Runtime 1.32 on x86; ``narrow`` ones read them as they are).
_IN_BLOCKS, _QUARTER = ("conv", "pointwise"), 4
#: Types that are counted with float32; of other wide ones those of a result are asked, as indices are whole numbers
#: everywhere.
_PLAIN_TYPES = ("float32", "bool")
_NOTHING: FloatArray = np.zeros(len(FEATURES))
_ROWS, _READ, _WRITTEN, _WEIGHTS, _INNER = (
    FEATURES.index(name) for name in ("rows", "read", "written", "weights", "inner")
)
#: Families behind which LiteRT runs a comparison of its own where files say one beside them, if in floats.
_CUT_APART = ("add", "multiply", "elementwise")
#: Families behind a product of widened numbers with which ONNX Runtime computes it in floats.
_BEHIND = frozenset({"add", "quantise", "relu", "relu6"})
#: Families that floats alone have blocks of channels for.
_POOLS = ("max_pool2d", "average_pool2d", "global_average_pool")
#: Kinds of products of two computed matrices.
_OF_MATRICES = ("matmul", "matmul row")
#: Families of which graphs hold every attribute, so that equal ones compute the same.
_MERGED = frozenset(
    {"conv2d", "conv1d", "linear", "matmul", "add", "multiply", "relu", "relu6", "sigmoid", "hard_swish"}
    | {"hard_sigmoid", "transpose", "concat", "softmax", "max_pool2d", "average_pool2d", "global_average_pool"}
)
#: What the kinds of operators begin with that take whole numbers with their scales: other code than between changes of
#: type, which runtimes may compute in floats.
_OF_SCALES = ("com.microsoft.QLinear", "QLinear", "com.microsoft.QGemm")


@dataclass(frozen=True, slots=True)
class Kernel:
    """One operator as devices see it.

    Attributes:
        kind: what models are made for, e.g. ``pointwise``; empty if it costs nothing.
        name: of its first output.
        family: as the file that it was read from calls it, else the graph.
        features: float64[len(FEATURES)].
        producers: places in the list of kernels of those whose results it reads.
        readers: how many kernels read its result.
        is_bounded: whether its kind and sizes say what it can take: not of operators that hold graphs of their own, nor
            of those that only their makers know.
        is_again: whether an earlier kernel read all of its weights, as those of a cell that is written step by step.
        keeps_blocks: whether what it joins or resizes could stay in blocks of sixteen channels.
    """

    kind: str
    name: str
    family: str
    features: FloatArray
    producers: tuple[int, ...] = ()
    readers: int = 1
    is_bounded: bool = True
    is_again: bool = False
    keeps_blocks: bool = True


def kernels_on(target: Target, graph: Graph) -> list[Kernel]:
    """``graph_kernels`` of a graph as the target's runtime executes files of it."""
    facts = find_facts(target.runtime)
    if facts is not None and facts.merges_equal:
        graph = share_equal(graph, _MERGED)
    is_last = facts is not None and facts.pads_apart
    return graph_kernels(pad_apart(graph) if is_last else graph, is_last=is_last)


def graph_kernels(graph: Graph, *, is_last: bool = False) -> list[Kernel]:
    """The operators of a graph in the order of execution; those that cost nothing are passed through and left out.

    ``is_last``: the runtime stores the channels of images last.
    A constant added to a product's last dimension is its bias, what exporters spell Gelu or SiLU with is one, and what
    stands between dequantised operands and a quantised result is one operator of narrow numbers.
    """
    view, made = Stored(graph, is_last), dict[str, int]()
    kernels: list[Kernel] = []
    seen: set[str] = set()
    read: Counter[int] = Counter()
    users = Counter(name for operator in graph.operators for name in operator.inputs)
    spelled, quantised = spelled_activations(graph, is_last=is_last), quantised_codes(graph)
    makers = {name: operator for operator in graph.operators for name in operator.outputs}
    for operator in reading_weights(graph, graph.operators):
        producers = tuple(dict.fromkeys(made[name] for name in operator.inputs if name in made))
        output = operator.outputs[0]
        kind, features = ("", _NOTHING) if output in spelled else described(view, operator)
        if (
            kind in _OF_MATRICES
            and operator.inputs[1] in graph.weights
            and len(graph.value(operator.inputs[1]).shape) == 2
        ):
            kind, features = _linear(graph, operator, features[0] * 1e6)
        if quantised.get(output) == IN_FLOATS:
            beside = {one.family for one in graph.operators if output in one.inputs}
            beside |= {makers[name].family for name in operator.inputs[:1] if name in makers}
            kind, features = _fed(graph, operator, kind, features, beside)
        elif kind:
            typed = quantised.get(output) or _typed(graph, operator)
            kind = (
                kind.replace(" odd", "").replace(" stepped", "") if typed and operator.family in _POOLS else kind
            ) + typed
        if quantised.get(output) == "":
            kind = ""
        elif (known := spelled.get(output)) is not None:
            kind, features = known[0] + _typed(graph, known[1]), _of_spelled(view, known[1])
        elif len(producers) == 1 and _is_bias(graph, operator, kernels[producers[0]], users):
            kind = ""
        if not kind:
            made.update(dict.fromkeys(operator.outputs, producers[0]) if producers else {})
            continue
        if not is_last:
            kind, features = _channels_first(kind, features, len(graph.tensors[output].shape))
        read.update(producers)
        made.update(dict.fromkeys(operator.outputs, len(kernels)))
        family = operator.origin.kind if operator.origin else operator.family
        stored = graph.weights.keys() & set(operator.inputs)
        is_again = bool(stored) and stored <= seen
        seen |= stored
        in_blocks = _keeps_blocks(graph, operator)
        told, is_known = one_by_one(kind, features), operator.family != "opaque"
        kernels.append(Kernel(kind, output, family, told, producers, 1, is_known, is_again, in_blocks))
        cut = operator.attributes.get("activation") if operator.family in _CUT_APART else None
        if cut in ("relu", "relu6"):
            made.update(dict.fromkeys(operator.outputs, len(kernels)))
            read.update((len(kernels) - 1,))
            kernels.append(_cut(graph, operator, cut, len(kernels) - 1))
    kernels += _copies(graph, made)
    return [replace(kernel, readers=read[place]) for place, kernel in enumerate(kernels)]


def _of_spelled(view: Stored, first: Operator) -> FloatArray:
    """The features of what several operators spell, by the first of them."""
    return described(view, first)[1] if first.family == "layer_norm" else plain_features(view.graph, first, 0.0)


def _channels_first(kind: str, features: FloatArray, dimensions: int) -> tuple[str, FloatArray]:
    """A product of floats as runtimes compute it that keep channels first."""
    if kind in _IN_BLOCKS and features[_INNER] % _QUARTER:
        return f"{kind} odd", _on_windows(features)
    # A batch of one matrix is made a matrix, and its product a batch again.
    return kind + " flat" * (kind == "linear" and dimensions == 2), features


def _keeps_blocks(graph: Graph, operator: Operator) -> bool:
    """Tell whether each part of what is joined has whole blocks of channels, and pixels are repeated so many times."""
    if operator.family not in ("concat", "resize"):
        return True
    result = graph.tensors[operator.outputs[0]]
    if result.layout != IMAGE:
        return False
    parts = [graph.value(name).shape for name in operator.inputs if name in graph.tensors]
    if operator.family == "concat":
        return operator.attributes["axis"] % 4 == 1 and all(sized(shape[1:2]) % VECTOR == 0 for shape in parts)
    sides = zip(result.shape, parts[0], strict=True)
    return all(sized((after,)) % sized((before,)) == 0 for after, before in sides)


def _cut(graph: Graph, operator: Operator, activation: str, producer: int) -> Kernel:
    """The comparison that a file says beside an operator, and runtimes do behind it."""
    features = plain_features(graph, operator, 0.0)
    features[[_READ, _WEIGHTS]] = features[_WRITTEN], 0.0
    features[FEATURES.index("groups")] = 1.0
    kind = activation + _typed(graph, operator)
    return Kernel(kind, f"{operator.outputs[0]}.{activation}", activation, one_by_one(kind, features), (producer,))


def _fed(graph: Graph, operator: Operator, kind: str, features: FloatArray, beside: Set[str]) -> tuple[str, FloatArray]:
    """A product whose weights are widened at each run: no runtime can lay them out beforehand.

    ``beside``: the families of what makes its data and of what reads its result. Floats that are multiplied with narrow
    weights run on code of their own under ONNX Runtime, as do widened ones, unless a bias, a cut or a change back
    follows.
    """
    if len(operator.inputs) < 2 or operator.inputs[1] not in graph.weights:
        return kind, features
    moved = features.copy()
    moved[_READ] += moved[_WEIGHTS]
    moved[_WEIGHTS] = 0.0
    if operator.family in ("conv2d", "conv1d"):
        return f"{kind} fed", moved
    if operator.family not in ("linear", "matmul"):
        return kind, features
    if len(operator.inputs) == 2 and not ("dequantise" in beside and beside & _BEHIND):
        return f"{kind} {graph.value(operator.inputs[1]).dtype} weights", features
    return "matmul row" if features[_ROWS] == 1 else "matmul", moved


def _copies(graph: Graph, made: Mapping[str, int]) -> list[Kernel]:
    """Results that are an input in another shape: nothing is computed, but they lie elsewhere."""
    makers = {name: operator for operator in graph.operators for name in operator.outputs}
    return [
        Kernel("copy", name, one.origin.kind if one.origin else one.family, plain_features(graph, one, 0.0))
        for name, one in ((name, makers[name]) for name in graph.outputs if name in makers and name not in made)
    ]


def _typed(graph: Graph, operator: Operator) -> str:
    """The addition to a kind for other numbers than float32: they run on other code.

    Narrow weights of floats are a third thing: they are spread, or the data is narrowed for each product.
    """
    if operator.family == "dequantise":
        return f" {graph.value(operator.inputs[0]).dtype}"
    known = [name for name in (*operator.outputs, *operator.inputs[:2]) if name in graph.tensors]
    narrow = next((d for d in (graph.tensors[name].dtype for name in known) if d in NARROW), "")
    weights = [graph.value(name).dtype for name in operator.inputs[1:2] if name in graph.weights]
    if narrow:
        has_scales = operator.origin is not None and operator.origin.kind.startswith(_OF_SCALES)
        if narrow == "int8" and weights == ["uint8"]:
            return UNSIGNED
        return f" {narrow} qlinear" if has_scales else f" {narrow}"
    result = graph.tensors[operator.outputs[0]].dtype
    if result not in _PLAIN_TYPES:
        return f" {result}"
    return next((f" {dtype} weights" for dtype in weights if dtype in NARROW), "")


def _is_bias(graph: Graph, operator: Operator, producer: Kernel, users: Mapping[str, int]) -> bool:
    """Tell whether an addition of constants, one for each column, is all that reads a product."""
    constants = [name for name in operator.inputs if name in graph.weights]
    if operator.family != "add" or len(constants) != 1 or producer.kind not in ("linear", "linear flat", "linear row"):
        return False
    width = graph.tensors[operator.outputs[0]].shape[-1]
    computed = next((name for name in operator.inputs if name in graph.tensors), "")
    return graph.weights[constants[0]].size == width and users[computed] == 1


def described(view: Stored, operator: Operator) -> tuple[str, FloatArray]:
    """Kind and features of one operator; no kind if it costs nothing."""
    graph = view.graph
    if operator.family == "opaque":
        return f"opaque {operator.attributes['kind']}", plain_features(graph, operator, 0.0)
    asked = work_of(graph, operator)
    macs = asked.macs
    if asked.kind is None:
        return "", _NOTHING
    if operator.family == "conv2d":
        kind, features = _conv(graph, operator, macs)
        return kind + beside(graph, operator), features
    if operator.family == "conv1d":
        kind, features = _conv(graph, operator, macs)
        if not view.is_last:
            # Channels first, signals are computed on rows of windows, whichever channels there are.
            kind, features = kind.removesuffix(" odd").removesuffix(" narrow"), _on_windows(features)
        return f"1d {kind}" + beside(graph, operator), features
    if operator.family == "matmul":
        kind, features = _matmul(graph, operator, macs)
        return kind + beside(graph, operator), features
    if operator.family == "linear":
        return _linear(graph, operator, macs)
    kind, sizes = variant_of(view, operator)
    features = plain_features(graph, operator, macs)
    for name, size in sizes.items():
        features[FEATURES.index(name)] = size
    return kind, features


def _conv(graph: Graph, operator: Operator, macs: float) -> tuple[str, FloatArray]:
    weight = graph.value(operator.inputs[1]).shape
    groups, window = int(operator.attributes["groups"]), elements(weight[2:])
    inner, columns = int(weight[1]), int(weight[0]) // groups
    shape = graph.tensors[operator.outputs[0]].shape
    pixels = elements(shape[:1]) * elements(shape[1:-1] if operator.attributes.get("channels_last") else shape[2:])
    kind = _conv_kind(groups, inner, columns, is_point=window == 1)
    is_deep = inner > 1 or columns > 1
    # Few channels are read as they are, one by one.
    read = inner if groups == 1 and inner < VECTOR else filled(inner)
    padded = pixels * window * (groups * read * filled(columns) if is_deep else filled(groups))
    across = sized(shape[-2:-1] if operator.attributes.get("channels_last") else shape[-1:])
    sizes = (window, operator.attributes["stride"][0], groups, pixels, inner, columns, across, weight[-1])
    return kind, np.array([macs / 1e6, padded / 1e6, *moved_elements(graph, operator), *map(float, sizes)])


def _on_windows(features: FloatArray) -> FloatArray:
    """The features of a convolution whose windows are written out before they are multiplied, so many elements."""
    written = features.copy()
    pixels, window, groups, inner = (features[FEATURES.index(name)] for name in ("rows", "window", "groups", "inner"))
    written[FEATURES.index("padded")] = pixels * window * groups * inner / 1e6
    return written


def _conv_kind(groups: int, inner: int, columns: int, *, is_point: bool) -> str:
    """Vector code wants channels in fours, and in sixteens within each of several groups; few channels go elsewhere."""
    if groups > 1 and inner == columns == 1:
        return "depthwise" if groups % 4 == 0 else "depthwise odd"
    if groups > 1 and inner == 1:
        return "depthwise multiplied"
    if groups > 1:
        return "grouped" if inner % VECTOR == 0 and columns % VECTOR == 0 else "grouped odd"
    kind = "pointwise" if is_point else "conv"
    return f"{kind} narrow" if inner < VECTOR else kind


def _linear(graph: Graph, operator: Operator, macs: float) -> tuple[str, FloatArray]:
    """A product with weights; that of one row is another algorithm."""
    features = _product(graph, operator, macs)
    return "linear row" if features[_ROWS] == 1 else "linear", features


def _product(graph: Graph, operator: Operator, macs: float) -> FloatArray:
    columns = sized(graph.tensors[operator.outputs[0]].shape[-1:])
    inner = elements(graph.value(operator.inputs[1]).shape) / columns
    rows = elements(graph.tensors[operator.outputs[0]].shape) / columns
    padded = rows * inner * filled(int(columns))
    sizes = (1, 1, 1, rows, inner, columns, 1, columns)
    return np.array([macs / 1e6, padded / 1e6, *moved_elements(graph, operator), *map(float, sizes)])


def _matmul(graph: Graph, operator: Operator, macs: float) -> tuple[str, FloatArray]:
    features = _matrix(graph, operator, macs)
    return "matmul row" if features[_ROWS] == 1 else "matmul", features


def _matrix(graph: Graph, operator: Operator, macs: float) -> FloatArray:
    shape = graph.tensors[operator.outputs[0]].shape
    rows, columns = sized(shape[-2:-1]), sized(shape[-1:])
    inner = macs / max(elements(shape), 1.0)
    times = elements(shape) / max(rows * columns, 1.0)
    padded = times * rows * inner * filled(int(columns))
    sizes = (1, 1, 1, rows, inner, columns, times, columns)
    return np.array([macs / 1e6, padded / 1e6, *moved_elements(graph, operator), *map(float, sizes)])
