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
