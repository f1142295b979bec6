"""Variants tell operators of one family apart that devices run on other code, and count the sizes that each turns on.

A variant is part of a kind's name, and a kind is known if it was measured: one that nobody measured is counted with an
allowance, never with the price of its neighbour. ``_VARIANTS`` lists what is looked at of each family; what a file says
beside that (``beside``, of readers) is a variant as it stands.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

from fleetfront.graphs.channels_last import TO_NHWC, stored
from fleetfront.graphs.graph import Graph, Operator
from fleetfront.graphs.operators.base import IMAGE, Shape, elements
from fleetfront.predictors.operators.walks import Walk, block_axes, merged, runs

#: Kinds of padding; words of files for padding with one number.
PADS, _PAD_WORDS = ("pad", "pad int8"), ("pad", "padv2")
#: Functions that cost alike where one operand is spread over the other: what is moved counts.
_ARITHMETIC = ("add", "sub", "multiply")
#: Functions whose further operands are numbers as a rule.
_BOUNDED = ("clip", "prelu", "celu", "elu")
#: Floats that vectors hold at most; of fewer elements with one scale no vectors are made.
_LANES, _FEW_ALIKE = 16, 8
#: Reductions that cost alike.
_ALIKE = {"mean": "sum", "min": "max"}
#: Families whose operand 1 is a weight, and runs on other code where it is computed.
_WEIGHTED = ("conv1d", "conv2d", "conv3d", "conv_transpose", "lstm", "gru", "rnn")
_GATES = {"lstm": 4, "gru": 3, "rnn": 1}


class Variant(NamedTuple):
    """A kind by name, empty if it costs nothing; sizes in place of features, by the names of ``kernels.FEATURES``."""

    kind: str
    sizes: Mapping[str, float] = {}


@dataclass(frozen=True, slots=True)
class Stored:
    """A graph as a runtime stores its tensors: those that ``is_last`` is told of keep the channels of images last."""

    graph: Graph
    is_last: bool = False

    def order(self, name: str) -> tuple[int, ...]:
        """The axes of a tensor of the graph in the order in which they are stored."""
        value = self.graph.value(name)
        return TO_NHWC if self.is_last and value.layout == IMAGE else tuple(range(len(value.shape)))

    def shape(self, name: str) -> tuple[int, ...]:
        """Its stored shape, a symbolic size as 1."""
        value = self.graph.value(name)
        return _numbers(stored(value.shape, value.layout) if self.is_last else value.shape)

    def axis(self, name: str, axis: int) -> int:
        """Where an axis of the graph's tensor is stored; negative ones count from the end."""
        order = self.order(name)
        return order.index(axis % len(order))

    def beside(self, name: str, wide: str) -> tuple[int, ...]:
        """The shape of an operand that is spread over ``wide``, with as many dimensions, stored as that is."""
        order, shape = self.order(wide), self.graph.value(name).shape
        full = (1,) * (len(order) - len(shape)) + _numbers(shape)
        return tuple(full[axis] for axis in order)


def _numbers(shape: Shape) -> tuple[int, ...]:
    return tuple(1 if isinstance(size, str) else size for size in shape)


def variant_of(view: Stored, operator: Operator) -> Variant:
    """The kind of an operator that is described by its family and its variant."""
    rule = _VARIANTS.get(operator.family)
    found = rule(view, operator) if rule else Variant(_function(operator))
    if not found.kind:
        return found
    return found._replace(kind=found.kind + beside(view.graph, operator))


def beside(graph: Graph, operator: Operator) -> str:
    """The words that are added to any kind: of weights that are fed, and those that only the file knows."""
    is_fed = operator.family in _WEIGHTED and operator.inputs[1] in graph.tensors
    words = (" fed" if is_fed else "", str(operator.attributes.get("beside", "")))
    return words[0] + (f" {words[1]}" if words[1] else "")


def _function(operator: Operator) -> str:
    kind = str(operator.attributes.get("function", operator.family)).lower()
    return "pad" if kind in _PAD_WORDS else kind


def _softmax(view: Stored, operator: Operator) -> Variant:
    """Along the last axis, along the one before it, or along one with others between: runtimes swap it with the last.

    ``flattens``: all axes from that one on are one, as in older files.
    """
    name = operator.inputs[0]
    shape, axis = view.shape(name), view.axis(name, operator.attributes["axis"])
    outer, after = math.prod(shape[:axis]), shape[axis + 1 :]
    if "sharpness" in operator.attributes:
        return Variant("softmax sharpened")
    if operator.attributes.get("flattens"):
        return Variant("softmax rows", runs(math.prod(shape), math.prod(shape[axis:])))
    if math.prod(after) == 1:
        return Variant("softmax rows", runs(math.prod(shape), shape[axis]))
    between, last = math.prod(after[:-1]), after[-1]
    sizes = {
        "rows": outer,
        "inner": shape[axis],
        "times": between,
        "width": last,
        "padded": outer * between * last / 1e6,
    }
    sizes |= Walk(shape[axis], math.prod(after)).sizes()
    return Variant("softmax across far" if after[:-1] else "softmax across near", sizes)


def _reduced(view: Stored, operator: Operator) -> Variant:
    """Which dimensions are kept (k) and which are gone (r), neighbours together: each order has loops of its own.

    Runtimes that keep channels first look for it in the shape as it is, where dimensions of one count (o): such a
    batch leaves them one loop less to share.
    """
    name, attributes = operator.inputs[0], operator.attributes
    if operator.origin is not None and operator.origin.kind.startswith("Global"):
        return Variant(f"global {attributes['function']}")
    gone = {view.axis(name, axis) for axis in attributes["axes"]}
    shape = view.shape(name)
    return _reduction(attributes["function"], shape, gone, counts_ones=not view.is_last)


def _reduction(function: str, shape: Sequence[int], gone: set[int], *, counts_ones: bool) -> Variant:
    marks = ["r" if axis in gone else "k" for axis in range(len(shape))]
    dims = merged(shape, marks, counts_ones=counts_ones)
    order = "".join("o" if size == 1 and mark == "k" else str(mark) for size, mark in dims) or "k"
    places = [place for place, mark in enumerate(order) if mark == "r"] or [len(order)]
    sizes = [size for size, _ in dims] or [1]
    walks = [Walk((*sizes, 1)[place], math.prod(sizes[place + 1 :])) for place in places]
    walk = max(walks, key=lambda one: (one.word, -one.sets()))
    return Variant(
        f"reduce {_ALIKE.get(function, function)} {order}{walk.word}",
        {
            "padded": math.prod(sizes[: places[0]]) / 1e6,
            "rows": math.prod(sizes[: places[0]]),
            "inner": math.prod(size for size, mark in dims if mark == "r"),
            "width": math.prod(sizes[places[-1] + 1 :]),
            "times": math.prod(size for size, mark in dims[places[0] : places[-1] + 1] if mark == "k"),
            **walk.sizes(),
        },
    )


def _pooled_whole(view: Stored, operator: Operator) -> Variant:
    """The mean of an image's pixels; a runtime that keeps channels first has other code for a mean over axes, and for
    channels that vectors do not hold without rest.
    """
    if view.is_last:
        return Variant(operator.family)
    if operator.origin is None or not operator.origin.kind.startswith("Reduce"):
        return Variant(operator.family + " odd" * (view.shape(operator.inputs[0])[1] % _LANES > 0))
    return _reduction("mean", view.shape(operator.inputs[0]), {2, 3}, counts_ones=True)


def _transposed(view: Stored, operator: Operator) -> Variant:
    """The permutation of what really moves: dimensions of one are left out, those that stay together are one.

    Where the last stays last, runs are copied, in whichever order.
    """
    name, permutation = operator.inputs[0], operator.attributes["permutation"]
    shape, into = view.shape(name), view.order(name)
    moves = [into.index(permutation[axis]) for axis in view.order(operator.outputs[0])]
    kept = [axis for axis in moves if shape[axis] != 1]
    blocks = [[axis for _, axis in group] for _, group in groupby(block_axes(kept, shape), lambda pair: pair[0])]
    firsts = sorted(block[0] for block in blocks)
    order = "".join(str(firsts.index(block[0])) for block in blocks)
    if len(blocks) < 2:
        is_free = view.is_last and (operator.origin is None or operator.origin.kind != "TRANSPOSE")
        return Variant("" if is_free else "copy")
    sizes = [float(math.prod(shape[axis] for axis in block)) for block in sorted(blocks)] + [1.0, 1.0]
    if len(blocks) == 2 and not view.is_last and not _is_one_move(permutation):
        order += " about ones"
    last = float(math.prod(shape[axis] for axis in blocks[-1]))
    named = dict(zip(("rows", "inner", "columns", "times"), sizes, strict=False))
    # Who writes what lies together reads by steps of all that stood behind it.
    walk = Walk(last, math.prod(shape[blocks[-1][-1] + 1 :]))
    named |= walk.sizes()
    if order.split(" ")[0].endswith(str(len(blocks) - 1)):
        return Variant("transpose runs", {**named, **runs(math.prod(shape), last)})
    return Variant(f"transpose {order}{walk.word}", {**named, "width": last, "padded": math.prod(shape) / 1e6})


def _is_one_move(permutation: Sequence[int]) -> bool:
    """Tell whether all axes but one stay in their order: runtimes that ask dimensions of one, too, have code for it."""
    rests = ([one for one in permutation if one != axis] for axis in permutation)
    return any(rest == sorted(rest) for rest in rests)


def _normalised(view: Stored, operator: Operator) -> Variant:
    """Batch-norm by itself: a scale and a shift for each channel are what is read beside the data."""
    return Variant(operator.family, {"weights": elements(view.graph.value(operator.inputs[1]).shape) / 1e6})


def _normalised_rows(view: Stored, operator: Operator) -> Variant:
    """Rows that are normalised each by itself, whichever dimensions count them."""
    shape, axis = view.shape(operator.inputs[0]), view.axis(operator.inputs[0], operator.attributes["axis"])
    return Variant(operator.family, runs(math.prod(shape), math.prod(shape[axis:]), inner=1.0))


def _widened(view: Stored, operator: Operator) -> Variant:
    """From narrow numbers, which may be weights, to floats; of scales that change along rows one by one."""
    shape = view.graph.value(operator.inputs[0]).shape
    read, axis = elements(shape) / 1e6, operator.attributes.get("axis")
    is_by_one = axis is not None and elements(shape[axis % len(shape) + 1 :]) < _FEW_ALIKE
    return Variant(
        operator.family + " by column" * is_by_one, {"read": read, "weights": 0.0, "groups": 1.0, "columns": 1.0}
    )


def _gathered(view: Stored, operator: Operator) -> Variant:
    """Whole rows of a table, elements one by one, or blocks between both."""
    shape, axis = view.graph.value(operator.inputs[0]).shape, operator.attributes["axis"]
    axis %= len(shape)
    outer, block = elements(shape[:axis]), elements(shape[axis + 1 :])
    if outer == 1 and block > 1:
        return Variant("gather")
    count = elements(view.graph.value(operator.inputs[1]).shape)
    sizes = runs(outer * count * block, block, rows=outer, inner=count)
    return Variant("gather blocks" if block > 1 else "gather elements", sizes)


def _rearranged(view: Stored, operator: Operator) -> Variant:
    kind = _function(operator)
    before, after = view.shape(operator.inputs[0]), view.shape(operator.outputs[0])
    if kind == "pad":
        return _padded(view, operator)
    if kind == "slice":
        return _sliced(before, after, operator.attributes.get("steps", (1,) * len(before)))
    if kind == "expand":
        return _expanded(kind, (1,) * (len(after) - len(before)) + before, after)
    if kind in ("depthtospace", "spacetodepth") and len(before) == len(after) == 4:
        # Torch's own order where none is said.
        kind += f" {operator.attributes.get('mode', 'crd')}" * (kind == "depthtospace")
    return Variant(kind)


def _sliced(before: Sequence[int], after: Sequence[int], steps: Sequence[int]) -> Variant:
    """Runs that lie together, or elements one by one where the last dimension is stepped through. No steps are fed."""
    if not steps:
        return Variant("slice stepped")
    there = enumerate(zip(before, after, steps, strict=True))
    cut = [axis for axis, (old, new, step) in there if old != new or step not in (0, 1)]
    last = cut[-1] if cut else 0
    run = math.prod(after[last + (steps[last] != 1) :])
    kind = "slice runs" if run > 1 else "slice elements"
    return Variant(kind + " back" * (min(steps) < 0), runs(math.prod(after), run))


def _padded(view: Stored, operator: Operator) -> Variant:
    """Around the sides of images, or elsewhere; rows that lie together are copied, or pixels of channels last."""
    before, after = view.shape(operator.inputs[0]), view.shape(operator.outputs[0])
    grown = [axis for axis, (old, new) in enumerate(zip(before, after, strict=True)) if old != new]
    kind = "pad" if len(after) == 4 and grown in ([1, 2], [2, 3], []) else "pad elsewhere"
    first = grown[-1] + (view.is_last and grown[-1] + 1 < len(before)) if grown else 0
    run = math.prod(before[first:])
    return Variant(kind, runs(math.prod(after), max(run, 1)))


def _expanded(kind: str, before: Sequence[int], after: Sequence[int]) -> Variant:
    """Runs of one number, or rows that are repeated."""
    dims = merged(after, [old != new for old, new in zip(before, after, strict=True)])
    run = dims[-1][0] if dims else 1
    is_run = bool(dims and dims[-1][1])
    return Variant(f"{kind} runs" if is_run else f"{kind} rows", runs(math.prod(after), run))


def _resized(view: Stored, operator: Operator) -> Variant:
    """The mode; whether pixels are averaged, or doubled as they are; whether fewer are left, or one dimension
    alone changes, the last or another;
    and whether the last dimension stays as it is.
    """
    attributes = operator.attributes
    before, after = view.shape(operator.inputs[0]), view.shape(operator.outputs[0])
    changed = [axis for axis, sizes in enumerate(zip(before, after, strict=True)) if sizes[0] != sizes[1]]
    kind = f"resize {attributes['mode']}" + " antialias" * bool(attributes.get("antialias"))
    doubled = [axis for axis in changed if after[axis] == 2 * before[axis]]
    if attributes.get("places") == "floor" and doubled == changed == [len(after) - 2, len(after) - 1]:
        kind += " doubled"
    is_shrunk = any(after[axis] < before[axis] for axis in changed)
    kind += " shrunk" * (is_shrunk and "antialias" not in kind) + " along" * (changed == [len(after) - 1])
    kind += " down" * (len(changed) == 1 and changed[0] < len(after) - 1)
    if not set(changed) <= {len(after) - 2, len(after) - 1}:
        kind += " inside" if changed[-1] < len(after) - 1 else " across"
        return Variant(kind, runs(math.prod(after), after[-1]))
    return Variant(kind)


def _combined(view: Stored, operator: Operator) -> Variant:
    """Operands that are spread over others: each number over a run, or a row again and again, or both grow; or an
    operand of one number.
    """
    kind, output = _function(operator), operator.outputs[0]
    if approximation := operator.attributes.get("approximate"):
        kind += f" {approximation}"
    whole = view.shape(output)
    given = [view.beside(name, output) for name in operator.inputs if elements(view.graph.value(name).shape) != 1]
    if len(given) == 1 < len(operator.inputs) and kind not in _BOUNDED:
        return Variant("arithmetic number" if kind in _ARITHMETIC else f"{kind} number")
    if len(given) < 2 or all(shape == whole for shape in given):
        return Variant(kind)
    marks = list(zip(*([size == 1 for size in shape] for shape in given), strict=True))
    dims = merged(whole, marks)
    run, last = dims[-1]
    is_run = any(last) if isinstance(last, tuple) else False
    name = "arithmetic" if kind in _ARITHMETIC else kind
    name += " spread grown" if whole not in given else " spread runs" if is_run else " spread rows"
    return Variant(name, runs(math.prod(whole), run, columns=min(map(math.prod, given))))


def _spread(view: Stored, operator: Operator) -> Variant:
    """A transposed convolution: each element of the data makes a window."""
    groups, weight = int(operator.attributes["groups"]), view.graph.value(operator.inputs[1]).shape
    inner, columns = int(weight[0]) // groups, int(weight[1])
    kind = "transposed conv" if groups == 1 else "transposed grouped"
    pixels, window = elements(view.graph.value(operator.inputs[0]).shape) / max(int(weight[0]), 1), elements(weight[2:])
    sizes = {"window": window, "groups": groups, "rows": pixels, "inner": inner, "columns": columns}
    # Products of all windows are written before they are added up.
    return Variant(kind, {**sizes, "padded": pixels * window * groups * columns / 1e6})


def _recurrent(view: Stored, operator: Operator) -> Variant:
    """One direction or both, of one sequence or several; with a projection behind each step matrices have other
    heights.
    """
    matrices = operator.inputs[1 : 1 + operator.attributes["matrices"]]
    shapes = [view.graph.value(name).shape for name in matrices]
    whole, gates = operator.attributes["shapes"][0], _GATES[operator.family]
    is_both = shapes[0][0] == 2 if len(shapes[0]) == 3 else gates * int(whole[-1]) == 2 * int(shapes[0][0])
    kind = operator.family
    if len(shapes[0]) < 3 and len({shape[0] for shape in shapes}) > 1:
        kind += " projected"
    data = view.shape(operator.inputs[0])
    # Whichever comes first, steps or sequences: there is one of them, or several of both.
    return Variant(kind + " both ways" * is_both + " batch" * (min(data[:2], default=1) > 1))


def _joined(view: Stored, operator: Operator) -> Variant:
    """Parts one behind the other, or row by row."""
    parts = operator.inputs if operator.family == "concat" else operator.outputs
    axis = view.axis(parts[0], operator.attributes["axis"])
    outer = math.prod(view.shape(parts[0])[:axis])
    if outer == 1:
        return Variant(operator.family, {"groups": len(parts), "padded": len(parts) / 1e6})
    run = math.prod(view.shape(parts[0])[axis:])
    return Variant(f"{operator.family} rows", runs(outer * run * len(parts), run, rows=outer))


def _pooled(view: Stored, operator: Operator) -> Variant:
    """Windows of images, signals or volumes, with gaps or without. Where channels come first, those that vectors do not
    hold without rest go elsewhere; where they come last, vectors run over them.
    """
    attributes, shape = operator.attributes, view.graph.value(operator.inputs[0]).shape
    kind, sizes = operator.family, dict[str, float]()
    channels = int(elements(shape[-1:] if attributes.get("channels_last") else shape[1:2]))
    if operator.family == "pool":
        kind = f"pool {_function(operator)}" + f" {len(shape) - 2}d" * (len(shape) != 3)
    elif view.is_last:
        window = math.prod(attributes["kernel"]) * elements(view.graph.value(operator.outputs[0]).shape)
        sizes = {"padded": window / channels * -(-channels // _LANES) * _LANES / 1e6}
    elif channels % _LANES:
        # Vectors run along rows there, up to steps of two pixels.
        kind += " odd" + " stepped" * (attributes["stride"][-1] > 2)
        sizes = {"groups": math.gcd(channels, _LANES)}
    kind += " dilated" * (max(attributes.get("dilation", (1,))) > 1)
    return Variant(kind + " indexed" * (len(operator.outputs) > 1), sizes)


#: Family -> what tells its variants.
_VARIANTS: Mapping[str, Callable[[Stored, Operator], Variant]] = {
    "softmax": _softmax,
    "reduce": _reduced,
    "global_average_pool": _pooled_whole,
    "transpose": _transposed,
    "gather": _gathered,
    "rearrange": _rearranged,
    "pad": _padded,
    "batch_norm": _normalised,
    "layer_norm": _normalised_rows,
    "dequantise": _widened,
    "resize": _resized,
    **dict.fromkeys(("add", "multiply", "elementwise"), _combined),
    "conv_transpose": _spread,
    **dict.fromkeys(_GATES, _recurrent),
    **dict.fromkeys(("concat", "split"), _joined),
    **dict.fromkeys(("pool", "max_pool2d", "average_pool2d"), _pooled),
}
