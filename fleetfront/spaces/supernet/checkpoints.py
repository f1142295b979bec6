"""Read supernet weights, from published checkpoints or fleetfront's own safetensors, and write the latter.

Pickled files are opened as ``torch_file`` does, so that nothing in them can run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from fleetfront.errors import InputError
from fleetfront.files import check_regular
from fleetfront.spaces.base import SupernetSpace
from fleetfront.spaces.supernet.safetensors_file import read_safetensors, write_safetensors
from fleetfront.spaces.supernet.subnets import Provenance, Supernet
from fleetfront.spaces.supernet.torch_file import read_torch_file

if TYPE_CHECKING:
    from torch import Tensor

_FORMAT = "fleetfront.supernet/1"


def load_supernet(path: Path | str, space: SupernetSpace, provenance: Provenance | None = None) -> Supernet:
    """Weights of ``space`` from a once-for-all checkpoint or from a file of ``save_supernet``.

    Args:
        path: the file; which kind it is, is read from its content.
        space: what the weights must fit; a classifier with other classes is accepted.
        provenance: for a checkpoint that says nothing of itself.

    Raises:
        InputError: no such file, no weights in it, or weights that do not fit the space.
        MissingDependency: torch or safetensors is not installed.
    """
    path = Path(path)
    check_regular(path)
    try:
        with path.open("rb") as file:
            start = file.read(16)
    except OSError as error:
        raise InputError(
            f"The weights {str(path)!r} cannot be read ({error.strerror}).",
            f"Check the path, or get published weights: fleetfront doctor --fetch-weights {space.name}",
        ) from error
    if start[8:9] == b"{":
        tensors, stored = _read_safetensors(path, space)
        return Supernet(space, tensors, provenance or stored)
    return Supernet(space, _read_checkpoint(path, space), provenance or Provenance(source=path.name))


def save_supernet(supernet: Supernet, path: Path) -> None:
    """Write weights, provenance and the name of the space as safetensors; the file appears only when it is whole.

    Raises InputError if it cannot be written, MissingDependency if safetensors is not installed.
    """
    metadata = {
        "format": _FORMAT,
        "space": supernet.space.name,
        "provenance": json.dumps(asdict(supernet.provenance), sort_keys=True),
    }
    write_safetensors(supernet.tensors, path, metadata)


def _read_safetensors(path: Path, space: SupernetSpace) -> tuple[dict[str, Tensor], Provenance]:
    try:
        stored_tensors, metadata = read_safetensors(path)
        tensors = {name: tensor.float() for name, tensor in stored_tensors.items()}
        if metadata.get("format") != _FORMAT:
            raise InputError(
                f"{str(path)!r} is not a supernet of this version (format {metadata.get('format')!r}).",
                "Train again with this version, or give a once-for-all checkpoint.",
            )
        stored = json.loads(metadata["provenance"])
        provenance = Provenance(**(stored | {"class_names": tuple(stored["class_names"])}))
        of_space = metadata["space"]
    except (KeyError, ValueError, TypeError) as error:
        raise InputError(f"{str(path)!r} is a damaged weights file ({error}).", "Get it or train it again.") from error
    if of_space != space.name:
        raise InputError(
            f"{str(path)!r} holds weights of {of_space}, asked for was {space.name}.",
            f"Use --space {of_space}, or weights of {space.name}.",
        )
    return tensors, provenance


def _read_checkpoint(path: Path, space: SupernetSpace) -> dict[str, Tensor]:
    loaded = read_torch_file(
        path,
        "a checkpoint of weights",
        "Reading a checkpoint",
        "Give a once-for-all checkpoint or a .safetensors file that fleetfront wrote.",
    )
    state = loaded.get("state_dict", loaded) if isinstance(loaded, Mapping) else None
    if not isinstance(state, Mapping) or not state or not all(_is_named_tensor(*item) for item in state.items()):
        raise InputError(
            f"{str(path)!r} holds no state_dict of tensors.", "Give a checkpoint of a once-for-all supernet."
        )
    return {name: tensor.float() for name, tensor in space.graph_names(state).items()}


def _is_named_tensor(name: object, value: object) -> bool:
    import torch

    if not isinstance(name, str) or not isinstance(value, torch.Tensor):
        return False
    # A view can claim any size; what is kept of it would have to be filled.
    return value.layout == torch.strided and value.numel() * value.element_size() <= value.untyped_storage().nbytes()
