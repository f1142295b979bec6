"""The files that a user's file imports from beside it are found, whoever else was imported from there."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleetfront.user_code import import_file, neighbours, watched_imports


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    files = {
        "main.py": "import beside_a\ndef later():\n    from beside_nets.inner import layer\n    return layer\n",
        "other.py": "import sys, beside_c, importlib\nfrom fleetfront import errors\n"
        "importlib.import_module('beside_d')\nsys.path.append('FOLDER/below')\nimport beside_installed\n",
        "beside_a.py": "import beside_b\nVALUE = 1\n",
        "beside_b.py": "",
        "beside_c.py": "",
        "beside_d.py": "",
        "beside_nets/__init__.py": "",
        "beside_nets/inner/__init__.py": "from .deep import layer\nfrom .. import more\n",
        "beside_nets/inner/deep.py": "layer = 1\n",
        "beside_nets/more.py": "",
        "beside_nets/unread.py": "",
        "below/beside_installed.py": "",
        "fleetfront/errors.py": "",
    }
    files["other.py"] = files["other.py"].replace("FOLDER", str(tmp_path))
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    yield tmp_path
    sys.path[:] = [one for one in sys.path if one != f"{tmp_path}/below"]
    for name in [name for name in sys.modules if name.startswith("beside_")]:
        del sys.modules[name]


def opened(path: Path) -> tuple[set[str], object]:
    with watched_imports(path) as found, neighbours(path):
        module = import_file(path)
    return {file.relative_to(path.parent).as_posix() for file in found}, module


INNER = {f"beside_nets/{name}" for name in ("__init__.py", "inner/__init__.py", "inner/deep.py", "more.py")}


def test_files_are_those_of_its_own_imports(folder: Path) -> None:
    others = {"beside_c.py", "beside_d.py"}
    for _ in range(2):
        assert opened(folder / "main.py")[0] == {"beside_a.py", "beside_b.py", *INNER}
        # What its text does not show counts, too, also when it is there already.
        assert opened(folder / "other.py")[0] == others


def test_a_file_beside_it_that_changed_is_imported_anew(folder: Path) -> None:
    assert opened(folder / "main.py")[1].beside_a.VALUE == 1  # type: ignore[attr-defined]
    (folder / "beside_a.py").write_text("VALUE = 23\n")
    os.utime(folder / "beside_a.py", ns=(0, 10**18))
    assert opened(folder / "main.py")[1].beside_a.VALUE == 23  # type: ignore[attr-defined]
