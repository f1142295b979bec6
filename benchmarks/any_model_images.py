"""Builders of convolutional networks: the families that people bring, by width, depth and side."""

from __future__ import annotations

from collections.abc import Callable

import torch
from any_model_layers import Concat, Gate, Halves, Permuted, Residual, Shuffle, classifier, conv, rounded
from torch import Tensor, nn

Made = tuple[nn.Module, tuple[Tensor, ...]]


def image(side: int = 224) -> tuple[Tensor, ...]:
    return (torch.zeros(1, 3, side, side),)


def stem(out: int) -> nn.Sequential:
    return nn.Sequential(conv(3, out, 7, 2), nn.MaxPool2d(3, 2, 1))


def resnet(depths: tuple[int, ...], width: float = 1.0, deep: bool = False, groups: int = 1, base: int = 64) -> Made:
    channels = rounded(64 * width)
    layers: list[nn.Module] = [stem(channels)]
    for stage, depth in enumerate(depths):
        inner = rounded(base * width * 2**stage)
        out = rounded(64 * width * 2**stage) * (4 if deep else 1)
        for repeat in range(depth):
            stride = 2 if stage and not repeat else 1
            if deep:
                body = nn.Sequential(
                    conv(channels, inner), conv(inner, inner, 3, stride, groups), conv(inner, out, act=None)
                )
            else:
                body = nn.Sequential(conv(channels, out, 3, stride), conv(out, out, 3, act=None))
            shortcut = conv(channels, out, 1, stride, act=None) if stride > 1 or channels != out else None
            layers.append(Residual(body, shortcut, nn.ReLU()))
            channels = out
    return nn.Sequential(*layers, classifier(channels)), image()


def mobilenet_v1(width: float, side: int = 224) -> Made:
    plan = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)]
    channels = rounded(32 * width)
    layers: list[nn.Module] = [conv(3, channels, 3, 2)]
    for out, stride in plan:
        layers += [conv(channels, channels, 3, stride, channels), conv(channels, rounded(out * width))]
        channels = rounded(out * width)
    return nn.Sequential(*layers, classifier(channels)), image(side)


def inverted(
    inside: int,
    wide: int,
    out: int,
    kernel: int,
    stride: int,
    act: Callable[[], nn.Module],
    gate: nn.Module | None = None,
) -> nn.Module:
    body = nn.Sequential(
        conv(inside, wide, act=act) if wide != inside else nn.Identity(),
        conv(wide, wide, kernel, stride, wide, act),
        gate or nn.Identity(),
        conv(wide, out, act=None),
    )
    return Residual(body) if stride == 1 and inside == out else body


def mobilenet_v2(width: float, side: int = 224) -> Made:
    plan = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]
    channels = rounded(32 * width)
    layers: list[nn.Module] = [conv(3, channels, 3, 2, act=nn.ReLU6)]
    for ratio, base, depth, first in plan:
        for repeat in range(depth):
            out = rounded(base * width)
            layers.append(inverted(channels, channels * ratio, out, 3, 1 if repeat else first, nn.ReLU6))
            channels = out
    last = max(1280, rounded(1280 * width))
    return nn.Sequential(*layers, conv(channels, last, act=nn.ReLU6), classifier(last)), image(side)


#: Kernel, widened to, out, gate, hard swish, stride.
SMALL = """3 16 16 1 0 2;3 72 24 0 0 2;3 88 24 0 0 1;5 96 40 1 1 2;5 240 40 1 1 1;5 240 40 1 1 1;5 120 48 1 1 1
5 144 48 1 1 1;5 288 96 1 1 2;5 576 96 1 1 1;5 576 96 1 1 1"""
LARGE = """3 16 16 0 0 1;3 64 24 0 0 2;3 72 24 0 0 1;5 72 40 1 0 2;5 120 40 1 0 1;5 120 40 1 0 1;3 240 80 0 1 2
3 200 80 0 1 1;3 184 80 0 1 1;3 184 80 0 1 1;3 480 112 1 1 1;3 672 112 1 1 1;5 672 160 1 1 2;5 960 160 1 1 1
5 960 160 1 1 1"""


def mobilenet_v3(plan: str, width: float, side: int = 224) -> Made:
    channels = rounded(16 * width)
    layers: list[nn.Module] = [conv(3, channels, 3, 2, act=nn.Hardswish)]
    wide = channels
    for line in plan.replace("\n", ";").split(";"):
        kernel, widened, base, gated, swish, stride = map(int, line.split())
        wide, out = rounded(widened * width), rounded(base * width)
        gate = Gate(wide, rounded(wide / 4), gate=nn.Hardsigmoid) if gated else None
        layers.append(inverted(channels, wide, out, kernel, stride, nn.Hardswish if swish else nn.ReLU, gate))
        channels = out
    head = nn.Sequential(nn.Linear(wide, 1280), nn.Hardswish(), nn.Linear(1280, 1000))
    layers += [conv(channels, wide, act=nn.Hardswish), nn.AdaptiveAvgPool2d(1), nn.Flatten(), head]
    return nn.Sequential(*layers), image(side)


def efficientnet(width: float, depth: float, side: int, lite: bool = False) -> Made:
    act = nn.ReLU6 if lite else nn.SiLU
    plan = [
        (1, 3, 1, 16, 1),
        (6, 3, 2, 24, 2),
        (6, 5, 2, 40, 2),
        (6, 3, 2, 80, 3),
        (6, 5, 1, 112, 3),
        (6, 5, 2, 192, 4),
    ]
    channels = rounded(32 * width)
    layers: list[nn.Module] = [conv(3, channels, 3, 2, act=act)]
    for ratio, kernel, first, base, repeats in [*plan, (6, 3, 1, 320, 1)]:
        for repeat in range(-int(-repeats * depth // 1)):
            wide, out = channels * ratio, rounded(base * width)
            gate = None if lite else Gate(wide, max(1, channels // 4), nn.SiLU)
            layers.append(inverted(channels, wide, out, kernel, 1 if repeat else first, act, gate))
            channels = out
    last = rounded(1280 * width)
    return nn.Sequential(*layers, conv(channels, last, act=act), classifier(last)), image(side)


def shufflenet(stages: tuple[int, int, int], last: int = 1024) -> Made:
    layers: list[nn.Module] = [conv(3, 24, 3, 2), nn.MaxPool2d(3, 2, 1)]
    channels = 24
    for out, depth in zip(stages, (4, 8, 4), strict=True):
        half = out // 2
        left = nn.Sequential(conv(channels, channels, 3, 2, channels, None), conv(channels, half))
        right = nn.Sequential(conv(channels, half), conv(half, half, 3, 2, half, None), conv(half, half))
        layers += [Concat(left, right), Shuffle()]
        for _ in range(depth - 1):
            body = nn.Sequential(conv(half, half), conv(half, half, 3, 1, half, None), conv(half, half))
            layers += [Halves(body), Shuffle()]
        channels = out
    return nn.Sequential(*layers, conv(channels, last), classifier(last)), image()


def densenet(growth: int, depths: tuple[int, ...], side: int = 224) -> Made:
    channels = 2 * growth
    layers: list[nn.Module] = [stem(channels)]
    for stage, depth in enumerate(depths):
        for _ in range(depth):
            norm = nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU())
            body = nn.Sequential(norm, conv(channels, 4 * growth), nn.Conv2d(4 * growth, growth, 3, 1, 1, bias=False))
            layers.append(Concat(nn.Identity(), body))
            channels += growth
        norm = nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU())
        if stage + 1 < len(depths):
            layers += [norm, nn.Conv2d(channels, channels // 2, 1, bias=False), nn.AvgPool2d(2)]
            channels //= 2
        else:
            layers.append(norm)
    return nn.Sequential(*layers, classifier(channels)), image(side)


def squeezenet(width: float = 1.0) -> Made:
    channels = rounded(64 * width)
    layers: list[nn.Module] = [nn.Conv2d(3, channels, 3, 2), nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True)]
    for place, base in enumerate((16, 16, 32, 32, 48, 48, 64, 64)):
        inner, half = rounded(base * width), rounded(4 * base * width)
        ones, threes = nn.Conv2d(inner, half, 1), nn.Conv2d(inner, half, 3, padding=1)
        layers += [nn.Conv2d(channels, inner, 1), nn.ReLU(), Concat(ones, threes), nn.ReLU()]
        channels = 2 * half
        if place in (1, 3):
            layers.append(nn.MaxPool2d(3, 2, ceil_mode=True))
    head = [nn.Conv2d(channels, 1000, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, *head), image()


def regnet(widths: tuple[int, ...], depths: tuple[int, ...], group: int, gated: bool = False) -> Made:
    channels = 32
    layers: list[nn.Module] = [conv(3, channels, 3, 2)]
    for out, depth in zip(widths, depths, strict=True):
        for repeat in range(depth):
            stride = 1 if repeat else 2
            gate = Gate(out, channels // 4) if gated else nn.Identity()
            inner = conv(out, out, 3, stride, out // group)
            body = nn.Sequential(conv(channels, out), inner, gate, conv(out, out, act=None))
            shortcut = None if repeat else conv(channels, out, 1, 2, act=None)
            layers.append(Residual(body, shortcut, nn.ReLU()))
            channels = out
    return nn.Sequential(*layers, classifier(channels)), image()


def convnext(widths: tuple[int, ...], depths: tuple[int, ...], side: int = 224) -> Made:
    to_last, to_first = (0, 2, 3, 1), (0, 3, 1, 2)
    channels = widths[0]
    layers: list[nn.Module] = [nn.Conv2d(3, channels, 4, 4), Permuted(nn.LayerNorm(channels), to_last, to_first)]
    for stage, (out, depth) in enumerate(zip(widths, depths, strict=True)):
        if stage:
            layers += [Permuted(nn.LayerNorm(channels), to_last, to_first), nn.Conv2d(channels, out, 2, 2)]
        for _ in range(depth):
            mixed = nn.Sequential(nn.LayerNorm(out), nn.Linear(out, 4 * out), nn.GELU(), nn.Linear(4 * out, out))
            depthwise = nn.Conv2d(out, out, 7, padding=3, groups=out)
            layers.append(Residual(nn.Sequential(depthwise, Permuted(mixed, to_last, to_first))))
        channels = out
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LayerNorm(channels), nn.Linear(channels, 1000)]
    return nn.Sequential(*layers, *head), image(side)
