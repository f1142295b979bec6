"""Draw the picture that test vectors begin with: made up, larger than a network's input and not square."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray

#: Height and width in sides of the input: a crop in the wrong place, or a squeeze in place of one, shows.
_HEIGHT, _WIDTH = 1.25, 1.75
#: Discs on it.
_DISCS = 9


def draw_picture(side: int) -> NDArray[np.uint8]:
    """uint8[h, w, 3]: discs of many colours on a gradient, the same for equal sides of the input in pixels."""
    height, width = max(round(_HEIGHT * side), 2), max(round(_WIDTH * side), 3)
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    across, down = x / (width - 1), y / (height - 1)
    picture = np.stack([40 + 180 * across, 60 + 150 * down, 200 - 150 * across * down], axis=-1)
    rng = np.random.default_rng(7)
    for _ in range(_DISCS):
        (row, column), radius, colour = rng.random(2), rng.uniform(0.05, 0.22), rng.uniform(0, 255, 3)
        is_inside = (y - row * height) ** 2 + (x - column * width) ** 2 < (radius * height) ** 2
        picture[is_inside] = colour
    result: NDArray[np.uint8] = np.rint(picture).astype(np.uint8)
    return result


def draw_patches(side: int) -> NDArray[np.uint8]:
    """uint8[side, side, 3]: four by four patches of strong colours, which change a network's outputs much."""
    colours = np.random.default_rng(8).integers(0, 256, (4, 4, 3))
    places = np.arange(side) * 4 // side
    result: NDArray[np.uint8] = colours[places][:, places].astype(np.uint8)
    return result


def png_of(pixels: NDArray[np.uint8]) -> bytes | None:
    """The picture as a PNG; None without Pillow."""
    try:
        from PIL import Image
    except ImportError:
        return None
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png")
    return buffer.getvalue()
