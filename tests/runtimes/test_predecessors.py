"""LiteRT's predecessors serve where it is not installed, give what it gives, and are never called it."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from fleetfront.deploy.writers.tflite.writer import write_tflite
from fleetfront.errors import MissingDependency
from fleetfront.graphs.graph import GraphBuilder
from fleetfront.pipelines.deploy.export_keras import ENVIRONMENT
from fleetfront.profilers.cpu.kind import CpuKind
from fleetfront.runtimes import facts
from fleetfront.runtimes.catalogue import load_runtime, runtime_for_file
from fleetfront.runtimes.facts import PackageNotFoundError

ROOT = Path(__file__).resolve().parents[2]
RUN = """
import sys
from pathlib import Path
import numpy as np
from fleetfront.runtimes.catalogue import runtime_for_file

runtime = runtime_for_file(Path(sys.argv[1]))
session = runtime.open(Path(sys.argv[1]))
call = session.bind({"x": np.load(sys.argv[2])})
call()
np.savez(sys.argv[3], name=runtime.name, version=runtime.version(), **session.run({"x": np.load(sys.argv[2])}))
"""


@pytest.mark.parametrize(
    ("installed", "name"),
    [
        ((), "litert"),
        (("ai-edge-litert", "tflite-runtime", "tensorflow"), "litert"),
        (("tensorflow", "tflite-runtime"), "tflite-runtime"),
        (("tensorflow",), "tensorflow-lite"),
    ],
)
def test_the_first_that_is_installed_serves(
    installed: tuple[str, ...], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def version(package: str) -> str:
        if package not in installed:
            raise PackageNotFoundError(package)
        return "1.0"

    monkeypatch.setattr(facts, "version", version)
    assert runtime_for_file(Path("net.tflite")).name == name
    target = CpuKind().target("cpu", file=Path("net.tflite"))
    assert target.runtime == name
    assert CpuKind().describe_now(target).get("runtime_version") == ("1.0" if installed else None)


@pytest.mark.parametrize("name", ["tflite-runtime", "tensorflow-lite"])
def test_one_that_is_not_installed_says_what_brings_it(name: str, tmp_path: Path) -> None:
    with pytest.raises(MissingDependency) as caught:
        load_runtime(name).open(tmp_path / "net.tflite")
    assert caught.value.remedy == f"Run: pip install 'fleetfront[{name.removesuffix('-lite')}]'"


@pytest.mark.skipif(ENVIRONMENT not in os.environ, reason=f"{ENVIRONMENT} names no Python with tensorflow")
def test_tensorflow_gives_what_litert_gives(tmp_path: Path) -> None:
    b = GraphBuilder("net")
    x = b.input("x", (1, 8, 8, 3), layout="NHWC")
    rng = np.random.default_rng(0)
    made = b.add("linear", [x, b.weight("w", rng.standard_normal((4, 3)).astype(np.float32))])
    file, fed = tmp_path / "net.tflite", tmp_path / "x.npy"
    file.write_bytes(write_tflite(b.build([b.add("relu6", [made], "y")])))
    np.save(fed, rng.standard_normal((1, 8, 8, 3)).astype(np.float32))
    given = tmp_path / "given.npz"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [os.environ[ENVIRONMENT], "-c", RUN, str(file), str(fed), str(given)],
        capture_output=True, text=True, env=environment, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "deprecated" not in done.stderr
    found = np.load(given)
    assert str(found["name"]) == "tensorflow-lite"
    assert str(found["version"]).startswith("2.")
    expected = load_runtime("litert").open(file).run({"x": np.load(fed)})
    assert found["y"] == pytest.approx(expected["y"], abs=1e-5)
