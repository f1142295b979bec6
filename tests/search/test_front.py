"""Fronts against brute force, and the points people ask for against numbers worked out by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetfront.errors import InputError
from fleetfront.search.front import (
    Staircase,
    best_within,
    hypervolume,
    knee,
    non_dominated,
    target_front,
    two_objectives,
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, 6)] * 3), max_size=40), st.sampled_from([2, 3]))
def test_non_dominated_rows_are_those_of_the_definition(rows, columns):
    values = np.array(rows, dtype=float).reshape(-1, 3)[:, :columns]
    found = non_dominated(values)
    kept = {tuple(values[i]) for i in found}
    dominated = [np.any(np.all(values <= row, axis=1) & np.any(values < row, axis=1)) for row in values]
    assert kept == {tuple(row) for row, bad in zip(values, dominated, strict=True) if not bad}
    assert len(found) == len(kept)
    assert np.all(np.diff(values[found, 0]) >= 0)


def test_hypervolume_of_two_steps():
    values = np.array([[1.0, 20.0], [3.0, 10.0], [200.0, 1.0]])
    # (3 - 1) x (25 - 20) + (10 - 3) x (25 - 10); the third point lies beyond the reference.
    assert hypervolume(values, (10.0, 25.0)) == pytest.approx(115.0)


def test_a_limit_leaves_slower_networks_out():
    cost, accuracy = np.array([1.0, 2.0, 3.0, 2.5]), np.array([70.0, 75.0, 80.0, 74.0])
    assert target_front(cost, accuracy).tolist() == [0, 1, 2]
    assert target_front(cost, accuracy, limit=2.5).tolist() == [0, 1]
    assert target_front(cost, accuracy, limit=2.0).tolist() == [0, 1], "a limit allows what just meets it"


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, 6)] * 2), max_size=30))
def test_two_objectives_of_a_front_with_more_are_the_front_of_these_two(points):
    cost, accuracy = np.array(points, dtype=float).reshape(-1, 2).T
    rows = two_objectives(cost, accuracy)
    assert rows.tolist() == target_front(cost, accuracy).tolist()


def test_knee_is_where_the_front_bends():
    cost, accuracy = np.array([10.0, 20.0, 30.0, 90.0]), np.array([70.0, 76.0, 77.0, 78.0])
    assert knee(cost, accuracy) == 1
    assert knee(cost[:2], accuracy[:2]) == 0


def test_best_within_names_the_fastest_and_the_gap():
    cost, accuracy = np.array([5.0, 8.0, 13.0]), np.array([70.0, 72.0, 75.0])
    assert best_within(cost, accuracy, 12.9) == 1
    with pytest.raises(InputError, match=r"at most 4 ms on pixel3: the fastest takes 5 ms, 1 ms too long"):
        best_within(cost, accuracy, 4, "pixel3")


def test_staircase_gives_the_best_accuracy_within_a_cost():
    stairs = Staircase(np.array([2.0, 4.0]), np.array([70.0, 80.0]))
    assert stairs.at(np.array([1.0, 2.0, 3.0, 4.0, 9.0])).tolist() == [60.0, 70.0, 70.0, 80.0, 80.0]
