"""Open files that torch saved so that nothing in them can run or fill the memory.

Only tensors and plain values are read; whatever else a file asks for is refused by torch.
"""

from __future__ import annotations

import stat
import zipfile
from pathlib import Path
from typing import Any

from fleetfront.errors import InputError, missing

#: What a file may unpack to: this many times its size, or so many bytes if that is more. torch does not compress.
_RATIO, _ALLOWED_BYTES = 20, 64 * 2**20


def read_torch_file(path: Path, what: str, purpose: str, remedy: str) -> Any:
    """Tensors and plain values of a file, on the CPU.

    Args:
        path: the file.
        what: it should be, e.g. ``a checkpoint of weights``.
        purpose: what torch is needed for, if it is missing.
        remedy: what to do about a file that is something else.

    Raises:
        InputError: the file is missing, damaged, something else, or holds more than tensors and plain values.
        MissingDependency: torch is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise missing("torch", "torch", purpose) from error
    try:
        _check_size(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch reads files by what they begin with, and each reader has errors of its own
        if is_refusal(error):
            raise InputError(
                f"{str(path)!r} is not {what}: it holds more than tensors, so it is not opened.", remedy
            ) from error
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{str(path)!r} is not {what} ({reason}).", remedy) from error


def is_refusal(error: BaseException) -> bool:
    """Tell whether torch refused a file for holding more than tensors: its message then advises to turn the argument
    ``weights_only`` off, which runs what is in the file, and is not for users. Names of files may hold the word, too.
    """
    return "weights_only" in str(error) and not isinstance(error, OSError)


def _check_size(path: Path) -> None:
    """Raise ValueError if torch would wait for ever, or unpack far more than the file holds."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError("it is no file")
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
        if unpacked > max(_ALLOWED_BYTES, _RATIO * path.stat().st_size):
            raise ValueError(f"its {path.stat().st_size} bytes would unpack to {unpacked}")
