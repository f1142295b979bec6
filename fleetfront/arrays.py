"""Write numpy archives whole, and read those that may be damaged or made to harm: no pickles, bounded memory."""

from __future__ import annotations

import io
import stat
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleetfront.files import whole_file

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: What an archive may unpack to: this many times its size, or so many bytes if that is more. Ours are not compressed.
_RATIO, _ALLOWED_BYTES = 20, 64 * 2**20
_MOST_ARRAYS = 1000
#: A damaged archive may name arrays by thousands of letters; so many are repeated.
_SHOWN = 200
_IS_ENCRYPTED = 0x1


def write_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write arrays, numbers and texts as ``.npz``, whole or not at all. Raises OSError."""
    import numpy as np

    with whole_file(path) as unfinished, unfinished.open("xb") as file:
        np.savez(file, **arrays)


def read_arrays(path: Path, allowed_bytes: int = _ALLOWED_BYTES) -> dict[str, NDArray[Any]]:
    """Every array of a ``.npz`` by name; numbers and texts have no dimensions. It may unpack to ``allowed_bytes``.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not a whole archive of plain arrays, or would unpack to far more than its size.
    """
    # Opening a pipe would wait for ever.
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError("it is no file")
    with path.open("rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                _check(archive.infolist(), max(allowed_bytes, _RATIO * path.stat().st_size))
                return {name.removesuffix(".npy"): _array(archive.read(name)) for name in archive.namelist()}
        # Flags may ask for what zipfile cannot do, and any bytes may be other than they should.
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, KeyError) as error:
            raise ValueError(f"{type(error).__name__}: {str(error)[:_SHOWN]}") from error


def _check(members: list[zipfile.ZipInfo], allowed_bytes: int) -> None:
    if len(members) > _MOST_ARRAYS or len({member.filename for member in members}) < len(members):
        raise ValueError(f"it lists {len(members)} arrays, or one twice")
    for member in members:
        if member.flag_bits & _IS_ENCRYPTED or not member.filename.endswith(".npy"):
            raise ValueError(f"{member.filename[:_SHOWN]!r} is encrypted or no array")
    unpacked = sum(member.file_size for member in members)
    if unpacked > allowed_bytes:
        raise ValueError(f"it would unpack to {unpacked} bytes; {allowed_bytes} are read")


def _array(data: bytes) -> NDArray[Any]:
    """One ``.npy``, whose header must promise as many bytes as there are."""
    import numpy as np
    from numpy.lib import format as npy

    file = io.BytesIO(data)
    readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    version = npy.read_magic(file)
    if version not in readers:
        raise ValueError(f"its format is {version}")
    shape, is_column_major, dtype = readers[version](file)
    if dtype.kind not in "biufU" or any(length < 0 for length in shape):
        raise ValueError(f"it holds {dtype} of shape {shape}")
    count = int(np.prod(shape, dtype=object)) if shape else 1
    if count * dtype.itemsize != len(data) - file.tell():
        raise ValueError(f"an array of shape {shape} has {len(data) - file.tell()} bytes")
    if not dtype.itemsize:
        return np.zeros(shape, dtype)
    flat = np.frombuffer(data, dtype, count, file.tell())
    return flat.reshape(shape, order="F" if is_column_major else "C").copy()
