"""Tell tables of a whole space from those of a part."""

from fleetfront.predictors.table.networks import holds_whole_space
from fleetfront.spaces.catalogue import load_space


def test_a_table_of_every_cell_holds_the_whole_space() -> None:
    space = load_space("nasbench201")
    assert holds_whole_space(space, 15_625)
    assert not holds_whole_space(space, 15_624)
    assert not holds_whole_space(load_space("ofa-mbv3-w1.2"), 10_000_000)
