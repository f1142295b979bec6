"""Round widths and sides as families of image networks do, and split the work of blocks by what it grows with."""

from __future__ import annotations

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
