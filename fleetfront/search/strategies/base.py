"""Strategy: the protocol of whoever proposes architectures. ``search.run`` drives one, ``catalogue`` makes one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from fleetfront.spaces.base import Genotypes

if TYPE_CHECKING:
    from fleetfront.quantities import FloatArray


class Strategy(Protocol):
    """Made for one ``Problem`` and seed; the same seed gives the same proposals. ``ask`` and ``tell`` alternate.

    A strategy may call ``Problem.cost`` and read ``Problem.archive`` as it likes: costs and known values are free.
    """

    @property
    def batch(self) -> int:
        """How many architectures it likes to propose at a time."""

    def ask(self, n: int) -> Genotypes:
        """At most ``n`` architectures int8[m, v], as ``Problem.complete`` makes them; none if it knows nothing new."""

    def tell(self, genotypes: Genotypes, accuracy: FloatArray, cost: FloatArray) -> None:
        """What came of the last ``ask``: accuracy[m] in percent, cost[m, t]. They are in the archive already."""
