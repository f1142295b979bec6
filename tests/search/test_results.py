"""fronts.json holds what outsiders rely on, comes back whole, and foreign files are refused with a remedy."""

import csv
import json
import os
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetfront.errors import FileError, InputError
from fleetfront.quantities import PERPLEXITY, Estimate, Tier
from fleetfront.search.collect import collect_fronts
from fleetfront.search.front import area, hypervolume
from fleetfront.search.fronts_file import load_fronts, write_fronts
from fleetfront.search.run import run_search
from fleetfront.search.sharing import share
from fleetfront.search.strategies.catalogue import make_strategy
from fleetfront.spaces.catalogue import load_space
from fleetfront.testing.problems import SyntheticAccuracy


@pytest.fixture
def searched(make_problem):
    problem = make_problem(budget=300, limits=(None, 14.0))
    return problem, run_search(problem, make_strategy("nsga2", problem, 5), name="nsga2", seed=5)


def test_the_file_is_as_documented(searched, tmp_path, mini):
    problem, run = searched
    path = write_fronts(collect_fronts(problem, run), tmp_path)
    assert path.name == "fronts.json"
    data = json.loads(path.read_text())
    assert data["schema"] == "fleetfront.fronts/1"
    assert (data["space"], data["strategy"], data["seed"], data["evaluations"]) == ("ofa-mbv3-mini", "nsga2", 5, 300)
    assert data["accuracy"] == {"source": "synthetic", "tier": "predicted"}
    assert list(data["devices"]) == ["device_0", "device_1"]
    for column, (name, front) in enumerate(data["devices"].items()):
        assert front["target"] == f"{name}/litert/fp32/t1/b1"
        assert front["tier"] == "measured"
        assert front["hypervolume"] == run.trace[-1].hypervolume[column]
        assert front["reference_point"] == list(run.references[column])
        points = front["points"]
        latency = [point["latency_ms"] for point in points]
        accuracy = [point["accuracy"] for point in points]
        assert latency == sorted(latency)
        assert accuracy == sorted(accuracy)
        rows = mini.parse([point["arch"] for point in points])
        estimate = problem.targets[column].cost.predict(rows)
        assert np.allclose(latency, estimate.mean)
        assert np.allclose([point["latency_std_ms"] for point in points], estimate.std)
        assert [point["macs"] for point in points] == mini.macs(rows).tolist()
        assert front["knee"] in {point["arch"] for point in points}


def test_written_fronts_come_back_equal_and_the_table_agrees(searched, tmp_path, mini):
    fronts = collect_fronts(*searched)
    write_fronts(fronts, tmp_path)
    again = load_fronts(tmp_path, mini)
    assert again.to_json() == fronts.to_json()
    with (tmp_path / "fronts.csv").open() as file:
        rows = list(csv.DictReader(file))
    points = [(front.name, point.arch) for front in fronts.devices for point in front.points]
    assert [(row["device"], row["arch"]) for row in rows] == points


def test_what_is_not_promised_is_null_in_the_file_with_the_reason(searched, tmp_path, mini):
    fronts = collect_fronts(*searched)
    silent = replace(
        fronts.devices[0],
        not_promised="known from one sitting alone",
        points=tuple(replace(point, latency_std_ms=None) for point in fronts.devices[0].points),
    )
    path = write_fronts(replace(fronts, devices=(silent, *fronts.devices[1:])), tmp_path)
    first, second = json.loads(path.read_text())["devices"].values()
    assert {point["latency_std_ms"] for point in first["points"]} == {None}
    assert (first["not_promised"], "not_promised" in second) == ("known from one sitting alone", False)
    assert load_fronts(tmp_path, mini).devices[0] == silent
    assert "+-" not in silent._repr_html_().split("</td>")[0]


def test_a_model_of_one_sitting_gives_a_front_without_promises(searched, monkeypatch):
    problem, run = searched
    cost = problem.targets[0].cost
    heard = cost.predict
    monkeypatch.setattr(
        cost, "predict", lambda rows: replace(heard(rows), unpromised="known from one sitting alone"), raising=False
    )
    first, second = collect_fronts(problem, run).devices
    assert (first.not_promised, second.not_promised) == ("known from one sitting alone", "")
    assert {point.latency_std_ms for point in first.points} == {None}
    assert None not in {point.latency_std_ms for point in second.points}


def test_picks(searched):
    front = collect_fronts(*searched).device("device_1")
    middle = front.points[len(front.points) // 2]
    assert front.within(middle.latency_ms) == middle
    with pytest.raises(InputError, match="on device_1: the fastest takes"):
        front.within(0.1)


def test_knee_and_trade_offs_of_a_front_with_a_further_objective_are_those_of_latency_and_accuracy(make_problem):
    flat = make_problem(budget=300)
    run = run_search(flat, make_strategy("random", flat, 1), name="random", seed=1)
    plain = collect_fronts(flat, run).device("device_1")
    deep = make_problem(budget=300, extras=("params",))
    run = run_search(deep, make_strategy("random", deep, 1), name="random", seed=1)
    front = collect_fronts(deep, run).device("device_1")
    assert len(front.points) > len(plain.points)
    assert [point.arch for point in front.trade_offs] == [point.arch for point in plain.points]
    assert front.points[front.knee].arch == plain.points[plain.knee].arch
    assert plain.trade_offs == plain.points


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is no whole front"),
        ('{"schema": "fleetfront.fronts/9"}', "'fleetfront.fronts/9', not 'fleetfront.fronts/1'"),
        ("[1]", "not a front that this fleetfront reads"),
        ('{"schema": "fleetfront.fronts/1", "space": "ofa-mbv3-mini"}', "is no whole front"),
    ],
)
def test_foreign_files_are_refused(tmp_path, text, message):
    path = tmp_path / "fronts.json"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        load_fronts(path)


def nested(depth):
    """Spelled, for no writer of JSON goes so deep."""
    return Spelled("[" * depth + "]" * depth)


class Spelled(str):
    """JSON that is put into a file as it is."""


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("devices", "device_0", "hypervolume"), float("nan")),
        (("devices", "device_0", "reference_point", 0), float("inf")),
        (("devices", "device_1", "points", 0, "accuracy_std"), float("nan")),
        (("trace", 0), "x"),
        (("trace", 1, "hypervolume"), 1.0),
        (("shared", "devices", "device_1", "hypervolume_share"), None),
        (("verification",), "x"),
        (("devices", "device_0", "points", 0, "accuracy"), 1_000_000.0),
        (("devices", "device_0", "points", 0, "latency_ms"), -1.0),
        (("devices", "device_0", "points", 0, "latency_ms"), 0.0),
        (("trace", 1, "hypervolume"), [1e9, 1e9]),
        (("shared", "devices", "device_1", "hypervolume_share"), 7.0),
        (("devices", "device_0", "points", 0, "arch"), 7),
        (("devices", "device_0", "points"), {}),
        (("devices", "device_0", "reference_point"), [1.0]),
        (("devices", "device_0", "tier"), "believed"),
        (("devices", "device_0", "limits"), {"energy": -1}),
        (("evaluations",), 10**400),
        (("seed",), "1"),
        (("device_order",), ["device_0"]),
        (("trace", 1, "hypervolume"), [1.0]),
        (("space",), "\ud800"),
        (("audit",), nested(100_000)),
        (("verification",), []),
        (("verification", "devices"), ["device_1"]),
        (("verification", "devices", "device_1"), "x"),
        (("verification", "devices", "device_1", "optimism_percent"), float("nan")),
        (("verification", "devices", "device_1", "points"), 3),
        (("verification", "devices", "device_1", "points", 0), None),
        (("verification", "devices", "device_1", "points", 0, "predicted_ms"), None),
        (("verification", "devices", "device_1", "points", 1, "measured_ms"), "fast"),
    ],
)
def test_what_no_search_writes_is_called_damaged(searched, tmp_path, path, value):
    problem, run = searched
    shared = share(problem, run.references, 2).to_json()
    measured = {"optimism_percent": None, "points": [{"arch": "a", "predicted_ms": 1.0, "measured_ms": None}] * 2}
    written = collect_fronts(problem, run, {"top": 2, "devices": {"device_1": measured}}, shared)
    file = write_fronts(written, tmp_path)
    assert load_fronts(file).shared is not None
    data = json.loads(file.read_text())
    at = data
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = "SPELLED" if isinstance(value, Spelled) else value
    file.write_text(json.dumps(data).replace('"SPELLED"', str(value)))
    with pytest.raises(InputError, match="is no whole front"):
        load_fronts(file)


def test_a_pipe_is_no_front(tmp_path):
    os.mkfifo(tmp_path / "fronts.json")
    with pytest.raises(InputError, match="no regular file"):
        load_fronts(tmp_path)


def test_another_spaces_front_is_refused(searched, tmp_path):
    path = write_fronts(collect_fronts(*searched), tmp_path)
    with pytest.raises(InputError, match="is a front of ofa-mbv3-mini, not of nasbench201"):
        load_fronts(path, load_space("nasbench201"))
    data = json.loads(path.read_text())
    data["devices"]["device_0"]["points"][0]["latency_ms"] = "NaN"
    path.write_text(json.dumps(data))
    with pytest.raises(InputError, match="is no whole front"):
        load_fronts(path)
    with pytest.raises(InputError, match=r"is missing"):
        load_fronts(tmp_path / "absent.json")


def test_what_follows_from_the_points_is_not_believed(searched, tmp_path):
    """A file may say any hypervolume and knee: they are those of its points."""
    problem, run = searched
    written = collect_fronts(problem, run)
    file = write_fronts(written, tmp_path)
    data = json.loads(file.read_text())
    for name, front in data["devices"].items():
        front["hypervolume"] = 1e-3
        front["knee"] = front["points"][-1]["arch"]
        assert len(front["points"]) > 2, name
    data["trace"] = []
    file.write_text(json.dumps(data))
    read = load_fronts(file)
    for before, after in zip(written.devices, read.devices, strict=True):
        assert after.hypervolume == pytest.approx(before.hypervolume)
        assert after.knee == before.knee < len(after.points) - 1


def test_a_hypervolume_that_cannot_be_recomputed_is_bounded(searched, tmp_path):
    problem, run = searched
    file = write_fronts(collect_fronts(problem, run), tmp_path)
    data = json.loads(file.read_text())
    data["trace"] = []
    for front in data["devices"].values():
        front["objectives"] = ["energy"]
        front["reference_point"] = [10.0, 50.0, 2.0]
        front["hypervolume"] = 999.0
    file.write_text(json.dumps(data))
    assert [front.hypervolume for front in load_fronts(file).devices] == [999.0] * len(data["devices"])
    data["devices"]["device_0"]["hypervolume"] = 1001.0
    file.write_text(json.dumps(data))
    with pytest.raises(FileError, match="more than its reference point"):
        load_fronts(file)


@given(st.lists(st.tuples(st.floats(0.1, 20), st.floats(0, 100)), max_size=12))
def test_the_area_is_the_hypervolume_of_two_objectives(points):
    values = np.array(points).reshape(-1, 2)
    assert area(values[:, 0], values[:, 1], 10.0, 50.0) == pytest.approx(hypervolume(values, (10.0, 50.0)))


class _Guessed(SyntheticAccuracy):
    """Every network is as good as every other; what the search sees of it is luck, and so is what others see."""

    def predict(self, genotypes):
        return self._drawn(genotypes, 1)

    def held_out(self, genotypes):
        return self._drawn(genotypes, 2)

    @property
    def held_out_images(self):
        return 900

    def _drawn(self, genotypes, seed):
        luck = [np.random.default_rng([seed, *row.tolist()]).normal() for row in genotypes]
        return Estimate(90 + np.array(luck), np.ones(len(genotypes)), Tier.MEASURED)


def test_what_a_front_promises_is_free_of_the_luck_that_it_was_chosen_by(make_problem, mini, tmp_path):
    problem = make_problem(budget=300, accuracy=_Guessed(mini, 0.0))
    run = run_search(problem, make_strategy("random", problem, 1), name="random", seed=1)
    fronts = collect_fronts(problem, run, shared=share(problem, run.references, 3).to_json())
    path = write_fronts(fronts, tmp_path)
    points = [point for front in load_fronts(path).devices for point in front.points]
    assert max(point.accuracy for point in points) > 92
    assert abs(np.mean([point.promised[0] for point in points]) - 90) < 3 / np.sqrt(len(points))
    assert all(point.promised == (point.held_out_accuracy, 1.0) for point in points)
    network = fronts.shared["networks"][0]
    assert network["accuracy"] > network["held_out_accuracy"]
    assert "accuracy % (held out)" in fronts.devices[0]._repr_html_()
    assert f"{points[0].promised[0]:.2f}" in fronts.devices[0]._repr_html_()
    with (tmp_path / "fronts.csv").open() as file:
        assert float(next(csv.DictReader(file))["held_out_accuracy"]) == points[0].held_out_accuracy


def test_without_held_out_images_the_chosen_accuracy_is_all_there_is(searched):
    fronts = collect_fronts(*searched)
    assert "held_out" not in json.dumps(fronts.to_json())
    assert fronts.devices[0].points[0].promised == (
        fronts.devices[0].points[0].accuracy,
        fronts.devices[0].points[0].accuracy_std,
    )


def test_networks_that_tie_exactly_are_listed(make_problem, mini, tmp_path):
    """Costs and accuracies in steps make many equal networks, of which the front keeps one."""

    class Stepped(SyntheticAccuracy):
        def predict(self, genotypes):
            estimate = super().predict(genotypes)
            return Estimate(np.round(estimate.mean), np.zeros(len(genotypes)), estimate.tier)

    problem = make_problem(budget=200, devices=1, accuracy=Stepped(mini))
    cost = problem.targets[0].cost
    whole = cost.predict
    cost.predict = lambda rows: Estimate(np.round(whole(rows).mean / 5) + 1, np.zeros(len(rows)), Tier.MEASURED)
    try:
        run = run_search(problem, make_strategy("random", problem, 3), name="random", seed=3)
        (front,) = collect_fronts(problem, run).devices
    finally:
        del cost.predict
    assert any(point.equal for point in front.points)
    archive = problem.archive
    for point in front.points:
        ties = (archive.cost[:, 0] == point.latency_ms) & (archive.accuracy == point.accuracy)
        assert {point.arch, *point.equal} == set(mini.arch_ids(archive.genotypes[ties]))
    fronts = collect_fronts(problem, run)
    write_fronts(fronts, tmp_path)
    assert [point.equal for point in load_fronts(tmp_path, mini).devices[0].points] == [p.equal for p in front.points]


def test_an_int8_front_says_that_its_accuracies_are_of_float_networks(make_problem, tmp_path):
    problem = make_problem(budget=60, devices=1)
    run = run_search(problem, make_strategy("random", problem, 0), name="random", seed=0)
    float_fronts = collect_fronts(problem, run)
    assert float_fronts.devices[0].accuracy_caution == ""
    front = replace(float_fronts.devices[0], target="cpu/litert/int8/t1/b1", accuracy_precision="fp32")
    path = write_fronts(replace(float_fronts, devices=(front,)), tmp_path)
    said = "Its times are of int8 files, its accuracies of networks in fp32."
    assert load_fronts(path).devices[0].accuracy_caution == said
    assert said in front._repr_html_()
    assert {row["accuracy_precision"] for row in csv.DictReader((tmp_path / "fronts.csv").open())} == {"fp32"}
    # A file of an earlier version does not say it.
    data = json.loads(path.read_text())
    del data["devices"]["device_0"]["accuracy_precision"]
    path.write_text(json.dumps(data))
    assert load_fronts(path).devices[0].accuracy_precision == "unstated"


def test_accuracies_of_an_int8_target_are_of_what_their_model_says(make_problem):
    class Floats(SyntheticAccuracy):
        precision = "fp32"

    for kind, said in ((Floats, "fp32"), (SyntheticAccuracy, "unstated")):
        problem = make_problem(budget=20, devices=1, accuracy=kind(load_space("ofa-mbv3-mini")))
        for target, expected in (("cpu/litert/int8/t1/b1", said), ("cpu/litert/fp32/t1/b1", ""), ("", "")):
            problem.targets = (replace(problem.targets[0], target=target),)
            run = run_search(problem, make_strategy("random", problem, 0), name="random", seed=0)
            assert collect_fronts(problem, run).devices[0].accuracy_precision == expected


def test_the_reference_point_is_said_in_the_words_of_the_quality(searched):
    problem, run = searched
    front = collect_fronts(problem, run).devices[0]
    assert replace(front, reference_point=(13.57, 30.0)).reference_words() == ("13.57", "30")
    lower = replace(front, quality=PERPLEXITY, reference_point=(1.84, 154.9))
    assert lower.reference_words() == ("1.84", "perplexity 54.9")
