"""The report's section of operators: bars in order of time, both totals, and files that are damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleetfront.pipelines.measure.file_operators import FileOperators, OperatorRow
from fleetfront.pipelines.measure.operator_time_files import list_operator_times, save_operator_times
from fleetfront.report.gather import gather_report
from fleetfront.report.page.page import render_page
from fleetfront.report.sections.operators import operator_figures, operator_table
from fleetfront.targets import Target
from fleetfront.workspace import Workspace


def timed(count: int) -> FileOperators:
    """Operators of 1 to ``count`` parts of 20 ms, the slowest last, and twice as long under the profiler."""
    total = count * (count + 1) / 2
    rows = tuple(
        OperatorRow(f"node {part}</script>", "Conv", 40 * part / total, part / total, 20 * part / total, part == count)
        for part in range(1, count + 1)
    )
    return FileOperators(Path("net.onnx"), "ab" * 32, Target("cpu", "onnxruntime"), 20.0, 44.0, rows, "a profiler")


def test_bars_begin_with_the_slowest_and_end_with_all_others() -> None:
    (figure,) = operator_figures(timed(30))
    values = figure.spec["data"]["values"]
    assert [row["name"] for row in values[:2]] == ["node 30</script>", "node 29</script>"]
    assert (values[0]["kind"], values[-1]["name"]) == ("Conv (fused)", "10 others")
    assert sum(row["ms"] for row in values) == pytest.approx(20.0)
    assert "20.0 ms undisturbed" in figure.description
    assert "44.0 ms a run while profiled" in figure.description
    assert [row["name"] for row in next(operator_figures(timed(3))).spec["data"]["values"]][-1] == "node 1</script>"


def test_the_table_has_both_times() -> None:
    table = operator_table(timed(3))
    assert table.rows[0] == ("node 3</script>", "Conv (fused)", "10.0", "50.0%", "20.0")


def test_kept_times_come_into_the_page_and_damaged_ones_into_its_notes(tmp_path: Path) -> None:
    place = Workspace(tmp_path)
    path = save_operator_times(timed(3), place)
    (kept,), damaged = list_operator_times(place)
    assert (kept, damaged) == (timed(3), [])
    page = render_page(gather_report(place, random_seeds=0))
    assert '<section id="operators"' in page
    assert "net.onnx" in page
    assert "node 3</script>" not in page
    path.write_text("{")
    report = gather_report(place, random_seeds=0)
    assert report.views("operators") == ()
    assert any(path.name in note.text for note in report.notes)
