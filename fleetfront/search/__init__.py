"""Searching: problems, archives, strategies and fronts. Called as ``fleetfront.search(...)``, it searches.

The verb and the room share a name; ``pipelines.search.search`` says what the call takes.
"""

import sys
from types import ModuleType
from typing import Any

import fleetfront


class _Room(ModuleType):
    """This module, which can be called as the verb that it is named after."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return fleetfront.call_verb("search", *arguments, **options)


sys.modules[__name__].__class__ = _Room
