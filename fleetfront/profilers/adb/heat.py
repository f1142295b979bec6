"""Waiting for a hot device, and saying which visits it was too hot for. What a look sees is read in ``conditions``."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

from fleetfront.profilers.adb.facts.conditions import Cooling, State
from fleetfront.profilers.adb.facts.cores import Core
from fleetfront.profilers.adb.waiting import ended_by_ctrl_c
from fleetfront.progress import Progress

#: The look after one stretch of visits serves as the look before the next, if that follows so soon.
_FRESH_S = 0.5


class HeatWatch:
    """Keeps the last look at a device, and what was normal for it when it was first looked at."""

    def __init__(self, name: str, cores: Sequence[Core], mask: int, cooling: Cooling, progress: Progress) -> None:
        self._name = name
        self._cores = cores
        self._mask = mask or -1
        self._cooling = cooling
        self._progress = progress
        self._last: tuple[State, float] | None = None
        self._was_capped: bool | None = None
        self._has_given_up = False
        self._deadline = math.inf

    @property
    def repeats(self) -> int:
        """How often a throttled visit is worth repeating now."""
        return 0 if self._has_given_up or time.monotonic() >= self._deadline else self._cooling.repeats

    def wait_within(self, seconds: float | None) -> None:
        """Neither rest nor wait beyond ``seconds`` from now on; None lifts that."""
        self._deadline = math.inf if seconds is None else time.monotonic() + seconds

    def begin_round(self, is_first: bool) -> None:
        """Rest between rounds; a device that did not cool down in the last one gets another chance."""
        self._has_given_up = False
        pause_s = min(self._cooling.pause_s, self._deadline - time.monotonic())
        if pause_s > 0 and not is_first:
            self._progress.note(f"Resting {pause_s:.0f} s between rounds.")
            with ended_by_ctrl_c():
                time.sleep(pause_s)
            self._last = None

    def seen(self, state: State) -> State:
        """Keep a look. The first one decides whether capped clocks are normal for this device, as in a power saver."""
        if self._was_capped is None:
            self._was_capped = self._is_capped(state)
            if self._was_capped:
                self._progress.note(f"{self._name} may not run at its full clock now: is it saving power, or hot?")
            if self._cooling.max_temp_c is not None and state.thermal.hottest() is None:
                self._progress.note(f"{self._name} does not tell its temperature: a limit on it has no effect.")
            if state.battery.is_charging is False:
                # Android keeps a screen on only while a charger is plugged in.
                self._progress.note(f"{self._name} is not charging, so it may fall asleep: plug it in.")
        self._last = state, time.monotonic()
        return state

    def reason(self, state: State) -> str | None:
        """Why a device in this state should not be trusted; None if it can be."""
        reason = state.reason_to_wait(self._cooling)
        if reason is None and self._is_capped(state) and not self._was_capped:
            return "its clocks are capped"
        return reason

    def cooled(self, look: Callable[[], State]) -> State:
        """The state to begin with: after waiting, if need be, until the device has cooled down or the limit passed.

        The limit is that of ``Cooling``, or what ``wait_within`` leaves of it.
        """
        begun = time.monotonic()
        state, at = self._last or (None, 0.0)
        if state is None or begun - at > _FRESH_S or self.reason(state):
            state = self.seen(look())
        reason = self.reason(state)
        until = min(begun + self._cooling.limit_s, self._deadline)
        if reason is None or self._has_given_up or until <= begun:
            return state
        self._progress.note(f"{self._name} is hot: {reason}. Waiting, at most {until - begun:.0f} s.")
        with ended_by_ctrl_c():
            return self._waited(state, look, until)

    def _waited(self, state: State, look: Callable[[], State], until: float) -> State:
        while self.reason(state):
            left_s = until - time.monotonic()
            if left_s <= 0:
                self._has_given_up = True
                self._progress.note(
                    f"{self._name} did not cool down; the rest of this round is measured hot and flagged."
                )
                break
            time.sleep(min(self._cooling.poll_s, left_s))
            state = self.seen(look())
        return state

    def _is_capped(self, state: State) -> bool:
        return state.clocks.is_capped(self._cores, self._mask)
