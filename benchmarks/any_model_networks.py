"""Make ONNX files of the networks that people bring, written in plain torch with random weights.

Run: python benchmarks/any_model_networks.py FOLDER [--only resnet18,...]
A file that is there already is kept. Nothing in the package is fitted to any of them.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from any_model_images import (
    LARGE,
    SMALL,
    Made,
    convnext,
    densenet,
    efficientnet,
    image,
    mobilenet_v1,
    mobilenet_v2,
    mobilenet_v3,
    regnet,
    resnet,
    shufflenet,
    squeezenet,
)
from any_model_layers import (
    Attention,
    Mean,
    Merge,
    Permuted,
    Recurrent,
    Residual,
    SpelledAttention,
    Tokens,
    Windows,
    classifier,
    conv,
    transformer_block,
)
from torch import Tensor, nn

OPSET = 18


def vit(width: int, heads: int, depth: int, patch: int, spelled: bool = False, side: int = 224) -> Made:
    kind = SpelledAttention if spelled else Attention
    blocks = [transformer_block(width, kind(width, heads)) for _ in range(depth)]
    head = [nn.LayerNorm(width), Mean(1, 0), nn.Linear(width, 1000)]
    return nn.Sequential(Tokens(width, patch, side), *blocks, *head), image(side)


def swin(width: int, depths: tuple[int, ...], heads: int) -> Made:
    layers: list[nn.Module] = [nn.Conv2d(3, width, 4, 4), Permuted(nn.LayerNorm(width), (0, 2, 3, 1), (0, 1, 2, 3))]
    for stage, depth in enumerate(depths):
        if stage:
            layers.append(Merge(width))
            width, heads = 2 * width, 2 * heads
        layers += [transformer_block(width, Windows(width, heads, 7, bool(i % 2))) for i in range(depth)]
    return nn.Sequential(*layers, nn.LayerNorm(width), Mean(1), Mean(1), nn.Linear(width, 1000)), image()


def mixer(width: int, depth: int, patch: int) -> Made:
    steps = (224 // patch) ** 2
    blocks: list[nn.Module] = []
    for _ in range(depth):
        tokens = nn.Sequential(nn.Linear(steps, width // 2), nn.GELU(), nn.Linear(width // 2, steps))
        channels = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        blocks += [
            Residual(nn.Sequential(nn.LayerNorm(width), Permuted(tokens, (0, 2, 1), (0, 2, 1)))),
            Residual(nn.Sequential(nn.LayerNorm(width), channels)),
        ]
    head = [nn.LayerNorm(width), Mean(1), nn.Linear(width, 1000)]
    return nn.Sequential(Tokens(width, patch, 224, False), *blocks, *head), image()


class UNet(nn.Module):
    """Down and up again, with shortcuts across."""

    def __init__(self, width: int, depth: int, transposed: bool) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(depth + 1)]
        ins = [3, *widths[:-1]]
        self.down = nn.ModuleList(nn.Sequential(conv(i, o, 3), conv(o, o, 3)) for i, o in zip(ins, widths, strict=True))
        self.up, self.join = nn.ModuleList(), nn.ModuleList()
        for out in reversed(widths[:-1]):
            spread: nn.Module = nn.ConvTranspose2d(2 * out, out, 2, 2)
            if not transposed:
                spread = nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear"), conv(2 * out, out))
            self.up.append(spread)
            self.join.append(nn.Sequential(conv(2 * out, out, 3), conv(out, out, 3)))
        self.head = nn.Conv2d(width, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        kept = []
        for level, body in enumerate(self.down):
            x = body(x if level == 0 else nn.functional.max_pool2d(x, 2))
            kept.append(x)
        for spread, join, beside in zip(self.up, self.join, kept[-2::-1], strict=True):
            x = join(torch.cat([beside, spread(x)], 1))
        return self.head(x)


def unet(width: int, depth: int, transposed: bool, side: int) -> Made:
    return UNet(width, depth, transposed), image(side)


def recurrent(kind: type[nn.RNNBase], features: int, hidden: int, layers: int, steps: int, both: bool = False) -> Made:
    layer = kind(features, hidden, layers, batch_first=True, bidirectional=both)
    head = nn.Linear(hidden * (1 + both), 40)
    return nn.Sequential(Recurrent(layer), head), (torch.zeros(1, steps, features),)


def words(width: int, heads: int, depth: int, steps: int, causal: bool) -> Made:
    blocks = [transformer_block(width, Attention(width, heads, causal)) for _ in range(depth)]
    tokens = (torch.zeros(1, steps, dtype=torch.long),)
    return nn.Sequential(nn.Embedding(8000, width), *blocks, nn.LayerNorm(width), nn.Linear(width, 8000)), tokens


def sounds(width: int, kernel: int, dilated: bool, length: int = 16000) -> Made:
    """Convolutions over samples, residual and dilated or in a row."""
    layers: list[nn.Module] = [nn.Conv1d(1, width, 80, 16), nn.BatchNorm1d(width), nn.ReLU()]
    for level in range(8 if dilated else 4):
        out = width if dilated else width * 2 ** min(level, 2)
        inside = width if dilated or level == 0 else width * 2 ** min(level - 1, 2)
        gap = 2**level if dilated else 1
        body = nn.Sequential(
            nn.Conv1d(inside, out, kernel, padding="same", dilation=gap), nn.BatchNorm1d(out), nn.ReLU()
        )
        layers += [Residual(body)] if dilated else [body, nn.MaxPool1d(4)]
    out = width if dilated else 4 * width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(out, 35)), (
        torch.zeros(1, 1, length),
    )


def keywords(width: int) -> Made:
    """Depthwise-separable convolutions over a spectrogram."""
    layers: list[nn.Module] = [nn.Conv2d(1, width, (10, 4), 2, (5, 1)), nn.BatchNorm2d(width), nn.ReLU()]
    for _ in range(4):
        layers += [conv(width, width, 3, 1, width), conv(width, width)]
    return nn.Sequential(*layers, classifier(width, 12)), (torch.zeros(1, 1, 49, 10),)


def plain(widths: tuple[int, ...], hidden: int, side: int = 224) -> Made:
    """Pairs of convolutions, pools, and wide linear layers."""
    layers: list[nn.Module] = []
    channels = 3
    for out in widths:
        layers += [
            nn.Conv2d(channels, out, 3, 1, 1),
            nn.ReLU(),
            nn.Conv2d(out, out, 3, 1, 1),
            nn.ReLU(),
            nn.MaxPool2d(2),
        ]
        channels = out
    layers += [nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16 * channels, hidden), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(hidden, 1000)), image(side)


def super_resolution(width: int, side: int) -> Made:
    layers = [nn.Conv2d(3, width, 5, 1, 2), nn.Tanh(), nn.Conv2d(width, width, 3, 1, 1), nn.Tanh()]
    return nn.Sequential(*layers, nn.Conv2d(width, 27, 3, 1, 1), nn.PixelShuffle(3)), image(side)


def generator(width: int) -> Made:
    """An image from noise."""
    layers: list[nn.Module] = [nn.ConvTranspose2d(64, 8 * width, 4), nn.BatchNorm2d(8 * width), nn.ReLU()]
    for level in (8, 4, 2):
        spread = nn.ConvTranspose2d(level * width, level * width // 2, 4, 2, 1)
        layers += [spread, nn.BatchNorm2d(level * width // 2), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.ConvTranspose2d(width, 3, 4, 2, 1), nn.Tanh()), (torch.zeros(1, 64, 1, 1),)


#: Name -> what makes the network and an input of it.
NETWORKS: Mapping[str, Callable[[], Made]] = {
    "resnet18": lambda: resnet((2, 2, 2, 2)),
    "resnet18_w0.5": lambda: resnet((2, 2, 2, 2), 0.5),
    "resnet34": lambda: resnet((3, 4, 6, 3)),
    "resnet50": lambda: resnet((3, 4, 6, 3), deep=True),
    "resnet50_w0.5": lambda: resnet((3, 4, 6, 3), 0.5, deep=True),
    "resnext50": lambda: resnet((3, 4, 6, 3), deep=True, groups=32, base=128),
    **{f"mobilenet_v1_{w}": (lambda w=w: mobilenet_v1(w)) for w in (0.25, 0.5, 0.75, 1.0)},
    "mobilenet_v1_0.5_128": lambda: mobilenet_v1(0.5, 128),
    **{f"mobilenet_v2_{w}": (lambda w=w: mobilenet_v2(w)) for w in (0.35, 0.5, 0.75, 1.0, 1.4)},
    "mobilenet_v2_1.0_160": lambda: mobilenet_v2(1.0, 160),
    **{f"mobilenet_v3_small_{w}": (lambda w=w: mobilenet_v3(SMALL, w)) for w in (0.75, 1.0)},
    **{f"mobilenet_v3_large_{w}": (lambda w=w: mobilenet_v3(LARGE, w)) for w in (0.75, 1.0)},
    "mobilenet_v3_large_1.0_160": lambda: mobilenet_v3(LARGE, 1.0, 160),
    "efficientnet_b0": lambda: efficientnet(1.0, 1.0, 224),
    "efficientnet_b1": lambda: efficientnet(1.0, 1.1, 240),
    "efficientnet_lite0": lambda: efficientnet(1.0, 1.0, 224, lite=True),
    "efficientnet_w0.5": lambda: efficientnet(0.5, 1.0, 192),
    "shufflenet_v2_0.5": lambda: shufflenet((48, 96, 192)),
    "shufflenet_v2_1.0": lambda: shufflenet((116, 232, 464)),
    "shufflenet_v2_1.5": lambda: shufflenet((176, 352, 704)),
    "densenet121": lambda: densenet(32, (6, 12, 24, 16)),
    "densenet_g12": lambda: densenet(12, (6, 12, 12, 8)),
    "densenet_g16_160": lambda: densenet(16, (4, 8, 12, 8), 160),
    "squeezenet": squeezenet,
    "squeezenet_w0.5": lambda: squeezenet(0.5),
    "regnet_x400": lambda: regnet((32, 64, 160, 400), (1, 2, 7, 12), 16),
    "regnet_x800": lambda: regnet((64, 128, 288, 672), (1, 3, 7, 5), 16),
    "regnet_y400": lambda: regnet((48, 104, 208, 440), (1, 3, 6, 6), 8, gated=True),
    "convnext_atto": lambda: convnext((40, 80, 160, 320), (2, 2, 6, 2)),
    "convnext_femto": lambda: convnext((48, 96, 192, 384), (2, 2, 6, 2)),
    "convnext_tiny_160": lambda: convnext((96, 192, 384, 768), (3, 3, 9, 3), 160),
    "deit_tiny": lambda: vit(192, 3, 12, 16),
    "deit_tiny_spelled": lambda: vit(192, 3, 12, 16, spelled=True),
    "deit_small": lambda: vit(384, 6, 12, 16),
    "vit_small_p32": lambda: vit(384, 6, 8, 32, spelled=True),
    "vit_w128_160": lambda: vit(128, 4, 6, 16, side=160),
    "swin_w48": lambda: swin(48, (2, 2, 4, 2), 2),
    "swin_w64": lambda: swin(64, (2, 2, 2, 2), 2),
    "mixer_w256": lambda: mixer(256, 8, 16),
    "mixer_w384_p32": lambda: mixer(384, 8, 32),
    "unet_w16": lambda: unet(16, 3, True, 128),
    "unet_w24_resized": lambda: unet(24, 3, False, 128),
    "unet_w32": lambda: unet(32, 4, True, 96),
    "lstm_h128": lambda: recurrent(nn.LSTM, 40, 128, 1, 100),
    "lstm_h256_two": lambda: recurrent(nn.LSTM, 80, 256, 2, 60),
    "lstm_h96_both": lambda: recurrent(nn.LSTM, 40, 96, 1, 80, both=True),
    "gru_h128": lambda: recurrent(nn.GRU, 40, 128, 1, 100),
    "gru_h192_two": lambda: recurrent(nn.GRU, 64, 192, 2, 50),
    "words_w128": lambda: words(128, 4, 4, 64, causal=False),
    "words_w256_causal": lambda: words(256, 4, 4, 48, causal=True),
    "sounds_w64": lambda: sounds(64, 3, dilated=False),
    "sounds_w128": lambda: sounds(128, 3, dilated=False),
    "sounds_dilated_w48": lambda: sounds(48, 3, dilated=True),
    "keywords_w64": lambda: keywords(64),
    "keywords_w172": lambda: keywords(172),
    "plain_w32": lambda: plain((32, 64, 128, 256), 512),
    "plain_w64_128": lambda: plain((64, 128, 256, 512), 1024, 128),
    "super_resolution_w64": lambda: super_resolution(64, 96),
    "generator_w32": lambda: generator(32),
}


def make(name: str) -> Made:
    """The network of that name in evaluation mode, with the same weights every time, and an input."""
    torch.manual_seed(sum(name.encode()))
    module, inputs = NETWORKS[name]()
    return module.eval(), inputs


def write(name: str, folder: Path) -> Path:
    """The ``.onnx`` file of a network in ``folder``; one that is there is kept."""
    path = folder / f"{name}.onnx"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        module, inputs = make(name)
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            part = path.with_suffix(".part")
            torch.onnx.export(module, inputs, str(part), dynamo=True, opset_version=OPSET, external_data=False)
        part.replace(path)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default=",".join(NETWORKS))
    arguments = parser.parse_args()
    for name in arguments.only.split(","):
        print(write(name, arguments.folder), flush=True)


if __name__ == "__main__":
    main()
