"""Combine the gradients of several devices into one step: the common descent direction, their mean, or one of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from fleetfront.quantities import FloatArray

#: Rounds of Frank-Wolfe; it stops earlier where a round changes nothing.
_ROUNDS, _STILL = 250, 1e-6
#: Shares that stand for "all of one" on a line between two gradients.
_NEARLY_ALL, _NEARLY_NONE = 0.999, 0.001


def least_norm_weights(gram: FloatArray) -> FloatArray:
    """Weights float64[t] of the shortest vector in the convex hull of t gradients, from their Gram matrix [t, t].

    A step along it lowers the loss of every device, or none can be lowered without raising another's (Désidéri 2012).
    Frank-Wolfe with a line search in closed form, started at the best pair (Sener and Koltun 2018).
    """
    t = len(gram)
    if t == 1:
        return np.ones(1)
    weights = _best_pair(gram)
    for _ in range(_ROUNDS):
        slopes = gram @ weights
        towards = int(np.argmin(slopes))
        a, b, c = float(weights @ slopes), float(slopes[towards]), float(gram[towards, towards])
        share = _line_share(a, b, c)
        moved = share * weights
        moved[towards] += 1 - share
        change = float(np.abs(moved - weights).sum())
        weights = moved
        if change < _STILL:
            break
    return weights


def _line_share(a: float, b: float, c: float) -> float:
    """The share of the first of two vectors in their shortest mix, from their products a = 1.1, b = 1.2, c = 2.2."""
    if b >= a:
        return _NEARLY_ALL
    if b >= c:
        return _NEARLY_NONE
    return (c - b) / (a + c - 2 * b)


def _best_pair(gram: FloatArray) -> FloatArray:
    t = len(gram)
    best, weights = np.inf, np.full(t, 1.0 / t)
    for i in range(t):
        for j in range(i + 1, t):
            a, b, c = float(gram[i, i]), float(gram[i, j]), float(gram[j, j])
            share = _line_share(a, b, c)
            norm = share**2 * a + 2 * share * (1 - share) * b + (1 - share) ** 2 * c
            if norm < best:
                best, weights = norm, np.zeros(t)
                weights[i], weights[j] = share, 1 - share
    return weights
