"""Learn from known devices what to expect of an unknown one: how latency splits over operators, and how noisy devices
are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fleetfront.errors import InputError
from fleetfront.predictors.operators.work import Mode

if TYPE_CHECKING:
    from fleetfront.quantities import FloatArray

#: Weight of the diagonal when a covariance is estimated from few devices (a fixed Ledoit-Wolf style shrinkage).
_SHRINKAGE = 0.3
#: Standard deviation, as a share of a network's latency, that a coefficient has at least.
_LEAST_SHARE_STD = 0.02
#: Factor on the covariance: that of 12 devices understates how far the 13th can be.
_INFLATION = 1.0
#: Ridge of the fit of one known device, relative to the mean square of its regressors: only ties are broken by it.
_RIDGE = 1e-6
#: A device seen for the first time may be this much (a factor) more or less noisy than the known ones.
_LEAST_LOG_NOISE_SPREAD = 0.5
#: Two known devices have a covariance only by name.
_FEWEST_DEVICES = 3
#: Where only one device, or none, tells how noisy devices are.
_DEFAULT_NOISE = 0.08


@dataclass(frozen=True, slots=True)
class KnownDevice:
    """A device of which many networks are known.

    Attributes:
        shares: float64[r]: coefficients divided by the mean latency of the networks it was learnt from.
        relative_std: root mean square relative error of the linear model, measurement noise included.
    """

    name: str
    mode: Mode
    shares: FloatArray
    relative_std: float


@dataclass(frozen=True, slots=True)
class Prior:
    """Coefficients of a device whose mean latency is 1: normal around ``mean`` float64[r] with ``covariance``.

    ``log_noise`` is the mean and standard deviation of the logarithm of relative noise; ``mode_weights`` sum to 1.
    """

    mean: FloatArray
    covariance: FloatArray
    log_noise: tuple[float, float]
    mode_weights: Mapping[Mode, float]

    @property
    def typical_noise(self) -> float:
        """The median relative noise of devices."""
        return float(np.exp(self.log_noise[0]))


def learn_device(name: str, coordinates: Mapping[Mode, FloatArray], ms: FloatArray) -> KnownDevice:
    """Fit a device to n networks' coordinates (float64[n, r] for each mode) and milliseconds, in its best mode.

    Least squares of relative errors; the mode with the smallest mean absolute error wins.

    Raises:
        InputError: unless there are more networks than coordinates and all latencies are positive.
    """
    some = next(iter(coordinates.values()))
    if len(ms) <= some.shape[1] or not np.all(np.isfinite(ms) & (ms > 0)):
        raise InputError(
            f"{name} cannot teach: {len(ms)} networks for {some.shape[1]} coefficients, or a latency is not positive.",
            "Give more networks of that device, without zeros.",
        )
    best: tuple[float, Mode, FloatArray, float] | None = None
    for mode, design in coordinates.items():
        coefficients = relative_least_squares(design, ms)
        error = np.abs(design @ coefficients / ms - 1)
        if best is None or error.mean() < best[0]:
            best = (float(error.mean()), mode, coefficients, float(np.sqrt(np.mean(error**2))))
    _, mode, coefficients, relative_std = best  # type: ignore[misc]
    return KnownDevice(name, mode, coefficients / float(ms.mean()), relative_std)


def relative_least_squares(design: FloatArray, ms: FloatArray) -> FloatArray:
    """Coefficients float64[r] that minimise the squared relative errors of float64[n, r] against milliseconds."""
    relative = design / ms[:, None]
    gram = relative.T @ relative
    ridge = _RIDGE * np.trace(gram) / len(gram)
    coefficients: FloatArray = np.linalg.solve(gram + ridge * np.eye(len(gram)), relative.sum(axis=0))
    return coefficients


def learn_prior(devices: Sequence[KnownDevice], modes: Sequence[Mode]) -> Prior:
    """Pool known devices. A mode that no device has keeps the weight of one device in two more than there are.

    Raises InputError with fewer than three devices: nothing can be said of how devices differ.
    """
    if len(devices) < _FEWEST_DEVICES:
        raise InputError(
            f"{len(devices)} known devices are too few to transfer from.",
            f"Import tables or profile at least {_FEWEST_DEVICES} devices in this space first.",
        )
    shares = np.stack([device.shares for device in devices])
    spread = np.cov(shares.T)
    diagonal = np.diag(np.diag(spread) + _LEAST_SHARE_STD**2)
    covariance = _INFLATION * ((1 - _SHRINKAGE) * spread + _SHRINKAGE * diagonal)
    noise = np.log([max(device.relative_std, 1e-3) for device in devices])
    counts = {mode: 1 + sum(device.mode is mode for device in devices) for mode in modes}
    total = sum(counts.values())
    return Prior(
        shares.mean(axis=0),
        covariance,
        (float(noise.mean()), max(float(noise.std(ddof=1)), _LEAST_LOG_NOISE_SPREAD)),
        {mode: count / total for mode, count in counts.items()},
    )
