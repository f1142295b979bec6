"""Open the families of torch networks that fleetfront brings, each written as a user would write it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fleetfront.spaces.from_torch.family_file import read_family
from fleetfront.spaces.from_torch.space import TorchFamily, make_family


def shipped_family(name: str) -> TorchFamily:
    """The family in ``family.py`` of the folder of that name. Raises MissingDependency if torch is not installed."""
    path = Path(__file__).parents[1] / name.replace("-", "_") / "family.py"
    return make_family(replace(read_family(path), shipped_as=name))
