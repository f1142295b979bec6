"""A report of networks in several precisions says where each accuracy comes from, and what precisions cost."""

import numpy as np

from fleetfront.quantities import LATENCY
from fleetfront.report.sections.front_views import ChoicePoint, FrontGroup, FrontView
from fleetfront.report.sections.fronts import FRONTS, front_table
from fleetfront.search.results import Fronts

SAID = "int8 costs 0.26 +-1.41 points of accuracy (estimated: 9 networks)."


def test_a_front_tells_the_origin_of_each_accuracy() -> None:
    points = (
        ChoicePoint(0, 1.0, 0.1, 70.0, 1.4, accuracy_tier="estimated"),
        ChoicePoint(1, 2.0, 0.1, 71.0, 0.1, accuracy_tier="predicted"),
    )
    view = FrontView(
        "cpu", "cpu", "t", "measured", "", "", 1.0, ("9", "50"), None, 2, points, 0, np.zeros((0, 2)), caution=SAID
    )
    group = FrontGroup(
        "s@fp32,int8", LATENCY, "built-in", "predicted", 0, (view,), ("a@int8", "b@fp32"), ((), ()), (), (), "", ""
    )
    assert [row[4] for row in front_table(group).rows] == ["estimated", "predicted"]
    assert any("int8 costs 0.26" in line for line in FRONTS.brief((group,)))


def test_fronts_say_what_precisions_cost() -> None:
    drop = {"points": 0.264, "std": 1.408, "tier": "estimated", "source": "9 networks", "networks": 9}
    fronts = Fronts("s", "random", 0, 1, 1.0, "built-in", "predicted", (), drops={"int8": drop})
    assert fronts.drop_sentences == (SAID,)


def test_a_front_tells_the_size_of_files_where_it_was_asked_for() -> None:
    points = (ChoicePoint(0, 1.0, 0.1, 70.0, 1.4, size=(2.0 * 2**20, 2.0**10)), ChoicePoint(0, 2.0, 0.1, 71.0, 0.1))
    view = FrontView(
        "cpu", "cpu", "t", "measured", "", "", 1.0, ("9", "50"), None, 2, points, 0, np.zeros((0, 2)), caution=SAID
    )
    group = FrontGroup("s", LATENCY, "built-in", "predicted", 0, (view,), ("a",), ((),), (), (), "", "")
    table = front_table(group)
    assert table.headers[5] == "size MiB (estimated)"
    assert [row[5] for row in table.rows] == ["2.000 ±0.00098", "–"]
    assert len(table.headers) == len(table.rows[0])
