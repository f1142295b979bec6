"""Small image classifiers of free width, depth, kernel and resolution, with inverted residual steps."""

import torch
from torch import nn

choices = {"width": [16, 24, 32], "depth": [1, 2, 3], "kernel": [3, 5], "side": [64, 96]}
CLASSES = 10


def convolution(before, width, kernel=1, stride=1, groups=1):
    """A convolution with what follows it."""
    layer = nn.Conv2d(before, width, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(width), nn.ReLU6())


class Step(nn.Module):
    """Spread, look around, narrow, add."""

    def __init__(self, width, kernel):
        super().__init__()
        wide = 4 * width
        self.inside = nn.Sequential(
            convolution(width, wide),
            convolution(wide, wide, kernel, groups=wide),
            nn.Conv2d(wide, width, 1, bias=False),
            nn.BatchNorm2d(width),
        )

    def forward(self, image):
        return image + self.inside(image)


class Classifier(nn.Module):
    """Three stages, each twice as wide at half the resolution."""

    def __init__(self, width, depth, kernel):
        super().__init__()
        layers = [convolution(3, width, 3, stride=2)]
        for stage in range(3):
            here = width << stage
            layers += [Step(here, kernel) for _ in range(depth)]
            layers.append(convolution(here, 2 * here, 3, stride=2))
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(8 * width, CLASSES)

    def forward(self, image):
        return self.head(self.features(image).mean((2, 3)))


def make(width, depth, kernel, side):
    """The network; load trained weights here."""
    return Classifier(width, depth, kernel)


def inputs(side, **others):
    """What one inference is fed."""
    return torch.randn(1, 3, side, side)


def accuracy(width, depth, kernel, side):
    """Percent. A formula stands in for your evaluation of the trained network."""
    return 55 + 8 * (1 - 16 / width) + 12 * (1 - 1 / (1 + depth)) + (kernel - 3) + side / 24
