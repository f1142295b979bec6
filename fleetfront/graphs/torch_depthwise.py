"""Convolve depthwise with a weight gradient that is a matrix product: for training on the CPU, not for inference.

torch 2.13's CPU kernel for the weight gradient of 5x5 and 7x7 depthwise kernels takes up to 20 times the forward pass;
on small maps the product below takes 2 to 7 times less.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

#: Products of input and output pixels up to which the matrix product was measured to be faster.
MAX_PIXEL_PAIRS = 64 * 64
MIN_KERNEL = 5


def is_faster(data: Tensor, weight: Tensor, stride: int, padding: int, groups: int) -> bool:
    """Tell whether training gains from ``depthwise_conv2d`` here: a small map, a large kernel, a gradient wanted."""
    if not (weight.requires_grad and torch.is_grad_enabled() and data.device.type == "cpu"):
        return False
    height, width = data.shape[2:]
    kernel = weight.shape[2]
    pixels_out = ((height + 2 * padding - kernel) // stride + 1) * ((width + 2 * padding - kernel) // stride + 1)
    is_depthwise = groups == data.shape[1] == len(weight) and weight.shape[3] == kernel >= MIN_KERNEL
    return is_depthwise and height * width * pixels_out <= MAX_PIXEL_PAIRS


def depthwise_conv2d(data: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    """``F.conv2d`` with one group a channel, a square kernel and the same stride and padding on both axes."""
    return _Depthwise.apply(data, weight, stride, padding)  # type: ignore[no-any-return, no-untyped-call]


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, data: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
        ctx.save_for_backward(data, weight)
        ctx.stride, ctx.padding = stride, padding
        return F.conv2d(data, weight, None, stride, padding, 1, len(weight))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor, None, None]:
        (gradient,) = gradients
        data, weight = ctx.saved_tensors
        stride, padding = ctx.stride, ctx.padding
        wanted = None
        if ctx.needs_input_grad[0]:
            wanted = torch.ops.aten.convolution_backward(
                gradient,
                data,
                weight,
                None,
                [stride] * 2,
                [padding] * 2,
                [1, 1],
                False,
                [0, 0],
                len(weight),
                [True, False, False],
            )[0]
        return wanted, _weight_gradient(gradient, data, weight, stride, padding), None, None


def _weight_gradient(gradient: Tensor, data: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    """Sum over images of gradient x input for every pair of pixels, then over the pairs that each kernel tap joins."""
    images, channels, height, width = data.shape
    kernel = weight.shape[2]
    after = gradient.permute(1, 2, 3, 0).reshape(channels, -1, images)
    before = data.permute(1, 0, 2, 3).reshape(channels, images, height * width)
    pairs = torch.bmm(after, before).view(channels, -1)
    taps = _taps(height, width, kernel, stride, padding)
    sums = torch.zeros(channels, kernel**2 + 1, dtype=pairs.dtype).index_add_(1, taps, pairs)
    return sums[:, :-1].reshape(weight.shape)


@lru_cache(maxsize=64)
def _taps(height: int, width: int, kernel: int, stride: int, padding: int) -> Tensor:
    """For each (output pixel, input pixel), the kernel tap that joins them; kernel**2 where none does."""

    def offsets(size: int) -> Tensor:
        out = (size + 2 * padding - kernel) // stride + 1
        offset = torch.arange(size)[None] - stride * torch.arange(out)[:, None] + padding
        return torch.where((offset >= 0) & (offset < kernel), offset, -1)

    rows, columns = offsets(height)[:, None, :, None], offsets(width)[None, :, None, :]
    return torch.where((rows >= 0) & (columns >= 0), rows * kernel + columns, kernel**2).reshape(-1)
