"""Rows of ``predict --json``."""

import json
from dataclasses import replace

import numpy as np
import pytest

from fleetfront.errors import InputError
from fleetfront.pipelines.predict.architectures import predict_archs
from fleetfront.predictors.scores import Z90
from fleetfront.predictors.table.calibrated import CalibratedTable
from fleetfront.predictors.table.fitting import fit_model
from fleetfront.quantities import Estimate, Tier
from fleetfront.spaces.base import Genotypes
from fleetfront.spaces.ofa_mbv3.space import ofa_mbv3_w10
from tests.predictors.synthetic_device import TARGET, SyntheticDevice

SPACE = ofa_mbv3_w10()


class OnlyLargeImages:
    """An AccuracyModel that answers at 224 pixels alone."""

    source = "built-in"
    tier = Tier.PREDICTED

    def predict(self, genotypes: Genotypes) -> Estimate:
        if np.any(genotypes[:, -1] != len(SPACE.resolutions) - 1):
            raise InputError("Valid at 224 px only.", "Choose another resolution.")
        return Estimate(np.full(len(genotypes), 77.0), np.full(len(genotypes), 0.5), self.tier)


@pytest.fixture(scope="module")
def alone() -> CalibratedTable:
    """Known from one sitting."""
    return CalibratedTable(SPACE, fit_model(SPACE, SyntheticDevice(SPACE).observe(validation=0)).model)


@pytest.fixture(scope="module")
def model(alone: CalibratedTable) -> CalibratedTable:
    between = replace(alone.model.between_sittings, sittings=3)
    return CalibratedTable(SPACE, replace(alone.model, between_sittings=between))


def test_what_is_not_promised_is_null_with_the_reason(alone: CalibratedTable) -> None:
    archs = SPACE.arch_ids(SPACE.sample(2, np.random.default_rng(0)))
    for row in predict_archs(SPACE, archs, {"mine": alone}):
        assert [row[f"latency_{name}_ms"] for name in ("std", "low", "high")] == [None] * 3
        assert row["not_promised"].startswith("known from one sitting alone")
        assert row["latency_ms"] > row["latency_std_same_sitting_ms"] > 0


def test_rows(model: CalibratedTable) -> None:
    genotypes = SPACE.sample(3, np.random.default_rng(0))
    archs = SPACE.arch_ids(genotypes)
    rows = predict_archs(SPACE, archs, {"mine": model})
    estimate = model.predict(genotypes)
    assert json.loads(json.dumps(rows)) == [
        {
            "arch": arch,
            "latency_ms": mean,
            "latency_std_ms": std,
            "latency_std_same_sitting_ms": within,
            "latency_low_ms": pytest.approx(mean - Z90 * std),
            "latency_high_ms": pytest.approx(mean + Z90 * std),
            "may_be_far_off": False,
            "device": "mine",
            "tier": "measured",
            "target": str(TARGET),
            "clock": "wall",
        }
        for arch, mean, std, within in zip(archs, estimate.mean, estimate.std, estimate.within, strict=True)
    ]


def test_inactive_digits_change_nothing(model: CalibratedTable) -> None:
    plain = SPACE.arch_ids(SPACE.sample(1, np.random.default_rng(3)))[0]
    kernels, rest = plain.split("_", 1)
    filled = kernels.replace("0", "7") + "_" + rest
    assert filled != plain
    assert predict_archs(SPACE, [filled], {"mine": model}) == predict_archs(SPACE, [plain], {"mine": model})


def test_several_devices_and_accuracies_that_are_refused_one_by_one(model: CalibratedTable) -> None:
    genotypes = SPACE.sample(7, np.random.default_rng(0))
    genotypes[[2, 5], -1] = len(SPACE.resolutions) - 1
    rows = predict_archs(SPACE, SPACE.arch_ids(genotypes), {"a": model, "b": model}, OnlyLargeImages())
    assert [row["device"] for row in rows] == ["a", "b"] * 7
    assert [row["accuracy"] for row in rows[::2]] == [None, None, 77.0, None, None, 77.0, None]
    assert rows[4]["accuracy_std"] == 0.5
    assert rows[4]["accuracy_tier"] == "predicted"
    assert "224 px" in rows[0]["accuracy_note"]
    assert "Choose another resolution" in rows[0]["accuracy_note"]


def test_foreign_architectures_are_refused(model: CalibratedTable) -> None:
    with pytest.raises(InputError, match="k9"):
        predict_archs(SPACE, ["k9"], {"mine": model})
    assert predict_archs(SPACE, [], {"mine": model}) == []
