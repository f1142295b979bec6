"""Fronts context by context: what limits and columns without a front of their own mean for gaps and gains."""

import numpy as np
import pytest

from fleetfront.search.strategies.context_fronts import SOFTNESS, ContextFronts


def fronts_of(problem, rows, context=(0,)):
    problem.evaluate(rows)
    fronts = ContextFronts(problem, context)
    fronts.update()
    return fronts


def test_columns_without_a_front_hide_no_other(make_problem):
    """No network keeps the first device's limit, so that only the second tells how far below its front one is."""
    free = make_problem()
    rows = np.unique(free.sample(60, np.random.default_rng(0)), axis=0)
    least = float(free.cost(rows)[:, 0].min())
    fronts = fronts_of(make_problem(limits=(None, None)), rows)
    strict = fronts_of(make_problem(limits=(0.999 * least, None)), rows)
    asked = rows[:20]
    accuracy = np.full(len(asked), 40.0)
    for one in (fronts, strict):
        gap = one.gap(one.cost(asked), accuracy, one.context_of(asked))
        assert np.all(np.isfinite(gap))
        assert np.all(gap > 0)


@pytest.mark.parametrize(("limits", "has"), [((None, None), False), ((1e6, None), False), ((1e6, 1e6), True)])
def test_only_limits_on_every_device_leave_networks_of_no_use(make_problem, limits, has):
    assert ContextFronts(make_problem(limits=limits), (0,)).has_limits is has


def test_a_context_of_which_nothing_is_known_is_worth_a_point_a_device(make_problem):
    problem = make_problem()
    rows = problem.sample(60, np.random.default_rng(0))
    rows = np.unique(rows[rows[:, 0] == 0], axis=0)
    fronts = fronts_of(problem, rows)
    other = rows[:5].copy()
    other[:, 0] = 1
    gain = fronts.gain_within(fronts.cost(other), np.full(len(other), 50.0), fronts.context_of(other))
    np.testing.assert_allclose(gain, fronts.columns / SOFTNESS)
