"""Load a user's torch network with something that it can be fed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fleetfront.errors import InputError

if TYPE_CHECKING:
    from torch import nn

#: An RGB image, where the user says nothing else.
_IMAGE = (1, 3, 224, 224)


def load_sampled(
    spec: str, shapes: Mapping[str, Sequence[int]] | None = None, example: str | None = None
) -> tuple[nn.Module, Any]:
    """The network that ``FILE.py:FACTORY`` gives, which is run, and a sample of its inputs, unless it gives that, too.

    Args:
        spec: the file and the function, which takes no arguments.
        shapes: of float32 inputs, by the names of ``forward``'s parameters; "" for the first. By default an RGB image
            of 224 pixels a side.
        example: ``inputs.py[:NAME]`` or ``x.npz``, in place of shapes: inputs of other types.

    Raises:
        InputError: there is no such file or function, it fails, there is no such example, or inputs are said twice.
        MissingDependency: torch is not installed.
    """
    from fleetfront.deploy.writers.torch_export import load_pair
    from fleetfront.pipelines.deploy.export_example import read_example

    network, own = load_pair(spec)
    if own is not None:
        if shapes or example is not None:
            said = "--example" if example is not None else "--shape"
            raise InputError(
                f"{spec} gave the input, too, and {said} says another.",
                f"Leave {said} out, or return the module alone.",
            )
        return network, own
    import torch

    if example is not None:
        given = read_example(example)
        if isinstance(given, Mapping):
            return network, {name: torch.as_tensor(value) for name, value in given.items()}
        return network, given
    sizes = shapes or {"": _IMAGE}
    if "" in sizes and len(sizes) == 1:
        return network, torch.empty(tuple(sizes[""]))
    return network, {name: torch.empty(tuple(shape)) for name, shape in sizes.items()}
