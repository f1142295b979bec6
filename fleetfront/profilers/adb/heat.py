"""Decide when a hot device is looked at and waited for, without clock or I/O. ``facts`` reads what a look sees."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fleetfront.profilers.adb.facts.conditions import Cooling, State, read_state
from fleetfront.profilers.adb.facts.cores import Core

#: The look after one stretch of visits serves as the look before the next, if that follows so soon.
_FRESH_S = 0.5


@dataclass(frozen=True, slots=True)
class Look:
    """Look at the device's heat and clocks."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait; Ctrl-C ends that at once."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Note:
    """Tell the user."""

    text: str


class HeatWatch:
    """Keeps the last look at a device, and what was normal for it when it was first looked at."""

    def __init__(self, name: str, cores: Sequence[Core], mask: int, cooling: Cooling, is_told: bool) -> None:
        """Watch the device ``name`` of which the cores in ``mask`` are used; ``is_told`` if it tells of its heat."""
        self.is_told = is_told
        self._name = name
        self._cores = cores
        self._mask = mask or -1
        self._cooling = cooling
        self._last: tuple[State, float] | None = None
        self._was_capped: bool | None = None
        self._has_given_up = False
        self._deadline = math.inf
        self._rest_s = 0.0
        # Until when the device is waited for, while it is; whether the last look was made for the coming stretch.
        self._until: float | None = None
        self._is_new = False

    @property
    def is_waiting(self) -> bool:
        """True if the device is being waited for."""
        return self._until is not None

    def repeats(self, now: float) -> int:
        """How often a throttled visit is worth repeating now."""
        return 0 if self._has_given_up or now >= self._deadline else self._cooling.repeats

    def wait_within(self, seconds: float | None, now: float) -> None:
        """Neither rest nor wait beyond ``seconds`` from now on; None lifts that."""
        self._deadline = math.inf if seconds is None else now + seconds
        self._until = None

    def begin_round(self, is_first: bool) -> None:
        """Rest between rounds; a device that did not cool down in the last one gets another chance."""
        self._has_given_up = False
        self._rest_s = 0.0 if is_first else self._cooling.pause_s

    def see(self, state: State, now: float, *, is_new: bool = True) -> list[Note]:
        """Keep a look, made for the coming stretch of visits if ``is_new``.

        The first one decides whether capped clocks are normal for this device, as in a power saver.
        """
        notes = []
        if self._was_capped is None:
            self._was_capped = self._is_capped(state)
            if self._was_capped:
                notes.append(Note(f"{self._name} may not run at its full clock now: is it saving power, or hot?"))
            if self._cooling.max_temp_c is not None and state.thermal.hottest() is None:
                notes.append(Note(f"{self._name} does not tell its temperature: a limit on it has no effect."))
            if state.battery.is_charging is False:
                # Android keeps a screen on only while a charger is plugged in.
                notes.append(Note(f"{self._name} is not charging, so it may fall asleep: plug it in."))
        self._last = state, now
        self._is_new = is_new
        return notes

    def reason(self, state: State) -> str | None:
        """Why a device in this state should not be trusted; None if it can be."""
        reason = state.reason_to_wait(self._cooling)
        if reason is None and self._is_capped(state) and not self._was_capped:
            return "its clocks are capped"
        return reason

    def next(self, now: float) -> list[Look | Wait | Note]:
        """The steps before visits, ending in Look or Wait; notes alone or nothing if they can be made."""
        rest_s, self._rest_s = min(self._rest_s, self._deadline - now), 0.0
        if rest_s > 0:
            self._last = None
            return [Note(f"Resting {rest_s:.0f} s between rounds."), Wait(rest_s)]
        if self._last is None:
            return [Look()]
        state, at = self._last
        reason = self.reason(state)
        if not self._is_new and (reason or now - at > _FRESH_S):
            return [Look()]
        if reason is None or self._has_given_up:
            self._until = None
            return []
        said: list[Look | Wait | Note] = []
        if self._until is None:
            until = min(now + self._cooling.limit_s, self._deadline)
            if until <= now:
                return []
            self._until = until
            said.append(Note(f"{self._name} is hot: {reason}. Waiting, at most {until - now:.0f} s."))
        left_s = self._until - now
        if left_s <= 0:
            self._has_given_up, self._until = True, None
            return [Note(f"{self._name} did not cool down; the rest of this round is measured hot and flagged.")]
        self._is_new = False
        return [*said, Wait(min(self._cooling.poll_s, left_s))]

    def open(self) -> State:
        """The state that visits begin with."""
        self._is_new = False
        return self._last[0] if self._last else read_state("", "")

    def _is_capped(self, state: State) -> bool:
        return state.clocks.is_capped(self._cores, self._mask)
