"""Let long work report that it is alive. Lower floors call a ``Progress``; the command line decides how it looks."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """One running task at a time, with a total that may change, and notes between."""

    def start(self, label: str, total: int | None = None) -> None:
        """Begin a task of ``total`` steps (None: unknown)."""

    def advance(self, steps: int = 1, detail: str = "") -> None:
        """Count steps as done; ``detail`` is a few words on the current state."""

    def finish(self) -> None:
        """End the running task."""

    def note(self, text: str) -> None:
        """Say one line that stays."""


class Silent:
    """The progress of library use: says nothing."""

    def start(self, label: str, total: int | None = None) -> None:
        return None

    def advance(self, steps: int = 1, detail: str = "") -> None:
        return None

    def finish(self) -> None:
        return None

    def note(self, text: str) -> None:
        return None


SILENT: Progress = Silent()
