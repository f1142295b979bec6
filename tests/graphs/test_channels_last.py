import numpy as np
import pytest

from fleetfront.graphs.channels_last import keeps_order, padding_scheme, window_shares


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding", "scheme"),
    [
        ((8, 8), (3, 3), (1, 1), (0, 0, 0, 0), "VALID"),
        ((8, 8), (3, 3), (1, 1), (1, 1, 1, 1), "SAME"),
        ((8, 8), (3, 3), (2, 2), (1, 1, 1, 1), ""),
        ((8, 8), (3, 3), (2, 2), (0, 0, 1, 1), "SAME"),
        ((7, 7), (3, 3), (2, 2), (1, 1, 1, 1), "SAME"),
        ((8, 7), (3, 3), (2, 2), (1, 1, 1, 1), ""),
        ((8, 8), (5, 3), (1, 1), (2, 1, 2, 1), "SAME"),
        ((8, 8), (2, 2), (1, 1), (0, 0, 1, 1), "SAME"),
        ((8, 8), (2, 2), (1, 1), (1, 1, 0, 0), ""),
    ],
)
def test_padding_scheme(
    size: tuple[int, int], kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, ...], scheme: str
) -> None:
    assert padding_scheme(size, kernel, stride, (1, 1), padding) == scheme


def test_window_shares_take_padding_out_of_an_average() -> None:
    shares = window_shares((2, 2), (3, 1), (1, 1), (1, 0, 1, 0))
    np.testing.assert_allclose(shares[0, :, :, 0], [[1.5, 1.5], [1.5, 1.5]])


def test_order_is_kept_where_only_units_move() -> None:
    assert keeps_order((1, 6, 1, 1), (0, 2, 3, 1))
    assert keeps_order((2, 1, 5, 5), (0, 2, 3, 1))
    assert not keeps_order((2, 6, 5, 1), (0, 2, 3, 1))
    assert not keeps_order(("batch", 6, 1, 1), (1, 0, 2, 3))
