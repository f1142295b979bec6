"""Test vectors of a bundle: inputs as its files take them, what torch makes of them, what the files gave when proven.

With them an app's developer checks preprocessing and scores without torch, and whoever receives a bundle repeats its
proof. Tensors are raw values, little-endian, the last axis fastest; manifest rows say type and shape.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray

from fleetfront.deploy.bundle.markdown import code, plain

FOLDER = "test-vectors"
README = f"{FOLDER}/README.md"
PICTURE, PIXELS = f"{FOLDER}/picture.png", f"{FOLDER}/picture.pixels.rgb"

#: Vectors of more bytes are left out: a bundle stays about as large as its models.
MOST_BYTES = 32 << 20

#: Of image classifiers: a picture as an app would cut it, and patches of strong colours.
CASES = ("picture", "patches")
INPUT, TORCH, FILE = "input", "torch", "file"


@dataclass(frozen=True, slots=True)
class VectorRow:
    """One tensor.

    Attributes:
        file: the model file that it belongs to.
        case: ``picture``, ``patches`` or ``example``: tensors of one inference share it.
        role: what the file is fed (``input``), torch's output (``torch``), or what the file gave when it was proven
            (``file``).
        tensor: name of the input or output.
        path: where its values lie in the bundle.
        dtype, shape: how to read them.
        tolerance: how far an element of the file's output may be off; of probabilities, their logarithms. None where it
            decides nothing.
    """

    file: str
    case: str
    role: Literal["input", "torch", "file"]
    tensor: str
    path: str
    dtype: str
    shape: tuple[Annotated[int, Ge(0)], ...]
    tolerance: Annotated[float, Ge(0)] | None = None


@dataclass(frozen=True, slots=True)
class Vectors:
    """Rows for the manifest and, by path, the bytes behind them; both empty where they would be too large."""

    rows: tuple[VectorRow, ...] = ()
    contents: Mapping[str, bytes] = field(default_factory=dict)


class VectorWriter:
    """Collects tensors; those of one path are written once."""

    def __init__(self) -> None:
        self._rows: list[VectorRow] = []
        self._contents: dict[str, bytes] = {}

    def add(
        self,
        key: tuple[str, str],
        role: Literal["input", "torch", "file"],
        tensor: str,
        array: NDArray[Any],
        name: str,
        tolerance: float | None = None,
    ) -> None:
        """A tensor of (file, case), whose values go to ``CASE.NAME.bin``."""
        file, case = key
        path = f"{FOLDER}/{case}.{name}.bin"
        self._contents[path] = raw_bytes(array)
        self._rows.append(VectorRow(file, case, role, tensor, path, array.dtype.name, array.shape, tolerance))

    def keep(self, path: str, data: bytes) -> None:
        """Something beside the tensors."""
        self._contents[path] = data

    def vectors(self) -> Vectors:
        """All of them, or none if they are too large."""
        if sum(map(len, self._contents.values())) > MOST_BYTES:
            return Vectors()
        return Vectors(tuple(self._rows), dict(self._contents))


def raw_bytes(array: NDArray[Any]) -> bytes:
    """The values, little-endian, the last axis fastest."""
    return np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"), copy=False)).tobytes()


def parse_tensor(data: bytes, row: VectorRow) -> NDArray[Any]:
    """The tensor of a row. Raises ValueError if type, shape and bytes do not go together."""
    try:
        dtype = np.dtype(row.dtype)
    except TypeError as error:
        raise ValueError(f"{row.dtype!r} is no type of numbers") from error
    if dtype.kind not in "biuf":
        raise ValueError(f"{row.dtype!r} is no type of numbers")
    if math.prod(row.shape) * dtype.itemsize != len(data):
        raise ValueError(f"{dtype}{list(row.shape)} does not have {len(data)} bytes")
    return np.frombuffer(data, dtype.newbyteorder("<")).reshape(row.shape).astype(dtype)


def describe_vectors(vectors: Vectors, labels: Sequence[str], is_softmax: bool, origin: str = "torch") -> str:
    """Markdown for an app's developer: what lies here, given by ``origin``, and how to compare."""
    has_pixels = PIXELS in vectors.contents
    lines = ["# Test vectors", ""]
    lines += _of_picture(vectors, labels, is_softmax) if has_pixels else []
    lines += [
        "Every `.bin` file is one tensor: raw values, little-endian, the last axis fastest. In Python:",
        "`numpy.fromfile(path, dtype).reshape(shape)`.",
        "",
        "| file | case | what | tensor | values | type | may be off by |",
        "|---|---|---|---|---|---|---|",
    ]
    what = {INPUT: "feed it", TORCH: f"{origin} gives", FILE: "the file gave when it was proven"}
    lines += [
        f"| {code(row.file, in_table=True)} | {plain(row.case)} | {what[row.role]} | {code(row.tensor, in_table=True)} "
        f"| {code(row.path.removeprefix(f'{FOLDER}/'), in_table=True)} | {row.dtype} {list(row.shape)} "
        f"| {'-' if row.tolerance is None else f'{row.tolerance:.2g}'} |"
        for row in vectors.rows
    ]
    log = " Probabilities are compared by their natural logarithms." if is_softmax else ""
    lines += ["", f"`fleetfront verify` makes these comparisons on any machine.{log}", ""]
    return "\n".join(lines)


def _of_picture(vectors: Vectors, labels: Sequence[str], is_softmax: bool) -> list[str]:
    torch = next(row for row in vectors.rows if row.case == "picture" and row.role == TORCH)
    scores = parse_tensor(vectors.contents[torch.path], torch)[0]
    best = [
        f"{index}{f' ({plain(labels[index])})' if labels else ''} {scores[index]:.4g}"
        for index in np.argsort(-scores, kind="stable")[:3]
    ]
    kind = "probabilities" if is_softmax else "logits"
    cut = "What the cut of your own picture must be"
    if PICTURE in vectors.contents:
        cut = "`picture.png` is made up, larger than the input. Crop and resize it as your app does: it must give"
    return [
        f"1. {cut} `picture.pixels.rgb` (RGB bytes, row by row). Programs resize differently: a few steps of 255 are "
        "usual, tens of them, or a shifted image, are a wrong crop or resize.",
        "2. These very pixels, scaled and laid out as your app does, must give `picture.input.*.bin` of your file to "
        "rounding (1e-5). Swapped channels, a forgotten mean or another layout show here.",
        f"3. Fed with that, the file must give `picture.torch.bin`. Torch's highest {kind}: {', '.join(best)}.",
        "",
        "`snippets/*.py --check` and `snippets/node.mjs --check` make these comparisons.",
        "",
    ]
