"""``fleetfront export`` as typed. What it writes is tested in the pipelines."""

from pathlib import Path

import pytest

from fleetfront.cli.main import main


def test_export_explains_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "--torch", str(tmp_path / "no.py:make"), "--quiet"]) == 2
    assert "no.py" in capsys.readouterr().err
    for wrong in ("1,2", "123.7,116.3,103.5", "nan"):
        assert main(["export", "--torch", "a.py:make", "--mean", wrong, "--quiet"]) == 2
        assert "for each channel" in capsys.readouterr().err


def test_a_file_without_a_factory_is_told_what_to_write(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    path = tmp_path / "lazy.py"
    path.write_text("def make():\n    raise RuntimeError\n")
    assert main(["export", "--torch", str(path), "--out", str(tmp_path / "out")]) == 2
    assert f"Write {path}:FUNCTION." in capsys.readouterr().err
    assert main(["export", "--torch", f"{path}:nope", "--out", str(tmp_path / "out")]) == 2
    assert "It has: make." in capsys.readouterr().err
