"""Where fleetfront keeps what outlives a command: the store, fits, caches and weights. Paths only, no file formats."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Workspace:
    """One folder a user. ``FLEETFRONT_HOME`` moves it; ``root`` is created by whoever writes first."""

    root: Path

    @classmethod
    def default(cls) -> Workspace:
        """``$FLEETFRONT_HOME``, else the platform's folder for a user's application data."""
        configured = os.environ.get("FLEETFRONT_HOME")
        if configured:
            return cls(Path(configured).expanduser().absolute())
        data_home = os.environ.get("XDG_DATA_HOME")
        base = Path(data_home) if data_home else Path.home() / ".local" / "share"
        return cls(base / "fleetfront")

    @property
    def store(self) -> Path:
        """The SQLite file of measurements."""
        return self.root / "store.sqlite"

    @property
    def fits(self) -> Path:
        """Fitted cost models, one file a target and space."""
        return self.root / "fits"

    @property
    def cache(self) -> Path:
        """Files that can be made again, by content hash."""
        return self.root / "cache"

    @property
    def weights(self) -> Path:
        """Downloaded and trained weights."""
        return self.root / "weights"

    @property
    def latest(self) -> Path:
        """A small JSON file naming the newest front, so that the next verb finds it."""
        return self.root / "latest.json"
