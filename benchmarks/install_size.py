"""Install extras into fresh environments, weigh what pip downloads and leaves on the disk, and time a file there.

Writes benchmarks/results/install_size.json.

    python benchmarks/install_size.py            # two minutes, most of it pip's
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from machine import describe, write

from fleetfront.deploy.formats import FORMATS
from fleetfront.spaces.base import only_graph
from fleetfront.spaces.catalogue import load_space

ROOT = Path(__file__).resolve().parents[1]
#: Extras together -> files that are timed with them.
WANTED = {"onnx": ("onnx",), "litert": ("tflite",), "cpu": ("onnx", "tflite")}
BAR_MB = 150
#: Pip itself, which a new environment brings.
NOT_OURS = ("pip", "setuptools", "pkg_resources", "_distutils_hack")


def megabytes(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink()) / 1e6


def weigh(extra: str, files: dict[str, Path], folder: Path) -> dict[str, object]:
    """Download and disk in MB, by package the largest, and whether every file of the extra could be timed."""
    wheels, environment = folder / "wheels", folder / "environment"
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    wanted = ["-c", str(ROOT / "constraints.txt"), f"{ROOT}[{extra}]"]
    subprocess.run([*pip, "wheel", "--wheel-dir", str(wheels), *wanted], check=True, stderr=subprocess.DEVNULL)
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    own = environment / "bin" / "python"
    offline = ["--no-index", "--find-links", str(wheels)]
    # What lies on a path of this program's is no part of an environment, and pip would take it for installed.
    clean = {**os.environ, "FLEETFRONT_HOME": str(folder / "home"), "PYTHONPATH": ""}
    subprocess.run([str(own), *pip[1:], "install", *offline, f"fleetfront[{extra}]"], check=True, env=clean)
    (packages,) = environment.glob("lib/python*/site-packages")
    sizes = {path.name: megabytes(path) for path in packages.iterdir() if path.is_dir() and path.name not in NOT_OURS}
    timed = {}
    for kind, path in files.items():
        if kind in WANTED[extra]:
            command = [str(own), "-m", "fleetfront", "profile", "--file", str(path), "--json", "--quiet"]
            told = subprocess.run(command, env=clean, cwd=folder, stdout=subprocess.PIPE, check=True).stdout
            timed[kind] = json.loads(told)["latency_ms"]
    largest = sorted(sizes.items(), key=lambda pair: -pair[1])[:8]
    return {
        "download_mb": megabytes(wheels),
        "disk_mb": sum(sizes.values()),
        "of_it_compiled_mb": sum(megabytes(path) for path in packages.rglob("__pycache__")),
        "largest_mb": {name: round(size, 1) for name, size in largest},
        "profile_file_ms": timed,
    }


def main() -> int:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    machine, found = describe(), {}
    with tempfile.TemporaryDirectory() as scratch:
        space = load_space("ofa-mbv3-mini64")
        graph = only_graph(space, space.subnet_graphs(space.sample(1, np.random.default_rng(0))[0]))
        files = {}
        for kind in ("onnx", "tflite"):
            files[kind] = Path(scratch) / f"net.{kind}"
            files[kind].write_bytes(FORMATS[kind].write(graph))
        for extra in WANTED:
            (Path(scratch) / extra).mkdir()
            found[extra] = weigh(extra, files, Path(scratch) / extra)
            print(extra, json.dumps(found[extra]))
    print(write("install_size", {"bar_mb": BAR_MB, "extras": found}, machine))
    return 0


if __name__ == "__main__":
    sys.exit(main())
