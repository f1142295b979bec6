"""Make a network of timm or torchvision by its name, ``timm:NAME`` or ``torchvision:NAME``, without trained weights.

Published weights are not fetched: who wants them loads them in a file of their own, which ``FILE.py:FACTORY`` names.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fleetfront.errors import InputError, missing, unknown

if TYPE_CHECKING:
    from torch import nn

#: What is typed before the colon -> the module that makes networks, and its function that does.
_ZOOS = {"timm": ("timm", "create_model"), "torchvision": ("torchvision.models", "get_model")}


def is_zoo_name(spec: str) -> bool:
    """True for ``timm:NAME`` and ``torchvision:NAME``."""
    zoo, colon, _ = spec.partition(":")
    return bool(colon) and zoo in _ZOOS


def load_from_zoo(spec: str) -> nn.Module:
    """The network of that name with random weights, the same ones every time, in eval mode.

    Raises:
        InputError: there is no such network, or it cannot be made without weights or arguments.
        MissingDependency: torch or the package is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise missing("torch", "torch", "Making a torch network") from error
    zoo, _, name = spec.partition(":")
    module_name, maker = _ZOOS[zoo]
    try:
        module: Any = import_module(module_name)
    except ImportError as error:
        raise missing(zoo, "zoo", f"Making {spec}") from error
    known = module.list_models()
    if name not in known:
        raise unknown(f"network of {zoo}", name, known)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        try:
            network: nn.Module = getattr(module, maker)(name)
        except (RuntimeError, TypeError, ValueError) as error:
            raise InputError(
                f"{spec} cannot be made ({error}).", "Make it in a file: --torch FILE.py:FACTORY."
            ) from error
    return network.eval()
