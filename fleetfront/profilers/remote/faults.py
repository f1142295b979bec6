"""Count the faults of a unit's link, say how long to wait before the next try, and when the unit is set aside."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Patience:
    """How much of its link a unit is forgiven.

    Attributes:
        most_faults: within ``within_s``; with the last of them it is set aside.
        first_wait_s: before the first new try; each fault in the window after it waits four times as long.
    """

    most_faults: int = 3
    within_s: float = 600.0
    first_wait_s: float = 1.0


class FaultWindow:
    """The faults of one unit within the last minutes. Has no clock of its own."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._faults: deque[float] = deque()

    def add(self, now_s: float) -> float | None:
        """Count a fault: seconds to wait before the next try, or None if the unit is to be set aside."""
        self._faults.append(now_s)
        while now_s - self._faults[0] > self._patience.within_s:
            self._faults.popleft()
        if len(self._faults) >= self._patience.most_faults:
            return None
        wait_s: float = self._patience.first_wait_s * 4.0 ** (len(self._faults) - 1)
        return wait_s
