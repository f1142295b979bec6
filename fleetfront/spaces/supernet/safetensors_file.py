"""Read and write safetensors files, whole or not at all. What the tensors in them mean is not known here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from fleetfront.errors import InputError, missing
from fleetfront.files import whole_file

if TYPE_CHECKING:
    from torch import Tensor


def write_safetensors(tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str]) -> None:
    """Write tensors and metadata so that a reader sees the old file or the new one, never half.

    Raises:
        InputError: the folder cannot be written, or its disk is full.
        MissingDependency: safetensors is not installed.
    """
    try:
        from safetensors import SafetensorError
        from safetensors.torch import save_file
    except ImportError as error:
        raise missing("safetensors", "torch", "Saving weights") from error
    try:
        with whole_file(path) as unfinished:
            save_file(
                {name: tensor.detach().contiguous() for name, tensor in tensors.items()}, unfinished, dict(metadata)
            )
    except (OSError, SafetensorError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise InputError(
            f"Cannot write {path} ({reason}).", "Free some space there, or set FLEETFRONT_HOME to another folder."
        ) from error


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata.

    Raises:
        ValueError: the file is damaged, or of another format.
        MissingDependency: safetensors is not installed.
    """
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise missing("safetensors", "torch", "Reading weights") from error
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118 (not a dict)
    except SafetensorError as error:
        raise ValueError(str(error)) from error
