"""A store to try, and a measurement to keep in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fleetfront.profilers.records import Measurement, Role
from fleetfront.profilers.store.store import Store
from fleetfront.quantities import Clock
from fleetfront.targets import Target


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with Store(path) as opened:
        yield opened


def measured(target: Target, key: str = "k", clock: Clock = Clock.WALL, **changes: object) -> Measurement:
    whole = Measurement(target, "space", Role.BLOCK, key, clock, (5, 2**46, 7), "campaign", 0, 11)
    return replace(whole, **changes)  # type: ignore[arg-type]
