import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetfront.errors import InputError
from fleetfront.predictors.few_shot.choice import choose_informative, choose_networks
from fleetfront.predictors.few_shot.prior import KnownDevice, learn_prior
from fleetfront.predictors.operators.work import Mode


def test_the_first_choice_is_the_most_uncertain_and_the_second_is_another_direction() -> None:
    design = np.array([[1.0, 0.0], [2.0, 0.0], [1.9, 0.0], [0.0, 1.0]])
    chosen = choose_networks(design, np.eye(2), 0.1, 2)
    # log det gains first: log(1 + 4/0.01) is the largest; then (0, 1) is untouched while (1.9, 0) is nearly known.
    assert chosen.tolist() == [1, 3]


def test_candidates_that_cannot_be_told_apart_come_last() -> None:
    design = np.array([[3.0, 0.0], [3.0, 0.0], [1.0, 0.0], [0.5, 0.1]])
    assert set(choose_networks(design, np.eye(2), 1.0, 3).tolist()) in ({0, 2, 3}, {1, 2, 3})
    assert sorted(choose_networks(design, np.eye(2), 1.0, 4).tolist()) == [0, 1, 2, 3]


def test_what_modes_disagree_about_is_measured() -> None:
    """Nobody doubts what an operator costs here, only whether the second one is executed."""
    devices = [KnownDevice(f"d{i}", Mode.LIVE, np.array([1.0, 0.5]), 0.03) for i in range(6)]
    prior = learn_prior(devices, (Mode.LIVE, Mode.ALL))
    live = np.array([[1.0, 0.1], [1.0, 0.1], [1.0, 0.2], [1.0, 0.15]])
    written = live + np.array([[0, 0], [0, 1.5], [0, 0.1], [0, 0.0]])
    assert choose_informative(prior, {Mode.LIVE: live, Mode.ALL: written}, 1).tolist() == [1]


@pytest.mark.parametrize("k", [0, 5])
def test_as_many_candidates_as_choices_are_needed(k: int) -> None:
    with pytest.raises(InputError, match="of 4 networks"):
        choose_networks(np.eye(4), np.eye(4), 0.1, k)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), k=st.integers(1, 6))
def test_each_choice_tells_most_beside_those_before_it(seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    design, sigma = rng.normal(size=(30, 3)), 0.3
    chosen = choose_networks(design, np.eye(3), sigma, k)
    assert len(set(chosen.tolist())) == k

    def information(rows: np.ndarray) -> float:
        return float(np.linalg.slogdet(np.eye(3) + design[rows].T @ design[rows] / sigma**2)[1])

    greedy: list[int] = []
    for _ in range(k):
        left = [row for row in range(30) if row not in greedy]
        greedy.append(max(left, key=lambda row: information(np.array([*greedy, row]))))
    assert chosen.tolist() == greedy
