"""Relaxed costs and accuracies are the predictions at zeros and ones, with the slopes of their neighbours."""

from pathlib import Path

import numpy as np
import pytest
import torch

from fleetfront.predictors.accuracy.built_in import load_built_in
from fleetfront.predictors.accuracy.ofa_mlp import OfaMlpAccuracy
from fleetfront.predictors.base import AccuracyModel
from fleetfront.predictors.few_shot.model import KnownTable, Teacher
from fleetfront.predictors.relaxed import by_look_up, most_likely, one_hot, soft_features, split_genes
from fleetfront.predictors.table.calibrated import CalibratedTable
from fleetfront.predictors.table.fitting import fit_model
from fleetfront.spaces.base import Genotypes
from fleetfront.spaces.catalogue import load_space
from fleetfront.targets import Target
from fleetfront.testing.cost_models import CostModelCase, check_relaxed
from fleetfront.testing.problems import synthetic_latencies
from tests.predictors.synthetic_device import SyntheticDevice

MINI, CELLS, W12 = load_space("ofa-mbv3-mini"), load_space("nasbench201"), load_space("ofa-mbv3-w1.2")


def allowed(model: AccuracyModel, space: str, n: int = 32) -> Genotypes:
    family = load_space(space)
    rows = family.sample(n, np.random.default_rng(5))
    required = getattr(model, "required", {})
    for name, value in required.items():
        gene = family.gene_names.index(name)
        rows[:, gene] = family.choices[gene].index(value)
    return family.canonical(rows)


def check_accuracy(model: AccuracyModel, space: str) -> None:
    rows = allowed(model, space)
    chosen = one_hot(load_space(space), rows).requires_grad_()
    found = model.relaxed(chosen)  # type: ignore[attr-defined]
    assert np.allclose(found.detach().numpy(), model.predict(rows).mean, atol=2e-3)
    (slopes,) = torch.autograd.grad(found.sum(), chosen)
    assert bool(torch.isfinite(slopes).all() and (slopes != 0).any())


@pytest.mark.parametrize("space", ["ofa-mbv3-w1.0", "ofa-mbv3-w1.2"])
def test_shipped_accuracies_have_gradients(space: str) -> None:
    check_accuracy(load_built_in(load_space(space)), space)


def test_the_accuracy_network_of_once_for_all_has_gradients(shared_data: Path) -> None:
    check_accuracy(OfaMlpAccuracy.load(shared_data / "ofa_mbv3" / "acc_predictor_w12.pth", W12), W12.name)


def test_slopes_of_looked_up_values_are_differences_between_neighbours() -> None:
    rows = CELLS.sample(4, np.random.default_rng(0))
    (model,) = synthetic_latencies(CELLS, 1)
    chosen = one_hot(CELLS, rows).requires_grad_()
    found = by_look_up(CELLS, lambda asked: model.predict(asked).mean, chosen)
    assert np.allclose(found.detach().numpy(), model.predict(rows).mean, rtol=1e-5)
    slopes = split_genes(CELLS, torch.autograd.grad(found.sum(), chosen)[0])
    for edge in range(6):
        for operation in range(5):
            other = rows.copy()
            other[:, edge] = operation
            at = torch.from_numpy(rows[:, edge].astype(np.int64))[:, None]
            difference = slopes[edge][:, operation] - slopes[edge].gather(1, at)[:, 0]
            wanted = model.predict(other).mean - model.predict(rows).mean
            assert np.allclose(difference.numpy(), wanted, atol=1e-4)


def test_trees_are_left_out_and_said_so() -> None:
    fit = fit_model(MINI, SyntheticDevice(MINI).observe()).model
    assert CalibratedTable(MINI, fit).relaxed_without == ""
    rows = MINI.sample(64, np.random.default_rng(0))
    from fleetfront.predictors.table.residual import residual_features
    from fleetfront.predictors.trees import grow_trees

    plain = CalibratedTable(MINI, fit)
    features = residual_features(MINI, rows, plain.lookup_ms(rows))
    trees = grow_trees(features, np.full(64, 0.2), {"max_depth": 1}, 5, "a test")
    from dataclasses import replace

    corrected = CalibratedTable(MINI, replace(fit, residual=trees))
    assert "trees" in corrected.relaxed_without
    assert np.allclose(corrected.relaxed(one_hot(MINI, rows)).numpy(), plain.predict(rows).mean, rtol=1e-4)


def test_relaxed_costs_are_centred_as_predictions_are() -> None:
    from dataclasses import replace

    fit = fit_model(MINI, SyntheticDevice(MINI).observe()).model
    rows = MINI.sample(16, np.random.default_rng(0))
    centred = CalibratedTable(MINI, replace(fit, between_sittings=replace(fit.between_sittings, level=-0.2)))
    found = centred.relaxed(one_hot(MINI, rows)).numpy()
    assert np.allclose(found, centred.predict(rows).mean, rtol=1e-4)
    assert np.allclose(found / CalibratedTable(MINI, fit).predict(rows).mean, np.exp(-0.2 * 0.45), rtol=1e-4)


def test_few_shot_models_of_live_networks_have_gradients() -> None:
    rows = np.unique(MINI.sample(400, np.random.default_rng(0)), axis=0)
    models = synthetic_latencies(MINI, 5)
    known = [KnownTable(f"d{i}", rows, model.predict(rows).mean) for i, model in enumerate(models[1:])]
    teacher = Teacher(MINI, known)
    few = teacher.choose(10, np.random.default_rng(1), rows)
    fit = teacher.fit(Target("new", "litert"), few, models[0].predict(few).mean, second_opinion=False)
    check_relaxed(CostModelCase(fit.model, MINI))


def test_features_count_genes_as_often_as_they_are_active() -> None:
    rows = W12.sample(16, np.random.default_rng(0))
    from fleetfront.predictors.one_hot import OneHot

    assert np.array_equal(soft_features(W12, one_hot(W12, rows)).numpy(), OneHot.of(W12)(rows))
    assert np.array_equal(most_likely(W12, one_hot(W12, rows)), rows)
