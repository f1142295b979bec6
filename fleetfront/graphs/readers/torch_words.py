"""Words list torch's operators by what they do, and give the word of files for each that goes by another there."""

from __future__ import annotations

from collections.abc import Mapping


def words(text: str) -> tuple[str, ...]:
    """The words of a text."""
    return tuple(text.split())


#: Torch's word for a function of elements -> that of files, where they differ.
FUNCTIONS: Mapping[str, str] = {
    "rsub": "sub",
    "true_divide": "div",
    "gt": "greater",
    "ge": "greaterorequal",
    "lt": "less",
    "le": "lessorequal",
    "eq": "equal",
    "maximum": "max",
    "minimum": "min",
    "remainder": "mod",
    "fmod": "mod",
    "logical_and": "and",
    "logical_or": "or",
    "logical_xor": "xor",
    "logical_not": "not",
    "leaky_relu": "leakyrelu",
    "log_softmax": "logsoftmax",
    "_log_softmax": "logsoftmax",
    "clamp_min": "clip",
    "clamp_max": "clip",
    "add": "add",
    "mul": "multiply",
}
#: Torch's word for a reduction -> that of files, where they differ.
REDUCTIONS = {"amax": "max", "amin": "min", "norm": "l2", "linalg_vector_norm": "l2"}

#: Torch's word for a mode, without its dimensions -> ONNX's.
RESIZED: Mapping[str, str] = {
    "nearest": "nearest",
    "nearest_exact": "nearest",
    "linear": "linear",
    "bilinear": "linear",
    "trilinear": "linear",
    "bicubic": "cubic",
}

#: Torch's words for what moves or looks up data -> those of files, where they differ.
MOVES: Mapping[str, str] = {
    "narrow": "slice",
    "expand_as": "expand",
    "broadcast_to": "expand",
    "repeat": "tile",
    "flip": "slice",
    "pixel_shuffle": "depthtospace",
    "grid_sampler": "gridsample",
    "grid_sampler_2d": "gridsample",
    "constant_pad_nd": "pad",
    "reflection_pad1d": "pad",
    "reflection_pad2d": "pad",
    "replication_pad2d": "pad",
    "triu": "trilu",
    "tril": "trilu",
    "gather": "gatherelements",
    "take_along_dim": "gatherelements",
    "scatter": "scatterelements",
    "index": "gathernd",
    "index_put": "scatternd",
    "slice_scatter": "scatternd",
    "select_scatter": "scatternd",
    "one_hot": "onehot",
}

#: Torch's word for a mode of padding -> what files say beside the operator; nothing of constants.
PADDED: Mapping[str, str] = {"reflect": "mode=reflect", "replicate": "mode=edge", "circular": "mode=wrap"}
#: Torch's word for what moves data -> the same.
BESIDE: Mapping[str, str] = {
    "reflection_pad1d": PADDED["reflect"],
    "reflection_pad2d": PADDED["reflect"],
    "replication_pad2d": PADDED["replicate"],
    "tril": "upper=0",
}

ELEMENTWISE = words("""
    sub rsub div true_divide pow abs neg exp log sqrt reciprocal sin cos tan tanh erf gelu silu elu selu celu
    leaky_relu mish softplus softsign prelu maximum minimum where logical_and logical_or logical_not logical_xor
    bitwise_and bitwise_or bitwise_xor bitwise_not eq lt le gt ge floor ceil round sign remainder fmod isnan isinf
    clamp_min clamp_max log_softmax _log_softmax sinh cosh atan asin acos
""")
REDUCED = words("sum mean amax amin prod argmax argmin any all logsumexp norm linalg_vector_norm")
VIEWS = words("""
    view reshape _unsafe_view view_as reshape_as flatten unflatten unsqueeze squeeze ravel view_as_real view_as_complex
""")
MOVED = words("""
    slice narrow expand expand_as constant_pad_nd pad reflection_pad1d reflection_pad2d replication_pad2d flip repeat
    tile pixel_shuffle unfold triu tril diagonal repeat_interleave broadcast_to grid_sampler grid_sampler_2d
    slice_scatter select_scatter
""")
LOOKED_UP = words("""
    gather take take_along_dim scatter scatter_add index_put index_add embedding_bag masked_select nonzero one_hot
""")
SCANNED = words("cumsum cumprod sort topk argsort unique")

#: Operators that give what they were given.
ALIASES = frozenset(words("contiguous clone detach alias dropout feature_dropout lift_fresh positive to _to_copy"))
#: Operators that make constants, of whatever they read but the shape.
MADE = frozenset(words("zeros_like ones_like full_like empty_like new_zeros new_ones new_full new_empty zero fill"))
