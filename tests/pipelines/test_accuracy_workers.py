"""Accuracies judged by several processes, or on a Dask cluster, are those of one, in the order of the questions."""

from __future__ import annotations

import copy
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fleetfront.datasets import Split
from fleetfront.errors import DeviceError, FileError, InputError, MissingDependency
from fleetfront.pipelines.accuracy_workers import Job, Workers, judge, open_workers, spread
from fleetfront.pipelines.search import search
from fleetfront.pipelines.supernet_accuracy import open_supernet, supernet_loader
from fleetfront.predictors.accuracy.call import load_call
from fleetfront.predictors.table.calibrated import CalibratedTable
from fleetfront.predictors.table.fitting import fit_model
from fleetfront.search.problem import ProblemTarget
from fleetfront.spaces.catalogue import load_space
from fleetfront.spaces.supernet.checkpoints import save_supernet
from fleetfront.spaces.supernet.subnets import untrained
from fleetfront.workspace import Workspace
from tests.predictors.synthetic_device import SyntheticDevice

SPACE = load_space("ofa-mbv3-mini")
SYNTHETIC = ProblemTarget("synthetic", CalibratedTable(SPACE, fit_model(SPACE, SyntheticDevice(SPACE).observe()).model))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    save_supernet(untrained(SPACE, 0), path)  # type: ignore[arg-type]
    return str(path)


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    with open_workers(2) as opened:
        yield opened


def archs(count: int) -> np.ndarray:
    return SPACE.sample(count, np.random.default_rng(3))


def test_processes_answer_as_one_does_and_in_order(weights: str, workers: Workers, tmp_path: Path) -> None:
    alone = supernet_loader("digits", Workspace(tmp_path / "one"))(weights, SPACE)
    shared = supernet_loader("digits", Workspace(tmp_path / "two"), workers=workers)(weights, SPACE)
    networks = archs(3)
    assert np.array_equal(shared.predict(networks).mean, alone.predict(networks).mean)
    assert np.array_equal(shared.held_out(networks[:2]).mean, alone.held_out(networks[:2]).mean)
    assert len(set(alone.predict(networks).mean)) > 1


def test_what_a_worker_refuses_reaches_the_search(weights: str, workers: Workers) -> None:
    job = Job(weights, SPACE.name, "digits", "other weights")
    with pytest.raises(FileError, match="holds something else") as told:
        list(spread(job, workers, archs(2), Split.VALIDATION))
    assert told.value.remedy.startswith("Give the workers the same files")


def test_a_worker_that_is_killed_is_said(weights: str) -> None:
    with open_workers(2) as two:
        assert two.executor is not None
        two.start()
        pid = two.executor.submit(os.getpid).result()
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(DeviceError, match="A process of --workers 2 ended") as told:
            list(spread(Job(weights, SPACE.name, "digits", ""), two, archs(2), Split.VALIDATION))
    assert "fewer --workers" in told.value.remedy


def test_a_cluster_answers_as_one_process_does(weights: str, tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    place = {"processes": False, "host": "127.0.0.1", "protocol": "tcp", "dashboard_address": None}
    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, **place) as cluster:
        address = cluster.scheduler_address.replace("tcp://", "dask://")
        with open_workers(address) as opened:
            assert opened.is_elsewhere
            model = supernet_loader("digits", Workspace(tmp_path / "far"), workers=opened)(weights, SPACE)
            found = model.predict(archs(3)).mean
    here = open_supernet(weights, SPACE, "digits", Workspace(tmp_path / "here"))
    assert np.array_equal(found, here.predict(archs(3)).mean)


def test_searches_find_the_same_front_whoever_judges(weights: str, tmp_path: Path) -> None:
    called = tmp_path / "mine.py"
    called.write_text("def f(arch):\n    return 50 + len(set(arch)) + arch.count('7') / 10\n")
    targets = [SYNTHETIC]
    found = [
        search(SPACE, targets, f"call:{called}:f,unit=percent", budget=40, workers=count, out=tmp_path / str(count))
        for count in (1, 3)
    ]
    assert found[0].devices[0].points == found[1].devices[0].points
    rows = [
        [line.split(",")[:2] for line in (tmp_path / name / "calls.csv").read_text().splitlines()]
        for name in ("1", "3")
    ]
    assert rows[0] == rows[1]


def test_a_function_that_always_fails_ends_a_search_of_several_processes(tmp_path: Path) -> None:
    called = tmp_path / "mine.py"
    called.write_text("def f(arch):\n    raise ValueError('no data')\n")
    targets = [SYNTHETIC]
    with pytest.raises(InputError, match="each of the first 3 networks: ValueError: no data"):
        search(SPACE, targets, f"call:{called}:f,unit=percent", budget=40, workers=3)


@pytest.mark.usefixtures("hearing_ctrl_c")
def test_ctrl_c_ends_functions_that_take_long(tmp_path: Path) -> None:
    called = tmp_path / "mine.py"
    called.write_text(
        "import pathlib, time\n"
        "def f(arch):\n"
        "    pathlib.Path(__file__).with_name('called').touch()\n"
        "    time.sleep(300)\n"
    )

    def interrupt() -> None:
        until = time.monotonic() + 60
        while not (tmp_path / "called").exists() and time.monotonic() < until:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        load_call(f"{called}:f", SPACE, processes=2).predict(archs(6))


def test_a_cluster_that_loses_its_workers_is_said() -> None:
    scheduler = pytest.importorskip("distributed.scheduler")

    class Losing(ThreadPoolExecutor):
        def map(self, *_: object, **__: object) -> Iterator[Any]:
            raise scheduler.KilledWorker("judge-1", SimpleNamespace(address="tcp://w:1"), 3)

    lost = Workers(2, Losing(1), True, (scheduler.KilledWorker,))
    with pytest.raises(DeviceError, match="cluster lost what it was given"):
        list(spread(Job("w", SPACE.name, "digits", ""), lost, archs(1), Split.VALIDATION))


def test_a_cluster_is_not_asked_for_what_it_cannot_judge() -> None:
    with (
        pytest.raises(InputError, match="alone, not call:"),
        open_workers("dask://127.0.0.1:1", accuracy="call:a.py:f"),
    ):
        pass


def test_without_certificates_their_place_is_named() -> None:
    pytest.importorskip("distributed")
    with pytest.raises(InputError, match="no certificates for tls://h:1") as told, open_workers("tls://h:1"):
        pass
    assert "distributed.comm.tls.ca-file" in told.value.remedy


@pytest.mark.parametrize(
    ("spelled", "said"),
    [
        ("0", "--workers 0 is not between 1 and 256"),
        ("-1", "--workers -1 is not between 1 and 256"),
        ("1000000000", "--workers 1000000000 is not between 1 and 256"),
        ("1000", "not between"),
        ("many", "neither a number nor"),
        ("dask://host", "neither a number nor"),
        ("tcp://127.0.0.1:8786", "neither a number nor"),
        ("dask://pool.example:8786", "reads along between here and pool.example"),
        ("dask://10.0.0.1:8786", "reads along"),
        ("dask://localhost.example:8786", "reads along"),
    ],
)
def test_other_spellings_are_refused(spelled: str, said: str) -> None:
    with pytest.raises(InputError, match=said), open_workers(spelled):
        pass


def test_a_scheduler_that_does_not_answer_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr("fleetfront.pipelines.accuracy_workers._ANSWERS_IN_S", 0.2)
    with pytest.raises(DeviceError, match="No Dask scheduler answers at tcp"), open_workers("dask://127.0.0.1:1"):
        pass


def test_without_the_package_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "distributed", None)
    with pytest.raises(MissingDependency) as told, open_workers("dask://127.0.0.1:8786"):
        pass
    assert "fleetfront[cluster]" in told.value.remedy


@pytest.mark.parametrize(
    ("workers", "accuracy", "has_own", "said"),
    [
        (Workers(4), "built-in", False, "nothing for --workers to do"),
        (Workers(4), "csv:a.csv", True, "nothing for --workers to do"),
        (
            Workers(4, None, True),
            "call:a.py:f",
            False,
            "A cluster judges networks of --accuracy supernet:WEIGHTS alone",
        ),
    ],
)
def test_workers_that_would_do_nothing_are_refused(workers: Workers, accuracy: str, has_own: bool, said: str) -> None:
    with pytest.raises(InputError, match=said):
        workers.check_used(accuracy, has_own)


def test_workers_that_serve_are_taken() -> None:
    Workers().check_used("built-in", False)
    Workers(4).check_used("built-in", True)
    Workers(4, None, True).check_used("supernet:w", False)


def test_errors_keep_message_and_remedy_apart_on_their_way() -> None:
    # Copies are made as what another process sends is.
    error = copy.copy(FileError("It is damaged.", "Get it again."))
    assert (type(error), error.message, error.remedy) == (FileError, "It is damaged.", "Get it again.")


def test_judging_here_is_what_a_worker_does(weights: str) -> None:
    model = open_supernet(weights, SPACE, "digits")
    (network,) = archs(1)
    job = Job(weights, SPACE.name, "digits", model.fingerprint)
    assert judge(job, "validation", tuple(map(int, network))) == model.evaluate(network)


def test_processes_that_are_being_started_are_deaf_to_ctrl_c(tmp_path: Path) -> None:
    """A terminal's Ctrl-C reaches the whole group; a process that imports would end with a traceback."""
    (tmp_path / "program.py").write_text(
        "import time\n"
        "from fleetfront.pipelines.accuracy_workers import open_workers\n"
        "if __name__ == '__main__':\n"
        "    with open_workers(2) as two:\n"
        "        two.start()\n"
        "        print('started', flush=True)\n"
        "        try:\n"
        "            time.sleep(30)\n"
        "        except KeyboardInterrupt:\n"
        "            print(list(two.map(str.upper, ['heard'])))\n"
    )
    process = subprocess.Popen(
        ["env", "--default-signal=INT", sys.executable, str(tmp_path / "program.py")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "['HEARD']\n", "")
