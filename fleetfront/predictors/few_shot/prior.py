"""Learn from known devices what to expect of an unknown one: how latency splits over operators, and how noisy devices
are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from fleetfront.errors import InputError
from fleetfront.predictors.operators.work import Mode
from fleetfront.predictors.scores import Z90

if TYPE_CHECKING:
    from fleetfront.quantities import FloatArray

#: Standard deviation, as a share of a network's latency, that a coefficient has at least.
_LEAST_SHARE_STD = 0.02
#: Ridge of the fit of one known device, relative to the mean square of its regressors: only ties are broken by it.
_RIDGE = 1e-6
#: Rounds, degrees of freedom and least scale of the robust fit of a known device.
_ROUNDS, _FREEDOM, _LEAST_SCALE = 10, 4.0, 1e-4
#: A device seen for the first time may be this much (a factor) more or less noisy than the known ones.
_LEAST_LOG_NOISE_SPREAD = 0.5
#: Two known devices have a covariance only by name.
_FEWEST_DEVICES = 3
#: The overall scale of a new device is known to about a factor of two beforehand.
SCALE_STD = 1.0
#: Factors on the covariance of the coefficients of devices at large, and their weights: some are unlike all known ones.
_WIDTHS = ((1.0, 0.4), (3.0, 0.3), (10.0, 0.3))
#: How likely a new device is to be as its own estimate says.
_SHARE_OF_ESTIMATE = 0.3


@dataclass(frozen=True, slots=True)
class PriorSettings:
    """Constants that the known devices are too few to tell; ``benchmarks/transfer.py`` tries others on halves of the
    public ones.

    Attributes:
        shrinkage: weight of the diagonal when a covariance is estimated (a fixed Ledoit-Wolf style shrinkage).
        share_of_like: how likely a new device is to resemble a single known one.
        likeness: how closely, in standard deviations of devices.
    """

    shrinkage: float = 0.3
    share_of_like: float = 0.5
    likeness: float = 0.2


DEFAULT_SETTINGS = PriorSettings()


@dataclass(frozen=True, slots=True)
class KnownDevice:
    """A device of which many networks are known.

    Attributes:
        shares: float64[r]: coefficients divided by the mean latency of the networks it was learnt from.
        relative_std: that of normal errors of which as many lie within 1.645 of it as of the linear model's, 90 %;
            measurement noise included.
    """

    name: str
    mode: Mode
    shares: FloatArray
    relative_std: float


@dataclass(frozen=True, slots=True)
class Component:
    """One kind of device that a new one may be: its mode and, at mean latency 1, normal coefficients around ``mean``
    float64[r] with ``covariance`` float64[r, r]; the scale apart, ``SCALE_STD`` included.
    """

    mode: Mode
    mean: FloatArray
    covariance: FloatArray
    weight: float


@dataclass(frozen=True, slots=True)
class Prior:
    """The belief about a new device: a mixture of normal distributions.

    Attributes:
        components: devices at large in each mode, devices like each known one, and what its own estimate says.
        mean: float64[r], and ``covariance`` float64[r, r]: of the coefficients of devices at large, mean latency 1.
        log_noise: mean and standard deviation of the logarithm of relative noise.
        mode_weights: of devices at large; they sum to 1.
    """

    components: tuple[Component, ...]
    mean: FloatArray
    covariance: FloatArray
    log_noise: tuple[float, float]
    mode_weights: Mapping[Mode, float]

    @property
    def typical_noise(self) -> float:
        """The median relative noise of devices."""
        return float(np.exp(self.log_noise[0]))

    def within(self, mode: Mode) -> Prior:
        """The same of a device whose mode is known: what others' operators cost is told in any mode."""
        count = len(self.mode_weights) * len(_WIDTHS)
        share = self.mode_weights[mode]
        at_large = [replace(c, weight=c.weight / share) for c in self.components[:count] if c.mode is mode]
        others = [replace(c, mode=mode) for c in self.components[count:]]
        return replace(self, components=(*at_large, *others), mode_weights={mode: 1.0})


def learn_device(name: str, coordinates: Mapping[Mode, FloatArray], ms: FloatArray) -> KnownDevice:
    """Fit a device to n networks' coordinates (float64[n, r] for each mode) and milliseconds, in its best mode.

    The mode with the smallest mean absolute error wins.

    Raises:
        InputError: unless there are more networks than coordinates and all latencies are positive.
    """
    some = next(iter(coordinates.values()))
    if len(ms) <= some.shape[1] or not np.all(np.isfinite(ms) & (ms > 0)):
        raise InputError(
            f"{name} cannot teach: {len(ms)} networks for {some.shape[1]} coefficients, or a latency is not positive.",
            "Give more networks of that device, without zeros.",
        )
    found = []
    for mode, design in coordinates.items():
        coefficients = robust_least_squares(design, ms)
        errors = np.abs(_log_errors(design, coefficients, ms))
        found.append((float(errors.mean()), mode, coefficients, float(np.quantile(errors, 0.9)) / Z90))
    _, mode, coefficients, relative_std = min(found, key=lambda fit: fit[0])
    return KnownDevice(name, mode, coefficients / float(ms.mean()), relative_std)


def robust_least_squares(design: FloatArray, ms: FloatArray) -> FloatArray:
    """Coefficients float64[r] of float64[n, r] for milliseconds float64[n].

    Relative least squares; then, of logarithms, reweighted for Student's t (Lange, Little and Taylor 1989), so that
    disturbed networks of a table do not count.
    """
    coefficients = _solved(design / ms[:, None], np.ones(len(ms)), np.ones(len(ms)))
    for _ in range(_ROUNDS):
        errors = _log_errors(design, coefficients, ms)
        scale = float(np.median(np.abs(errors))) / 0.6745 + _LEAST_SCALE
        weights = (_FREEDOM + 1) / (_FREEDOM + (errors / scale) ** 2)
        relative = design / _at_least(design @ coefficients, ms)[:, None]
        coefficients = coefficients + _solved(relative, errors, weights)
    return coefficients


def _solved(design: FloatArray, values: FloatArray, weights: FloatArray) -> FloatArray:
    weighted = design * weights[:, None]
    gram = weighted.T @ design
    ridge = _RIDGE * np.trace(gram) / len(gram)
    solution: FloatArray = np.linalg.solve(gram + ridge * np.eye(len(gram)), weighted.T @ values)
    return solution


def _at_least(predicted: FloatArray, ms: FloatArray) -> FloatArray:
    """A linear model may fall below zero where a table has its fastest networks."""
    return np.maximum(predicted, 0.05 * float(np.median(ms)))


def _log_errors(design: FloatArray, coefficients: FloatArray, ms: FloatArray) -> FloatArray:
    errors: FloatArray = np.log(ms / _at_least(design @ coefficients, ms))
    return errors


def learn_prior(
    devices: Sequence[KnownDevice],
    modes: Sequence[Mode],
    *,
    estimate: KnownDevice | None = None,
    estimate_errors: Sequence[FloatArray] = (),
    settings: PriorSettings = DEFAULT_SETTINGS,
) -> Prior:
    """Pool known devices. A mode that no device has keeps the weight of one device in two more than there are.

    Args:
        devices: the known ones.
        modes: of the space.
        estimate: what an estimate says of the new device itself.
        estimate_errors: float64[r] each: shares of known devices less those that their own estimates say.
        settings: what the devices are too few to tell.

    Raises:
        InputError: with fewer than three devices: nothing can be said of how devices differ.
    """
    if len(devices) < _FEWEST_DEVICES:
        raise InputError(
            f"{len(devices)} known devices are too few to transfer from.",
            f"Import tables or profile at least {_FEWEST_DEVICES} devices in this space first.",
        )
    shares = np.stack([device.shares for device in devices])
    mean, covariance = shares.mean(axis=0), _shrunk(np.cov(shares.T), settings)
    noise = np.log([max(device.relative_std, 1e-3) for device in devices])
    counts = {mode: 1 + sum(device.mode is mode for device in devices) for mode in modes}
    mode_weights = {mode: count / sum(counts.values()) for mode, count in counts.items()}
    of_estimate = _SHARE_OF_ESTIMATE if estimate is not None else 0.0
    at_large, like = (1 - of_estimate) * np.array([1 - settings.share_of_like, settings.share_of_like])
    components = [
        _component(mode, mean, width * covariance, at_large * weight * share)
        for mode, share in mode_weights.items()
        for width, weight in _WIDTHS
    ]
    components += [
        _component(d.mode, d.shares, settings.likeness**2 * covariance, like / len(devices)) for d in devices
    ]
    if estimate is not None:
        spread = covariance
        if len(estimate_errors) >= _FEWEST_DEVICES:
            errors = np.stack(estimate_errors)
            spread = _shrunk(errors.T @ errors / len(errors), settings)
        components.append(_component(estimate.mode, estimate.shares, spread, of_estimate))
    return Prior(
        tuple(components),
        mean,
        covariance,
        (float(noise.mean()), max(float(noise.std(ddof=1)), _LEAST_LOG_NOISE_SPREAD)),
        mode_weights,
    )


def _shrunk(spread: FloatArray, settings: PriorSettings) -> FloatArray:
    diagonal = np.diag(np.diag(spread) + _LEAST_SHARE_STD**2)
    shrunk: FloatArray = (1 - settings.shrinkage) * spread + settings.shrinkage * diagonal
    return shrunk


def _component(mode: Mode, mean: FloatArray, covariance: FloatArray, weight: float) -> Component:
    return Component(mode, mean, covariance + SCALE_STD**2 * np.outer(mean, mean), weight)
