"""Estimates made as wrong as estimates are, so that what learns from them does not learn certainty."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fleetfront.predictors.operators.model import OperatorModel
from fleetfront.predictors.operators.work import CLASSES, KERNEL_SIZES, Mode, NetworkWork
from fleetfront.predictors.table.calibrated import block_sum
from fleetfront.spaces.base import Genotypes
from fleetfront.targets import Target

if TYPE_CHECKING:
    from fleetfront.quantities import FloatArray

#: Standard deviation of log(block / operator model) once the model is fitted to the device: 0.074 over the public
#: tables of a Galaxy Note 10, 0.08 to 0.10 over ONNX Runtime's blocks on a two-core x86 machine.
_BLOCK_STD = 0.09
#: The same of how much more a multiply-accumulate costs in a large depthwise kernel: 0.1 where the runtime has fast
#: paths for all kernels, 1.6 where it lacks one (LiteRT on x86, 7 x 7).
_KERNEL_STD = 0.7
#: Of whole networks in spaces whose runtimes execute dead branches, where blocks do not add up.
_NETWORK_STD = 0.05


def doubtful_latency_ms(
    work: NetworkWork, model: OperatorModel, target: Target, genotypes: Genotypes, rng: np.random.Generator
) -> FloatArray:
    """float64[n] ms of n genotypes int8[n, v] on a device that might be the one that ``model`` describes."""
    if model.mode in work.modes and model.mode is not Mode.LIVE:
        ms = model.latency_ms(work(genotypes, model.mode), target.batch)
        return ms * np.exp(_NETWORK_STD * rng.standard_normal(len(ms)))
    launches, busy = model.parts(work.blocks, target.batch)
    surplus = np.exp(_KERNEL_STD * rng.standard_normal(len(KERNEL_SIZES))) - 1
    rate = float(model.ms_per_mmac[CLASSES.index("depthwise")])
    busy = busy + target.batch * rate * (work.kernels @ surplus)
    factors = np.exp(_BLOCK_STD * rng.standard_normal(len(busy)))
    parts = (block_sum(work.space, part * factors)(genotypes) for part in (launches, busy))
    return model.combine(*parts)
