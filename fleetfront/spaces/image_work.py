"""Round widths and sides as families of image networks do, and split the work of blocks by what it grows with."""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol


def make_divisible(value: float, divisor: int = 8) -> int:
    """``value`` rounded to a multiple of ``divisor``, never down by more than 10 % (the MobileNet papers' rule)."""
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


def halved(side: int, stride: int) -> int:
    """Side of the map after a convolution that pads by half its odd kernel."""
    return -(-side // stride)


class Work(NamedTuple):
    """Multiply-accumulates of a block split by what they grow with: input pixels, output pixels, or nothing."""

    per_input_pixel: int
    per_output_pixel: int
    fixed: int

    def macs(self, side_in: int, side_out: int) -> int:
        """Multiply-accumulates on maps of these sides."""
        return self.per_input_pixel * side_in**2 + self.per_output_pixel * side_out**2 + self.fixed

    def effective_side(self, side_in: int, side_out: int, stride: int) -> float:
        """Side of the input map, in pixels, whose square the work is proportional to; the map's own if none is.

        It equals the side of the input where a stride divides it, and lies a little above where the output is rounded
        up (19 -> 10): so interpolation in its square stays right for odd maps.
        """
        unrounded = self.per_input_pixel + self.per_output_pixel / stride**2
        pixels = self.macs(side_in, side_out) - self.fixed
        return math.sqrt(pixels / unrounded) if unrounded else float(side_in)


class Maps(Protocol):
    """Maps that a block reads and makes, of so many channels and so many pixels a side, and the stride between them."""

    @property
    def stride(self) -> int:
        """Pixels of the input that one of the output stands for, along a side."""

    @property
    def width_in(self) -> int:
        """Channels of the input."""

    @property
    def width_mid(self) -> int:
        """Channels inside."""

    @property
    def width_out(self) -> int:
        """Channels of the output."""

    @property
    def side_in(self) -> int:
        """Side of the input."""

    @property
    def side_out(self) -> int:
        """Side of the output."""


def map_features(shape: Maps) -> dict[str, float]:
    """Widths and pixels of a block's maps, which explain its latency in every family of image networks."""
    return {
        "stride": shape.stride,
        "width_in": shape.width_in,
        "width_mid": shape.width_mid,
        "width_out": shape.width_out,
        "pixels_in": shape.side_in**2,
        "pixels_out": shape.side_out**2,
    }
