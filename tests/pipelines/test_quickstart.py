"""The quickstart's story, told short: hardly trained, hardly measured, but every step of it with real files."""

import json
from pathlib import Path

import numpy as np
import pytest

from fleetfront.deploy.formats import parse_formats
from fleetfront.errors import InputError
from fleetfront.pipelines.compare import compare_results, parse_bars
from fleetfront.pipelines.deploy.deploy import Weights, deploy_picks
from fleetfront.pipelines.deploy.picks import pick_spread
from fleetfront.pipelines.fit.fit import fit_target
from fleetfront.pipelines.measure.profile import Budget, profile_space
from fleetfront.pipelines.quickstart import Quickstart, run_quickstart
from fleetfront.pipelines.search import SearchOptions, search_space
from fleetfront.profilers.plan import PlanOptions
from fleetfront.profilers.store.store import Store
from fleetfront.report.gather import gather_report
from fleetfront.search.fronts_file import load_fronts
from fleetfront.search.problem import ProblemTarget
from fleetfront.spaces.ofa_mbv3.space import ofa_mbv3_mini64
from fleetfront.spaces.ofa_resnet50.space import ofa_resnet_mini
from fleetfront.spaces.supernet.subnets import largest, smallest, untrained
from fleetfront.spaces.supernet.training import TrainingSettings
from fleetfront.targets import Target
from fleetfront.testing.problems import SyntheticAccuracy
from fleetfront.workspace import Workspace

EVALUATIONS = 16


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, Quickstart]:
    root = tmp_path_factory.mktemp("story")
    workspace = Workspace(root / "home")
    workspace.root.mkdir()
    with Store(workspace.store) as store:
        story = run_quickstart(
            root / "out",
            workspace=workspace,
            store=store,
            space=ofa_mbv3_mini64(),
            settings=TrainingSettings(epochs=1),
            budget=Budget("test", 8.0, calibration=10),
            evaluations=EVALUATIONS,
        )
    return workspace, story


def test_the_story_leaves_everything_behind(told: tuple[Workspace, Quickstart]) -> None:
    _, story = told
    assert {name.name for name in story.out.iterdir()} == {"bundles", "fits", "fronts", "random"}
    searched, random = (load_fronts(folder) for folder in story.front_folders)
    assert (searched.strategy, random.strategy) == ("surrogate", "random")
    assert searched.evaluations == random.evaluations == EVALUATIONS
    assert [front.reference_point for front in searched.devices] == [front.reference_point for front in random.devices]
    assert len(story.files) == 2 * len({file.pick for file in story.files})
    for file in story.files:
        assert Path(file.path).is_file()
        assert file.same_class > 99
        # Promised on the images that it is judged on here: nothing of it is the luck of having been chosen.
        assert file.torch_accuracy == pytest.approx(file.promised_accuracy, abs=0.6)
    json.dumps(story.to_json(), allow_nan=False)


def test_its_report_has_every_section(told: tuple[Workspace, Quickstart]) -> None:
    workspace, story = told
    # The folder of bundles stands for the bundles in it.
    report = gather_report(workspace, fronts=story.front_folders, bundles=[story.out / "bundles"])
    assert report.notes == ()
    (baseline,) = report.views("baselines")
    assert baseline.note == ""
    assert {name for name, *_ in baseline.final} == {"surrogate", "random"}
    for curves in baseline.curves.values():
        # Both are curves, not ends alone, though random search asks for all of its networks at once.
        assert all(len(set(curve.mean[curve.mean > 0].tolist())) > 1 for curve in curves)
    assert {file.problem for file in report.views("deployed")[0]} == {""}
    assert len(report.views("deployed")[0]) == len(story.files)
    assert all(map(report.views, ("devices", "predictions", "fronts", "heat_maps", "relations")))


def test_two_stories_compare_by_their_folders(told: tuple[Workspace, Quickstart]) -> None:
    _, story = told
    rows = compare_results(story.out, story.out, parse_bars("hypervolume:-1%,error:+1"))
    assert {row.quantity for row in rows} >= {"hypervolume", "accuracy", "latency", "error"}
    assert all(row.change == 0 and not row.missed for row in rows)


def test_its_own_family_goes_from_blocks_to_files(tmp_path: Path) -> None:
    """The story above is told of a smaller family: this one takes minutes to train."""
    space, target, out = ofa_resnet_mini(), Target("cpu", "onnxruntime"), tmp_path / "out"
    ends = np.array([smallest(space), largest(space)])
    # Networks of a millisecond and of four: such cores compute 75 to 115 million products a millisecond.
    least, most = (space.macs(ends) / 1e6).tolist()
    assert least > 95
    assert most > 4 * least
    workspace = Workspace(tmp_path / "home")
    workspace.root.mkdir()
    with Store(workspace.store) as store:
        profile_space(
            space,
            target,
            store=store,
            budget=Budget("test", 60.0),
            rounds=2,
            options=PlanOptions(calibration=8, validation=4),
            workspace=workspace,
        )
        table = fit_target(store, target, space, workspace=workspace).chosen.table
    cost = ProblemTarget("cpu", table, str(target))
    fronts = search_space(space, [cost], SyntheticAccuracy(space), SearchOptions("nsga2", 60), out=out)
    (pick,) = pick_spread(fronts, "cpu", 1)
    (done,) = deploy_picks([pick], space, Weights(untrained(space, 0)), parse_formats("onnx,tflite"), tmp_path)
    assert done.error is None
    assert {file.kind.name for file in done.files} == {"onnx", "tflite"}
    assert table.predict(ends).mean[0] < table.predict(ends).mean[1]


def test_a_folder_that_cannot_be_written_is_said_before_the_minutes(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    workspace = Workspace(tmp_path / "home")
    workspace.root.mkdir()
    with Store(workspace.store) as store, pytest.raises(InputError, match=r"Cannot write results.*with --out"):
        run_quickstart(tmp_path / "file" / "out", workspace=workspace, store=store)
    assert not workspace.weights.exists()
