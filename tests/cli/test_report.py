"""``fleetfront report`` from the command line: what it writes, by default and by format, and what it says."""

import json
import re
from pathlib import Path

import pytest

from fleetfront.cli.main import main
from tests.report.fleet import make_fleet


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cli-report")
    make_fleet(root, ("pixel3", "raspi4"), evaluations=60)
    return root


@pytest.fixture(autouse=True)
def _here(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEETFRONT_HOME", str(home / "home"))
    monkeypatch.chdir(tmp_path)


def _refuse(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_the_page_is_written_and_its_path_printed(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "--front", str(home / "nsga2-shared-0"), "--random-seeds", "0"]) == 0
    output = capsys.readouterr()
    assert output.out == "report.html\n"
    assert Path("report.html").absolute().as_uri() in output.err
    assert Path("report.html").read_text().startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("out", "begins"), [("r.md", b"# nasbench201 on 2 devices"), ("f.svg", b"<svg"), ("f.png", b"\x89PNG")]
)
def test_the_suffix_decides_the_format(home: Path, out: str, begins: bytes) -> None:
    assert main(["report", "--front", str(home / "nsga2-shared-0"), "--random-seeds", "0", "--out", out, "-q"]) == 0
    assert Path(out).read_bytes().startswith(begins)


def test_figures_are_listed_and_chosen(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    front = str(home / "random-0")
    assert main(["report", "--front", front, "--list-figures", "-q"]) == 0
    assert "heat-map-pixel3" in capsys.readouterr().out.splitlines()
    assert main(["report", "--front", front, "--format", "svg", "--figure", "heat-map-pixel3", "--dark", "-q"]) == 0
    assert Path("figure.svg").exists()
    assert main(["report", "--front", front, "--format", "svg", "--figure", "heat-map-pixel4", "-q"]) == 2
    assert "heat-map-pixel3" in capsys.readouterr().err


def test_json_tells_what_was_drawn_and_what_not(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    front = str(home / "nsga2-shared-0")
    assert main(["report", "--front", front, "--random-seeds", "0", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["schema"] == "fleetfront.report/1"
    assert (told["path"], told["format"], told["devices"]) == ("report.html", "html", 2)
    assert told["bytes"] == Path("report.html").stat().st_size
    sections = {section["name"]: section for section in told["sections"]}
    assert len(sections) == 12
    for name, section in sections.items():
        is_gap = name in ("choices", "predictions", "operators", "deployed")
        assert section["is_drawn"] != is_gap
        assert bool(section["why_not"]) == bool(section["command"]) == is_gap
        assert (section["items"] == 0) == is_gap
    assert sections["heat-maps"]["figures"] == ["heat-map-pixel3", "heat-map-raspi4"]
    assert main(["report", "--front", front, "--random-seeds", "0", "--list-figures", "--json"]) == 0
    names = [figure["name"] for figure in json.loads(capsys.readouterr().out)]
    assert main(["report", "--front", front, "--format", "svg", "--figure", "heat", "--json", "-q"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["path"], told["figure"]) == ("figure.svg", "heat-map-pixel3")
    assert set(sections["heat-maps"]["figures"]) < set(names)


@pytest.mark.parametrize("out", ["report.html", "r.md", "f.svg", "f.png"])
def test_only_reports_are_replaced(
    home: Path, out: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["report", "--front", str(home / "random-0"), "--random-seeds", "0", "-q", "--out", out]
    assert main(command) == 0
    assert main(command) == 0
    written = Path(out).read_bytes()
    with monkeypatch.context() as full_disk:
        full_disk.setattr("os.replace", _refuse)
        assert main(command) == 2
    assert Path(out).read_bytes() == written
    Path(out).write_text("my thesis, also about fleetfront")
    capsys.readouterr()
    assert main(command) == 2
    assert "--force" in capsys.readouterr().err
    assert Path(out).read_text().startswith("my thesis")
    assert main([*command, "--force"]) == 0
    assert [path.name for path in Path().iterdir()] == [out]


def test_without_anything_the_report_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FLEETFRONT_HOME", str(tmp_path / "nothing"))
    assert main(["report"]) == 0
    assert "fleetfront search" in capsys.readouterr().err
    page = re.sub(r"<[^>]+>", "", Path("report.html").read_text())
    assert "fleetfront profile --device cpu" in page


def test_a_folder_of_fronts_is_all_of_them(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "--front", str(home), "--out", "r.md", "-q"]) == 0
    said = Path("r.md").read_text()
    (runs,) = re.findall(r"^Searches\n\n.*\n.*\n((?:\|.*\n)+)", said, re.MULTILINE)
    assert re.findall(r"\| (nsga2-shared|random) \|", runs) == ["nsga2-shared", "nsga2-shared", "random"]


def test_a_figure_is_no_page(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "--front", str(home / "random-0"), "--figure", "heat", "-q"]) == 2
    assert "--format png" in capsys.readouterr().err


def test_an_ending_that_means_nothing_is_refused(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    front = str(home / "nsga2-shared-0")
    assert main(["report", "--front", front, "--out", "report.pdf", "-q"]) == 2
    assert ".svg" in capsys.readouterr().err
    assert not Path("report.pdf").exists()
    assert main(["report", "--front", front, "--out", "report.pdf", "--format", "svg", "-q"]) == 0
    assert Path("report.pdf").read_text().startswith("<svg")


def test_what_was_named_must_be_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "--front", "no-such-folder"]) == 2
    assert "fleetfront search" in capsys.readouterr().err
    assert main(["report", "--store", "no-such-store.sqlite"]) == 2
    assert "no-such-store" in capsys.readouterr().err


def test_a_bundle_that_was_named_must_be_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    for named in ("no-such-folder", "empty"):
        assert main(["report", "--bundle", named]) == 2
        assert f"{named} is no bundle" in capsys.readouterr().err


def test_a_figure_of_nothing_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FLEETFRONT_HOME", str(tmp_path / "nothing"))
    assert main(["report", "--format", "png"]) == 2
    assert "fleetfront search" in capsys.readouterr().err


def test_the_next_command_deploys_the_front_that_was_looked_at(
    home: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    spaced = tmp_path / "a front"
    spaced.symlink_to(home / "random-0")
    assert main(["report", "--front", str(spaced), "--random-seeds", "0"]) == 0
    assert f"fleetfront deploy --front '{spaced}/fronts.json' --knee" in capsys.readouterr().err
    document = (home / "random-0" / "fronts.json").read_text()
    spaced.unlink()
    spaced.mkdir()
    (spaced / "fronts.json").write_text(re.sub("/(fp32|unknown)/", "/int8/", document))
    assert main(["report", "--front", str(spaced), "--random-seeds", "0"]) == 0
    assert " --precisions int8 --images FOLDER" in capsys.readouterr().err
