"""Comparing two results: what counts as a change, which changes fail, and what cannot be compared."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fleetfront.cli.main import main
from fleetfront.errors import InputError
from fleetfront.pipelines.compare import Bar, Row, compare_results, parse_bars, relative_change
from fleetfront.search.fronts_file import write_fronts
from fleetfront.search.results import DeviceFront, FrontPoint, Fronts

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


def result(
    folder: Path, *devices: DeviceFront, verification: dict | None = None, strategy: str = "nsga2", seed: int = 0
) -> Path:
    fronts = Fronts(
        "ofa-mbv3-mini", strategy, seed, 100, 1.0, "built-in", "predicted", devices, verification=verification
    )
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
        ("latency:+.5%", Bar("latency", 0.5, True, False)),
        ("hypervolume: \N{MINUS SIGN}1 %", Bar("hypervolume", -1, True, True)),
    ],
)
def test_bars_are_read_and_spelled(text: str, bar: Bar) -> None:
    assert parse_bars(text) == [bar]
    assert parse_bars(str(bar)) == [bar]


@pytest.mark.parametrize("text", ["", "error", "error:1", "error:+x", "volume:-1%", "error:+1;"])
def test_unclear_bars_are_refused(text: str) -> None:
    with pytest.raises(InputError):
        parse_bars(text)


def test_a_baseline_beside_a_result_is_not_compared(before: Path, tmp_path: Path) -> None:
    bad = front("pixel3", [5], [60], (10, 40))
    folder = tmp_path / "both"
    result(folder / "fronts", front("pixel3", [1, 2, 4], [70, 74, 76], (10, 40)))
    result(folder / "a-random", bad, strategy="random")
    rows = compare_results(before, folder, parse_bars("hypervolume:-1%"))
    assert [row.change for row in rows] == [0, 0, 0]
    # Alone it is a result like any other.
    assert compare_results(before, folder / "a-random", parse_bars("hypervolume:-1%"))[0].missed


def test_several_strategies_and_seeds_are_told_apart(tmp_path: Path) -> None:
    def both(folder: Path, second: list[float]) -> Path:
        result(folder / "x", front("pixel3", [1, 2, 4], [70, 74, 76], (10, 40)), strategy="hybrid")
        result(folder / "y", front("pixel3", second, [70, 74, 76], (10, 40)), strategy="nsga2", seed=3)
        return folder

    rows = compare_results(both(tmp_path / "a", [1, 2, 4]), both(tmp_path / "b", [2, 3, 4]))
    changed = {row.subject for row in rows if row.change}
    assert changed == {"ofa-mbv3-mini on pixel3 (pixel3/litert/fp32/t1/b1), nsga2"}
    result(tmp_path / "a" / "z", front("pixel3", [1], [70], (10, 40)), strategy="nsga2", seed=4)
    subjects = {row.subject.partition("), ")[2] for row in compare_results(tmp_path / "a", tmp_path / "b")}
    assert subjects == {"hybrid, seed 0", "nsga2, seed 3", "nsga2, seed 4"}


@pytest.mark.parametrize(
    ("text", "warned"),
    [("hypervolume:+5%", "hypervolume:-5%"), ("error:-1", "error:+1"), ("coverage:+5", ""), ("error:+1", "")],
)
def test_a_bar_against_improvement_is_pointed_out(
    text: str, warned: str, before: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit(before, 2.0)
    assert main(["compare", str(before), str(before), "--fail-on", text]) == 0
    said = capsys.readouterr().err
    assert (warned in said and "gets better" in said) if warned else "gets better" not in said


def test_a_bar_on_models_says_where_they_must_lie(before: Path) -> None:
    with pytest.raises(InputError) as raised:
        compare_results(before, before, parse_bars("error:+1"))
    assert "fit --json" in raised.value.remedy


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
    with pytest.raises(InputError, match="is no whole result"):
        compare_results(before, strange)


@pytest.mark.parametrize(
    "changed",
    [
        {"space": None},
        {"held_out": [1]},
        {"held_out": {"mape": "much"}},
        {"held_out": {"mape": float("nan")}},
        {"other_clocks": 5},
        {"other_clocks": [{}]},
    ],
)
def test_a_damaged_fit_is_said_to_be_so(changed: dict[str, object], tmp_path: Path) -> None:
    path = fit(tmp_path, 3.0) / "cpu.report.json"
    data = {**json.loads(path.read_text()), **changed}
    path.write_text(json.dumps({key: value for key, value in data.items() if value is not None}))
    with pytest.raises(InputError, match=r"is damaged|is no whole result"):
        compare_results(path, path)


def test_a_quantity_in_capitals_is_a_near_miss() -> None:
    with pytest.raises(InputError) as caught:
        parse_bars("Hypervolume:-1%")
    assert "'hypervolume'" in caught.value.remedy


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


def profiled(folder: Path, ms: float, std: float, name: str = "profile.json", **more: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    facts = {"schema": "fleetfront.file-profile/1", "path": f"/some/{folder.name}/net.onnx", "clock": "wall"}
    facts |= {
        "target": "cpu/onnxruntime/fp32/t1/b1",
        "latency_ms": ms,
        "latency_std_ms": std,
        "wall": {"p90_ms": 2 * ms},
        **more,
    }
    (folder / name).write_text(json.dumps(facts))
    return folder / name


def test_files_are_compared_by_name_and_fail_beyond_their_noise(tmp_path: Path) -> None:
    first = profiled(tmp_path / "a", 10.0, 0.3)
    # Visits of a sitting are far closer than sittings of a machine, of whose difference 4.9 % is the typical deviation.
    noise = 1.6448536 * (0.3**2 + 0.4**2 + 0.49**2 + 0.0012**2) ** 0.5
    bars = parse_bars("latency:+noise,p90:+50%")
    assert str(bars[0]) == "latency:+noise"
    rows = compare_results(first, profiled(tmp_path / "b", 10.0 + noise - 0.01, 0.4), bars)
    assert [(row.quantity, row.missed) for row in rows] == [("latency", ""), ("p90", "")]
    assert rows[0].noise == pytest.approx(noise, rel=1e-6)
    slower = compare_results(first, profiled(tmp_path / "b", 10.0 + noise + 0.01, 0.4), bars)
    assert slower[0].missed == "latency:+noise"
    faster = compare_results(first.parent, profiled(tmp_path / "c", 5.0, 0.4).parent, bars)
    assert not any(row.missed for row in faster)
    assert main(["compare", str(first), str(profiled(tmp_path / "d", 16.0, 0.4)), "--fail-on", "p90:+50%"]) == 1


def test_small_files_wander_less_between_sittings_and_busy_sittings_say_less(tmp_path: Path) -> None:
    def noise(**facts: Any) -> float:
        first = profiled(tmp_path / "a", 10.0, 0.0, **facts)
        found = compare_results(first, profiled(tmp_path / "b", 10.0, 0.0, **facts))[0].noise
        assert found is not None
        return found

    cached, large = noise(file_bytes=2**20), noise(file_bytes=2**24)
    assert cached == pytest.approx(1.6448536 * 0.45 * 0.49, rel=1e-3)
    assert large == pytest.approx(1.6448536 * 0.49, rel=1e-3)
    busy = noise(file_bytes=2**24, other_programs={"used": 1.2, "cores": 2})
    assert busy == pytest.approx(1.6448536 * (0.49**2 + 0.5**2) ** 0.5, rel=1e-3)
    assert noise(file_bytes=2**24, other_programs={"used": 0.0, "cores": 2}) == large


def test_noise_that_nobody_knows_judges_nothing(before: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Nobody knows the noise of latency"):
        compare_results(before, before, parse_bars("latency:+noise"))
    for wrong in ("p90:+noise", "latency:+noise%"):
        with pytest.raises(InputError, match="is not a bar"):
            parse_bars(wrong)
    damaged = profiled(tmp_path / "a", 0.0, 0.3)
    with pytest.raises(InputError, match="damaged"):
        compare_results(damaged, damaged)
