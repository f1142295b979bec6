"""Name where fleetfront keeps what outlives a command: the store, fits, caches and weights. Paths only, no file
formats.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from fleetfront.errors import InputError


def config_folder() -> Path | None:
    """The folder of a user's own settings: ``$XDG_CONFIG_HOME/fleetfront``, else ``~/.config/fleetfront``.

    None for an account without a home directory, which can have none there.
    """
    configured = os.environ.get("XDG_CONFIG_HOME")
    try:
        return (Path(configured) if configured else Path.home() / ".config") / "fleetfront"
    except RuntimeError:
        return None


@dataclass(frozen=True, slots=True)
class Workspace:
    """One folder a user. ``FLEETFRONT_HOME`` moves it; ``root`` is created by whoever writes first."""

    root: Path

    @classmethod
    def default(cls) -> Workspace:
        """``$FLEETFRONT_HOME``, else the platform's folder for a user's application data.

        Raises InputError where neither is known: an account without a home directory.
        """
        configured = os.environ.get("FLEETFRONT_HOME")
        data_home = os.environ.get("XDG_DATA_HOME")
        try:
            if configured:
                return cls(Path(configured).expanduser().absolute())
            return cls((Path(data_home) if data_home else Path.home() / ".local" / "share") / "fleetfront")
        except RuntimeError as error:
            raise InputError(
                f"FLEETFRONT_HOME is {configured!r}, and there is no such home directory."
                if configured
                else "This account has no home directory to keep measurements in.",
                "Set FLEETFRONT_HOME to a folder that you can write, e.g. FLEETFRONT_HOME=/tmp/fleetfront.",
            ) from error

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
