"""Round widths and sides as families of image networks do, and split the work of blocks by what it grows with."""

from __future__ import annotations

from typing import NamedTuple


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
