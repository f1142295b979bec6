"""Rules tell which operator of a graph each of torch's own operators is. One without a rule is opaque."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fleetfront.graphs.operators.base import IMAGE, Value
from fleetfront.graphs.readers.node import Plan, same_padding
from fleetfront.graphs.readers.outline import Outline


@dataclass(frozen=True, slots=True)
class Call:
    """One call of an operator.

    Attributes:
        kind: torch's name of it, e.g. ``conv2d``.
        given: its arguments by torch's names; tensors as names of the outline, lists of tensors as lists of such.
        results: shape and type of each tensor that it gave.
        outline: what was read so far.
    """

    kind: str
    given: Mapping[str, Any]
    results: tuple[Value, ...]
    outline: Outline

    def value(self, name: str) -> Value:
        """Shape and type of an argument that is a tensor."""
        return self.outline.value(self.given[name])

    def sizes(self, name: str, count: int, default: int = 1) -> tuple[int, ...]:
        """An argument that is a number or one for each of ``count`` sides."""
        given = self.given.get(name)
        if given is None or (isinstance(given, Sequence) and not given):
            return (default,) * count
        return (int(given),) * count if isinstance(given, int) else tuple(map(int, given)) * (count // len(given))

    def tensors(self) -> tuple[str, ...]:
        """Names of all tensors that were given, in order."""
        return tuple(
            name
            for given in self.given.values()
            for name in (given if isinstance(given, list) else [given])
            if isinstance(name, Ref)
        )

    def said(self) -> dict[str, Any]:
        """The attributes of families that are told what they give."""
        return {
            "shapes": tuple(value.shape for value in self.results),
            "dtypes": tuple(value.dtype for value in self.results),
            "layouts": ("",) * len(self.results),
        }


class Ref(str):
    """The name of a tensor, told apart from an argument that is text."""

    __slots__ = ()


Rule = Callable[[Call], Plan | None]


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _there(*names: Any) -> tuple[str, ...]:
    return tuple(name for name in names if name is not None)


def _convolution(call: Call) -> Plan:
    given, weight = call.given, call.value("weight").shape
    rank = len(weight) - 2
    kernel = [int(side) for side in weight[2:]]
    stride, dilation = (call.sizes(name, rank) for name in ("stride", "dilation"))
    if given.get("padding") == "same":
        sides = [int(side) for side in call.value("input").shape[2:]]
        padding = same_padding(sides, kernel, stride, dilation)
    elif given.get("padding") == "valid":
        padding = (0,) * 2 * rank
    else:
        padding = call.sizes("padding", rank, 0) * 2
    said = {"stride": stride, "padding": padding, "dilation": dilation, "groups": int(given.get("groups", 1))}
    if given.get("transposed") or "transpose" in call.kind:
        said["output_padding"] = call.sizes("output_padding", rank, 0)
        family = "conv_transpose"
    else:
        family = {1: "conv1d", 2: "conv2d", 3: "conv3d"}[rank]
    operands = _there(given["input"], given["weight"], given.get("bias"))
    return Plan(family, operands, said, IMAGE if rank == 2 else "")


def _linear(call: Call) -> Plan:
    given = call.given
    if not call.outline.is_weight(given["weight"]):
        return Plan("matmul", (given["input"], given["weight"]), {"transpose_right": True})
    return Plan("linear", _there(given["input"], given["weight"], given.get("bias")))


def _product(call: Call) -> Plan:
    """mm, bmm, matmul and their forms that add something."""
    given = call.given
    left: str = next(given[name] for name in ("mat1", "batch1", "self") if name in given)
    right: str = next(given[name] for name in ("mat2", "batch2", "other") if name in given)
    if call.outline.is_weight(right) and len(call.outline.shape(right)) == 2:
        weight = call.outline.permuted(right, (1, 0))
        bias = given["self"] if "mat1" in given and len(call.outline.shape(given["self"])) == 1 else None
        return Plan("linear", _there(left, weight, bias))
    return Plan("matmul", (left, right))


def _attention(call: Call) -> Plan:
    given = call.given
    return Plan("attention", _there(given["query"], given["key"], given["value"], given.get("attn_mask")))


def _recurrent(call: Call) -> Plan:
    given = call.given
    matrices = [name for name in given["params"] if len(call.outline.shape(name)) == 2]
    others = [name for name in given["params"] if len(call.outline.shape(name)) != 2]
    states = given["hx"] if isinstance(given["hx"], list) else [given["hx"]]
    family = call.kind.split("_")[0]
    inputs = (given["input"], *matrices, *others, *states)
    return Plan(family, inputs, {"matrices": len(matrices), **call.said()})


def _batch_norm(call: Call) -> Plan | None:
    given = call.given
    parameters = _there(*(given.get(name) for name in ("weight", "bias", "running_mean", "running_var")))
    if len(parameters) < 4:
        return Plan("group_norm", (given["input"],), {"groups": 1})
    return Plan("batch_norm", (given["input"], *parameters), {"epsilon": float(given["eps"])})


def _axis_norm(call: Call) -> Plan:
    given = call.given
    axis = -len(given["normalized_shape"])
    family = "rms_norm" if call.kind == "rms_norm" else "layer_norm"
    return Plan(family, _there(given["input"], given.get("weight"), given.get("bias")), {"axis": axis})


def _group_norm(call: Call) -> Plan:
    given = call.given
    groups = given.get("num_groups") or call.value("input").shape[1]
    return Plan("group_norm", _there(given["input"], given.get("weight"), given.get("bias")), {"groups": groups})


def _pool(call: Call) -> Plan:
    given, shape = call.given, call.value("self").shape
    rank = int(call.kind[-2])
    kernel = call.sizes("kernel_size", rank)
    stride = call.sizes("stride", rank) if given.get("stride") else kernel
    dilation, before = call.sizes("dilation", rank), call.sizes("padding", rank, 0)
    function = "max" if call.kind.startswith("max") else "average"
    # The ends are so wide that the windows which torch counts fit, as its ceil_mode has it.
    ends = [
        max((int(out) - 1) * step + gap * (width - 1) + 1 - int(side) - begin, 0)
        for out, side, width, step, gap, begin in zip(
            call.results[0].shape[-rank:], shape[-rank:], kernel, stride, dilation, before, strict=True
        )
    ]
    said = {"kernel": kernel, "stride": stride, "padding": (*before, *ends)}
    fits = all(pad < width for pad, width in zip(said["padding"], kernel * 2, strict=True))
    if rank == 2 and len(shape) == 4 and set(dilation) == {1} and fits:
        return Plan(f"{function}_pool2d", (given["self"],), said, IMAGE)
    return Plan("pool", (given["self"],), {"function": function, **said, "dilation": dilation})


def _adaptive_pool(call: Call) -> Plan:
    before, after = call.value("self").shape, call.results[0].shape
    rank = int(call.kind[-2])
    function = "max" if "max" in call.kind else "average"
    if rank == 2 and len(before) == 4 and after[2:] == (1, 1) and function == "average":
        return Plan("global_average_pool", (call.given["self"],), image=IMAGE)
    axes = tuple(range(-rank, 0))
    if all(size == 1 for size in after[-rank:]):
        return Plan("reduce", (call.given["self"],), {"function": function, "axes": axes, "keep": True})
    sides = [(int(have), int(want)) for have, want in zip(before[-rank:], after[-rank:], strict=True)]
    stride = tuple(have // want for have, want in sides)
    kernel = tuple(have - (want - 1) * step for (have, want), step in zip(sides, stride, strict=True))
    said = {"function": function, "kernel": kernel, "stride": stride, "padding": (0,) * 2 * rank}
    return Plan("pool", (call.given["self"],), {**said, "dilation": (1,) * rank})


def _same(family: str) -> Rule:
    return lambda call: Plan(family, call.tensors())


def _elementwise(call: Call) -> Plan:
    return Plan("elementwise", call.tensors(), {"function": call.kind.rstrip("_"), "dtype": call.results[0].dtype})


def _two(family: str) -> Rule:
    """add and mul: of two tensors where there are two and their types are one, else like any other function."""

    def rule(call: Call) -> Plan:
        operands = call.tensors()
        values = [call.outline.value(name) for name in operands]
        if len(operands) == 2 and {value.dtype for value in values} == {call.results[0].dtype}:
            return Plan(family, operands)
        return _elementwise(call)

    return rule


def _softmax(call: Call) -> Plan:
    return Plan("softmax", (call.tensors()[0],), {"axis": int(call.given["dim"])})


def _clamp(call: Call) -> Plan:
    low, high = (call.given.get("min_val", call.given.get("min")), call.given.get("max_val", call.given.get("max")))
    if (low, high) == (0, 6):
        return Plan("relu6", (call.tensors()[0],))
    return Plan("elementwise", call.tensors(), {"function": "clip"})


def _reduce(call: Call) -> Plan:
    rank = len(call.outline.shape(call.tensors()[0]))
    axes = call.given.get("dim")
    axes = list(range(rank)) if axes is None or axes == [] else [axes] if isinstance(axes, int) else axes
    keep = bool(call.given.get("keepdim", False))
    if call.kind == "mean" and keep and rank == 4 and sorted(axis % 4 for axis in axes) == [2, 3]:
        return Plan("global_average_pool", (call.tensors()[0],), image=IMAGE)
    said = {"function": call.kind, "axes": tuple(axes), "keep": keep, "dtype": call.results[0].dtype}
    return Plan("reduce", (call.tensors()[0],), said)


def _reshape(call: Call) -> Plan:
    return Plan("reshape", (call.tensors()[0],), {"shape": tuple(call.results[0].shape)})


def _transpose(call: Call) -> Plan:
    rank = len(call.value("self").shape)
    order = list(range(rank))
    if call.kind == "permute":
        order = [axis % rank for axis in call.given["dims"]]
    elif rank > 1:
        first, second = (int(call.given.get(name, default)) for name, default in (("dim0", 0), ("dim1", 1)))
        order[first], order[second] = order[second], order[first]
    return Plan("transpose", (call.given["self"],), {"permutation": tuple(order)})


def _concat(call: Call) -> Plan:
    # Torch passes over empty tensors of one dimension.
    parts = [name for name in call.given["tensors"] if 0 not in call.outline.shape(name)]
    return Plan("concat", parts, {"axis": int(call.given.get("dim", 0))})


def _split(call: Call) -> Plan:
    axis = int(call.given.get("dim", 0))
    return Plan("split", (call.given["self"],), {"axis": axis, "sizes": tuple(v.shape[axis] for v in call.results)})


def _embedding(call: Call) -> Plan:
    return Plan("gather", (call.given["weight"], call.given["indices"]), {"axis": 0})


#: Torch's word for a mode, without its dimensions -> ONNX's.
_RESIZED = {
    "nearest": "nearest",
    "nearest_exact": "nearest",
    "linear": "linear",
    "bilinear": "linear",
    "trilinear": "linear",
    "bicubic": "cubic",
}


def _resize(call: Call) -> Plan:
    word = call.kind.removeprefix("_").removeprefix("upsample_")
    return Plan("resize", (call.tensors()[0],), {"mode": _RESIZED.get(word[:-2], word), **call.said()})


#: What files hold as a split and a change of shape.
_SPLIT = {"unbind": "split"}


def _told(family: str, everything: bool = True) -> Rule:
    def rule(call: Call) -> Plan:
        operands = call.tensors() if everything else call.tensors()[:1]
        word = call.kind.rstrip("_")
        return Plan(family, operands, {"function": _SPLIT.get(word, word), **call.said()})

    return rule


_ELEMENTWISE = _words("""
    sub rsub div true_divide floor_divide pow abs neg exp log log2 log1p sqrt rsqrt reciprocal sin cos tan tanh erf gelu
    silu elu selu celu leaky_relu mish softplus softsign prelu log_sigmoid hardtanh_ maximum minimum where masked_fill
    masked_fill_ logical_and logical_or logical_not logical_xor bitwise_and bitwise_or bitwise_not eq ne lt le gt ge
    floor ceil round sign square remainder fmod isnan isinf isfinite addcmul addcdiv lerp fill fill_ zero_ sub_ div_
    pow_ neg_ exp_ sqrt_ tanh_ silu_ elu_ leaky_relu_ gelu_ mish_ celu_ selu_ log_softmax _log_softmax glu rrelu
    clamp_min clamp_max sinh cosh atan atan2 asin acos erfc expm1 trunc frac sigmoid_backward hardshrink softshrink
    special_expit special_erf
""")
_REDUCED = _words("sum mean amax amin prod argmax argmin var std any all logsumexp norm linalg_vector_norm nansum")
_VIEWS = _words("""
    view reshape _unsafe_view view_as reshape_as flatten unflatten unsqueeze unsqueeze_ squeeze squeeze_ ravel
    view_as_real view_as_complex
""")
_MOVED = _words("""
    unbind slice select narrow expand expand_as constant_pad_nd pad reflection_pad1d reflection_pad2d replication_pad2d
    roll flip repeat tile stack pixel_shuffle pixel_unshuffle unfold im2col col2im triu tril diagonal channel_shuffle
    repeat_interleave broadcast_to grid_sampler grid_sampler_2d hstack vstack copy_ slice_scatter select_scatter
""")
_LOOKED_UP = _words("""
    gather index index_select take take_along_dim scatter scatter_ scatter_add index_put index_put_ index_add
    embedding_bag masked_select nonzero one_hot
""")
_SCANNED = _words("cumsum cumprod sort topk argsort unique")

#: Operators that give what they were given.
ALIASES = frozenset(
    _words("contiguous clone detach alias dropout dropout_ feature_dropout lift_fresh positive to _to_copy")
)

RULES: Mapping[str, Rule] = {
    **dict.fromkeys(
        _words("conv1d conv2d conv3d convolution _convolution conv_transpose1d conv_transpose2d conv_transpose3d"),
        _convolution,
    ),
    "linear": _linear,
    **dict.fromkeys(_words("mm bmm matmul addmm baddbmm"), _product),
    "scaled_dot_product_attention": _attention,
    **dict.fromkeys(_words("lstm gru rnn_tanh rnn_relu"), _recurrent),
    **dict.fromkeys(_words("batch_norm native_batch_norm _native_batch_norm_legit_no_training"), _batch_norm),
    **dict.fromkeys(_words("layer_norm native_layer_norm rms_norm"), _axis_norm),
    **dict.fromkeys(_words("group_norm instance_norm"), _group_norm),
    **dict.fromkeys(_words("max_pool1d max_pool2d max_pool3d avg_pool1d avg_pool2d avg_pool3d"), _pool),
    **dict.fromkeys([f"adaptive_{kind}_pool{rank}d" for kind in ("avg", "max") for rank in (1, 2, 3)], _adaptive_pool),
    **{
        name: _same(family)
        for family, names in {
            "relu": "relu relu_",
            "relu6": "relu6 relu6_",
            "sigmoid": "sigmoid sigmoid_",
            "hard_swish": "hardswish hardswish_",
            "hard_sigmoid": "hardsigmoid hardsigmoid_",
        }.items()
        for name in names.split()
    },
    **dict.fromkeys(("add", "add_"), _two("add")),
    **dict.fromkeys(("mul", "mul_"), _two("multiply")),
    **dict.fromkeys(_ELEMENTWISE, _elementwise),
    **dict.fromkeys(_words("softmax _softmax _safe_softmax"), _softmax),
    **dict.fromkeys(_words("hardtanh hardtanh_ clamp clamp_"), _clamp),
    **dict.fromkeys(_REDUCED, _reduce),
    **dict.fromkeys(_VIEWS, _reshape),
    **dict.fromkeys(_words("permute transpose t"), _transpose),
    **dict.fromkeys(_words("cat concat concatenate"), _concat),
    **dict.fromkeys(_words("split split_with_sizes chunk tensor_split unsafe_split unsafe_chunk"), _split),
    "embedding": _embedding,
    **dict.fromkeys(
        _words(
            "upsample_nearest1d upsample_nearest2d upsample_bilinear2d upsample_bicubic2d upsample_linear1d "
            "upsample_nearest3d upsample_trilinear3d _upsample_bilinear2d_aa "
            "_upsample_nearest_exact1d _upsample_nearest_exact2d _upsample_nearest_exact3d"
        ),
        _resize,
    ),
    **dict.fromkeys(_MOVED, _told("rearrange")),
    **dict.fromkeys(_LOOKED_UP, _told("lookup")),
    **dict.fromkeys(_SCANNED, _told("scan", everything=False)),
}
