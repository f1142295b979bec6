"""Next commands and remedies that are printed, typed as they stand: placeholders alone are filled in."""

import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fleetfront.cli.main import main
from fleetfront.spaces.catalogue import load_space
from fleetfront.spaces.ofa_mbv3.space import ofa_mbv3_mini
from fleetfront.workspace import Workspace

Printed = Callable[[], list[str]]


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Printed:
    """The commands named on stderr since the last call, without the program's name."""

    def commands() -> list[str]:
        said = capsys.readouterr().err
        return [line.partition("fleetfront ")[2] for line in said.splitlines() if "Next: fleetfront" in line]

    return commands


def type_in(command: str, *more: str, **filled: str) -> int:
    words = [filled.get(word, word) for word in shlex.split(command)]
    words = [word.replace("PATH", filled["PATH"]) if "PATH" in filled else word for word in words]
    return main([*words, *more])


@pytest.fixture
def cells(tmp_path: Path) -> tuple[Path, Path]:
    """Latencies and accuracies of every NAS-Bench-201 network, made up."""
    space = load_space("nasbench201")
    archs = space.arch_ids(np.array(np.meshgrid(*[range(5)] * 6)).reshape(6, -1).T.astype(np.int8))
    latencies, accuracies = tmp_path / "nb201.csv", tmp_path / "accuracy.csv"
    work = [arch.count("nor_conv_3x3") + 1e-3 * place / len(archs) for place, arch in enumerate(archs)]
    latencies.write_text("arch,lat_board\n" + "".join(f"{a},{5 + n:.4f}\n" for a, n in zip(archs, work, strict=True)))
    accuracies.write_text("arch,accuracy\n" + "".join(f"{a},{80 + n:.4f}\n" for a, n in zip(archs, work, strict=True)))
    return latencies, accuracies


def test_from_a_table_to_files(cells: tuple[Path, Path], printed: Printed, tmp_path: Path) -> None:
    latencies, accuracies = cells
    assert main(["import", "table", str(latencies), "--space", "nasbench201", "-q"]) == 0
    (search,) = printed()
    assert search.startswith("search ")
    fronts = tmp_path / "fronts"
    more = ("--evaluations", "30", "--out", str(fronts), "-q")
    assert type_in(search, *more, PATH=str(accuracies)) == 0
    (deploy,) = printed()
    assert type_in(deploy, "--out", str(tmp_path / "out"), "--formats", "onnx", "-q") == 0
    (listing,) = [path.name for path in (tmp_path / "out").iterdir()]
    assert type_in(f"verify {shlex.quote(str(tmp_path / 'out' / listing))}") == 0


def test_a_search_of_a_supernet_asks_for_weights_and_images(printed: Printed, tmp_path: Path) -> None:
    from fleetfront.cli.search.text import next_deploy
    from fleetfront.search.results import Fronts

    space = ofa_mbv3_mini()
    fronts = Fronts(space.name, "random", 0, 1, 1.0, "csv:x.csv", "measured", ())
    next_deploy(fronts, tmp_path, "--knee", None)
    (command,) = printed()
    assert command.endswith("--knee --weights WEIGHTS --images FOLDER")
    place = Workspace.default()
    place.weights.mkdir(parents=True)
    (place.weights / f"{space.name}-0.safetensors").write_bytes(b"")
    next_deploy(fronts, tmp_path, "--knee", "my photos")
    (command,) = printed()
    assert command.endswith("--knee --images 'my photos'")


def test_a_misspelt_device_is_not_to_be_profiled(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    table = tmp_path / "accuracies.csv"
    cell = "|nor_conv_3x3~0|+|skip_connect~0|nor_conv_1x1~1|+|avg_pool_3x3~0|skip_connect~1|nor_conv_3x3~2|"
    table.write_text(f"arch,accuracy\n{cell},91.5\n")
    assert main(["profile", "--device", "pixl3"]) == 2
    assert "Did you mean 'pixel3'" in capsys.readouterr().err
    assert main(["search", "--device", "pixl3", "--space", "nasbench201", "--accuracy", f"csv:{table}"]) == 2
    said = capsys.readouterr().err
    assert "'pixel3'" in said
    assert "profile --device pixl3" not in said


def test_supernets_are_refused_in_the_users_words(capsys: pytest.CaptureFixture[str]) -> None:
    arch = load_space("nasbench201").arch_ids(np.zeros((1, 6), np.int8))[0]
    options = ["--space", "nasbench201", "--device", "pixel3"]
    assert main(["predict", arch, *options, "--accuracy", "supernet:weights.safetensors"]) == 2
    said = capsys.readouterr().err
    assert "only a search does" in said
    assert "supernet=" not in said


def test_predict_without_shipped_accuracies_tells_latency_and_runtime(
    cells: tuple[Path, Path], printed: Printed, capsys: pytest.CaptureFixture[str]
) -> None:
    latencies, _ = cells
    assert main(["import", "table", str(latencies), "--space", "nasbench201", "-q"]) == 0
    arch = load_space("nasbench201").arch_ids(np.zeros((1, 6), np.int8))[0]
    capsys.readouterr()
    assert main(["predict", arch, "--space", "nasbench201", "--device", "board"]) == 0
    told = capsys.readouterr()
    assert "Latency alone: no accuracies are shipped for nasbench201" in told.err
    assert "runtime" in told.out.splitlines()[0]
    assert "--accuracy csv:PATH" in told.err


def test_another_space_that_was_measured_is_named(cells: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    latencies, _ = cells
    assert main(["import", "table", str(latencies), "--space", "nasbench201", "-q"]) == 0
    capsys.readouterr()
    assert main(["fit", "--space", "ofa-mbv3-mini"]) == 2
    assert (
        "Of nasbench201 there is: give --space, as in --space nasbench201. Run: fleetfront profile --device cpu"
        in capsys.readouterr().err
    )
    # What was brought in under a name of its own cannot be measured here.
    assert main(["fit", "--device", "lab-cpu", "--space", "ofa-mbv3-mini"]) == 2
    assert "import store FILE" in capsys.readouterr().err


def test_after_few_networks_the_search_that_is_named_runs(
    cells: tuple[Path, Path], printed: Printed, tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime")
    _, accuracies = cells
    few = ["--device", "cpu", "--runtime", "onnxruntime", "--space", "nasbench201", "--few", "3", "-q"]
    assert main(["profile", *few]) == 0
    (search,) = printed()
    more = ("--evaluations", "20", "--out", str(tmp_path / "fronts"), "-q")
    assert type_in(search, *more, PATH=str(accuracies)) == 0
    (deploy,) = printed()
    assert deploy.startswith("deploy ")
