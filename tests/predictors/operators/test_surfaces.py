"""Surfaces on made-up operators: what they say near, far and outside, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fleetfront.predictors.operators.surfaces import Surface, _Objective, _squares, learn_surface
from fleetfront.quantities import FloatArray


def wave(places: FloatArray) -> FloatArray:
    return np.asarray(0.4 * np.sin(places[:, 0]))


@pytest.fixture(scope="module")
def places() -> FloatArray:
    drawn = np.random.default_rng(0).uniform(0.0, 6.0, (60, 3))
    drawn[:, 2] = 1.0
    return drawn


@pytest.fixture(scope="module")
def surface(places: FloatArray) -> Surface:
    return learn_surface(places, wave(places), np.ones(60))


def test_operators_between_others_are_told_by_them(surface: Surface) -> None:
    others = np.random.default_rng(1).uniform(0.5, 5.5, (40, 3))
    others[:, 2] = 1.0
    told, std = surface.predict(others)
    assert np.abs(told - wave(others)).max() < 0.1
    assert np.mean(np.abs(told - wave(others)) <= 1.645 * std) > 0.85
    assert surface.lengths[0] < surface.lengths[1]


def test_what_is_far_is_doubted_in_sizes_that_never_changed_too(surface: Surface) -> None:
    near, outside, untried = np.array([[3.0, 3.0, 1.0]]), np.array([[16.0, 3.0, 1.0]]), np.array([[3.0, 3.0, 3.0]])
    doubts = [float(surface.predict(one)[1][0]) for one in (near, outside, untried)]
    assert doubts[1] > 3 * doubts[0] < doubts[2]
    assert surface.overshoot(near)[0] == 0.0
    assert surface.overshoot(untried)[0] == pytest.approx(2.0)


def test_those_left_out_are_told_by_the_others_alone(surface: Surface, places: FloatArray) -> None:
    left_out = np.array([3, 20, 41])
    rest = np.setdiff1d(np.arange(60), left_out)
    told, std, outside = surface.held_out(left_out, wave(places)[rest])
    without = replace(surface, places=surface.places[rest], beyond=surface.beyond[rest], grain=surface.grain[rest])
    assert np.allclose(told, without.predict(surface.places[left_out])[0], atol=0.02)
    assert np.all(std > 0)
    assert np.allclose(outside, without.overshoot(surface.places[left_out]))


def test_ends_are_the_smallest_and_largest_of_each_size_that_changes(surface: Surface) -> None:
    ends = surface.ends(0.1)
    assert len(ends) == 4
    assert surface.places[ends[0], 0].max() < np.delete(surface.places[:, 0], ends[0]).min()


def test_the_gradient_is_that_of_the_objective() -> None:
    rng = np.random.default_rng(2)
    drawn = rng.normal(size=(12, 3))
    centred = drawn - drawn.mean(axis=0)
    squares = np.moveaxis(_squares(drawn, drawn), 2, 0)
    objective = _Objective(squares, centred @ centred.T, 0.2 * rng.normal(size=12), np.full(12, 1e-4))
    at = objective.expected + 0.3 * rng.normal(size=6)
    steps = 1e-5 * np.eye(6)
    numeric = [(objective(at + step)[0] - objective(at - step)[0]) / 2e-5 for step in steps]
    assert objective(at)[1] == pytest.approx(numeric, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize(
    "changed",
    [
        {"lengths": np.ones(2)},
        {"lengths": np.zeros(3)},
        {"grain": np.full(60, -1.0)},
        {"beyond": np.full(60, 900.0)},
        {"noise": 0.0},
        {"places": np.ones((59, 3))},
    ],
)
def test_damaged_surfaces_are_refused(surface: Surface, changed: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="surface"):
        replace(surface, **changed)
