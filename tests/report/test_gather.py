"""Hold what a report says of a searched fleet and of measured runtimes, against numbers taken from the files."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fleetfront.pipelines.fit.fit import fit_target
from fleetfront.pipelines.knowledge.cost_models import device_models
from fleetfront.pipelines.search import SearchOptions, search_space
from fleetfront.predictors.accuracy.sources import load_accuracy
from fleetfront.predictors.few_shot.basis import WorkBasis
from fleetfront.predictors.few_shot.cost_model import FewShotContent, FewShotModel
from fleetfront.predictors.few_shot.files import save_few_shot
from fleetfront.predictors.few_shot.posterior import Hypothesis
from fleetfront.predictors.few_shot.report import FewShotFit, FewShotReport
from fleetfront.predictors.operators.work import DETAILED_NAMES, Mode, NetworkWork
from fleetfront.predictors.table.fit_files import read_report
from fleetfront.profilers.store.store import Store
from fleetfront.quantities import Clock, Tier
from fleetfront.report.gather import gather_report
from fleetfront.report.page.page import render_page
from fleetfront.report.section import Report
from fleetfront.report.sections import front_views, relations
from fleetfront.report.sections.front_views import MOST_POINTS
from fleetfront.report.sections.fronts import deploy_command
from fleetfront.report.sections.relations import spearman
from fleetfront.report.sections.summary import device_sentence
from fleetfront.report.sources import unique_labels
from fleetfront.search.archive import Archive
from fleetfront.search.front import hypervolume, knee
from fleetfront.search.fronts_file import load_fronts, write_fronts
from fleetfront.search.problem import ProblemTarget
from fleetfront.search.results import DeviceFront, FrontPoint
from fleetfront.spaces.nasbench201.space import NasBench201Space
from fleetfront.spaces.ofa_mbv3.space import ofa_mbv3_mini, ofa_mbv3_w10
from fleetfront.targets import Target
from fleetfront.workspace import Workspace
from tests.predictors.synthetic_device import TARGET, SyntheticDevice, keep
from tests.report.fleet import NINETEEN, Made, SizeAccuracy, block_latency


def test_every_device_of_the_fleet_is_told_with_its_source(fleet_report: Report) -> None:
    assert [device.name for device in fleet_report.views("devices")] == list(NINETEEN)
    # The shipped estimate of one of them serves no more, which nobody needs to know who has its table.
    assert fleet_report.notes == ()
    pixel = next(device for device in fleet_report.views("devices") if device.name == "pixel3")
    assert pixel.title.startswith("Google Pixel 3")
    assert pixel.tier == "measured"
    assert "a made-up table" in pixel.measured
    assert pixel.verdict == "not judged"
    assert pixel.when == ""
    assert any(source.startswith("http") or "http" in source for _, _, source in pixel.facts)


def test_measured_devices_carry_verdict_error_and_floor(measured: Made, measured_report: Report) -> None:
    assert [device.label for device in measured_report.views("devices")] == ["cpu-onnxruntime", "cpu-litert"]
    for device in measured_report.views("devices"):
        assert device.verdict in ("stable", "unstable")
        assert (device.verdict == "unstable") == any("fleetfront" in reason.remedy for reason in device.reasons[:1])
        runtime = device.target.split("/")[1]
        path = measured.workspace.fits / "ofa-mbv3-mini" / f"cpu_{runtime}_fp32_t1_b1@thread-cpu.json"
        report = read_report(path)
        assert report is not None
        assert device.scores == report["held_out"]
        assert device.when.endswith("UTC")


def test_predictions_repeat_the_fits_own_scores(measured_report: Report) -> None:
    assert len(measured_report.views("predictions")) == 2
    scores = {device.label: device.scores for device in measured_report.views("devices")}
    for view in measured_report.views("predictions"):
        errors = [abs(point.error_percent) for point in view.points]
        assert len(errors) == scores[view.label]["networks"]
        assert np.mean(errors) == pytest.approx(scores[view.label]["mape"])
        assert all(point.std > 0 for point in view.points)


def test_the_summary_says_what_was_found_and_names_a_pick_a_device(fleet_report: Report, public_report: Report) -> None:
    (summary,) = public_report.views("summary")
    assert summary.found[0] == "19 devices: the latency of 13 is measured, of 6 estimated."
    assert "hybrid 9" in summary.found[2]
    sentences = dict(summary.devices)
    assert list(sentences) == list(NINETEEN)
    assert sentences["raspi4"].startswith("Raspberry Pi 4 Model B, ")
    assert sentences["raspi4"].endswith("estimated.")
    assert "(1 network)" not in sentences["raspi4"]
    (summary,) = fleet_report.views("summary")
    (group,) = fleet_report.views("fronts")
    (table,) = summary.picks
    for row, front in zip(table.rows, group.fronts, strict=True):
        assert (row[0], row[-1]) == (front.label, group.archs[front.points[front.knee].arch])


def test_devices_are_a_row_each_with_details_on_demand(fleet_report: Report) -> None:
    page = render_page(fleet_report)
    rows = page.split('<details class="device">')[1:]
    assert len(rows) == len(NINETEEN)
    assert all("<dt>Target</dt>" in row for row in rows)
    assert page.index('id="fronts"') < page.index('id="devices"')


def test_fronts_are_those_of_the_first_file(fleet: Made, fleet_report: Report) -> None:
    (group,) = fleet_report.views("fronts")
    fronts = load_fronts(fleet.fronts[0])
    assert [front.label for front in group.fronts] == list(NINETEEN)
    for drawn, told in zip(group.fronts, fronts.devices, strict=True):
        assert [group.archs[p.arch] for p in drawn.points] == [p.arch for p in told.points]
        assert drawn.knee == told.knee
        assert drawn.total == len(told.points)
        assert 0 < len(drawn.cloud) <= 28 * 28
    assert len(set(group.archs)) == len(group.archs) == len(group.networks) == len(group.cells)


def test_a_long_front_is_thinned_but_keeps_ends_and_knee(fleet: Made, tmp_path: Path) -> None:
    fronts = load_fronts(fleet.fronts[0])
    first = fronts.devices[0]
    many = tuple(
        replace(first.points[0], latency_ms=1 + i / 100, accuracy=70 + np.log1p(i)) for i in range(4 * MOST_POINTS)
    )
    long = replace(fronts, devices=(replace(first, points=many, knee=333),), trace=())
    write_fronts(long, tmp_path)
    report = gather_report(fleet.workspace, fronts=[tmp_path], random_seeds=0)
    (front,) = report.views("fronts")[0].fronts
    assert len(front.points) <= MOST_POINTS
    assert front.total == 4 * MOST_POINTS
    kept = [point.cost for point in front.points]
    assert kept[0] == many[0].latency_ms
    assert kept[-1] == many[-1].latency_ms
    # The file's own word, 333, does not count.
    bend = knee(np.array([point.latency_ms for point in many]), np.array([point.accuracy for point in many]))
    assert front.points[front.knee].cost == many[bend].latency_ms


def test_the_command_names_what_was_chosen(fleet_report: Report) -> None:
    (group,) = fleet_report.views("fronts")
    front = group.fronts[0]
    command = deploy_command(group, front, group.archs[0])
    assert command.startswith("fleetfront deploy --front ")
    assert f"--device {front.name} --arch '{group.archs[0]}'" in command
    assert command.endswith("--random-weights")


def test_random_search_stands_beside_the_strategies(fleet_report: Report) -> None:
    (view,) = fleet_report.views("baselines")
    final = {name: (seeds, mean) for name, seeds, _, mean, _, _ in view.final}
    assert final["nsga2-shared"][0] == 2
    assert final["random"][0] == 1
    assert final["nsga2-shared"][1] > final["random"][1]
    assert set(view.curves) == {next(iter(view.curves)), *NINETEEN}
    for curves in view.curves.values():
        for curve in curves:
            assert np.all(curve.low <= curve.mean + 1e-12)
            assert np.all(curve.mean <= curve.high + 1e-12)
            assert np.all(np.diff(curve.mean) >= -1e-12)


def test_a_baseline_that_cannot_be_searched_is_explained(measured_report: Report) -> None:
    (view,) = measured_report.views("baselines")
    assert [name for name, *_ in view.final] == ["nsga2-shared"]
    assert "Random search is missing" in view.note


def test_random_search_is_made_where_accuracy_is_quick(tmp_path: Path) -> None:
    space, workspace = ofa_mbv3_w10(), Workspace(tmp_path / "home")
    workspace.root.mkdir()
    with Store(workspace.store) as store:
        keep(store, SyntheticDevice(space).observe(clock=Clock.THREAD_CPU))
        model = fit_target(store, TARGET, space, workspace=workspace).chosen.table
    target = ProblemTarget(TARGET.device, model, str(TARGET))
    options = SearchOptions("nsga2", 600)
    search_space(space, [target], load_accuracy("built-in", space), options, out=tmp_path / "fronts")
    report = gather_report(workspace, fronts=[tmp_path / "fronts"], random_seeds=2)
    (view,) = report.views("baselines")
    assert view.note == ""
    assert [(name, seeds, spent) for name, seeds, spent, *_ in view.final] == [("nsga2", 1, 600), ("random", 2, 600)]
    # One device: its curve is in its own unit and ends at the front's hypervolume.
    ((label, curves),) = view.curves.items()
    assert label == TARGET.device
    assert curves[0].mean[-1] == pytest.approx(report.views("fronts")[0].fronts[0].hypervolume)


def test_heat_maps_show_kernels_by_expansion_where_there_are_blocks(
    measured_report: Report, fleet_report: Report
) -> None:
    blocks = measured_report.views("heat_maps")[0]
    assert {cell.y for cell in blocks.cells} == {f"{slot} k{k}" for slot in ("first", "later") for k in (3, 5, 7)}
    assert {cell.x for cell in blocks.cells} == {f"s{stage} e{e}" for stage in (1, 2, 3) for e in (3, 4, 6)}
    assert np.median([cell.value for cell in blocks.cells]) == pytest.approx(1, abs=0.2)
    # Every block has a square of its own, also where two stages have the same width.
    assert len({(cell.x, cell.y) for cell in blocks.cells}) == len(blocks.cells) == 54
    genes = fleet_report.views("heat_maps")[0]
    assert {cell.x for cell in genes.cells} == set(NasBench201Space().gene_names)


def test_relations_agree_with_the_tables(fleet_report: Report) -> None:
    (view,) = fleet_report.views("relations")
    space = NasBench201Space()
    assert view.labels == NINETEEN
    assert np.allclose(np.diag(view.correlation), 1)
    assert np.allclose(view.correlation, view.correlation.T)
    assert np.all((view.correlation > 0) & (view.correlation <= 1 + 1e-12))
    assert np.allclose(np.diag(view.penalty), 0)
    (group,) = fleet_report.views("fronts")
    # By hand, for one pair: device 0's knee on device 1 against the fastest of device 1's front that is as accurate.
    knee = group.fronts[0].points[group.fronts[0].knee]
    ms = block_latency(space, 1).predict(space.parse([group.archs[knee.arch]])).mean[0]
    best = min(point.cost for point in group.fronts[1].points if point.accuracy >= knee.accuracy)
    assert view.penalty[0, 1] == pytest.approx(100 * (ms / best - 1), abs=1e-6)


def test_of_very_many_devices_some_are_compared_and_it_is_said() -> None:
    """A matrix of 300 devices has 90,000 squares; it was 30 MB of page."""
    devices = [relations._Device(f"d{number:03}", None, None, None) for number in reversed(range(300))]
    labels = [device.label for device in relations.spread_devices(devices)]
    assert len(set(labels)) == len(labels) == relations.MOST_COMPARED
    assert (labels[0], labels[-1]) == ("d000", "d299")
    gaps = np.diff([int(label[1:]) for label in labels])
    assert set(gaps) == {5, 6}
    assert relations.spread_devices(devices[:7]) == devices[:7]
    nothing, two = np.full((2, 2), np.nan), ("measured", "measured")
    view = relations.RelationView("s", "latency", ("a", "b"), two, 0, "", nothing, ("", ""), nothing, 300)
    assert view.warning == "2 of 300 devices are compared, spread evenly over their names."
    assert replace(view, devices=2).warning == ""


def test_fronts_of_very_many_devices_are_thinned_to_their_ends_and_knee() -> None:
    ms = np.linspace(1, 50, 400)
    points = tuple(FrontPoint(str(i), value, 0.0, 60 + np.log(value), 0.1) for i, value in enumerate(ms.tolist()))
    front = DeviceFront("d", "d/litert/fp32/t1/b1", "measured", 1.0, (100.0, 0.0), points, 137)
    kept = front_views._kept_points(front, 60)
    assert len(kept) <= 60
    assert {0, 137, 399} <= set(kept.tolist())


def test_rank_correlation_by_hand() -> None:
    ramp = np.arange(30.0)
    ties = np.repeat([1.0, 2.0, 3.0], 10)
    gaps = np.where(ramp < 25, ramp, np.nan)
    few = np.where(ramp < 10, ramp, np.nan)
    found = spearman([ramp, -ramp, ties, gaps, few])
    assert found[0, 1] == pytest.approx(-1)
    assert found[0, 3] == pytest.approx(1)
    # Spearman with ties is Pearson of mean ranks: 1..10, 11..20, 21..30 share 5.5, 15.5, 25.5.
    assert found[0, 2] == pytest.approx(np.corrcoef(ramp, np.repeat([5.5, 15.5, 25.5], 10))[0, 1])
    assert np.isnan(found[0, 4])


def test_deployed_files_stand_with_size_and_both_latencies(measured: Made, measured_report: Report) -> None:
    assert len(measured_report.views("deployed")[0]) == 4
    for file in measured_report.views("deployed")[0]:
        assert Path(file.path).stat().st_size == file.size_bytes
        assert file.measured_ms is not None
        assert (file.weights, " to " in file.held[1]) == ("random", True)
        cold, median, p90, mean = file.app_ms
        assert cold > median > 0
        assert p90 >= median
        assert mean > 0
    lite = [file for file in measured_report.views("deployed")[0] if file.format == "tflite"]
    assert all(file.predicted_ms is not None for file in lite)


def test_a_broken_bundle_costs_its_own_row(measured: Made, tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "manifest.json").write_text(json.dumps({"schema": "fleetfront.bundle/1", "files": []}))
    report = gather_report(
        measured.workspace, fronts=measured.fronts, bundles=[folder, measured.bundles[0]], random_seeds=0
    )
    assert [bool(file.problem) for file in report.views("deployed")[0]] == [True, False, False]


def test_provenance_has_hashes_seeds_and_commands(fleet: Made, fleet_report: Report, measured_report: Report) -> None:
    origin = fleet_report.views("provenance")[0]
    assert {Path(path).name for _, path, _, _ in origin.files} >= {"store.sqlite", "fronts.json", "archive.npz"}
    assert all(len(digest) == 64 for *_, digest in origin.files)
    assert [(strategy, seed) for _, strategy, seed, *_ in origin.runs] == [
        ("nsga2-shared", 0),
        ("nsga2-shared", 1),
        ("random", 0),
    ]
    assert any("--strategy random" in command for command in origin.commands)
    assert origin.sources[0][:2] == ("a made-up table", "CC0")
    assert len(measured_report.views("provenance")[0].campaigns) == 4


def test_nothing_measured_is_a_report_too(empty_report: Report) -> None:
    assert empty_report.views("devices") == empty_report.views("fronts") == empty_report.views("deployed") == ()
    assert empty_report.notes == ()


def test_a_report_on_measurements_alone(measured: Made) -> None:
    report = gather_report(Workspace(measured.workspace.root), bundles=[measured.bundles[0]])
    assert {device.space for device in report.views("devices")} == {"ofa-mbv3-mini"}
    assert report.views("fronts") == ()
    assert len(report.views("heat_maps")) == len(report.views("predictions")) == 2


def test_labels_grow_until_they_differ() -> None:
    pairs = [("cpu", "cpu/litert/fp32/t1/b1"), ("cpu", "cpu/litert/fp32/t4/b1"), ("cpu", "cpu/torch/fp32/t1/b1")]
    assert list(unique_labels([*pairs, ("pixel3", "pixel3/x/y/z")]).values()) == [
        "cpu/litert/fp32/t1/b1",
        "cpu/litert/fp32/t4/b1",
        "cpu torch",
        "pixel3",
    ]


def test_public_devices_measured_and_estimated_stand_side_by_side(public: Made, public_report: Report) -> None:
    tiers = {device.name: device.tier for device in public_report.views("devices")}
    assert list(tiers) == list(NINETEEN)
    estimated = {name for name, tier in tiers.items() if tier == "estimated"}
    assert estimated == {"titan_rtx_256", "titanxp_1", "pixel2", "raspi4", "fpga", "eyeriss"}
    told = {device.name: device for device in public_report.views("devices")}
    for name in estimated:
        assert told[name].measured == "nothing"
        assert any(f"--device {name} --few 10" in reason.remedy for reason in told[name].reasons)
    maps = {view.label: view for view in public_report.views("heat_maps")}
    assert {label: view.tier for label, view in maps.items()} == tiers
    (view,) = public_report.views("relations")
    assert dict(zip(view.labels, view.tiers, strict=True)) == tiers
    assert not np.isnan(view.correlation).any()
    assert all(name in view.warning for name in estimated)
    assert "pixel3" not in view.warning
    # Everybody's knee was evaluated for all, so every cost is known.
    assert np.isfinite(view.penalty).all()
    (baseline,) = public_report.views("baselines")
    assert [(name, seeds) for name, seeds, *_ in baseline.final] == [("hybrid", 2), ("random", 1)]
    (space,) = {group.space for group in public_report.views("fronts")}
    archive = Archive.load(public.fronts[2] / "archive.npz", {"space": space})
    front = load_fronts(public.fronts[2]).device("pixel3")
    random = next(curve for curve in baseline.curves["pixel3"] if curve.strategy == "random")
    # The curve that random search did not leave on its way, by hand at one place.
    at = int(np.searchsorted(random.evaluations, 20))
    points = np.stack([archive.cost[:20, archive.column("pixel3")], 100 - archive.accuracy[:20]], axis=1)
    assert random.mean[at] <= hypervolume(points, front.reference_point) * (1 + 1e-9)
    assert random.mean[at + 4] >= hypervolume(points, front.reference_point) * (1 - 1e-9)
    assert len(set(random.mean.tolist())) > 5
    assert random.mean[-1] == pytest.approx(front.hypervolume)


def test_differences_show_blocks_where_none_was_measured(tmp_path: Path) -> None:
    space, workspace = ofa_mbv3_mini(), Workspace(tmp_path / "home")
    workspace.root.mkdir()
    (found,) = device_models(["raspi4"], space, workspace=workspace, store=workspace.store)
    target = ProblemTarget("raspi4", found.model, str(found.target))
    search_space(space, [target], SizeAccuracy(space), SearchOptions("random", 40), out=tmp_path / "fronts")
    report = gather_report(workspace, fronts=[tmp_path / "fronts"], random_seeds=0)
    (view,) = report.views("heat_maps")
    assert view.tier == "estimated"
    assert view.meaning.startswith("Difference in whole-network latency")
    cells = {(cell.x, cell.y): cell for cell in view.cells}
    assert len(cells) == len(view.cells) == 54
    assert {cell.text for (x, y), cell in cells.items() if x.endswith("e3") and y.endswith("k3")} == {"0"}
    # By hand: the first slot of the second stage from kernel 3, expansion 3 to kernel 7, expansion 6.
    pair = space.parse([f"k3333{k}3333333_e3333{e}3333333_d444_r32" for k, e in ((3, 3), (7, 6))])
    ms = np.diff(found.model.predict(pair).mean)[0]
    assert float(cells["s2 e6", "first k7"].text) == pytest.approx(ms, rel=0.06)


def test_a_table_with_gaps_leaves_the_device_to_its_estimate(tmp_path: Path, fleet: Made) -> None:
    """The front says whose latencies it was searched with; what lies in the store beside it does not replace them."""
    space = NasBench201Space()
    (found,) = device_models(
        ["pixel3"], space, workspace=fleet.workspace, store=fleet.workspace.store, tiers=(Tier.ESTIMATED,)
    )
    target = ProblemTarget("pixel3", found.model, str(found.target))
    search_space(space, [target], SizeAccuracy(space), SearchOptions("random", 40), out=tmp_path / "fronts")
    report = gather_report(fleet.workspace, fronts=[tmp_path / "fronts"], random_seeds=0)
    tiers = {device.name: device.tier for device in report.views("devices")}
    assert (tiers["pixel3"], tiers["raspi4"]) == ("estimated", "measured")
    assert {view.label: view.tier for view in report.views("heat_maps")}["pixel3"] == "estimated"


def test_a_device_known_from_few_measurements_says_so(fleet: Made, tmp_path: Path) -> None:
    home = tmp_path / "home"
    target, space, count = Target("phone", "tflite"), NasBench201Space(), len(DETAILED_NAMES)
    basis = WorkBasis(np.ones(count), np.zeros(count), np.eye(1 + count))
    hypothesis = Hypothesis(Mode.LIVE, 1.0, np.ones(1 + count), np.eye(1 + count), 0.1)
    model = FewShotModel(FewShotContent(target, space.name, basis, (hypothesis,)), NetworkWork(space))
    told = FewShotReport("transfer", "live", ("a", "b", "c"), 10, 6.25, None, 1.0)
    save_few_shot(FewShotFit(model, told), Workspace(home), space.name, Clock.WALL)
    report = gather_report(Workspace(home), store=fleet.workspace.store, random_seeds=0)
    phone = next(device for device in report.views("devices") if device.name == "phone")
    assert phone.tier == "transferred"
    assert any("10 networks of this device and 3 known devices" in reason.text for reason in phone.reasons)
    assert any("6.2 %" in reason.text for reason in phone.reasons)
    assert any(kind == "few-shot model" for kind, *_ in report.views("provenance")[0].files)


def test_a_front_of_one_network_is_told_once(measured_report: Report) -> None:
    (group,) = measured_report.views("fronts")
    front = group.fronts[0]
    single = replace(front, points=front.points[:1], knee=0, total=1)
    entry = next(one for one in measured_report.views("devices") if one.target == front.target)
    said = device_sentence(entry, (replace(group, fronts=(single,)), single))
    assert "(1 network)" in said
    assert " to " not in said
