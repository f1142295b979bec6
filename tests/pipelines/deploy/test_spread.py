"""Networks that workers of a Dask cluster write are those of one process, or are refused in a sentence."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fleetfront.deploy.formats import FORMATS, parse_formats
from fleetfront.errors import DeviceError, InputError, MissingDependency
from fleetfront.pipelines.accuracy_workers import Workers
from fleetfront.pipelines.deploy import spread
from fleetfront.pipelines.deploy.deploy import Pick, Recipe, UserImages, Weights, deploy_picks
from fleetfront.spaces.catalogue import load_space
from fleetfront.spaces.supernet.subnets import untrained

SPACE = load_space("ofa-mbv3-mini")
ONNX = parse_formats("onnx")


def picks(count: int) -> list[Pick]:
    archs = SPACE.arch_ids(SPACE.sample(count, np.random.default_rng(7)))
    return [Pick(f"net{number}", arch) for number, arch in enumerate(archs)]


@pytest.fixture
def threads() -> Iterator[Workers]:
    """Workers of a cluster with two threads, but for the cluster."""
    with ThreadPoolExecutor(2) as pool:
        yield Workers(2, pool, is_elsewhere=True)


def test_a_cluster_writes_the_bundles_of_one_process(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    weights = Weights(untrained(SPACE, 0), UserImages("digits", limit=200))  # type: ignore[arg-type]
    wanted = [*picks(2), Pick("wrong", "k9_e9_d9_r9")]
    place = {"processes": False, "host": "127.0.0.1", "protocol": "tcp", "dashboard_address": None}
    with distributed.LocalCluster(n_workers=1, threads_per_worker=2, **place) as cluster:
        address = cluster.scheduler_address.replace("tcp://", "dask://")
        far = deploy_picks(wanted, SPACE, weights, ONNX, tmp_path / "far", workers=address)
    near = deploy_picks(wanted, SPACE, weights, ONNX, tmp_path / "near")
    assert [(one.pick.name, str(one.error), one.proofs) for one in far] == [
        (one.pick.name, str(one.error), one.proofs) for one in near
    ]
    files = [sorted(path for path in (tmp_path / out).rglob("*") if path.is_file()) for out in ("near", "far")]
    assert [p.relative_to(tmp_path / "near") for p in files[0]] == [p.relative_to(tmp_path / "far") for p in files[1]]
    assert [path.read_bytes() for path in files[0]] == [path.read_bytes() for path in files[1]]
    assert len(files[0]) > 6


def made(workers: Workers, weights: Weights, folder: Path, formats: Any = ONNX) -> list[Any]:
    return list(spread.make_networks(picks(1), SPACE, weights, formats, Recipe(), folder, workers))


def test_without_torch_nothing_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingDependency, match="needs the package torch"):
        deploy_picks(picks(1), SPACE, Weights(), ONNX, tmp_path / "out")
    assert not list(tmp_path.glob("out/*"))


def test_workers_with_other_images_are_refused(
    threads: Workers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = Weights(untrained(SPACE, 0), UserImages("digits", limit=200))  # type: ignore[arg-type]
    monkeypatch.setattr(UserImages, "whole_path", lambda _: UserImages("digits", limit=100))
    with pytest.raises(DeviceError, match="other images than this machine"):
        made(threads, weights, tmp_path)
    monkeypatch.setattr(UserImages, "whole_path", lambda _: UserImages("/nowhere/photos"))
    with pytest.raises(DeviceError, match="has no /nowhere/photos") as told:
        made(threads, weights, tmp_path)
    assert "same images at the same place" in told.value.remedy


def test_workers_with_other_versions_are_refused(
    threads: Workers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = iter([{"onnx": "1.0", "torch": "2"}, {"onnx": "1.1", "numpy": "2"}])
    monkeypatch.setattr(spread, "_made_with", lambda: next(told))
    with pytest.raises(
        DeviceError, match=r"numpy 2 here, missing there, onnx 1\.1 here, 1\.0 there, torch missing here"
    ):
        made(threads, Weights(), tmp_path)


def test_a_file_that_changes_on_its_way_is_refused(
    threads: Workers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = spread._write_far

    def damaged(*arguments: Any) -> Any:
        sent = write(*arguments)
        assert not isinstance(sent, Exception)
        return replace(sent, files={name: data[:-1] + b"\0" for name, data in sent.files.items()})

    monkeypatch.setattr(spread, "_write_far", damaged)
    with pytest.raises(DeviceError, match="changed on its way"):
        made(threads, Weights(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_files_that_are_bound_to_a_machine_are_not_asked_of_a_cluster(threads: Workers, tmp_path: Path) -> None:
    bound = replace(FORMATS["onnx"], bound_to=lambda: {"gpu": "a"})
    with pytest.raises(InputError, match="bound to the machine that writes them"):
        made(threads, Weights(), tmp_path, [bound])


def test_images_are_named_by_their_whole_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert UserImages("photos").whole_path().source == str(tmp_path / "photos")
    assert UserImages("digits").whole_path().source == "digits"
