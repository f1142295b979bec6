"""Ten real measurements of this machine, and everything else from devices that nobody measured here."""

import json
from pathlib import Path

import numpy as np
import pytest

from fleetfront.cli.main import main
from fleetfront.errors import InputError
from fleetfront.pipelines.knowledge.cost_models import device_models
from fleetfront.pipelines.measure.few_shot import _are_in_order, learn_from_table, profile_few_shot
from fleetfront.predictors.operators.work import NetworkWork
from fleetfront.profilers.records import Measurement, Role
from fleetfront.profilers.store.store import Store
from fleetfront.quantities import Clock, Tier
from fleetfront.spaces.base import Genotypes
from fleetfront.spaces.catalogue import load_space
from fleetfront.spaces.nasbench201.space import NasBench201Space
from fleetfront.targets import Target
from fleetfront.workspace import Workspace


def test_few_networks_of_this_machine_serve_a_search(tmp_path) -> None:
    space, workspace = load_space("ofa-mbv3-mini"), Workspace(tmp_path / "home")
    target = Target("cpu", "onnxruntime")
    with Store(workspace.store) as store:
        outcome = profile_few_shot(space, target, 6, store=store, workspace=workspace, validation=8, rounds=3)
    assert outcome.result.fit.report.networks == 6
    assert len(outcome.result.fit.report.teachers) >= 10
    assert outcome.result.held_out is not None
    assert outcome.result.held_out.networks == 8
    # Six visits on a busy machine promise no rank; a model of the wrong scale would be off by hundreds of percent.
    assert outcome.result.held_out.mape < 100
    data = outcome.to_json()["fit"]
    assert (data["tier"], data["few"]["networks"]) == ("transferred", 6)
    (found,) = device_models(["cpu"], space, workspace=workspace, store=workspace.store)
    assert (found.model.tier, found.target) == (Tier.TRANSFERRED, target)


def test_a_table_of_some_networks_becomes_a_model_of_all(tmp_path, capsys, monkeypatch) -> None:
    # Growing them for each of eleven teachers took 25 s, and they are a second opinion, tested in a room of their own.
    monkeypatch.setattr("fleetfront.predictors.few_shot.pooled_trees._ROUNDS", 20)
    space, workspace = load_space("nasbench201"), Workspace.default()
    rng = np.random.default_rng(4)
    genotypes = np.unique(space.sample(150, rng), axis=0)
    genotypes = genotypes[~space.disconnected(genotypes)]
    ms = (2 + np.asarray(space.macs(genotypes)) / 2e7) * np.exp(0.02 * rng.standard_normal(len(genotypes)))
    table = tmp_path / "table.csv"
    rows = [f"{arch},{value:.5f}" for arch, value in zip(space.arch_ids(genotypes), ms, strict=True)]
    table.write_text("\n".join(["arch,lat_my_board", *rows]) + "\n")
    assert main(["import", "table", str(table), "--space", space.name, "--source", "me", "--licence", "own"]) == 0
    assert "fleetfront fit --devices my_board" in capsys.readouterr().err
    with pytest.raises(InputError, match="fleetfront fit --device my_board"):
        device_models(["my_board"], space, workspace=workspace, store=workspace.store, everywhere=True)
    assert main(["fit", "--device", "my_board", "--space", space.name, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["few"]["networks"] == 40
    assert report["held_out"]["networks"] == len(genotypes) - 40
    assert report["held_out"]["mape"] < 8
    assert report["held_out"]["spearman"] > 0.9
    (found,) = device_models(["my_board"], space, workspace=workspace, store=workspace.store, everywhere=True)
    assert found.model.tier is Tier.TRANSFERRED
    # What was measured itself is still looked up.
    (exact,) = device_models(["my_board"], space, workspace=workspace, store=workspace.store)
    assert exact.model.predict(genotypes[:5]).mean == pytest.approx(ms[:5], rel=1e-4)
    other = np.array([row for row in space.every() if not (genotypes == row).all(axis=1).any()][:1])
    command = ["predict", "--space", space.name, "--device", "my_board", "--accuracy", "none", "--json"]
    assert main([*command, *space.arch_ids(np.concatenate([genotypes[:1], other]))]) == 0
    printed = capsys.readouterr()
    assert [row["tier"] for row in json.loads(printed.out)] == ["transferred"] * 2
    assert "lacks 1 of the 2 networks" in printed.err
    assert main(["fit", "--device", "my_bord", "--space", space.name]) == 2
    assert "Did you mean 'my_board'" in capsys.readouterr().err
    assert main(["fit", "--runtime", "litert", "--space", space.name]) == 2
    assert "measured under litert" in capsys.readouterr().err


def know_four_devices(space: NasBench201Space, folder: Path) -> tuple[Genotypes, list[str]]:
    """Import a table of four made-up devices, a to d; its networks. No device is estimated beside so many."""
    genotypes = np.unique(space.sample(130, np.random.default_rng(5)), axis=0)
    genotypes = genotypes[~space.disconnected(genotypes)]
    macs, archs = np.asarray(space.macs(genotypes)), space.arch_ids(genotypes)
    ms = np.stack([1 + i + macs / (1 + i) / 1e7 for i in range(4)], axis=1)
    timed = [",".join([arch, *map(str, row)]) for arch, row in zip(archs, ms, strict=True)]
    known = folder / "known.csv"
    known.write_text("\n".join(["arch,lat_a,lat_b,lat_c,lat_d", *timed]) + "\n")
    assert main(["import", "table", str(known), "--space", space.name, "--unit", "ms"]) == 0
    return genotypes, archs


def test_energies_of_some_networks_become_a_model_of_all(tmp_path, capsys) -> None:
    space = load_space("nasbench201")
    genotypes, archs = know_four_devices(space, tmp_path)
    macs = np.asarray(space.macs(genotypes))
    millijoules = 3 + macs / 5e6
    new = tmp_path / "new.csv"
    rows = [f"{arch},{value}" for arch, value in zip(archs[:20], millijoules, strict=False)]
    new.write_text("\n".join(["arch,energy_my_board", *rows]) + "\n")
    energy = ["--space", space.name, "--metric", "energy"]
    assert main(["import", "table", str(new), *energy, "--unit", "mJ"]) == 0
    command = ["predict", *energy, "--device", "my_board", "--accuracy", "none", "--json", *archs[60:64]]
    assert main(command) == 2
    assert "fleetfront fit --device my_board" in capsys.readouterr().err
    assert main(["fit", "--device", "my_board", "--space", space.name, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["metric"] == "energy"
    assert report["few"]["teachers"] == [f"{name} (latency)" for name in "abcd"]
    assert main(command) == 0
    told = json.loads(capsys.readouterr().out)
    assert [row["energy_uJ"] for row in told] == pytest.approx(1e3 * millijoules[60:64], rel=0.1)


def test_a_table_sorted_by_name_is_in_no_order_of_measuring() -> None:
    space = load_space("nasbench201")
    cells = space.every()[::1500]
    by_name = cells[np.argsort(space.arch_ids(cells))]
    assert _are_in_order(space, by_name[::-1])
    assert not _are_in_order(space, by_name)
    assert not _are_in_order(space, space.every()[:1001][::-1])


def test_networks_that_were_measured_here_are_learnt_as_this_projects_files(tmp_path) -> None:
    space, target = load_space("nasbench201"), Target("my_phone", "litert")
    cells = space.every()[~space.disconnected(space.every())][::2000]
    with Store(tmp_path / "s.sqlite") as store:
        store.add_campaign("c", target, space.name, "c", {"tasks": {"calibration": []}}, {})
        store.append(
            Measurement(target, space.name, Role.CALIBRATION, arch, Clock.WALL, (10**6 * (2 + i),), "c", 0, i)
            for i, arch in enumerate(space.arch_ids(cells))
        )
        found = learn_from_table(store, target, space, workspace=Workspace(tmp_path))
    assert {hypothesis.mode for hypothesis in found.fit.model.content.hypotheses} == {NetworkWork(space).own_mode}


def test_ten_equal_values_are_learnt_and_said(tmp_path, capsys) -> None:
    space = load_space("nasbench201")
    know_four_devices(space, tmp_path)
    cells = space.every()[~space.disconnected(space.every())][::1500]
    table = tmp_path / "table.csv"
    table.write_text("\n".join(["arch,lat_my_board", *(f"{arch},12.5" for arch in space.arch_ids(cells))]) + "\n")
    assert main(["import", "table", str(table), "--space", space.name]) == 0
    assert main(["fit", "--device", "my_board", "--space", space.name]) == 0
    assert f"All {len(cells)} measurements are 12.5 ms" in capsys.readouterr().err


def test_too_few_or_contradicting_options_are_refused(tmp_path, capsys) -> None:
    with Store(tmp_path / "s.sqlite") as store, pytest.raises(InputError, match="--few 3"):
        profile_few_shot(
            load_space("ofa-mbv3-mini"), Target("cpu", "litert"), 2, store=store, workspace=Workspace(tmp_path)
        )
    with Store(tmp_path / "s.sqlite") as store, pytest.raises(InputError, match="--few 200"):
        profile_few_shot(load_space("ofa-mbv3-mini"), Target("cpu", "litert"), 10**9, store=store)
    assert main(["profile", "--space", "ofa-mbv3-mini", "--few", "5", "--target-error", "3"]) == 2
    assert "--validation 10" in capsys.readouterr().err
