"""Models of counted accuracies learn them, come back from tensors as they were, and have slopes that tell the truth."""

import numpy as np
import pytest
import torch

from fleetfront.predictors.relaxed import one_hot
from fleetfront.search.models.counted import AccuracyEnsemble, _behind, fit_counted, fit_ensemble, load_counted
from fleetfront.search.models.counted_process import ErrorProcess
from fleetfront.spaces.catalogue import load_space
from fleetfront.testing.problems import SyntheticAccuracy, small_problem

MINI = load_space("ofa-mbv3-mini")


@pytest.fixture(scope="module")
def fresh():
    """Networks and accuracies that no model was fitted to."""
    rows = np.unique(MINI.sample(100, np.random.default_rng(9)), axis=0)
    return rows, SyntheticAccuracy(MINI).predict(rows).mean


@pytest.fixture(scope="module")
def process():
    problem = small_problem(MINI, budget=60)
    problem.evaluate(problem.sample(60, np.random.default_rng(0)))
    return fit_counted(problem, 0, 1)


@pytest.fixture(scope="module")
def ensemble():
    rows = np.unique(MINI.sample(300, np.random.default_rng(0)), axis=0)
    return fit_ensemble(MINI, rows, SyntheticAccuracy(MINI).predict(rows).mean, 0, 60)


@pytest.mark.parametrize(("name", "kind"), [("process", ErrorProcess), ("ensemble", AccuracyEnsemble)])
def test_it_predicts_what_it_has_not_seen_and_is_read_back(name, kind, fresh, request):
    model = request.getfixturevalue(name)
    rows, truth = fresh
    assert isinstance(model, kind)
    mean, std = model.predict(rows)
    assert np.corrcoef(mean, truth)[0, 1] > 0.9
    assert (std > 0).all()
    again = load_counted(model.kind, model.tensors(), MINI)
    assert again.predict(rows)[0] == pytest.approx(mean, abs=1e-5)
    assert again.predict(rows)[1] == pytest.approx(std, rel=1e-4)
    assert len(model.predict(rows[:0])[0]) == 0


def test_sixty_accuracies_are_enough_for_the_process(process, fresh):
    rows, truth = fresh
    mean, std = process.predict(rows)
    off = np.abs(mean - truth)
    assert np.sqrt(np.mean(off**2)) < 0.35 * truth.std()
    assert np.mean(off < 2 * std) > 0.8


def test_of_many_half_are_nearest_to_the_fronts_and_half_are_any():
    problem = small_problem(MINI, budget=1500)
    problem.evaluate(np.unique(MINI.sample(1500, np.random.default_rng(0)), axis=0))
    fitted = fit_counted(problem, 0, 1).genotypes
    order = np.argsort(_behind(problem.archive), kind="stable")
    rank = np.argsort(order)[problem.archive.find(fitted)]
    assert len(np.unique(rank)) == 700
    assert set(range(350)) <= set(rank.tolist())
    assert np.median(rank[rank >= 350]) == pytest.approx((350 + len(problem.archive)) / 2, rel=0.1)


def test_the_process_says_the_same_of_probabilities_that_are_ones(process, fresh):
    rows, _ = fresh
    assert process.relaxed(one_hot(MINI, rows)).numpy() == pytest.approx(process.predict(rows)[0], abs=1e-4)


def test_slopes_point_to_better_networks(process):
    (row,) = MINI.sample(1, np.random.default_rng(3))
    chosen = one_hot(MINI, row[None]).requires_grad_()
    (slope,) = torch.autograd.grad(process.relaxed(chosen).sum(), chosen)
    last = len(MINI.choices) - 1
    own = slope[0].split([len(values) for values in MINI.choices])[last].numpy()
    others = np.repeat(row[None], len(own), axis=0)
    others[:, last] = np.arange(len(own))
    mean = process.predict(MINI.canonical(others))[0]
    assert np.argmax(own) == np.argmax(mean)


@pytest.mark.parametrize("broken", ["genotypes", "accuracy", "top", "logs"])
def test_a_process_of_the_wrong_shape_is_refused(process, broken):
    tensors = process.tensors()
    with pytest.raises(ValueError, match="process"):
        load_counted("process", tensors | {broken: tensors[broken][:, None]}, MINI)
    with pytest.raises(KeyError):
        load_counted("process", {name: t for name, t in tensors.items() if name != broken}, MINI)


@pytest.mark.parametrize("broken", ["genotypes", "mean", "std"])
def test_a_table_of_the_wrong_shape_or_type_is_refused(broken):
    rows = torch.from_numpy(np.unique(MINI.sample(8, np.random.default_rng(0)), axis=0).astype(np.int8))
    table = {"genotypes": rows, "mean": torch.linspace(70, 80, len(rows)), "std": torch.ones(len(rows))}
    assert load_counted("table", table, MINI).predict(rows[:3].numpy())[0] == pytest.approx(table["mean"][:3].numpy())
    with pytest.raises(ValueError, match="shape"):
        load_counted("table", table | {broken: table[broken][:-1]}, MINI)
    with pytest.raises(ValueError, match="shape"):
        load_counted("table", table | {"genotypes": rows.to(torch.int64)}, MINI)
