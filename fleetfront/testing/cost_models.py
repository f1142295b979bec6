"""Check that a cost model keeps the promises of ``CostModel``: shapes, units, certainty, and no memory of a batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from fleetfront.predictors.base import BlockCosts, CostModel, Relaxed, RelaxesPart, covered_by
from fleetfront.quantities import Estimate, FloatArray, Tier
from fleetfront.spaces.base import Genotypes, SearchSpace
from fleetfront.testing.checks import Fault, expect, with_fault
from fleetfront.testing.spaces import any_genotypes

_ROWS = 64


@dataclass(frozen=True, slots=True)
class CostModelCase:
    """A cost model and the space whose networks it is asked about.

    Attributes:
        rows: architectures int8[n, v] that it covers; sampled from the space if None.
    """

    model: CostModel
    space: SearchSpace
    rows: Genotypes | None = None

    def genotypes(self) -> Genotypes:
        """Canonical rows int8[n, v] to ask about."""
        return self.space.sample(_ROWS, np.random.default_rng(0)) if self.rows is None else self.rows


def check_metric_and_tier(case: CostModelCase) -> None:
    """The model says what it predicts, in which unit, and where its numbers come from."""
    metric, tier = case.model.metric, case.model.tier
    expect(metric.name and metric.unit, f"the metric has a name and a unit: {metric}")
    expect(isinstance(tier, Tier), f"the tier is a Tier, not {tier!r}")
    found = case.model.predict(case.genotypes()).tier
    expect(isinstance(found, Tier), f"the tier of an estimate is a Tier, not {found!r}")


def check_estimates(case: CostModelCase) -> None:
    """Means are positive and finite, standard deviations finite and not negative, one of each a row."""
    rows = case.genotypes()
    before = rows.copy()
    found = case.model.predict(rows)
    expect(np.array_equal(rows, before), "predict leaves its argument alone")
    for name, values in (("mean", found.mean), ("std", found.std)):
        expect(values.shape == (len(rows),), f"{name} is float64[n]: {len(rows)} rows gave {values.shape}")
        expect(values.dtype == np.float64, f"{name} is float64, not {values.dtype}")
        expect(np.isfinite(values).all(), f"{name} is finite")
    expect((found.mean > 0).all(), f"no network is free: the least mean is {found.mean.min():g}")
    expect((found.std >= 0).all(), f"standard deviations are not negative: the least is {found.std.min():g}")


def check_cover(case: CostModelCase) -> None:
    """``covers`` is bool[n], looks at each row alone, and is True of rows that the model then answers for."""
    rows = case.genotypes()
    covered = covered_by(case.model, rows)
    expect(covered.shape == (len(rows),) and covered.dtype == np.bool_, "covers is bool[n]")
    alone = np.concatenate([covered_by(case.model, row[None]) for row in rows])
    expect(np.array_equal(covered, alone), "covers looks at each row alone")
    expect(covered.all(), "the rows of the case are covered")


def check_block_values(case: CostModelCase) -> None:
    """A model of measured blocks has a positive value, and a word on where it is from, for each of the vocabulary."""
    if isinstance(case.model, BlockCosts):
        values, origins = case.model.block_values(), case.model.block_origins()
        size = len(case.space.vocabulary)
        expect(values.shape == (size,), f"block_values is float64[|V|], |V| = {size}, not {values.shape}")
        expect(np.isfinite(values).all() and (values > 0).all(), "block_values are finite and positive")
        expect(len(origins) == size, f"block_origins has |V| = {size} words, not {len(origins)}")


def check_relaxed(case: CostModelCase) -> None:
    """At probabilities of zero and one, the relaxed cost is the predicted mean, and gradients flow through it."""
    if not isinstance(case.model, Relaxed):
        return
    import torch

    rows = case.genotypes()[:8]
    chosen = np.concatenate([np.eye(len(v), dtype=np.float32)[rows[:, i]] for i, v in enumerate(case.space.choices)], 1)
    probabilities = torch.tensor(chosen, requires_grad=True)
    cost = case.model.relaxed(probabilities)
    expect(cost.shape == (len(rows),), f"relaxed is float32[n], not {tuple(cost.shape)}")
    wanted, found = case.model.predict(rows).mean, cost.detach().numpy()
    is_part = isinstance(case.model, RelaxesPart) and case.model.relaxed_without
    expect(
        is_part or np.allclose(found, wanted, rtol=1e-4), f"relaxed at zeros and ones is predict: {found} for {wanted}"
    )
    (gradient,) = torch.autograd.grad(cost.sum(), probabilities)
    expect(bool(torch.isfinite(gradient).all() and (gradient != 0).any()), "gradients are finite and not all zero")


def check_no_rows(case: CostModelCase) -> None:
    """No rows give no estimates."""
    found = case.model.predict(case.genotypes()[:0])
    expect(found.mean.shape == found.std.shape == (0,), f"no rows give no estimates, not {found.mean.shape}")


def check_rows_alone(case: CostModelCase) -> None:
    """A row's estimate depends neither on the other rows nor on their order, and is the same each time."""
    rows = case.genotypes()
    whole = case.model.predict(rows)
    backwards = case.model.predict(rows[::-1].copy())
    _expect_close(backwards.mean[::-1], whole.mean, "the order of rows changes nothing")
    alone = [case.model.predict(row[None]) for row in rows[:8]]
    _expect_close(np.array([one.mean[0] for one in alone]), whole.mean[:8], "each row is looked at alone")
    _expect_close(np.array([one.std[0] for one in alone]), whole.std[:8], "the std of each row is its own")
    _expect_close(case.model.predict(rows).mean, whole.mean, "the same rows cost the same each time")


def check_inactive_genes(case: CostModelCase) -> None:
    """A network costs the same however its inactive genes are spelled."""
    if case.rows is not None:
        return
    rows = any_genotypes(case.space)
    canonical = case.model.predict(case.space.canonical(rows)).mean
    _expect_close(case.model.predict(rows).mean, canonical, "inactive genes cost nothing")


COST_MODEL_CHECKS: tuple[Callable[[CostModelCase], None], ...] = (
    check_metric_and_tier,
    check_estimates,
    check_cover,
    check_block_values,
    check_relaxed,
    check_no_rows,
    check_rows_alone,
    check_inactive_genes,
)


def _expect_close(found: FloatArray, wanted: FloatArray, rule: str) -> None:
    expect(np.allclose(found, wanted, rtol=1e-6, atol=0), f"{rule}: they differ by {np.abs(found - wanted).max():.3g}")


def _changed(change: Callable[[Genotypes, Estimate], Estimate]) -> dict[str, Fault]:
    return {"predict": lambda predict, rows: change(rows, predict(rows))}


#: Faults by the promise that they break; ``faulty_cost_model`` puts one in.
_FAULTS: dict[str, dict[str, Fault]] = {
    "the std is negative": _changed(lambda _rows, found: replace(found, std=found.std - 1.0)),
    "a network is free": _changed(
        lambda _rows, found: replace(found, mean=found.mean * (found.mean > found.mean.min()))
    ),
    "a network costs nothing known": _changed(lambda _rows, found: replace(found, mean=found.mean + np.nan)),
    "the shape is a column": _changed(lambda _rows, found: replace(found, mean=found.mean[:, None])),
    "the cost depends on the batch": _changed(lambda rows, found: replace(found, mean=found.mean * (1 + len(rows)))),
    "nothing is covered": {"covers": lambda covers, rows: ~covers(rows)},
    "inactive genes cost": _changed(lambda rows, found: replace(found, mean=found.mean + rows.sum(axis=1))),
}
COST_MODEL_FAULTS = tuple(_FAULTS)


def faulty_cost_model(model: CostModel, fault: str) -> CostModel:
    """A copy of ``model`` with one of ``COST_MODEL_FAULTS``. Raises KeyError on others."""
    return with_fault(model, **_FAULTS[fault])
