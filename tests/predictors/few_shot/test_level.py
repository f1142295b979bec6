"""Measurements far from the device's own estimate are doubted: another unit, or another device."""

import numpy as np
import pytest

from fleetfront.predictors.few_shot.model import KnownTable, Teacher
from fleetfront.predictors.operators.work import Mode, NetworkWork
from tests.predictors.few_shot import test_posterior as shared

cells, teacher, work = shared.cells, shared.teacher, shared.work


@pytest.mark.parametrize(("factor", "said"), [(10.0, " times what"), (0.1, "1/"), (2.0, ""), (0.4, "")])
def test_a_level_far_from_the_own_estimate_is_doubted(
    factor: float, said: str, teacher: Teacher, work: NetworkWork, cells: np.ndarray
) -> None:
    ms = shared.synthetic(work, cells, 17, Mode.ALL, 0.01)
    told = {"new": KnownTable("new", cells, ms)}
    told |= {table.name: KnownTable(table.name, cells, table.ms) for table in teacher.known}
    helped = Teacher(shared.SPACE, teacher.known, work=work, estimates=told, device="new")
    few = helped.choose(4, np.random.default_rng(1), cells)
    measured = factor * ms[shared.rows_of(cells, few)]
    report = helped.fit(shared.TARGET, few, measured, second_opinion=False).report
    doubts = [text for text in report.warnings if "the estimate of new says" in text]
    assert len(doubts) == bool(said)
    assert all(said in text and "in ms, and of this device" in text for text in doubts)
