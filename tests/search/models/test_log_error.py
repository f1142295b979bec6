"""Accuracies as logarithms of errors, and back."""

from __future__ import annotations

import numpy as np
import pytest

from fleetfront.search.models.log_error import LogError


def test_accuracies_come_back_with_their_spread() -> None:
    accuracy = np.array([70.0, 90.0, 99.5])
    scale = LogError.of(accuracy)
    assert scale.offset == pytest.approx(0.05 * 29.5)
    mean, std = scale.accuracies(scale.values(accuracy), np.full(3, 0.1))
    assert mean == pytest.approx(accuracy)
    assert std == pytest.approx(0.1 * (100 - accuracy + scale.offset))


def test_equal_accuracies_keep_errors_from_zero_by_a_two_hundredth_of_a_point() -> None:
    scale = LogError.of(np.array([100.0, 100.0]))
    assert scale.offset == pytest.approx(0.005)
    assert np.isfinite(scale.values(np.array([100.0]))).all()


def test_scores_above_a_hundred_have_logarithms_too() -> None:
    frames = np.array([90.0, 250.0, 400.0])
    scale = LogError.of(frames)
    assert np.all(np.diff(scale.values(frames)) > 0)
    assert scale.accuracies(scale.values(frames), np.zeros(3))[0] == pytest.approx(frames)
