"""Comparing two results: what counts as a change, which changes fail, and what cannot be compared."""

import json
from pathlib import Path

import numpy as np
import pytest

from fleetfront.cli.main import main
from fleetfront.errors import InputError
from fleetfront.pipelines.compare import Bar, Row, compare_results, parse_bars, relative_change
from fleetfront.search.results import DeviceFront, FrontPoint, Fronts, write_fronts

ERROR = 12.0


def front(name: str, latencies: list[float], accuracies: list[float], reference: tuple[float, ...]) -> DeviceFront:
    points = tuple(
        FrontPoint(f"n{i}", ms, 0.1, acc) for i, (ms, acc) in enumerate(zip(latencies, accuracies, strict=True))
    )
    corners = [*latencies, reference[0]]
    # The staircase by hand: each point covers up to the next one's latency.
    volume = sum((corners[i + 1] - corners[i]) * (reference[1] - (100 - accuracies[i])) for i in range(len(latencies)))
    return DeviceFront(
        name, f"{name}/litert/fp32/t1/b1", "measured", volume, reference, points, knee=min(1, len(points) - 1)
    )


def result(folder: Path, *devices: DeviceFront, verification: dict | None = None) -> Path:
    fronts = Fronts("ofa-mbv3-mini", "nsga2", 0, 100, 1.0, "built-in", "predicted", devices, verification=verification)
    folder.mkdir(parents=True, exist_ok=True)
    write_fronts(fronts, folder)
    return folder


def fit(folder: Path, mape: float, name: str = "cpu.report.json") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    scores = {"networks": 50, "mape": mape, "within_10": 0.98, "coverage_90": 0.9}
    report = {"schema": "fleetfront.fit/1", "space": "s", "target": "cpu/litert/fp32/t1/b1", "clock": "wall"}
    (folder / name).write_text(json.dumps({**report, "held_out": scores, "other_clocks": []}))
    return folder


@pytest.fixture
def before(tmp_path: Path) -> Path:
    return result(tmp_path / "a", front("pixel3", [1, 2, 4], [70, 74, 76], (10, 40)))


def values(rows: tuple[Row, ...]) -> dict[str, tuple[float | None, float | None]]:
    return {row.quantity: (row.before, row.after) for row in rows}


def test_equal_results_do_not_differ(before: Path) -> None:
    rows = compare_results(before, before, parse_bars("hypervolume:-0%,accuracy:-0,latency:+0%"))
    assert [row.quantity for row in rows] == ["hypervolume", "accuracy", "latency"]
    assert all(row.change == 0 and row.missed == "" for row in rows)


def test_hypervolume_is_taken_against_the_first_reference(before: Path, tmp_path: Path) -> None:
    wide = front("pixel3", [1, 2, 4], [70, 74, 76], (20, 50))
    rows = values(compare_results(before, result(tmp_path / "b", wide)))
    assert rows["hypervolume"][0] == pytest.approx(rows["hypervolume"][1])


def test_latency_is_compared_at_the_accuracy_of_the_first_knee(before: Path, tmp_path: Path) -> None:
    slower = front("pixel3", [1, 3, 4], [70, 74.5, 76], (10, 40))
    assert values(compare_results(before, result(tmp_path / "b", slower)))["latency"] == (2, 3)
    worse = front("pixel3", [1, 2], [70, 71], (10, 40))
    rows = compare_results(before, result(tmp_path / "c", worse), parse_bars("latency:+5%"))
    latency = next(row for row in rows if row.quantity == "latency")
    assert (latency.after, latency.missed) == (None, "latency:+5%")


def test_bars_fail_in_their_direction_only(before: Path, tmp_path: Path) -> None:
    better = result(tmp_path / "better", front("pixel3", [0.9, 1.8, 4], [70, 74, 76], (10, 40)))
    bars = parse_bars("hypervolume:-1%")
    assert not any(row.missed for row in compare_results(before, better, bars))
    assert [row.missed for row in compare_results(better, before, bars) if row.missed] == ["hypervolume:-1%"]


def test_a_vanished_device_fails_and_a_new_one_does_not(before: Path, tmp_path: Path) -> None:
    both = result(
        tmp_path / "both", front("pixel3", [1, 2, 4], [70, 74, 76], (10, 40)), front("raspi4", [5], [70], (50, 40))
    )
    bars = parse_bars("hypervolume:-1%")
    assert not any(row.missed for row in compare_results(before, both, bars))
    missed = [row for row in compare_results(both, before, bars) if row.missed]
    assert [row.subject for row in missed] == ["ofa-mbv3-mini on raspi4 (raspi4/litert/fp32/t1/b1)"]


def test_models_and_the_winners_curse_are_compared(tmp_path: Path) -> None:
    curse = {"top": 3, "devices": {"pixel3": {"optimism_percent": 4.0}}}
    a = result(tmp_path / "a", front("pixel3", [1, 2], [70, 74], (10, 40)), verification=curse)
    b = result(tmp_path / "b", front("pixel3", [1, 2], [70, 74], (10, 40)), verification=curse)
    fit(a / "fits" / "s", 2.0)
    fit(b / "fits" / "s", 3.5)
    rows = compare_results(a, b, parse_bars("error:+1,optimism:+2"))
    assert {row.quantity for row in rows} >= {"hypervolume", "optimism", "error", "within_10", "coverage"}
    assert [(row.quantity, row.change) for row in rows if row.missed] == [("error", 1.5)]


@pytest.mark.parametrize(
    ("text", "bar"),
    [
        ("hypervolume:-1%", Bar("hypervolume", -1, True, True)),
        ("error:+1", Bar("error", 1, False, False)),
        (" accuracy:-0.25 ", Bar("accuracy", -0.25, False, True)),
        ("latency:+0%", Bar("latency", 0, True, False)),
    ],
)
def test_bars_are_read_and_spelled(text: str, bar: Bar) -> None:
    assert parse_bars(text) == [bar]
    assert str(bar) == text.strip()


@pytest.mark.parametrize("text", ["", "error", "error:1", "error:+x", "volume:-1%", "error:+1;"])
def test_unclear_bars_are_refused(text: str) -> None:
    with pytest.raises(InputError):
        parse_bars(text)


def test_changes_from_zero() -> None:
    assert relative_change(0, 0) == 0
    assert relative_change(0, 1) == np.inf
    assert Row("s", "optimism", 0.0, 1.0).change_percent is None


def test_what_cannot_be_compared_is_said(before: Path, tmp_path: Path) -> None:
    other = result(tmp_path / "b", front("raspi4", [1], [70], (10, 40)))
    with pytest.raises(InputError, match="no device"):
        compare_results(before, other)
    with pytest.raises(InputError, match="has no error"):
        compare_results(before, before, parse_bars("error:+1"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no front"):
        compare_results(before, tmp_path / "empty")
    strange = tmp_path / "strange.json"
    strange.write_text('{"schema": "else/1"}')
    with pytest.raises(InputError, match="neither"):
        compare_results(before, strange)
    strange.write_text("{")
    with pytest.raises(InputError, match="not JSON"):
        compare_results(before, strange)


def test_the_command_prints_a_table_and_fails_with_1(
    before: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    worse = result(tmp_path / "b", front("pixel3", [1.5, 3, 6], [70, 74, 76], (10, 40)))
    assert main(["compare", str(before), str(worse)]) == 0
    assert "hypervolume" in capsys.readouterr().out
    assert main(["compare", str(before), str(worse), "--fail-on", "hypervolume:-1%"]) == 1
    output = capsys.readouterr()
    assert "FAILED hypervolume:-1%" in output.out
    assert "pixel3" in output.err
    assert main(["compare", str(before), str(worse), "--fail-on", "hypervolume:-1%", "--json"]) == 1
    rows = json.loads(capsys.readouterr().out)
    assert [row["missed"] for row in rows] == ["hypervolume:-1%", None, None]
    assert main(["compare", str(before), str(worse), "--format", "md"]) == 0
    assert capsys.readouterr().out.count("\n|") == 5
    assert main(["compare", str(before), str(before), "--fail-on", "speed:+1"]) == 2
