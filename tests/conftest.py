"""Fixtures that every test room shares, and the rule that CI skips nothing without a listed reason."""

import os
import signal
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import Any

# Two workers on two cores: native thread pools that each take every core wait for one another. Read at import.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from fleetfront.errors import MissingDependency

# How long an example takes says how busy the machine is, not whether the code is right.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")

_ALLOWED_SKIPS = Path(__file__).with_name("allowed_skips.txt")
_skipped: list[tuple[str, str]] = []


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of public measurements; tests that need it skip where it is missing."""
    configured = os.environ.get("FLEETFRONT_TEST_DATA")
    folder = Path(configured) if configured else Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"public measurements not found at {folder}")
    return folder


@pytest.fixture(autouse=True)
def _own_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's own workspace."""
    monkeypatch.setenv("FLEETFRONT_HOME", str(tmp_path / "fleetfront-home"))


@pytest.fixture
def hearing_ctrl_c() -> Iterator[None]:
    """Ctrl-C is heard, whoever started the tests: shells start what runs in the background deaf to it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class _Module(pytest.Module):
    """A file of tests that is skipped where a package that it imports is not installed: torch, under some Pythons."""

    def collect(self) -> Iterable[pytest.Item | pytest.Collector]:
        try:
            return super().collect()
        except self.CollectError as error:
            if not _lacks_a_package(error.__cause__):
                raise
            pytest.skip(str(error.__cause__), allow_module_level=True)


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module:
    module: pytest.Module = _Module.from_parent(parent, path=module_path)
    return module


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Generator[None, Any, Any]:
    return (yield from _skipping_what_lacks_a_package())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, Any, Any]:
    return (yield from _skipping_what_lacks_a_package())


def _skipping_what_lacks_a_package() -> Generator[None, Any, Any]:
    try:
        return (yield)
    except (MissingDependency, ModuleNotFoundError) as error:
        if not _lacks_a_package(error):
            raise
        pytest.skip(str(error))


def _lacks_a_package(error: BaseException | None) -> bool:
    """Tell errors for want of what the environment has not from those of this project's own."""
    if isinstance(error, ModuleNotFoundError):
        return (error.name or "").split(".")[0] not in ("fleetfront", "tests")
    return isinstance(error, MissingDependency)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped and not hasattr(report, "wasxfail"):
        _skipped.append((report.nodeid, _reason(report.longrepr)))


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.skipped:
        _skipped.append((report.nodeid, _reason(report.longrepr)))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """In CI, a skip whose reason nobody listed is a failure. Workers of xdist leave this to their controller."""
    if not os.environ.get("FLEETFRONT_CI") or hasattr(session.config, "workerinput") or exitstatus != 0:
        return
    listed = [line for line in _ALLOWED_SKIPS.read_text().splitlines() if line and not line.startswith("#")]
    unlisted = [(test, reason) for test, reason in _skipped if not reason.startswith(tuple(listed))]
    for test, reason in unlisted:
        print(f"\nskipped without a listed reason: {test}: {reason}")
    if unlisted:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _reason(longrepr: object) -> str:
    text = longrepr[2] if isinstance(longrepr, tuple) else str(longrepr)
    return str(text).removeprefix("Skipped: ")


def tiny_onnx(channels: int = 8, side: int = 16) -> bytes:
    """A real convolution, some ten microseconds long."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weight = np.random.default_rng(0).normal(size=(channels, channels, 3, 3)).astype(np.float32)
    node = helper.make_node("Conv", ["x", "w"], ["y"], pads=[1] * 4)
    shape = [1, channels, side, side]
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x", "y")]
    graph = helper.make_graph([node], "tiny", ports[:1], ports[1:], [numpy_helper.from_array(weight, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    assert isinstance(model, onnx.ModelProto)
    data: bytes = model.SerializeToString()
    return data


@pytest.fixture(scope="session")
def onnx_bytes() -> bytes:
    return tiny_onnx()
