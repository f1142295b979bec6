"""Fit operator models to tables of a device whose arithmetic is known."""

from pathlib import Path

import numpy as np
import pytest

from fleetfront.predictors.operators.model import operator_models
from fleetfront.predictors.operators.work import Mode, NetworkWork
from fleetfront.spaces.ofa_mbv3.space import ofa_mbv3_w12

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def test_a_fit_recovers_a_device_from_whole_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from operator_fit import Start, fit_operators

    work = NetworkWork(ofa_mbv3_w12())
    space = ofa_mbv3_w12()
    done = work(space.sample(400, np.random.default_rng(1)))
    truth = operator_models()["titan_rtx_32"]
    tables = {batch: truth.latency_ms(done, batch) for batch in (1, 32)}
    fitted = fit_operators(
        done,
        tables,
        Start(0.04, 5e-4, 0.01, True),
        hardware="copy",
        settings=("copy",),
        mode=Mode.LIVE,
        fitted_on="itself",
        fitted_space=space.name,
        strength=0.001,
    )
    fresh = work(space.sample(200, np.random.default_rng(2)))
    for batch in (1, 8, 32):
        ratio = fitted.latency_ms(fresh, batch) / truth.latency_ms(fresh, batch)
        np.testing.assert_allclose(ratio, 1, atol=0.1 if batch == 8 else 0.03)
