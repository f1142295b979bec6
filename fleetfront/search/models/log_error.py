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


@dataclass(frozen=True, slots=True)
class LogError:
    """``-log(100 - accuracy + offset)``: the higher the better."""

    offset: float

    @classmethod
    def of(cls, known: FloatArray) -> LogError:
        """Suited to the accuracies known[n], in percent."""
        return cls(_APART * max(float(np.ptp(known)), _LEAST_SPREAD))

    def values(self, accuracy: FloatArray) -> FloatArray:
        """float64[n] of accuracies in percent."""
        return np.asarray(-np.log(FULL - accuracy + self.offset), np.float64)

    def accuracies(self, mean: FloatArray, std: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Accuracy in percent and its standard deviation of values with mean[n] and std[n]."""
        error = np.exp(-mean)
        return np.minimum(FULL + self.offset - error, FULL), error * std
