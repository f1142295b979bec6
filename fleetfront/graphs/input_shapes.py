"""Decide how large the inputs of a model file are: by what its user says, by the file's own defaults, or not at all.

Only the number of images or rows in a batch may be taken as 1; every other open size changes what the file costs.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from fleetfront.errors import InputError

Shape = tuple[int, ...]

#: A size without a name: the runtime only says that it is open.
ANONYMOUS = "?"

#: Names that exporters and people give the batch; on the first axis, and on any.
_BATCH_FIRST = re.compile(r"(?i)\?|n|b|bs|none|unk_.*|dim_?\d+|dynamic_axes_\d+|.*batch.*|num_images|images")
_BATCH_ANYWHERE = re.compile(r"(?i)b|bs|.*batch.*")

_ARITHMETIC: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
}
#: What an example of a shape says for a side of an image, and for any other open size.
_EXAMPLE_SIDE, _EXAMPLE_LENGTH = 640, 128
_IMAGE_DIMENSIONS, _CHANNELS = 4, (1, 3, 4)


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output of a model file as the runtime reports it.

    Attributes:
        name: as it is fed by.
        shape: with a name for a size that the file leaves open; ``?`` where it has none.
        dtype: numpy's word for the element type, or the runtime's own where numpy has none.
        defaults: the shape that the file itself takes for open sizes; empty if it says none.
    """

    name: str
    shape: tuple[int | str, ...]
    dtype: str
    defaults: tuple[int, ...] = ()

    def __str__(self) -> str:
        return f"{self.name} {self.dtype}[{', '.join(map(str, self.shape))}]"


def parse_shapes(texts: Sequence[str]) -> dict[str, Shape]:
    """``x=1,3,640,640`` as {"x": (1, 3, 640, 640)}; without a name, "" stands for the only input.

    Raises:
        InputError: anything else, or two shapes for one input.
    """
    found: dict[str, Shape] = {}
    for text in texts:
        name, _, sizes = text.rpartition("=")
        parts = [part.strip() for part in re.split(r"[,x]", sizes.strip(" []()"))]
        if not all(re.fullmatch(r"\d{1,12}", part, re.ASCII) for part in parts):
            raise InputError(
                f"{text!r} is not a shape.", "Write NAME=1,3,640,640; values of an input come with --inputs x.npz."
            )
        if not all(map(int, parts)):
            raise InputError(
                f"{text!r} is an input that holds no numbers: one of its sizes is 0.",
                "Give sizes from 1; where an empty input is meant, give it with --inputs x.npz.",
            )
        if name in found:
            raise InputError(f"Two shapes are given for {name or 'the input'}.", "Give one.")
        found[name] = tuple(map(int, parts))
    return found


def resolve_shapes(
    ports: Sequence[Port], given: Mapping[str, Shape] | None = None, batch: int = 1, *, is_fed: bool = True
) -> dict[str, Shape]:
    """The shape of each input: the one ``given``, else with its open sizes from names shared with inputs that were
    given, from the file's defaults, and ``batch`` for the batch. Where nothing is fed (``is_fed``), no arrays are asked
    for.

    Raises:
        InputError: a shape for no input, one that contradicts the file, or an open size that nobody says.
    """
    wanted = _by_name(ports, given or {})
    sizes: dict[str, int] = {}
    for port in ports:
        if port.name in wanted:
            _bind(port, wanted[port.name], sizes)
    for port in ports:
        for place, size in enumerate(port.shape):
            if isinstance(size, str) and size not in sizes and is_batch(size, place, len(port.shape)):
                sizes.update({} if size == ANONYMOUS else {size: batch})
    found = {port.name: wanted.get(port.name) or _filled(port, sizes, batch) for port in ports}
    unsaid = [port for port in ports if not all(isinstance(size, int) for size in found[port.name])]
    if unsaid:
        raise _unsaid(unsaid, found, sizes, "" if not is_fed else ", or give real inputs: --inputs x.npz")
    resolved = {name: tuple(int(size) for size in shape) for name, shape in found.items()}
    empty = next((port for port in ports if 0 in resolved[port.name] and port.name not in wanted), None)
    if empty is not None:
        raise InputError(
            f"Input {empty} of the file holds no numbers: one of its sizes is 0.",
            "Write the file again with a size there, or with a name for a size that is open.",
        )
    return resolved


def batch_notes(
    ports: Sequence[Port], shapes: Mapping[str, Shape], given: Mapping[str, Shape] | None = None
) -> list[str]:
    """A sentence for each input whose open batch was taken as 1 or as the file's default."""
    wanted = _by_name(ports, given or {})
    open_ones = [
        port for port in ports if port.name not in wanted and any(isinstance(size, str) for size in port.shape)
    ]
    return [f"{port} was fed {list(shapes[port.name])}: other sizes take --shape {port.name}=..." for port in open_ones]


def _by_name(ports: Sequence[Port], given: Mapping[str, Shape]) -> dict[str, Shape]:
    names = [port.name for port in ports]
    wanted = dict(given)
    if "" in wanted:
        if len(names) != 1:
            raise InputError(
                f"The file has {len(names)} inputs: {', '.join(names)}.",
                "Name the one that the shape is of: --shape NAME=...",
            )
        wanted[names[0]] = wanted.pop("")
    strange = sorted(set(wanted) - set(names))
    if strange:
        raise InputError(f"The file has no input {strange[0]!r}.", f"Its inputs: {', '.join(map(str, ports))}.")
    for port in ports:
        shape = wanted.get(port.name)
        if shape is not None and not fits(port.shape, shape):
            raise InputError(f"Input {port} cannot be {list(shape)}.", "Give as many sizes, and those that are fixed.")
    return wanted


def fits(declared: Sequence[int | str], shape: Shape) -> bool:
    """Tell whether an input may have a shape, as far as its file says; runtimes refuse the rest.

    An input of which a file does not even say how many sizes it has is told as a scalar by runtimes.
    """
    if not declared or tuple(declared) == (ANONYMOUS,):
        return True
    return len(declared) == len(shape) and all(
        isinstance(want, str) or want == have for want, have in zip(declared, shape, strict=True)
    )


def _bind(port: Port, shape: Shape, sizes: dict[str, int]) -> None:
    for name, size in zip(port.shape, shape, strict=False):
        if not isinstance(name, str) or name == ANONYMOUS:
            continue
        if sizes.setdefault(name, size) != size:
            raise InputError(f"{name} would be both {sizes[name]} and {size} (input {port}).", "Give one size a name.")


def is_batch(size: str, place: int, dimensions: int) -> bool:
    """Tell whether an open ``size`` at a ``place`` of a shape is how many images or rows there are, by its name."""
    # One open size alone may as well be samples of sound, or rows of points.
    return bool((_BATCH_FIRST if place == 0 and dimensions > 1 else _BATCH_ANYWHERE).fullmatch(size))


def _filled(port: Port, sizes: Mapping[str, int], batch: int) -> tuple[int | str, ...]:
    return tuple(
        size if isinstance(size, int) else _size(port, place, size, sizes, batch)
        for place, size in enumerate(port.shape)
    )


def _size(port: Port, place: int, size: str, sizes: Mapping[str, int], batch: int) -> int | str:
    if size in sizes:
        return sizes[size]
    is_open_batch = size == ANONYMOUS and is_batch(size, place, len(port.shape))
    if is_open_batch and batch > 1:
        return batch
    # Converters write 1 where they know nothing.
    if port.defaults and (place == 0 or port.defaults[place] > 1):
        return port.defaults[place]
    if is_open_batch:
        return batch
    computed = _computed(size, sizes)
    return size if computed is None else computed


def _computed(text: str, sizes: Mapping[str, int]) -> int | None:
    """The value of a sum or product of names, e.g. ``past + s``; None if a name has none, or it is something else."""

    def value(node: ast.expr) -> int:
        if isinstance(node, ast.Constant) and isinstance(node.value, int):
            return node.value
        if isinstance(node, ast.BinOp):
            return _ARITHMETIC[type(node.op)](value(node.left), value(node.right))
        return sizes[node.id] if isinstance(node, ast.Name) else sizes[""]

    try:
        return value(ast.parse(text[:200], mode="eval").body)
    except (SyntaxError, KeyError, ArithmeticError, ValueError, RecursionError, MemoryError):
        return None


def _unsaid(
    unsaid: Sequence[Port], found: Mapping[str, Sequence[int | str]], sizes: Mapping[str, int], otherwise: str
) -> InputError:
    open_sizes = list(dict.fromkeys(size for port in unsaid for size in found[port.name] if isinstance(size, str)))
    named = [size for size in open_sizes if size.isidentifier()] or ["the sizes marked ?"]
    example = dict(sizes)
    texts = []
    for port in unsaid:
        shape = []
        for size in found[port.name]:
            if isinstance(size, str):
                computed = example.get(size) or _computed(size, example) or _usual(port)
                if size != ANONYMOUS:
                    example[size] = computed
                size = computed
            shape.append(str(size))
        texts.append(f"--shape {port.name}={','.join(shape)}")
    inputs = ", ".join(map(str, unsaid))
    return InputError(
        f"The file leaves open how large its input is: {inputs}; nothing says {' and '.join(named)}.",
        f"Say it, as in {' '.join(texts)}{otherwise}.",
    )


def _usual(port: Port) -> int:
    is_image = len(port.shape) == _IMAGE_DIMENSIONS and (port.shape[1] in _CHANNELS or port.shape[-1] in _CHANNELS)
    return _EXAMPLE_SIDE if is_image else _EXAMPLE_LENGTH
