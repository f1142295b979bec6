"""Make inputs for a model file: those that its user gives, and random ones of the right shape and type for the rest."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fleetfront.errors import InputError
from fleetfront.graphs.input_shapes import Shape, batch_notes, resolve_shapes
from fleetfront.runtimes.base import Port, Session

Feeds = dict[str, NDArray[Any]]

#: More than any input that is timed here, and what a small file can claim in a few bytes.
_MOST_BYTES = 1 << 32
_DAMAGE = (zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True, slots=True)
class GivenInputs:
    """What a user says of a file's inputs.

    Attributes:
        shapes: input -> shape; "" for the only input.
        arrays: input -> what it is fed.
    """

    shapes: Mapping[str, Shape] = field(default_factory=dict)
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)


def load_arrays(path: Path) -> Feeds:
    """The arrays of a ``.npz`` file by input.

    Raises:
        InputError: it cannot be read, is none, holds objects, or unpacks to more than fits memory.
    """
    if not path.is_file():
        raise InputError(f"There is no file {path}.", "Write one with numpy.savez('x.npz', NAME=array).")
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
        if unpacked > _MOST_BYTES:
            raise InputError(
                f"{path} unpacks to {unpacked / 2**30:.0f} GiB.", f"Give less than {_MOST_BYTES >> 30} GiB."
            )
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    # Damaged archives raise whatever zipfile, zlib and numpy happen to.
    except (OSError, ValueError, LookupError, EOFError, RuntimeError, MemoryError, *_DAMAGE) as error:
        raise InputError(
            f"The inputs {path} cannot be read ({error}).", "Write them with numpy.savez('x.npz', NAME=array)."
        ) from error


def make_feeds(session: Session, rng: np.random.Generator, given: GivenInputs | None = None) -> tuple[Feeds, list[str]]:
    """Valid inputs for an opened file, and sentences on what was assumed.

    What is not given is drawn: floats from the standard normal distribution, integers 0 or 1 (what they mean is
    unknown, and these are valid indices, counts and masks), booleans.

    Raises:
        InputError: the file leaves a size open that nobody gives, what is given does not fit it, an input is no tensor
            of numbers, or would not fit memory.
    """
    given = given or GivenInputs()
    by_name = {port.name: port for port in session.inputs}
    arrays = {name: _as_typed(array, by_name.get(name)) for name, array in given.arrays.items()}
    stated = {**given.shapes, **{name: array.shape for name, array in arrays.items()}}
    shapes = resolve_shapes(session.inputs, stated)
    values = sum(math.prod(shape) for shape in shapes.values())
    if values * 4 > _MOST_BYTES:
        raise InputError(
            f"The inputs of the file hold {values:.2g} numbers.", f"Files of up to {_MOST_BYTES // 4:.2g} can be fed."
        )
    feeds = {
        name: arrays[name] if name in arrays else _drawn(port, shapes[name], rng) for name, port in by_name.items()
    }
    notes = batch_notes(session.inputs, shapes, stated)
    counted = [name for name, feed in feeds.items() if feed.dtype.kind in "iu" and name not in arrays]
    counted = [name for name in counted if np.dtype(by_name[name].dtype).itemsize > 1]
    if counted:
        notes.append(f"{', '.join(counted)}: drawn from 0 and 1; if that means sizes or counts, give --inputs x.npz")
    return feeds, notes


def random_feeds(session: Session, rng: np.random.Generator) -> Feeds:
    """The inputs of ``make_feeds`` for files whose sizes are known."""
    return make_feeds(session, rng)[0]


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


def _as_typed(array: NDArray[Any], port: Port | None) -> NDArray[Any]:
    """In the input's own type where nothing but precision is lost; whoever feeds it says what else is wrong."""
    if port is None:
        return array
    try:
        return array.astype(port.dtype, casting="same_kind", copy=False)
    except TypeError as error:
        raise InputError(f"Input {port} was given as {array.dtype.name}.", "Give it in the file's own type.") from error


def _drawn(port: Port, shape: Shape, rng: np.random.Generator) -> NDArray[Any]:
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
