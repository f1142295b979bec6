import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleetfront.errors import InputError
from fleetfront.spaces.base import SearchSpace
from fleetfront.spaces.catalogue import DEFAULT_SPACE, load_space, space_names, supernet_names

MODULE = """
from dataclasses import dataclass
from fleetfront.spaces.nasbench201.space import NasBench201Space

def mine():
    return NasBench201Space("my-cells")

def misnamed():
    return NasBench201Space("other-cells")

def empty():
    return object()

def failing():
    raise RuntimeError("no weights here")
"""

ENTRIES = """
[fleetfront.spaces]
my-cells = strangers_space:mine
misnamed-cells = strangers_space:misnamed
empty-cells = strangers_space:empty
failing-cells = strangers_space:failing
absent-cells = strangers_space_that_is_not_there:mine
nasbench201 = strangers_space:failing
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package of somebody else's, installed as pip would leave it."""
    (tmp_path / "strangers_space.py").write_text(MODULE)
    _distribution(tmp_path, "strangers-space", ENTRIES)
    monkeypatch.syspath_prepend(str(tmp_path))
    load_space.cache_clear()
    yield tmp_path
    load_space.cache_clear()
    sys.modules.pop("strangers_space", None)


def _distribution(folder: Path, name: str, entries: str) -> None:
    info = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(entries)


@pytest.mark.parametrize("name", ["ofa-mbv3-w1.0", "ofa-mbv3-w1.2", "ofa-mbv3-mini", "nasbench201", DEFAULT_SPACE])
def test_own_spaces_are_loaded_once(name: str) -> None:
    space = load_space(name)
    assert isinstance(space, SearchSpace)
    assert space.name == name
    assert load_space(name) is space
    assert name in space_names()


def test_an_unknown_name_gets_the_near_miss() -> None:
    with pytest.raises(InputError, match=r"Unknown search space 'ofa-mbv3-w12'.*'ofa-mbv3-w1\.2'"):
        load_space("ofa-mbv3-w12")


def test_a_file_is_named_with_its_ending(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mynet.py").touch()
    with pytest.raises(InputError) as caught:
        load_space("mynet")
    assert caught.value.remedy.endswith("--space mynet.py")


@pytest.mark.usefixtures("installed")
def test_a_package_brings_a_space() -> None:
    assert {"my-cells", "failing-cells", "ofa-mbv3-mini"} <= set(space_names())
    assert load_space("my-cells").name == "my-cells"
    assert load_space("nasbench201").name == "nasbench201"


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("failing-cells", "RuntimeError: no weights here"),
        ("absent-cells", "ModuleNotFoundError"),
        ("empty-cells", "lacks active, arch_id"),
        ("misnamed-cells", "calls itself 'other-cells'"),
    ],
)
def test_a_broken_package_is_named_and_breaks_nothing_else(name: str, what: str) -> None:
    with pytest.raises(InputError, match=what) as caught:
        load_space(name)
    assert "strangers_space" in caught.value.message
    assert "strangers-space" in caught.value.message
    assert load_space("my-cells").name == "my-cells"
    assert load_space("ofa-mbv3-mini").name == "ofa-mbv3-mini"


def test_two_packages_with_one_name_are_both_named(installed: Path) -> None:
    _distribution(installed, "second-stranger", "[fleetfront.spaces]\nmy-cells = second_space:mine\n")
    with pytest.raises(InputError, match="second_space:mine, strangers_space:mine"):
        load_space("my-cells")


def test_spaces_with_a_supernet_are_named_without_tracing_others(monkeypatch) -> None:
    monkeypatch.setattr("fleetfront.spaces.from_torch.shipped.shipped_family", None)
    found = supernet_names()
    assert {"ofa-mbv3-mini", "ofa-proxyless", "ofa-resnet50"} <= set(found)
    assert not {"vit-tiny", "gpt-mini", "hw-gpt-s"} & set(found)
