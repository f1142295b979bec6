"""Compare a search in float, quantised afterwards, with one that searched both precisions."""

from pathlib import Path

import numpy as np
import pytest

from fleetfront.cli.main import main
from fleetfront.errors import InputError
from fleetfront.pipelines.compare import compare_results, parse_bars
from fleetfront.pipelines.knowledge.cost_models import device_models
from fleetfront.pipelines.search import search
from fleetfront.search.front import FULL, area, target_front
from fleetfront.search.fronts_file import load_fronts
from fleetfront.testing.problems import SyntheticAccuracy
from fleetfront.workspace import Workspace
from tests.pipelines.test_search_precisions import INT8, PLAIN, profile


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Workspace]:
    """Fronts in float and in both precisions of one device, and where its fits are."""
    root = tmp_path_factory.mktemp("results")
    place = Workspace(root / "home")
    profile(place, "fp32", 0)
    profile(place, "int8", 1)
    for name, more in (("floats", {}), ("joint", {"precisions": ("fp32", "int8"), "drops": INT8})):
        search(PLAIN, "phone", SyntheticAccuracy(PLAIN), "random", 150, out=root / name, workspace=place, **more)  # type: ignore[arg-type]
    return root / "floats", root / "joint", place


def test_networks_in_float_are_taken_in_both_precisions(results: tuple[Path, Path, Workspace]) -> None:
    floats, joint, place = results
    rows = {row.quantity: row for row in compare_results(floats, joint, quantised_by=place)}
    (own,), (both,) = load_fronts(floats).devices, load_fronts(joint).devices
    (narrow,) = device_models(["phone/int8"], PLAIN, workspace=place)
    int8_ms = narrow.model.predict(PLAIN.parse([point.arch for point in own.points])).mean
    ms = np.concatenate([[point.latency_ms for point in own.points], int8_ms])
    accuracy = np.array([point.accuracy for point in own.points])
    accuracy = np.concatenate([accuracy, accuracy - INT8["int8"].points])
    kept = target_front(ms, accuracy)
    assert rows["hypervolume"].before == pytest.approx(area(ms[kept], FULL - accuracy[kept], *both.reference_point))
    assert rows["hypervolume"].after == pytest.approx(both.hypervolume)
    assert rows["accuracy"].before == pytest.approx(accuracy.max())
    assert rows["hypervolume"].subject == "ofa-mbv3-mini@fp32,int8 on phone (phone/litert/fp32,int8/t1/b1)"
    missed = compare_results(floats, joint, parse_bars("hypervolume:+0%,hypervolume:-0%"), quantised_by=place)
    assert [row.quantity for row in missed if row.missed] == ["hypervolume"]


def test_what_cannot_be_quantised_is_refused_in_words(results: tuple[Path, Path, Workspace], tmp_path: Path) -> None:
    floats, joint, place = results
    for first, second in ((floats, floats), (joint, joint), (joint, floats)):
        with pytest.raises(InputError, match="Nothing can be quantised"):
            compare_results(first, second, quantised_by=place)
    with pytest.raises(InputError, match="No fit of ofa-mbv3-mini is of 'phone/litert/int8/t1/b1'"):
        compare_results(floats, joint, quantised_by=Workspace(tmp_path))


def test_without_quantised_the_command_that_compares_them_is_named(results: tuple[Path, Path, Workspace]) -> None:
    floats, joint, _ = results
    for pair in ((floats, joint), (joint, floats)):
        with pytest.raises(InputError) as caught:
            compare_results(*pair)
        assert caught.value.remedy.endswith(f"Run: fleetfront compare --quantised {floats} {joint}")


def test_the_command_says_where_int8_lies(
    results: tuple[Path, Path, Workspace], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    floats, joint, place = results
    monkeypatch.setenv("FLEETFRONT_HOME", str(place.root))
    assert main(["compare", "--quantised", str(floats), str(joint)]) == 0
    shown = capsys.readouterr()
    assert "hypervolume" in shown.out
    points = load_fronts(joint).devices[0].points
    narrow = [point.latency_ms for point in points if point.precision == "int8"]
    reach = f"from {min(narrow):.4g} to {max(narrow):.4g} ms."
    assert f"phone: {len(narrow)} of {len(points)} networks are in int8, {reach}" in shown.err
    assert main(["compare", "--quantised", "--cascade", str(floats), str(joint)]) == 2
    assert "--quantised compares fronts, --cascade files." in capsys.readouterr().err
