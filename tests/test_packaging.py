"""See what the wheel holds: every file of the package, the licence and the notice, and nothing else."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from tests.package_modules import modules

ROOT = Path(__file__).parents[1]

#: Distribution -> the module that it brings, where that has another name.
BRINGS = {
    "PyYAML": "yaml",
    "mlflow-skinny": "mlflow",
    "nvidia-ml-py": "pynvml",
    "pillow": "PIL",
    "scikit-learn": "sklearn",
    "tensorflow-cpu": "tensorflow",
    "vl-convert-python": "vl_convert",
    "xgboost-cpu": "xgboost",
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    copy = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE", "MANIFEST.in"):
        shutil.copy(ROOT / name, copy)
    shutil.copytree(ROOT / "fleetfront", copy / "fleetfront", ignore=shutil.ignore_patterns("__pycache__"))
    code = "from setuptools.build_meta import build_wheel; print(build_wheel('dist'))"
    (copy / "dist").mkdir()
    run = subprocess.run([sys.executable, "-c", code], cwd=copy, capture_output=True, text=True, check=True)
    return zipfile.ZipFile(copy / "dist" / run.stdout.split()[-1])


def test_the_wheel_holds_the_package_and_its_licence(wheel: zipfile.ZipFile) -> None:
    packed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    ours = [path for path in (ROOT / "fleetfront").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert packed == {path.relative_to(ROOT).as_posix() for path in ours}
    about = next(name.split("/")[0] for name in wheel.namelist() if name.endswith("/METADATA"))
    told = Parser().parsestr(wheel.read(f"{about}/METADATA").decode())
    assert told["License-Expression"] == "Apache-2.0"
    assert wheel.read(f"{about}/licenses/LICENSE").decode() == (ROOT / "LICENSE").read_text()
    assert b"HELP" in wheel.read(f"{about}/licenses/NOTICE")


def test_every_shipped_model_has_its_source_in_the_notice() -> None:
    notice = (ROOT / "NOTICE").read_text()
    folders = [path.parent.relative_to(ROOT).as_posix() for path in (ROOT / "fleetfront").rglob("*.npz")]
    folders += [path.parent.relative_to(ROOT).as_posix() for path in (ROOT / "fleetfront").rglob("*.json")]
    assert folders
    assert all(folder in notice for folder in folders)


def test_everything_that_is_installed_with_the_package_is_used() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = {k: v for k, v in project["optional-dependencies"].items() if k not in ("all", "test", "lint", "docs")}
    asked = {re.split(r"[\[<>=]", one)[0] for one in sum(extras.values(), project["dependencies"])}
    used: set[str] = set()
    for module in modules().values():
        nodes = list(ast.walk(module.tree))
        used |= {alias.name.split(".")[0] for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        used |= {(node.module or "").split(".")[0] for node in nodes if isinstance(node, ast.ImportFrom)}
        # Some are imported by a name that is computed.
        used |= {str(node.value).split(".")[0] for node in nodes if isinstance(node, ast.Constant)}
    assert {one for one in asked if BRINGS.get(one, one.replace("-", "_")) not in used} == set()
