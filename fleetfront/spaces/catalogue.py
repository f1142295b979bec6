"""Find search spaces by name: those that fleetfront brings, users' own from installed packages, and those of files.

A package offers a space through an entry point of the group ``fleetfront.spaces``: its name is the space's, its value a
function without arguments that makes it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

from fleetfront.errors import InputError, unknown
from fleetfront.plugins import load_plugin, plugin_names
from fleetfront.spaces.base import HasSupernet, SearchSpace
from fleetfront.spaces.nasbench201.space import NasBench201Space
from fleetfront.spaces.ofa_mbv3.space import ofa_mbv3_mini, ofa_mbv3_mini64, ofa_mbv3_w10, ofa_mbv3_w12, ofa_proxyless
from fleetfront.spaces.ofa_resnet50.space import ofa_resnet50, ofa_resnet_mini
from fleetfront.spaces.precisions import COMMA, SEPARATOR, with_precisions
from fleetfront.spaces.tabular.hat import hat_wmt14
from fleetfront.spaces.tabular.hwgpt import hw_gpt_l, hw_gpt_m, hw_gpt_s

GROUP = "fleetfront.spaces"

#: What ``FamilyFile.name`` gives.
_NAME = re.compile(r"[A-Za-z0-9-]+-[0-9a-f]{8}")

#: Used where a user names none.
DEFAULT_SPACE = "ofa-mbv3-w1.2"

#: Spaces that are traced by torch before they can be used.
_TRACED = ("vit-tiny", "gpt-mini")


def _shipped(name: str) -> SearchSpace:
    from fleetfront.spaces.from_torch.shipped import shipped_family

    return shipped_family(name)


_OWN: dict[str, Callable[[], SearchSpace]] = {
    "ofa-mbv3-w1.0": ofa_mbv3_w10,
    "ofa-mbv3-w1.2": ofa_mbv3_w12,
    "ofa-mbv3-mini": ofa_mbv3_mini,
    "ofa-mbv3-mini64": ofa_mbv3_mini64,
    "ofa-proxyless": ofa_proxyless,
    "ofa-resnet50": ofa_resnet50,
    "ofa-resnet-mini": ofa_resnet_mini,
    "nasbench201": NasBench201Space,
    **{name: partial(_shipped, name) for name in _TRACED},
    "hw-gpt-s": hw_gpt_s,
    "hw-gpt-m": hw_gpt_m,
    "hw-gpt-l": hw_gpt_l,
    "hat-wmt14": hat_wmt14,
}


def space_names() -> tuple[str, ...]:
    """Every name that ``load_space`` knows, sorted. Plug-ins are listed without being imported."""
    return tuple(sorted({*_OWN, *plugin_names(GROUP)}))


def supernet_names() -> tuple[str, ...]:
    """Names of the spaces that have a supernet, sorted; those that would first have to be traced have none."""
    return tuple(name for name in space_names() if name not in _TRACED and isinstance(load_space(name), HasSupernet))


@cache
def load_space(name: str) -> SearchSpace:
    """The space of that name, the same object every time; fleetfront's own come before plug-ins of the same name, and
    families of files, which must have been opened before, after them. ``NAME@fp32,int8`` is the space of its networks
    in these precisions.

    Raises InputError on an unknown name (with the nearest known ones), on a plug-in that does not load or that is not a
    space, and on a family whose file has changed.
    """
    if SEPARATOR in name:
        networks, _, precisions = name.partition(SEPARATOR)
        return with_precisions(load_space(networks), precisions.split(COMMA))
    if name in _OWN:
        return _OWN[name]()
    plugin = load_plugin(GROUP, name, "search space")
    if plugin is None:
        return _family(name)
    space: SearchSpace = plugin.make(SearchSpace, "space")
    return space


def _family(name: str) -> SearchSpace:
    # Names come from files of others, too; the code of a file is run only where its user names the file.
    from fleetfront.spaces.from_torch.remembered import family_names, recall_family

    if name.endswith(".py"):
        raise InputError(f"{name} is a file, not the name of a search space.", f"Give --space {name}.")
    found = recall_family(name) if _NAME.fullmatch(name) else None
    if found is None:
        if Path(f"{name}.py").is_file():
            raise InputError(f"Unknown search space {name!r}.", f"Of your file it is: --space {name}.py")
        raise unknown("search space", name, (*space_names(), *family_names()))
    return found
