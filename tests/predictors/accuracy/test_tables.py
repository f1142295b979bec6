"""Columns that are no accuracies in percent are refused or told, and which one serves is said."""

from pathlib import Path

import numpy as np
import pytest

from fleetfront.cli.main import main
from fleetfront.errors import InputError
from fleetfront.predictors.accuracy.tables import read_accuracy_csv
from fleetfront.spaces.catalogue import load_space

CELLS = load_space("nasbench201")
GENOTYPES = CELLS.every()[::100]
ARCHS = CELLS.arch_ids(GENOTYPES)
ACCURACY = 60 + 30 * np.argsort(np.argsort(CELLS.params(GENOTYPES))) / len(ARCHS)


def table(folder: Path, **columns: np.ndarray) -> Path:
    path = folder / "nets.csv"
    rows = zip(ARCHS, *(column.tolist() for column in columns.values()), strict=True)
    path.write_text("\n".join([",".join(["arch", *columns]), *(",".join(map(str, row)) for row in rows)]) + "\n")
    return path


@pytest.mark.parametrize("name", ["top1_err", "top1_error", "acc_loss", "acc.err"])
def test_errors_are_no_accuracies(tmp_path: Path, name: str) -> None:
    path = table(tmp_path, **{name: 100 - ACCURACY})
    with pytest.raises(InputError, match="no column of accuracies"):
        read_accuracy_csv(path, CELLS)
    with pytest.raises(InputError, match="named after an error or a loss"):
        read_accuracy_csv(path, CELLS, name)


def test_beside_an_error_the_accuracy_serves(tmp_path: Path) -> None:
    path = table(tmp_path, top1_err=100 - ACCURACY, top1=ACCURACY)
    assert read_accuracy_csv(path, CELLS).column == "top1"


def test_shares_among_percentages_are_refused(tmp_path: Path) -> None:
    mixed = np.where(np.arange(len(ARCHS)) % 7 == 3, ACCURACY / 100, ACCURACY)
    with pytest.raises(InputError, match=r"Line 5 of .*look like shares"):
        read_accuracy_csv(table(tmp_path, acc=mixed), CELLS)
    # Networks that learnt nothing of a hundred classes are right in one of a hundred.
    chance = np.where(np.arange(len(ARCHS)) % 7 == 3, 1.0, ACCURACY)
    assert read_accuracy_csv(table(tmp_path, acc=chance), CELLS).lowest == 1.0


def test_accuracies_that_fall_with_size_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = table(tmp_path, acc=100 - ACCURACY)
    assert main(["predict", ARCHS[5], "--space", "nasbench201", "--device", "pixel3", "--accuracy", f"csv:{path}"]) == 0
    said = capsys.readouterr().err
    assert f"column acc of {path}" in said
    assert "check that it holds accuracies" in said
    assert read_accuracy_csv(table(tmp_path, acc=ACCURACY), CELLS).warnings == ()
