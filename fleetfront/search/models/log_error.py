"""Turn accuracies into logarithms of errors, which models learn better, and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fleetfront.search.front import FULL

if TYPE_CHECKING:
    from fleetfront.quantities import FloatArray

#: Share of the spread of accuracies that errors are kept from 0 by, and the least spread, in percentage points: the
#: logarithm tells good networks apart.
_APART, _LEAST_SPREAD = 0.05, 0.1
#: Of scores above 100: how far above the best known that lies which errors are counted from, as a share of the spread.
_HEADROOM = 0.5


@dataclass(frozen=True, slots=True)
class LogError:
    """``-log(top - accuracy + offset)``: the higher the better.

    Attributes:
        top: 100 %, or a score that nothing known reaches.
    """

    offset: float
    top: float

    @classmethod
    def of(cls, known: FloatArray) -> LogError:
        """Suited to the accuracies known[n], in percent; where scores lie above 100, to these."""
        best, spread = float(known.max()), max(float(np.ptp(known)), _LEAST_SPREAD)
        return cls(_APART * spread, FULL if best <= FULL else best + _HEADROOM * spread)

    def values(self, accuracy: FloatArray) -> FloatArray:
        """float64[n] of accuracies in percent."""
        return np.asarray(-np.log(self.top - accuracy + self.offset), np.float64)

    def accuracies(self, mean: FloatArray, std: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Accuracy in percent and its standard deviation of values with mean[n] and std[n]."""
        error = np.exp(-mean)
        return np.minimum(self.top + self.offset - error, self.top), error * std
