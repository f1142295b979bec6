"""Make inputs for a model file: those that its user gives, and random ones of the right shape and type for the rest."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fleetfront.arrays import read_arrays
from fleetfront.errors import InputError
from fleetfront.graphs.input_shapes import Shape, batch_notes, fits, resolve_shapes
from fleetfront.runtimes.base import Port, Session

Feeds = dict[str, NDArray[Any]]

#: More than any input that is timed here, and what a small file can claim in a few bytes.
_MOST_BYTES = 1 << 32
#: What zeros in a compressed file may unpack to.
_ALLOWED_BYTES = 1 << 30
#: Shapes, sizes and axes are vectors of at most so many whole numbers.
_MOST_AXES = 8


@dataclass(frozen=True, slots=True)
class GivenInputs:
    """A user's word on a file's inputs.

    Attributes:
        shapes: input -> shape; "" for the only input.
        arrays: input -> what it is fed.
        may_steer: ask for the values of inputs that look like sizes, counts or conditions: nobody looked into the file.
    """

    shapes: Mapping[str, Shape] = field(default_factory=dict)
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    may_steer: bool = False


def load_arrays(path: Path) -> Feeds:
    """The arrays of a ``.npz`` file by input.

    Raises:
        InputError: it cannot be read, is none, holds objects, or unpacks to more than it may.
    """
    remedy = "Write them with numpy.savez('x.npz', NAME=array), and give the path of that file."
    if not path.is_file():
        what = "a folder" if path.is_dir() else "no file" if path.exists() else "not there"
        raise InputError(f"{path} is {what}, where a .npz file of inputs is wanted.", remedy)
    try:
        return read_arrays(path, _ALLOWED_BYTES)
    except (OSError, ValueError, EOFError, MemoryError) as error:
        if _is_single_array(path):
            raise InputError(f"{path} is one array without a name.", remedy) from error
        raise InputError(f"The inputs {path} cannot be read ({error}).", remedy) from error


def _is_single_array(path: Path) -> bool:
    """Tell whether it is what ``numpy.save`` writes."""
    with path.open("rb") as file:
        return file.read(6) == b"\x93NUMPY"


def make_feeds(session: Session, rng: np.random.Generator, given: GivenInputs | None = None) -> tuple[Feeds, list[str]]:
    """Valid inputs for an opened file, and sentences on what was assumed.

    What is not given is drawn: floats from the standard normal distribution, integers 0 or 1 (what they mean is
    unknown, and these are valid indices, counts and masks), booleans.

    Raises:
        InputError: the file leaves a size open that nobody gives, what is given does not fit it, an input is no tensor
            of numbers, would not fit memory, or must be given.
    """
    given = given or GivenInputs()
    by_name = {port.name: port for port in session.inputs}
    arrays, notes = fitted_arrays(session.inputs, given.arrays)
    stated = {**given.shapes, **{name: array.shape for name, array in arrays.items()}}
    shapes = resolve_shapes(session.inputs, stated)
    values = sum(math.prod(shape) for shape in shapes.values())
    if values * 4 > _MOST_BYTES:
        raise InputError(
            f"The inputs of the file hold {values:.2g} numbers.", f"Files of up to {_MOST_BYTES // 4:.2g} can be fed."
        )
    if given.may_steer:
        refuse_to_draw([port for port in session.inputs if port.name not in arrays and _looks_steering(port, shapes)])
    feeds = {
        name: arrays[name] if name in arrays else _drawn(port, shapes[name], rng) for name, port in by_name.items()
    }
    notes += batch_notes(session.inputs, shapes, stated)
    counted = [name for name, feed in feeds.items() if feed.dtype.kind in "iu" and name not in arrays]
    counted = [name for name in counted if np.dtype(by_name[name].dtype).itemsize > 1]
    if counted:
        notes.append(f"{', '.join(counted)}: drawn from 0 and 1; if that means sizes or counts, give --inputs x.npz")
    return feeds, notes


def fitted_arrays(ports: Sequence[Port], arrays: Mapping[str, NDArray[Any]]) -> tuple[Feeds, list[str]]:
    """Fit what a user gives to the types of the inputs; with a sentence on each array that is not fed as it was given.

    Raises InputError for numbers that are not finite or that the input's type cannot hold. Shapes, and names that are
    no input's, are left to ``resolve_shapes``.
    """
    by_name = {port.name: port for port in ports}
    fitted, notes = {}, []
    for name, array in arrays.items():
        _check_finite(name, array)
        fitted[name] = array if name not in by_name else _as_typed(array, by_name[name])
        if fitted[name].dtype != array.dtype:
            notes.append(f"{name}: given as {array.dtype.name}, fed as {fitted[name].dtype.name}")
        if not array.size:
            notes.append(f"{name}: empty, as it was given ({list(array.shape)})")
    if arrays and not any(array.size for array in arrays.values()) and set(by_name) <= set(arrays):
        raise InputError("All inputs that were given are empty.", "Give arrays that hold numbers.")
    return fitted, notes


def refuse_to_draw(ports: Sequence[Port]) -> None:
    """Raise InputError if there are any: how much the file computes depends on what they are fed."""
    if not ports:
        return
    names = ", ".join(f"{port.name}=..." for port in ports)
    raise InputError(
        f"What the file computes depends on the values of {', '.join(map(str, ports))}: sizes, counts or conditions.",
        f"Give real ones: --inputs x.npz, written with numpy.savez('x.npz', {names}).",
    )


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
        if not fits(port.shape, feed.shape) or feed.dtype.name != port.dtype:
            raise InputError(
                f"Input {port.name!r} was fed {feed.dtype.name}{list(feed.shape)}.",
                f"The file wants {port.dtype}{list(port.shape)}.",
            )
    return {name: np.ascontiguousarray(feeds[name]) for name in names}


def _as_typed(array: NDArray[Any], port: Port) -> NDArray[Any]:
    """In the input's own type, where nothing but the precision of floats is lost."""
    try:
        with np.errstate(over="ignore"):
            typed = array.astype(port.dtype, casting="same_kind", copy=False)
    except TypeError as error:
        raise InputError(f"Input {port} was given as {array.dtype.name}.", "Give it in the file's own type.") from error
    is_rounded = array.dtype.kind == typed.dtype.kind == "f"
    if not (np.isfinite(typed).all() if is_rounded else np.array_equal(typed, array)):
        raise InputError(
            f"Input {port} was given numbers that {port.dtype} cannot hold, e.g. {_largest(array)}.",
            "Give numbers of the file's own type.",
        )
    return typed


def _largest(array: NDArray[Any]) -> str:
    return f"{array.flat[int(np.abs(array.astype(np.float64)).argmax())]:g}"


def _check_finite(name: str, array: NDArray[Any]) -> None:
    if array.dtype.kind in "biu":
        return
    if array.dtype.kind != "f":
        raise InputError(f"Input {name!r} was given as {array.dtype.name}.", "Give arrays of numbers.")
    wrong = array.size - int(np.isfinite(array).sum())
    if wrong:
        raise InputError(
            f"{wrong} of the {array.size} numbers given for input {name!r} are NaN or infinite.",
            "Give finite ones; in masks, numpy.finfo(dtype).min stands for minus infinity.",
        )


def _looks_steering(port: Port, shapes: Mapping[str, Shape]) -> bool:
    shape = shapes[port.name]
    is_short = len(shape) == 0 or (len(shape) == 1 and isinstance(port.shape[0], int) and shape[0] <= _MOST_AXES)
    return is_short and port.dtype.startswith(("int", "uint", "bool"))


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
