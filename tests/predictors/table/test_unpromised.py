"""Promise nothing of large networks from one sitting, whatever the size of the others of their space."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fleetfront.pipelines.predict.architectures import predict_archs
from fleetfront.predictors.base import predict_covered
from fleetfront.predictors.table.calibrated import CalibratedTable
from fleetfront.predictors.table.fitting import fit_model
from fleetfront.predictors.table.warnings import fit_warnings
from fleetfront.spaces.base import Genotypes
from fleetfront.spaces.ofa_mbv3.space import ofa_mbv3_w10
from tests.predictors.synthetic_device import SyntheticDevice

#: Half way, on a logarithmic scale, between what caches hold and six times as much: bytes of weights.
LARGE = 2 * 6**0.5 * 2**20


def test_large_networks_of_a_space_of_smaller_ones_are_promised_nothing() -> None:
    space = ofa_mbv3_w10()
    observations = SyntheticDevice(space).observe()
    target = replace(observations.target, precision="int8")
    model = fit_model(space, replace(observations, target=target)).model
    genotypes = space.sample(40, np.random.default_rng(1))
    is_large = space.params(genotypes) >= LARGE
    assert is_large.any() and not is_large.all()  # noqa: PT018
    estimate = CalibratedTable(space, model).predict(genotypes)
    assert [std is None for std in estimate.promised_std] == is_large.tolist()
    assert f"fleetfront fit {target.options} --space {space.name} --recalibrate" in estimate.unpromised
    small = CalibratedTable(space, model).predict(genotypes[~is_large])
    assert (small.unpromised, small.promised_std) == ("", small.std.tolist())
    (said,) = (warning.text for warning in fit_warnings(model, space) if warning.code == "one-sitting")
    assert "those of its networks with over 5 MiB of weights" in said
    archs = space.arch_ids(genotypes)
    rows = predict_archs(space, archs, {"cpu": CalibratedTable(space, model)})
    for row, large in zip(rows, is_large, strict=True):
        assert ("not_promised" in row, row["latency_std_ms"] is None, row["latency_low_ms"] is None) == (large,) * 3


class Half(CalibratedTable):
    """A table that answers for every other network alone."""

    def covers(self, genotypes: Genotypes) -> NDArray[np.bool_]:
        return np.arange(len(genotypes)) % 2 == 0


def test_networks_that_are_not_covered_are_promised_nothing_either() -> None:
    space = ofa_mbv3_w10()
    observations = SyntheticDevice(space).observe()
    model = fit_model(space, replace(observations, target=replace(observations.target, precision="int8"))).model
    genotypes = space.sample(40, np.random.default_rng(1))
    known = predict_covered(Half(space, model), genotypes)
    is_small = space.params(genotypes) < LARGE
    assert known.is_promised.tolist() == [small and at % 2 == 0 for at, small in enumerate(is_small)]
