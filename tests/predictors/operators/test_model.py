import json
from dataclasses import replace

import numpy as np
import pytest

from fleetfront.device_configs.loader import load_device
from fleetfront.predictors.base import GraphCost
from fleetfront.predictors.operators.model import (
    LEVEL_STD_OF_QUEUES,
    UNCHECKED_STD,
    OperatorEstimate,
    OperatorModel,
    operator_models,
)
from fleetfront.predictors.operators.work import NetworkWork
from fleetfront.quantities import Tier
from fleetfront.spaces.nasbench201.space import NasBench201Space
from fleetfront.spaces.ofa_mbv3.space import ofa_mbv3_w12

LITERATURE = [
    "1080ti_1", "1080ti_32", "1080ti_256", "titanx_1", "titanx_32", "titanx_256", "titan_rtx_256", "silver_4114",
    "silver_4210r", "gold_6226", "gold_6240", "samsung_a50", "samsung_s7", "pixel2", "pixel3", "essential_ph_1",
    "raspi4", "fpga", "eyeriss",
]  # fmt: skip


@pytest.fixture(scope="module")
def work() -> NetworkWork:
    return NetworkWork(ofa_mbv3_w12())


def test_every_setting_of_the_literature_has_an_estimate(work: NetworkWork) -> None:
    assert set(LITERATURE) <= set(operator_models())
    genotypes = ofa_mbv3_w12().sample(200, np.random.default_rng(0))
    macs = ofa_mbv3_w12().macs(genotypes)
    for name in LITERATURE:
        estimate = OperatorEstimate(work, operator_models()[name], load_device(name).target).predict(genotypes)
        assert estimate.tier is Tier.ESTIMATED
        assert np.all(np.isfinite(estimate.mean) & (estimate.mean > 0) & (estimate.std > 0))
        assert np.corrcoef(np.log(estimate.mean), np.log(macs))[0, 1] > 0.2  # batch 1 on a GPU follows depth


def test_sums_over_blocks_give_what_counting_operators_gives(work: NetworkWork) -> None:
    genotypes = ofa_mbv3_w12().sample(50, np.random.default_rng(3))
    cells = NetworkWork(NasBench201Space())
    for name in ("titan_rtx_32", "pixel3"):
        model, target = operator_models()[name], load_device(name).target
        counted = model.latency_ms(work(genotypes), target.batch)
        np.testing.assert_allclose(OperatorEstimate(work, model, target).predict(genotypes).mean, counted)
        every = cells.space.sample(50, np.random.default_rng(3))
        counted = model.latency_ms(cells(every, model.mode), target.batch)
        np.testing.assert_allclose(OperatorEstimate(cells, model, target).predict(every).mean, counted)


def test_larger_batches_take_longer(work: NetworkWork) -> None:
    genotypes = ofa_mbv3_w12().sample(50, np.random.default_rng(0))
    means = [
        OperatorEstimate(work, operator_models()[name], load_device(name).target).predict(genotypes).mean
        for name in ("1080ti_1", "1080ti_32", "1080ti_256")
    ]
    assert np.all(means[0] < means[1])
    assert np.all(means[1] < means[2])


def test_what_nobody_could_check_says_so() -> None:
    eyeriss, card = operator_models()["eyeriss"], operator_models()["2080ti_32"]
    assert "Nobody could check" in eyeriss.warning
    assert eyeriss.relative_std == pytest.approx(UNCHECKED_STD)
    assert "among each other" in eyeriss.warning
    # Seen to be 1.9 times too slow, but for 15 % in order.
    checked = operator_models()["gold_6240"]
    (check,) = checked.foreign_checks
    assert (check.level, check.rank) == (pytest.approx(-0.64, abs=0.01), pytest.approx(0.14, abs=0.01))
    assert 0.36 < checked.level_std < abs(check.level)
    assert checked.relative_std == pytest.approx(np.hypot(checked.level_std, checked.rank_std))
    assert card.foreign_checks
    # GPUs, which work off a queue, were off by less.
    assert (card.is_queue, checked.is_queue) == (True, False)
    assert card.level_std == pytest.approx(np.sqrt(np.mean(np.square([0.11, 0.16, LEVEL_STD_OF_QUEUES]))), abs=0.01)
    assert "ofa-mbv3-w1.0" in card.warning
    assert {check.space for check in card.checks} == {"fbnet", "ofa-mbv3-w1.0"}


def test_json_reads_back_equal() -> None:
    for model in operator_models().values():
        again = OperatorModel.from_json(json.loads(json.dumps(model.to_json())))
        assert again.to_json() == model.to_json()
    with pytest.raises(ValueError, match="schema"):
        OperatorModel.from_json({"schema": "other/1"})


def test_an_estimate_that_its_data_sheet_contradicts_is_refused() -> None:
    models = operator_models()
    refused = {name: model.objection(load_device(name)) for name, model in models.items()}
    assert [name for name, objection in refused.items() if objection] == ["gold_6226"]
    assert "889 times slower" in refused["gold_6226"]
    fast = replace(models["raspi4"], ms_per_mmac=models["raspi4"].ms_per_mmac / 100)
    assert "times faster" in fast.objection(load_device("raspi4"))


def test_any_graph_is_estimated_as_its_network_is(work: NetworkWork) -> None:
    space = ofa_mbv3_w12()
    model = OperatorEstimate(work, operator_models()["pixel3"], load_device("pixel3").target)
    assert isinstance(model, GraphCost)
    genotypes = space.sample(1, np.random.default_rng(4))
    graph, calls = space.subnet_graphs(genotypes[0])["network"]
    assert calls == 1
    assert model.estimate(graph).mean[0] == pytest.approx(model.predict(genotypes).mean[0], rel=0.02)


@pytest.mark.parametrize(("exponent", "together"), [(2.0, 5.0), (1e6, 4.0), (1e300, 4.0), (1.0, 7.0)])
def test_the_longer_part_counts_alone_the_larger_the_exponent(exponent: float, together: float) -> None:
    model = replace(operator_models()["1080ti_1"], exponent=exponent, base_ms=1.0)
    found = model.combine(np.array([2.0, 2e200, 0.0]), np.array([4.0, 4e200, 1e-300]))
    assert found[0] == pytest.approx(together, rel=1e-5)
    assert found[1] == pytest.approx({2.0: 20**0.5, 1.0: 6.0}.get(exponent, 4.0) * 1e200, rel=1e-5)
    assert found[2] == pytest.approx(1.0)


@pytest.mark.parametrize("exponent", [0.0, 0.5, -1.0, float("nan"), float("inf")])
def test_an_exponent_under_which_parts_take_less_than_alone_is_no_models(exponent: float) -> None:
    data = operator_models()["pixel3"].to_json() | {"exponent": exponent}
    with pytest.raises(ValueError, match="exponent"):
        OperatorModel.from_json(data)


def test_relaxed_estimates_survive_large_exponents() -> None:
    torch = pytest.importorskip("torch")
    from fleetfront.predictors.relaxed import one_hot

    cells = NetworkWork(NasBench201Space())
    model = replace(operator_models()["pixel3"], exponent=500.0, mode=cells.own_mode)
    estimate = OperatorEstimate(cells, model, load_device("pixel3").target)
    rows = cells.space.sample(5, np.random.default_rng(0))
    relaxed = estimate.relaxed(one_hot(cells.space, rows))
    assert torch.isfinite(relaxed).all()
    assert relaxed.numpy() == pytest.approx(estimate.predict(rows).mean, rel=1e-4)
