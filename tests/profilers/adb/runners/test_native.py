"""The native runner: built for tested libraries only, and its numbers are those of the file it was given."""

from __future__ import annotations

import contextlib
import platform
import shutil
import subprocess
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from fleetfront.errors import InputError, MissingDependency
from fleetfront.profilers.adb.runners import native as build
from fleetfront.profilers.adb.runners.native import (
    TESTED_VERSIONS,
    LiteRtRunner,
    NativeRunner,
    build_runner,
    check_version,
)
from fleetfront.quantities import Clock
from fleetfront.targets import Target

ABI = {"x86_64": "x86_64", "aarch64": "arm64-v8a"}.get(platform.machine(), "")
TARGET = Target("adb:x", "tflite-cpu")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> NativeRunner:
    if not ABI or shutil.which("cc") is None:
        pytest.skip("the native runner needs a C compiler on x86-64 or aarch64 Linux")
    return build_runner(ABI, tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from fleetfront.deploy.writers.tflite.writer import write_tflite
    from fleetfront.graphs.graph import GraphBuilder

    builder = GraphBuilder("two inputs")
    first, second = (
        builder.input("first", (1, 4, 14, 14), layout="NCHW"),
        builder.input("second", (1, 4, 14, 14), layout="NCHW"),
    )
    rng = np.random.default_rng(0)
    weight = builder.weight("weight", rng.standard_normal((8, 4, 3, 3)).astype(np.float32))
    total = builder.add("add", [first, second])
    outputs = [builder.conv2d(total, weight, padding=1), builder.add("relu", [total])]
    path = tmp_path_factory.mktemp("network") / "network.tflite"
    path.write_bytes(write_tflite(builder.build(outputs)))
    return path


def run(built: NativeRunner, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [str(built.program), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_it_times_a_file_with_several_inputs_and_outputs(built: NativeRunner, network: Path) -> None:
    result = run(built, built.library, network, 1, "1", 2, 7)
    timings = LiteRtRunner(built).read(result.stdout + result.stderr, result.returncode, TARGET)
    assert timings.error is None
    assert {clock: len(values) for clock, values in timings.samples_ns.items()} == {Clock.WALL: 7, Clock.THREAD_CPU: 7}
    assert timings.facts["mask"] == "1"
    assert timings.facts["peak_bytes"] > 1_000_000


def test_it_loads_its_library_alone(built: NativeRunner) -> None:
    result = run(built, built.library)
    assert (result.returncode, result.stdout) == (0, "fleetfront-runner/1 ready\n")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("{library}", "/nothing.tflite", 1, "0", 1, 1), "LiteRtCreateModelFromFile failed"),
        (("/nothing.so", "{network}", 1, "0", 1, 1), "cannot be loaded"),
        (("{library}", "{network}", 0, "0", 1, 1), "THREADS is 0"),
        (("{library}", "{network}", 1, "0", 1, 0), "TIMED is 0"),
        (("{library}", "{network}", 1, "0", 1, "many"), "TIMED is many"),
        (("{library}", "{network}", 1, "8000000000000000", 1, 1), "mask 8000000000000000 was refused"),
        (("{library}", "{network}"), "usage"),
    ],
)
def test_what_it_cannot_do_it_says(
    built: NativeRunner, network: Path, arguments: tuple[object, ...], reason: str
) -> None:
    filled = [str(word).format(library=built.library, network=network) for word in arguments]
    result = run(built, *filled)
    assert result.returncode == 1
    assert reason in str(LiteRtRunner(built).read(result.stdout, result.returncode, TARGET).error)


GOOD = "fleetfront-runner/1 open_ns=5 first_ns=9 mask=3 peak_kb=10 wall_ns=3,4 cpu_ns=3,3\n"


@pytest.mark.parametrize(
    ("text", "code", "reason"),
    [
        ("", 0, "printed 0 results: nothing"),
        (GOOD + GOOD, 0, "printed 2 results"),
        (GOOD.replace("3,4", "3,x"), 0, "printed 0 results"),
        (GOOD.replace("wall_ns=3", "wall_ns=0"), 0, "a run of 0 ns"),
        (GOOD[:-20], 0, "printed 0 results"),
        (GOOD, 139, "exit code 139 (signal 11)"),
        ("fleetfront-runner/1 error=clock 1 went backwards by 5 ns\n", 1, "went backwards"),
    ],
)
def test_other_output_is_an_error(text: str, code: int, reason: str) -> None:
    runner = LiteRtRunner(NativeRunner(Path(), Path(), "", b""))
    assert reason in str(runner.read(text, code, TARGET).error)
    assert runner.read(f"INFO: noise\n{GOOD}", 0, TARGET).error is None


def test_a_thread_clock_that_stood_still_leaves_the_wall_clock() -> None:
    read = LiteRtRunner(NativeRunner(Path(), Path(), "", b"")).read(GOOD.replace("cpu_ns=3", "cpu_ns=0"), 0, TARGET)
    assert read.error is None
    assert dict(read.samples_ns) == {Clock.WALL: (3, 4)}
    assert read.facts["thread_cpu"] == "left out: a run of 0 ns"


def test_the_installed_version_is_a_tested_one() -> None:
    check_version(metadata.version("ai-edge-litert"))


def test_untested_versions_and_machines_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"not tested with ai-edge-litert 9\.9\.9") as caught:
        check_version("9.9.9")
    assert f"pip install ai-edge-litert=={TESTED_VERSIONS[-1]}" in caught.value.remedy
    with pytest.raises(InputError, match="never built for mips"):
        build_runner("mips", tmp_path)
    other = "arm64-v8a" if ABI == "x86_64" else "x86_64"
    with pytest.raises(MissingDependency, match="installed ai-edge-litert is for") as missing:
        build_runner(other, tmp_path)
    assert "pip download" in missing.value.remedy


def test_a_wheel_gives_the_library_of_another_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = tmp_path / f"ai_edge_litert-{TESTED_VERSIONS[0]}-cp311-cp311-manylinux_2_27_aarch64.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("ai_edge_litert/libLiteRt.so", b"library")
    monkeypatch.setattr(build, "_compile", lambda compiler, program: program.write_bytes(b"program"))
    monkeypatch.setattr(build, "_compiler", lambda abi: "cc")
    found = build_runner("arm64-v8a", tmp_path / "cache", wheel)
    assert found.library.read_bytes() == b"library"
    assert found.version == TESTED_VERSIONS[0]
    for name in ("ai_edge_litert-1.0-cp311-cp311-manylinux_2_27_aarch64.whl", "other-2.3.0-a-b-c_aarch64.whl"):
        with pytest.raises(InputError):
            build_runner("arm64-v8a", tmp_path / "cache", tmp_path / name)
    with pytest.raises(InputError, match="not a wheel of ai-edge-litert for x86_64"):
        build_runner("x86_64", tmp_path / "cache", wheel)


def test_devices_met_at_once_share_the_program_that_the_first_builds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both, built = threading.Barrier(2), []

    def compile_slowly(compiler: str, program: Path) -> None:
        built.append(compiler)
        with contextlib.suppress(threading.BrokenBarrierError):
            both.wait(timeout=0.5)
        program.write_bytes(b"program")

    monkeypatch.setattr(build, "_compile", compile_slowly)
    monkeypatch.setattr(build, "_compiler", lambda abi: "cc")
    monkeypatch.setattr(build, "_installed", lambda abi: ("2.1.6", tmp_path / "library"))
    with ThreadPoolExecutor(2) as pool:
        programs = list(pool.map(lambda _: build_runner("x86_64", tmp_path / "cache").program, range(2)))
    assert built == ["cc"]
    assert programs[0] == programs[1]


def test_without_a_compiler_the_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not ABI:
        pytest.skip("the native runner needs a C compiler on x86-64 or aarch64 Linux")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingDependency, match="needs a C compiler") as caught:
        build_runner(ABI, tmp_path / "cache")
    assert "apt install gcc" in caught.value.remedy
