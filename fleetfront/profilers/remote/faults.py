"""Count the breaks of a unit's link, say how long to wait before the next try, and when the unit is set aside."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Patience:
    """How much of its link a unit is forgiven.

    Attributes:
        most_faults: breaks of a working link within ``within_s``; with the last of them the unit is set aside. So many
            tries, too, has a host that was never reached.
        away_s: how long a host that was there may stay away, as while it starts anew.
        first_wait_s, longest_wait_s: before the first new try, and at most; each wait is twice the one before.
    """

    most_faults: int = 3
    within_s: float = 600.0
    away_s: float = 300.0
    first_wait_s: float = 1.0
    longest_wait_s: float = 30.0


class FaultWindow:
    """The breaks of one unit within the last minutes, and the tries to reach it since. Has no clock of its own."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._faults: deque[float] = deque()
        self._tries = 0
        self._waited_s = 0.0

    def broke(self, now_s: float) -> float | None:
        """Count a break of a working link: seconds to wait before the next try, None to set the unit aside."""
        self._faults.append(now_s)
        while now_s - self._faults[0] > self._patience.within_s:
            self._faults.popleft()
        self._tries, self._waited_s = 0, 0.0
        return None if len(self._faults) >= self._patience.most_faults else self._wait()

    def forgive(self, count: int) -> None:
        """Forget the newest breaks: what was measured is to blame for them, not the unit."""
        for _ in range(min(count, len(self._faults))):
            self._faults.pop()

    def missed(self, now_s: float, *, was_reached: bool) -> float | None:
        """The same of a try that reached nobody."""
        if not was_reached:
            return None if self._tries + 1 >= self._patience.most_faults else self._wait()
        away_s = max(now_s - self._faults[-1] if self._faults else 0.0, self._waited_s)
        return None if away_s >= self._patience.away_s else self._wait()

    def _wait(self) -> float:
        wait_s: float = min(self._patience.longest_wait_s, self._patience.first_wait_s * 2.0**self._tries)
        self._tries += 1
        self._waited_s += wait_s
        return wait_s
