"""Classifiers of raw audio: 1-D convolutions of free width, depth, kernel and sampling rate."""

import torch
from torch import nn

choices = {"width": [8, 16, 24], "depth": [2, 3, 4], "kernel": [5, 9, 15], "rate": [8000, 16000]}
CLASSES = 12


def make(width, depth, kernel, rate):
    """The network; load trained weights here."""
    layers, before = [], 1
    for stage in range(1, depth + 1):
        layer = nn.Conv1d(before, width * stage, kernel, stride=4, padding=kernel // 2)
        layers += [layer, nn.BatchNorm1d(width * stage), nn.ReLU()]
        before = width * stage
    return nn.Sequential(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(before, CLASSES))


def inputs(rate, **others):
    """A second of sound."""
    return torch.randn(1, 1, rate)


def calibration(rate, **others):
    """Sounds as they occur, for files in int8: tones stand in for yours."""
    time = torch.arange(rate) / rate
    for pitch in torch.linspace(50, 1500, 32):
        yield (torch.sin(2 * torch.pi * pitch * time) + 0.3 * torch.randn(rate)).reshape(1, 1, rate)


def accuracy(width, depth, kernel, rate):
    """Percent. A formula stands in for your evaluation of the trained network."""
    return 50 + 6 * (1 - 8 / width) + 4 * depth + kernel / 3 + rate / 4000
