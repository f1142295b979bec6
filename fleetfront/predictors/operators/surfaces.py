"""Smooth what operators of a kind take beyond their roofline over their sizes, and tell how far that can be trusted.

A Gaussian process over logarithms (Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006): near what
was measured it says what was measured there, far from it the roofline, and its standard deviation grows with the
distance, as fast as the kind has shown to change.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fleetfront.errors import missing
from fleetfront.quantities import FloatArray

#: Of the logarithms of hyperparameters what is expected, and how surely: lengths over which a column matters, a factor
#: of three; how much times move, a third; per unit of a column beyond what was measured, 5 %; the noise of visits, 5 %.
_LENGTH, _LENGTH_STD = np.log(3.0), 0.8
_EXPECTED, _STD = np.log([0.3, 0.05, 0.05]), np.array([1.0, 1.0, 0.7])
#: The length of a column that never changed, as of strides where all were 1: a factor of e is another thing.
_UNTRIED_LENGTH = 1.0
#: What is not known of a timer, ms: of the smallest operators it is most.
_GRAIN_MS = 5e-4
#: No hyperparameter is sought further from what is expected, as a logarithm.
_WITHIN = 5.0
_MOST_STEPS, _JITTER, _SQRT3 = 40, 1e-8, float(np.sqrt(3.0))


@dataclass(frozen=True, slots=True, eq=False)
class Surface:
    """Times of n operators beyond their roofline, and how alike neighbours are.

    Attributes:
        places: float64[n, columns]: logarithms of sizes.
        beyond: float64[n]: logarithms of measured over roofline.
        grain: float64[n]: variance that timers alone give each.
        lengths: float64[columns]: distances over which columns matter.
        spread, slope, noise: standard deviations: of the surface, of its slope, of a visit.
    """

    places: FloatArray
    beyond: FloatArray
    grain: FloatArray
    lengths: FloatArray
    spread: float
    slope: float
    noise: float

    def __post_init__(self) -> None:
        """Raises ValueError if shapes do not match, or a number is none that was learnt."""
        count = len(self.beyond)
        is_shaped = self.places.ndim == 2 and self.places.shape == (count, len(self.lengths)) and count > 0
        if not is_shaped or self.grain.shape != (count,):
            raise ValueError("a surface's operators have other sizes than its lengths")
        learnt = np.array([*self.lengths, self.spread, self.slope, self.noise])
        if np.any(learnt < 1e-6) or np.any(learnt > 1e6) or np.any(self.grain < 0) or np.any(np.abs(self.beyond) > 50):
            raise ValueError("a surface's numbers are beyond those of any device")

    def predict(self, places: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Logarithms of what operators at float64[m, columns] take beyond their roofline, float64[m], and their
        standard deviation, float64[m], a visit's noise included.
        """
        inverse, weights = _solved(self)
        return self._told(self.places, places, inverse, weights)

    def overshoot(self, places: FloatArray) -> FloatArray:
        """How far places float64[m, columns] lie outside of all that was measured, float64[m]: 1 is a factor of e."""
        return _outside(places, self.places)

    def held_out(self, left_out: NDArray[np.intp], beyond: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Tell some of its own as ``predict`` and ``overshoot`` do, by number in order, by all others: what
        those took ``beyond`` a roofline of their own, float64[n - left out].
        """
        rest = np.setdiff1d(np.arange(len(self.beyond)), left_out)
        known, places = self.places[rest], self.places[left_out]
        inverse = _inverse(self._noisy(known, self.grain[rest]))
        return *self._told(known, places, inverse, inverse @ beyond), _outside(places, known)

    def ends(self, share: float) -> list[NDArray[np.intp]]:
        """The operators at either end of each column, in order: about that share of them, and what lies as far."""
        found = []
        for column in self.places.T[np.ptp(self.places, axis=0) > 0]:
            low, high = np.quantile(column, (share, 1.0 - share), method="nearest")
            ends = (np.flatnonzero(column <= low), np.flatnonzero(column >= high))
            found += [end for end in ends if 2 * len(end) <= len(column)]
        return found

    def _told(
        self, known: FloatArray, places: FloatArray, inverse: FloatArray, weights: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        across = self._covariance(places, known)
        centred = places - self.places.mean(axis=0)
        own = self.spread**2 + self.slope**2 * np.square(centred).sum(axis=1)
        left = own - np.einsum("ij,jk,ik->i", across, inverse, across)
        return across @ weights, np.sqrt(np.maximum(left, 0.0) + self.noise**2)

    def _covariance(self, left: FloatArray, right: FloatArray) -> FloatArray:
        centre = self.places.mean(axis=0)
        near = self.spread**2 * _matern(_squares(left, right) @ self.lengths**-2.0)[0]
        return np.asarray(near + self.slope**2 * ((left - centre) @ (right - centre).T))

    def _noisy(self, places: FloatArray, grain: FloatArray) -> FloatArray:
        covariance = self._covariance(places, places)
        covariance[np.diag_indices(len(places))] += self.noise**2 + grain + _JITTER
        return covariance


@lru_cache(maxsize=256)
def _solved(surface: Surface) -> tuple[FloatArray, FloatArray]:
    """The inverse covariance of what was measured, and the weights of what each says: once a surface."""
    inverse = _inverse(surface._noisy(surface.places, surface.grain))
    return inverse, inverse @ surface.beyond


def _inverse(covariance: FloatArray) -> FloatArray:
    return np.asarray(np.linalg.inv(covariance), np.float64)


def _outside(places: FloatArray, known: FloatArray) -> FloatArray:
    away = np.maximum(known.min(axis=0) - places, places - known.max(axis=0))
    return np.asarray(np.linalg.norm(np.maximum(away, 0.0), axis=1))


def _squares(left: FloatArray, right: FloatArray) -> FloatArray:
    """float64[m, n, columns]: squared differences by column."""
    return np.asarray(np.square(left[:, None] - right[None]))


def _matern(squares: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Matern's covariance of order 3/2 at squared distances, and its exponential: kinks are common in costs."""
    far = _SQRT3 * np.sqrt(squares)
    decay = np.exp(-far)
    return (1.0 + far) * decay, decay


def learn_surface(places: FloatArray, beyond: FloatArray, ms: FloatArray) -> Surface:
    """The surface whose hyperparameters are likeliest given n operators: sizes float64[n, columns] as logarithms, what
    they took beyond a roofline as logarithms float64[n], and altogether, float64[n] ms.

    Raises MissingDependency if scipy is not installed.
    """
    try:
        from scipy.optimize import minimize
    except ImportError as error:
        raise missing("scipy", "models", "Learning operator costs") from error
    places, grain = np.round(places, 4), np.round((_GRAIN_MS / ms) ** 2, 6)
    is_tried = np.ptp(places, axis=0) > 0
    squares = np.moveaxis(_squares(places, places)[:, :, is_tried], 2, 0)
    centred = places - places.mean(axis=0)
    objective = _Objective(squares, centred @ centred.T, beyond, grain)
    start = objective.expected
    bounds, options = [(one - _WITHIN, one + _WITHIN) for one in start], {"maxiter": _MOST_STEPS}
    found = minimize(objective, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    told = np.exp(found.x)
    lengths = np.full(places.shape[1], _UNTRIED_LENGTH)
    lengths[is_tried] = told[:-3]
    return Surface(places, beyond, grain, lengths, *(float(number) for number in told[-3:]))


@dataclass(frozen=True, slots=True)
class _Objective:
    """How unlikely hyperparameters are, as their logarithms, and its gradient.

    ``squares``: float64[columns, n, n] as ``_squares``; ``products``: float64[n, n] of centred places.
    """

    squares: FloatArray
    products: FloatArray
    beyond: FloatArray
    grain: FloatArray

    @property
    def expected(self) -> FloatArray:
        return np.array([*np.full(len(self.squares), _LENGTH), *_EXPECTED])

    def __call__(self, logs: FloatArray) -> tuple[float, FloatArray]:
        spread, slope, noise = np.exp(2 * logs[-3:])
        inverse_squares = np.exp(-2 * logs[:-3])
        near, decay = _matern(np.tensordot(inverse_squares, self.squares, 1))
        covariance = spread * near + slope * self.products + np.diag(noise + self.grain + _JITTER)
        _, determinant = np.linalg.slogdet(covariance)
        inverse = _inverse(covariance)
        weights = inverse @ self.beyond
        pull = 0.5 * (inverse - np.outer(weights, weights))
        gradient = np.empty(len(logs))
        gradient[:-3] = np.tensordot(self.squares, 3 * spread * pull * decay, 2) * inverse_squares
        gradient[-3:] = (pull * near).sum(), (pull * self.products).sum(), np.trace(pull)
        gradient[-3:] *= 2 * np.array([spread, slope, noise])
        wide = np.array([*np.full(len(self.squares), _LENGTH_STD), *_STD])
        away = (logs - self.expected) / wide
        cost = 0.5 * (self.beyond @ weights + determinant + away @ away)
        return float(cost), gradient + away / wide
