"""Tables of a part of a space: searches stay within what all of them know, and devices that know none of it say so."""

import json

import numpy as np
import pytest

from fleetfront.cli.main import main
from fleetfront.errors import InputError
from fleetfront.pipelines.search import SearchOptions, search_space
from fleetfront.predictors.accuracy.sources import load_accuracy
from fleetfront.search.front import target_front
from fleetfront.search.fronts_file import load_fronts
from fleetfront.spaces.catalogue import load_space

SPACE = "nasbench201"


@pytest.fixture(scope="module")
def rows(shared_data):
    """(architecture, accuracy, latency of pixel3) of every thirtieth cell, and the header of the accuracies."""
    lines = (shared_data / "nb201/nb201.csv").read_text().splitlines()
    names = lines[0].split(",")
    columns = [names.index(name) for name in ("arch", "acc_cifar100", "lat_pixel3")]
    return [[line.split(",")[at] for at in columns] for line in lines[1::30]]


def accuracies(rows, path):
    path.write_text("arch,acc\n" + "".join(f"{arch},{accuracy}\n" for arch, accuracy, _ in rows))
    return f"csv:{path}:acc"


def import_latencies(rows, device, tmp_path):
    path = tmp_path / f"{device}.csv"
    path.write_text(f"arch,lat_{device}\n" + "".join(f"{arch},{ms}\n" for arch, _, ms in rows))
    assert main(["import", "table", str(path), "--space", SPACE, "--source", "me", "--licence", "own"]) == 0


def best_of(rows):
    """The architectures on the front of rows, worked out here."""
    space = load_space(SPACE)
    archs = space.arch_ids(space.parse([row[0] for row in rows]))
    ms, accuracy = (np.array([float(row[at]) for row in rows]) for at in (2, 1))
    return [archs[row] for row in target_front(ms, accuracy)]


def search(tmp_path, *options):
    return main(["search", "--space", SPACE, "--out", str(tmp_path / "out"), "--quiet", *options])


def test_a_table_of_latencies_of_a_part_is_searched_whole(rows, shared_data, tmp_path, capsys):
    import_latencies(rows[:200], "my_board", tmp_path)
    everything = f"csv:{shared_data / 'nb201/nb201.csv'}:acc_cifar100"
    assert search(tmp_path, "--device", "my_board", "--accuracy", everything) == 0
    printed = capsys.readouterr()
    assert "Its table knows 200 networks of nasbench201, and the search looks at no others" in printed.err
    assert "every network that all tables know" in printed.err
    fronts = load_fronts(tmp_path / "out")
    assert (fronts.strategy, fronts.evaluations) == ("table", 200)
    assert [point.arch for point in fronts.devices[0].points] == best_of(rows[:200])
    highest = max(float(row[2]) for row in rows[:200])
    assert fronts.devices[0].reference_point[0] == pytest.approx(highest, rel=1e-5)


def test_a_search_stays_within_what_every_table_knows(rows, tmp_path, capsys):
    import_latencies(rows[:200], "my_board", tmp_path)
    import_latencies(rows[100:300], "her_board", tmp_path)
    import_latencies(rows[300:400], "his_board", tmp_path)
    spec = accuracies(rows[50:250], tmp_path / "accuracy.csv")
    assert search(tmp_path, "--devices", "my_board,her_board,his_board", "--accuracy", spec) == 0
    printed = capsys.readouterr()
    assert "his_board  error: its table knows 100 networks, and none of those" in printed.out
    fronts = load_fronts(tmp_path / "out")
    assert [front.name for front in fronts.devices] == ["my_board", "her_board"]
    assert all([point.arch for point in front.points] == best_of(rows[100:200]) for front in fronts.devices)
    assert (fronts.evaluations, list(fronts.errors)) == (100, ["his_board"])
    # Typed again, it goes on from its archive and finds the same.
    assert search(tmp_path, "--devices", "my_board,her_board,his_board", "--accuracy", spec, "--json") == 0
    again = json.loads(capsys.readouterr().out)
    assert again["errors"] == fronts.errors
    assert again["audit"]["evaluated"] == 0


def test_what_was_measured_serves_before_an_estimate_where_accuracies_are_a_part(rows, tmp_path):
    import_latencies(rows[:100], "pixel3", tmp_path)
    spec = accuracies(rows[:100], tmp_path / "accuracy.csv")
    assert search(tmp_path, "--device", "pixel3", "--accuracy", spec) == 0
    (front,) = load_fronts(tmp_path / "out").devices
    assert front.tier == "measured"
    assert [point.arch for point in front.points] == best_of(rows[:100])


def test_a_limit_below_the_part_names_the_fastest_of_it(rows, tmp_path, capsys):
    import_latencies(rows[:200], "my_board", tmp_path)
    spec = accuracies(rows, tmp_path / "accuracy.csv")
    assert search(tmp_path, "--device", "my_board", "--accuracy", spec, "--limit", "0.001") == 2
    fastest = min(float(row[2]) for row in rows[:200])
    assert f"the fastest takes {fastest:.4g} ms" in capsys.readouterr().err


def test_a_part_that_no_device_knows_and_a_named_strategy_are_refused(rows, tmp_path, capsys):
    import_latencies(rows[:200], "my_board", tmp_path)
    spec = accuracies(rows[300:], tmp_path / "accuracy.csv")
    assert search(tmp_path, "--device", "my_board", "--accuracy", spec) == 2
    assert "No network is known to all: of my_board, its table knows 200 networks" in capsys.readouterr().err
    spec = accuracies(rows, tmp_path / "accuracy.csv")
    assert search(tmp_path, "--device", "my_board", "--accuracy", spec, "--strategy", "nsga2") == 2
    assert "holds a part of nasbench201" in capsys.readouterr().err


def test_held_genes_that_leave_nothing_of_a_part_are_refused(rows, tmp_path):
    from fleetfront.pipelines.fleet import fleet_targets

    space = load_space(SPACE)
    genotypes = space.parse([row[0] for row in rows])
    alike = [row for row, genotype in zip(rows, genotypes, strict=True) if genotype[0] == 1][:20]
    import_latencies(alike, "my_board", tmp_path)
    accuracy = load_accuracy(accuracies(rows, tmp_path / "accuracy.csv"), space)
    targets = fleet_targets("my_board", space, {})
    options = SearchOptions(fixed={space.gene_names[0]: space.choices[0][2]})
    with pytest.raises(InputError, match="None of the 20 networks that every table knows"):
        search_space(space, targets, accuracy, options)
