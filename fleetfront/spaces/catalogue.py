"""Find search spaces by name: those that fleetfront brings, and users' own from installed packages.

A package offers a space through an entry point of the group ``fleetfront.spaces``: its name is the space's, its value a
function without arguments that makes it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from fleetfront.errors import unknown
from fleetfront.plugins import load_plugin, plugin_names
from fleetfront.spaces.base import SearchSpace
from fleetfront.spaces.nasbench201.space import NasBench201Space
from fleetfront.spaces.ofa_mbv3.space import ofa_mbv3_mini, ofa_mbv3_mini64, ofa_mbv3_w10, ofa_mbv3_w12
from fleetfront.spaces.precisions import COMMA, SEPARATOR, with_precisions
from fleetfront.spaces.tabular.hat import hat_wmt14
from fleetfront.spaces.tabular.hwgpt import hw_gpt_l, hw_gpt_m, hw_gpt_s

GROUP = "fleetfront.spaces"

#: Used where a user names none.
DEFAULT_SPACE = "ofa-mbv3-w1.2"

_OWN: dict[str, Callable[[], SearchSpace]] = {
    "ofa-mbv3-w1.0": ofa_mbv3_w10,
    "ofa-mbv3-w1.2": ofa_mbv3_w12,
    "ofa-mbv3-mini": ofa_mbv3_mini,
    "ofa-mbv3-mini64": ofa_mbv3_mini64,
    "nasbench201": NasBench201Space,
    "hw-gpt-s": hw_gpt_s,
    "hw-gpt-m": hw_gpt_m,
    "hw-gpt-l": hw_gpt_l,
    "hat-wmt14": hat_wmt14,
}


def space_names() -> tuple[str, ...]:
    """Every name that ``load_space`` knows, sorted. Plug-ins are listed without being imported."""
    return tuple(sorted({*_OWN, *plugin_names(GROUP)}))


@cache
def load_space(name: str) -> SearchSpace:
    """The space of that name, the same object every time; fleetfront's own come before plug-ins of the same name.
    ``NAME@fp32,int8`` is the space of its networks in these precisions.

    Raises InputError on an unknown name (with the nearest known ones), and on a plug-in that does not load or that is
    not a space.
    """
    if SEPARATOR in name:
        networks, _, precisions = name.partition(SEPARATOR)
        return with_precisions(load_space(networks), precisions.split(COMMA))
    if name in _OWN:
        return _OWN[name]()
    plugin = load_plugin(GROUP, name, "search space")
    if plugin is None:
        raise unknown("search space", name, space_names())
    space: SearchSpace = plugin.make(SearchSpace, "space")
    return space
