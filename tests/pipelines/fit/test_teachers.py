import numpy as np
import pytest

from fleetfront.device_configs.loader import load_device
from fleetfront.pipelines.fit.teachers import noisy_latency_ms
from fleetfront.predictors.operators.model import OperatorEstimate, operator_models
from fleetfront.predictors.operators.work import DETAILED_NAMES, KERNEL_SIZES, WORK_NAMES, NetworkWork
from fleetfront.spaces.catalogue import load_space


@pytest.fixture(scope="module")
def work():
    return NetworkWork(load_space("ofa-mbv3-mini"))


def test_large_kernels_are_counted_apart(work):
    space = work.space
    genotypes = space.sample(50, np.random.default_rng(0))
    detailed = work.detailed(genotypes)
    assert detailed.shape == (50, len(DETAILED_NAMES))
    np.testing.assert_array_equal(detailed[:, : len(WORK_NAMES)], work(genotypes))
    depthwise = detailed[:, DETAILED_NAMES.index("depthwise.mmacs")]
    large = detailed[:, len(WORK_NAMES) :]
    assert large.shape[1] == len(KERNEL_SIZES)
    assert (large.sum(axis=1) <= depthwise + 1e-9).all()
    kernels = [i for i, name in enumerate(space.gene_names) if name.startswith("k")]
    three = genotypes.copy()
    three[:, kernels] = 0
    assert not work.detailed(space.canonical(three))[:, len(WORK_NAMES) :].any()


@pytest.mark.parametrize(("space", "setting"), [("ofa-mbv3-mini", "pixel3"), ("nasbench201", "titanx_32")])
def test_devices_differ_from_the_estimate_and_from_each_other_but_not_wildly(space, setting):
    work = NetworkWork(load_space(space))
    model, target = operator_models()[setting], load_device(setting).target
    genotypes = work.space.sample(300, np.random.default_rng(1))
    exact = OperatorEstimate(work, model, target).predict(genotypes).mean
    ratios = np.stack(
        [noisy_latency_ms(work, model, target, genotypes, np.random.default_rng(seed)) / exact for seed in range(8)]
    )
    assert (ratios > 0).all()
    assert 0.01 < np.log(ratios).std() < 0.5
    assert not np.allclose(ratios[0], ratios[1])
    again = noisy_latency_ms(work, model, target, genotypes, np.random.default_rng(0)) / exact
    np.testing.assert_array_equal(ratios[0], again)
