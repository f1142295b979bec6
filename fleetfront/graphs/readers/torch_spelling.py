"""Spell torch's operators out as ONNX files of modules hold them: in smaller operators, which the reader then notes.

Each function takes what torch's operator of that name takes. Importing this module imports torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

Spelled = Callable[..., Any]
Sizes = Sequence[int]


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Scores of both sides, each scaled by a root; where a mask is no number, rows without any key are made zero."""
    if enable_gqa and key.shape[-3] != query.shape[-3]:
        key, value = (_each_head(side, query.shape[-3] // key.shape[-3]) for side in (key, value))
    root = math.sqrt(query.shape[-1] ** -0.5 if scale is None else abs(scale))
    if is_causal:
        attn_mask = torch.zeros(query.shape[-2], key.shape[-2], dtype=query.dtype)
    has_marks = attn_mask is not None and attn_mask.dtype == torch.bool
    scores = (query * root) @ (key.transpose(-2, -1) * root)
    if attn_mask is not None:
        scores = scores + (torch.where(attn_mask, 0.0, -math.inf) if has_marks else attn_mask)
    shares = scores.softmax(-1)
    return (torch.where(shares.isnan(), 0.0, shares) if has_marks else shares) @ value


def _each_head(side: Tensor, times: int) -> Tensor:
    *before, heads, steps, width = side.shape
    return side.unsqueeze(-3).expand(*before, heads, times, steps, width).reshape(*before, heads * times, steps, width)


def _glu(data: Tensor, dim: int = -1) -> Tensor:
    first, gate = data.chunk(2, dim)
    return first * gate.sigmoid()


def _masked_fill(data: Tensor, mask: Tensor, value: Any) -> Tensor:
    return torch.where(mask, value, data)


def _copy(data: Tensor, source: Tensor, non_blocking: bool = False) -> Tensor:
    source = source.to(data.dtype)
    return source if source.shape == data.shape else source.expand(data.shape)


def _roll(data: Tensor, shifts: Sequence[int] | int, dims: Sequence[int] | int = ()) -> Tensor:
    """Each axis cut in two, and put together the other way round."""
    given = [[one] if isinstance(one, int) else list(one) for one in (shifts, dims)]
    if not given[1]:
        return torch.roll(data.flatten(), given[0], [0]).reshape(data.shape)
    for shift, axis in zip(*given, strict=True):
        size = data.shape[axis]
        first = -shift % size
        ends = [data.narrow(axis, first, size - first)]
        ends += [data.narrow(axis, 0, first)] if first else []
        data = torch.cat(ends, axis) if len(ends) > 1 else ends[0]
    return data


def _unbind(data: Tensor, dim: int = 0) -> list[Tensor]:
    return [data.narrow(dim, place, 1).squeeze(dim) for place in range(data.shape[dim])]


def _stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    rank = tensors[0].dim() + 1
    return torch.cat([one.unsqueeze(dim % rank) for one in tensors], dim)


def _adaptive(average: bool) -> Spelled:
    """Equal windows, or none where one number is left of each plane. Of other sizes torch's own words are taken."""

    def pool(data: Tensor, output_size: Sizes) -> Any:
        rank = len(output_size)
        if rank == 1:
            two = getattr(torch.ops.aten, f"adaptive_{'avg' if average else 'max'}_pool2d")
            made = two(data.unsqueeze(-2), [1, *output_size])
            return made.squeeze(-2) if average else tuple(one.squeeze(-2) for one in made)
        sides, axes = data.shape[-rank:], list(range(-rank, 0))
        if all(size == 1 for size in output_size):
            if average:
                return data.mean(axes, keepdim=True)
            places = data.flatten(-rank).argmax(-1)
            return data.amax(axes, keepdim=True), places.reshape(*places.shape, *[1] * rank)
        if rank > 2 or any(side % size for side, size in zip(sides, output_size, strict=True)):
            return NotImplemented
        windows = [side // size for side, size in zip(sides, output_size, strict=True)]
        if average:
            return functional.avg_pool2d(data, windows)
        return functional.max_pool2d(data, windows), torch.ops.aten.max_pool2d_with_indices(data, windows)[1]

    return pool


def _group_norm(
    data: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, *more: Any
) -> Any:
    if weight is None and bias is None:
        return NotImplemented
    made = functional.group_norm(data, num_groups)
    aligned = (-1, *[1] * (data.dim() - 2))
    made = made if weight is None else made * weight.reshape(aligned)
    return made if bias is None else made + bias.reshape(aligned)


def _rms_norm(data: Tensor, normalized_shape: Sizes, weight: Tensor | None = None, eps: float | None = None) -> Tensor:
    axes = list(range(-len(normalized_shape), 0))
    epsilon = torch.finfo(data.dtype).eps if eps is None else eps
    made = data * torch.rsqrt(data.pow(2).mean(axes, keepdim=True) + epsilon)
    return made if weight is None else made * weight


def _variance(
    data: Tensor,
    dim: Any = None,
    unbiased: bool = True,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> Tensor:
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    axes = list(range(data.dim())) if not dim else list(dim)
    apart = data - data.mean(axes, keepdim=True)
    made = (apart * apart).mean(axes, keepdim=keepdim)
    less, count = unbiased if correction is None else correction, math.prod(data.shape[axis] for axis in axes)
    return made * float(count) / (count - less) if less else made


def _bilinear(left: Tensor, right: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    out, first, second = weight.shape
    spread = left @ weight.permute(1, 0, 2).reshape(first, out * second)
    made = (spread.reshape(*left.shape[:-1], out, second) @ right.unsqueeze(-1)).squeeze(-1)
    return made if bias is None else made + bias


def _with_addend(multiply: Spelled) -> Spelled:
    """A product and what is added to it, but for a bias."""

    def spell(addend: Tensor, left: Tensor, right: Tensor, *, beta: float = 1, alpha: float = 1) -> Any:
        if addend.dim() == 1 and beta == alpha == 1:
            return NotImplemented
        made = multiply(left, right)
        return (made if alpha == 1 else made * alpha) + (addend if beta == 1 else addend * beta)

    return spell


def _extreme(whole: Spelled, place: Spelled, pair: Spelled) -> Spelled:
    """``max`` and ``min``: of all, of one axis with its place there, or of two tensors."""

    def spell(data: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
        if dim is None:
            return whole(data)
        return pair(data, dim) if isinstance(dim, Tensor) else (whole(data, dim, keepdim), place(data, dim, keepdim))

    return spell


def _channel_shuffle(data: Tensor, groups: int) -> Tensor:
    batch, channels, *sides = data.shape
    return data.reshape(batch, groups, channels // groups, *sides).transpose(1, 2).reshape(data.shape)


def _pixel_unshuffle(data: Tensor, factor: int) -> Tensor:
    *batch, channels, height, width = data.shape
    apart = data.reshape(-1, channels, height // factor, factor, width // factor, factor).permute(0, 1, 3, 5, 2, 4)
    return apart.reshape(*batch, channels * factor**2, height // factor, width // factor)


#: Name of torch's operator -> what is called in its place. Those that give NotImplemented leave it as it is.
SPELLED: Mapping[str, Spelled] = {
    "scaled_dot_product_attention": _attention,
    "glu": _glu,
    "copy": _copy,
    "masked_fill": _masked_fill,
    "ne": lambda left, right: torch.logical_not(torch.eq(left, right)),
    "rsqrt": lambda data: torch.reciprocal(torch.sqrt(data)),
    "square": lambda data: torch.pow(data, 2),
    "log_sigmoid": lambda data: torch.log(torch.sigmoid(data)),
    "threshold": lambda data, threshold, value: torch.where(data <= threshold, value, data),
    "roll": _roll,
    "unbind": _unbind,
    "stack": _stack,
    "adaptive_avg_pool1d": _adaptive(True),
    "adaptive_avg_pool2d": _adaptive(True),
    "adaptive_avg_pool3d": _adaptive(True),
    "adaptive_max_pool1d": _adaptive(False),
    "adaptive_max_pool2d": _adaptive(False),
    "adaptive_max_pool3d": _adaptive(False),
    "group_norm": _group_norm,
    "rms_norm": _rms_norm,
    "var": _variance,
    "std": lambda *given, **named: torch.sqrt(_variance(*given, **named)),
    "bilinear": _bilinear,
    "max": _extreme(torch.amax, torch.argmax, torch.maximum),
    "min": _extreme(torch.amin, torch.argmin, torch.minimum),
    "addmm": _with_addend(torch.mm),
    "baddbmm": _with_addend(torch.bmm),
    "channel_shuffle": _channel_shuffle,
    "pixel_unshuffle": _pixel_unshuffle,
}

#: Makes one cell of (data, what else it reads, shapes of what it gives).
Cell = Callable[[Tensor, Sequence[Tensor], Sequence[Sizes]], Sequence[Tensor]]


def spell_recurrent(
    cell: Cell,
    data: Tensor,
    hx: Tensor | Sequence[Tensor],
    params: Sequence[Tensor],
    has_biases: bool,
    num_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool,
) -> tuple[Tensor, ...]:
    """Run an ``lstm`` or ``gru`` layer after layer, steps first, as ONNX's cells are: a cell reads both directions.

    ``cell`` is called for each layer and gives (steps, directions, batch, hidden) and each last state. The other
    arguments are torch's.
    """
    states, ways = ([hx] if isinstance(hx, Tensor) else list(hx)), 1 + bidirectional
    each = len(params) // num_layers
    data = data.transpose(0, 1) if batch_first else data
    steps, batch = data.shape[:2]
    last: list[list[Tensor]] = [[] for _ in states]
    for layer in range(num_layers):
        begin = [state[layer * ways : (layer + 1) * ways] for state in states]
        shapes = [(steps, ways, batch, begin[0].shape[-1]), *(one.shape for one in begin)]
        made, *ends = cell(data, [*params[layer * each : (layer + 1) * each], *begin], shapes)
        data = made.transpose(1, 2).reshape(steps, batch, -1)
        for kept, end in zip(last, ends, strict=True):
            kept.append(end)
    finals = [torch.cat(ends) if num_layers > 1 else ends[0] for ends in last]
    return (data.transpose(0, 1) if batch_first else data, *finals)
