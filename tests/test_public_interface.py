"""Use what ``import fleetfront`` offers: light, complete, typed, and used as docs/python.md says."""

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import fleetfront

ROOT = Path(__file__).parents[1]


def test_every_name_comes_from_its_room() -> None:
    for name in fleetfront.__all__:
        assert getattr(fleetfront, name) is not None, name
        assert name in dir(fleetfront)
    with pytest.raises(AttributeError, match="load_spaec"):
        fleetfront.load_spaec  # type: ignore[attr-defined]  # noqa: B018 (the access is the test)


def test_type_checkers_are_told_the_same_names() -> None:
    stub = ast.parse((ROOT / "fleetfront" / "__init__.pyi").read_text())
    told = {
        alias.asname: (node.module, alias.name)
        for node in stub.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert told.keys() | {"__version__"} == set(fleetfront.__all__)
    for name, (module, original) in told.items():
        assert module is not None
        if name in fleetfront._VERBS:
            assert fleetfront._VERBS[name] == module
            assert callable(getattr(fleetfront, name))
            continue
        assert getattr(sys.modules.get(module) or __import__(module, fromlist=[original]), original) is getattr(
            fleetfront, name
        )


def test_importing_it_loads_nothing_else() -> None:
    code = "import sys, fleetfront; print([m for m in sys.modules if m.startswith('fleetfront.') or m == 'numpy'])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"


def test_the_guide_runs_as_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for package in ("onnxruntime", "ai_edge_litert", "xgboost", "pymoo"):
        pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(), flags=re.DOTALL)
    names: dict[str, Any] = {}
    assert any("=2000" in block for block in blocks)
    for block in blocks:
        # Readers have the patience for longer searches.
        exec(compile(block.replace("=2000", "=200"), "docs/python.md", "exec"), names)
    said = capsys.readouterr().out
    assert re.search(r"^pixel3: \d\d\.\d % in \d+ ms \[estimated\]: k\d{20}_e", said, flags=re.MULTILINE)
    assert re.search(r"^\d+ networks between .* and (1\d|20)\.\d ms$", said, flags=re.MULTILINE)
    assert "'networks': 50" in said
    assert (names["deployed"].folder / "manifest.json").is_file()
