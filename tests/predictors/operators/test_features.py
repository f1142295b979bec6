"""Sizes count for operators only where their time turns on them."""

import pytest

from fleetfront.predictors.operators.kernels import graph_kernels
from fleetfront.predictors.operators.samples import Sample


def test_rows_that_are_normalised_are_counted_whichever_dimensions_count_them() -> None:
    shapes = ("1x60x32", "3x20x32", "1x3x20x32")
    found = [graph_kernels(Sample.parse(f"{shape}|layer_norm").graph())[0].features.tolist() for shape in shapes]
    assert found[1:] == found[:1] * (len(shapes) - 1)


@pytest.mark.parametrize("stage", ["relu", "gelu_halved", "add", "spread:0x1x1"])
def test_where_each_element_is_for_itself_shapes_are_of_no_account(stage: str) -> None:
    shapes = ("1x60x32", "1x12x160", "1x8x12x20")
    found = [graph_kernels(Sample.parse(f"{shape}|{stage}").graph())[0].features.tolist() for shape in shapes]
    assert found[1:] == found[:1] * (len(shapes) - 1)
