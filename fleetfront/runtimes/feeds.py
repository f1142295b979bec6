"""Inputs for a model file that nobody gave inputs for: random, of the right shape and type. Nothing is run here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fleetfront.errors import InputError
from fleetfront.runtimes.base import Port, Session

Feeds = dict[str, NDArray[Any]]


def random_feeds(session: Session, rng: np.random.Generator) -> Feeds:
    """Valid inputs for an opened file: floats from the standard normal distribution, integers 0 or 1 (what they mean is
    unknown, and these are valid indices, counts and masks), booleans; symbolic dimensions are 1.

    Raises:
        InputError: an input is no tensor of numbers.
    """
    return {port.name: _random_array(port, rng) for port in session.inputs}


def check_feeds(inputs: Sequence[Port], feeds: Mapping[str, NDArray[Any]]) -> Feeds:
    """The feeds as contiguous arrays, in the order of ``inputs``.

    Raises:
        InputError: a feed is missing, superfluous, or of another shape or type than its input.
    """
    names = [port.name for port in inputs]
    if set(feeds) != set(names):
        raise InputError(f"The file was fed {sorted(feeds)}.", f"Feed exactly its inputs: {', '.join(names)}.")
    for port in inputs:
        feed = feeds[port.name]
        fits = len(feed.shape) == len(port.shape) and all(
            isinstance(want, str) or want == have for want, have in zip(port.shape, feed.shape, strict=True)
        )
        if not fits or feed.dtype.name != port.dtype:
            raise InputError(
                f"Input {port.name!r} was fed {feed.dtype.name}{list(feed.shape)}.",
                f"The file wants {port.dtype}{list(port.shape)}.",
            )
    return {name: np.ascontiguousarray(feeds[name]) for name in names}


def _random_array(port: Port, rng: np.random.Generator) -> NDArray[Any]:
    shape = tuple(1 if isinstance(d, str) else d for d in port.shape)
    try:
        dtype = np.dtype(port.dtype)
    except TypeError:
        dtype = np.dtype(object)
    if dtype.kind == "f":
        return np.asarray(rng.standard_normal(shape), dtype=dtype)
    if dtype.kind in "iub":
        return np.asarray(rng.integers(0, 2, shape), dtype=dtype)
    raise InputError(
        f"Input {port.name!r} of the file is {port.dtype}, which cannot be drawn at random.",
        "Only files whose inputs are tensors of numbers can be timed or proven without given inputs.",
    )
