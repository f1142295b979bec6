"""A finished search in Optuna's and MLflow's own stores, read back through their own interfaces."""

from pathlib import Path

import pytest

from fleetfront.errors import InputError
from fleetfront.pipelines.mlflow_run import log_to_mlflow
from fleetfront.pipelines.optuna_study import to_optuna
from fleetfront.pipelines.search import SearchOptions, search_space
from fleetfront.search.archive import Archive
from fleetfront.search.fronts_file import load_fronts
from fleetfront.search.problem import ProblemTarget
from fleetfront.spaces.catalogue import load_space
from fleetfront.testing.problems import BlockSums, SyntheticAccuracy

SPACE = load_space("ofa-mbv3-mini")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("search")
    costs = BlockSums(SPACE, SPACE.block_macs(SPACE.vocabulary) / 1e5 + 0.2)
    targets = [ProblemTarget(name, costs, f"{name}/litert/fp32/t1/b1") for name in ("one", "two")]
    search_space(SPACE, targets, SyntheticAccuracy(SPACE), SearchOptions("random", 30, 1), out=folder)
    return folder


def test_a_study_has_every_evaluation_and_the_same_front(found: Path, tmp_path: Path) -> None:
    pytest.importorskip("optuna", reason="optuna is not installed")
    study = to_optuna(found, storage=f"sqlite:///{tmp_path}/study.db")
    archive = Archive.load(found / "archive.npz", {})
    assert len(study.trials) == len(archive)
    assert [direction.name for direction in study.directions] == ["MINIMIZE", "MINIMIZE", "MAXIMIZE"]
    front = load_fronts(found).device("one").points
    # Both devices cost the same here, so that Optuna's front of three objectives is the device's own.
    assert {trial.user_attrs["arch"] for trial in study.best_trials} == {point.arch for point in front}
    trial = study.trials[0]
    assert trial.values[2] == pytest.approx(archive.accuracy[0])
    config = [SPACE.choices[i][gene] for i, gene in enumerate(archive.genotypes[0].tolist())]
    assert list(trial.params.values()) == config
    assert list(trial.params) == list(SPACE.gene_names)


def test_a_run_has_parameters_metrics_and_the_fronts(
    found: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri(f"file://{tmp_path}/runs")
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "manifest.json").write_text("{}")
    run = mlflow.get_run(log_to_mlflow(found, bundles=(tmp_path / "bundle",)))
    assert run.data.params["strategy"] == "random"
    fronts = load_fronts(found)
    assert run.data.metrics["one/hypervolume"] == pytest.approx(fronts.device("one").hypervolume)
    knee = fronts.device("two").points[fronts.device("two").knee]
    assert run.data.metrics["two/knee_latency_ms"] == pytest.approx(knee.latency_ms)
    names = {one.path for one in mlflow.artifacts.list_artifacts(run_id=run.info.run_id)}
    assert names == {"fronts.json", "bundle"}
    assert mlflow.active_run() is None


def test_a_folder_without_a_search_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("optuna", reason="optuna is not installed")
    with pytest.raises(InputError):
        to_optuna(tmp_path)
