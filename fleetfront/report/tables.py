"""Tables of text and how their numbers are written: under the figures of the page, and all that Markdown has."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fleetfront.quantities import UNKNOWN, Tier, format_number


@dataclass(frozen=True, slots=True)
class Table:
    """A caption, headers and rows of text. Columns in ``numeric`` are set to the right."""

    caption: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: frozenset[int] = frozenset()

    def without_unknown(self) -> Table:
        """The same without columns that say nothing of any row, so that the others have room."""
        kept = [at for at in range(len(self.headers)) if any(row[at] not in ("", UNKNOWN) for row in self.rows)]
        return Table(
            self.caption,
            tuple(self.headers[at] for at in kept),
            tuple(tuple(row[at] for at in kept) for row in self.rows),
            frozenset(new for new, at in enumerate(kept) if at in self.numeric),
        )


def with_spread(value: float | None, std: float | None, digits: int = 3, tier: str = "") -> str:
    """``12.3 ±0.4``, one standard deviation, of an estimate's logarithm as a factor, ``12.3 ×÷1.5``; the value alone
    where that is not known.
    """
    if value and std and tier == Tier.ESTIMATED:
        return f"{format_number(value, digits)} ×÷{format_number(math.exp(std / value), 2)}"
    return format_number(value, digits) + (f" ±{format_number(std, 2)}" if std else "")


def percent(value: float | None) -> str:
    """A share from 0 to 1 as percent."""
    return UNKNOWN if value is None else f"{100 * value:.0f} %"


def signed(value: float | None, decimals: int = 1) -> str:
    """A number with its sign; a dash for none."""
    return f"{value:+.{decimals}f}" if value is not None and math.isfinite(value) else UNKNOWN


def size(count: float) -> str:
    """Bytes for people."""
    for unit, scale in (("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:.1f} {unit}"
    return f"{count} B"
