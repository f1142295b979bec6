import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleetfront.device_configs import loader
from fleetfront.device_configs.facts import DeviceConfig
from fleetfront.device_configs.loader import device_names, load_device, load_file
from fleetfront.errors import InputError
from fleetfront.targets import Target

GOOD = """\
name: my_phone
title: My phone
kind: phone
target:
  runtime: tflite-cpu
  threads: 4
facts:
  clock_ghz:
    value: 2
    source: printed on the box
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    own = tmp_path / "devices"
    own.mkdir()
    monkeypatch.setenv("FLEETFRONT_DEVICES", str(own))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return own


def write(folder: Path, text: str, name: str = "my_phone") -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(text)
    return path


def message(folder: Path, text: str, name: str = "my_phone") -> str:
    write(folder, text, name)
    with pytest.raises(InputError) as caught:
        load_device(name)
    assert caught.value.remedy
    return str(caught.value)


def test_users_own_device(folder: Path) -> None:
    write(folder, GOOD)
    config = load_device("my_phone")
    assert config.target == Target("my_phone", "tflite-cpu", "fp32", 4, 1)
    assert config.fact("clock_ghz") == 2.0
    assert config.fact("cores") is None
    assert "my_phone" in device_names()


def test_config_folder_is_searched_after_the_variable(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "config" / "fleetfront" / "devices"
    home.mkdir(parents=True)
    write(home, GOOD.replace("My phone", "from the config folder"))
    assert load_device("my_phone").title == "from the config folder"
    write(folder, GOOD.replace("My phone", "from the variable"))
    assert load_device("my_phone").title == "from the variable"
    monkeypatch.setenv("FLEETFRONT_DEVICES", f"{home}{os.pathsep}{folder}")
    assert load_device("my_phone").title == "from the config folder"


def test_like_takes_over_and_overrides_one_level(folder: Path) -> None:
    write(folder, "name: my_card\nlike: 1080ti_1\ntitle: Mine\ntarget:\n  batch: 8\n", "my_card")
    config = load_device("my_card")
    assert config.target == Target("my_card", "pytorch", "fp32", 1, 8)
    assert config.facts == load_device("1080ti_1").facts
    assert "line 2" in message(folder, "name: x\nlike: 1080ti_32\ntitle: X\n", "x")
    assert "'1080ti_1'" in message(folder, "name: x\nlike: 1080t_1\ntitle: X\n", "x")


def test_mistakes_of_the_device_that_is_taken_over_are_told_as_its_own(folder: Path) -> None:
    write(folder, GOOD.replace("clock_ghz", "clock_mhz"))
    text = message(folder, "name: x\ntitle: X\nlike: my_phone\n", "x")
    assert "x.yaml: line 3: 'my_phone' cannot be taken over" in text
    assert f"{folder / 'my_phone.yaml'} is not a device config. line 8: facts.clock_mhz" in text


def test_only_files_count(folder: Path) -> None:
    (folder / "a_folder.yaml").mkdir()
    (folder / "a_link.yaml").symlink_to(folder / "nowhere")
    assert not {"a_folder", "a_link"} & set(device_names())
    with pytest.raises(InputError, match="Unknown device"):
        load_device("nobody")


def test_an_override_may_build_on_the_shipped_device_of_the_same_name(folder: Path) -> None:
    write(folder, "name: pixel3\nlike: pixel3\ntitle: My Pixel 3\ntarget:\n  threads: 4\n", "pixel3")
    config = load_device("pixel3")
    assert config.target.threads == 4
    assert config.fact("clock_ghz") == 2.5


def test_alias(folder: Path) -> None:
    assert load_device("titan_xp_32").name == "titanxp_32"
    write(folder, "name: [broken", "broken")
    assert load_device("titan_xp_32").name == "titanxp_32"


def test_unknown_device_names_the_near_miss(folder: Path) -> None:
    with pytest.raises(InputError, match="'pixel3'"):
        load_device("pixl3")
    with pytest.raises(InputError, match="Unknown device"):
        load_device("../device_configs/pixel3")


@pytest.mark.parametrize(
    ("old", "new", "line", "expected"),
    [
        ("clock_ghz:", "clock_mhz:", 8, "wrong unit, write 'clock_ghz' and multiply the value by 0.001"),
        ("clock_ghz:", "clock:", 8, "write 'clock_ghz'"),
        ("clock_ghz:", "clok_ghz:", 8, "did you mean 'clock_ghz'?"),
        ("clock_ghz:", "memory_bandwidth_gbs:", 8, "memory_bandwidth_gb_per_s"),
        ("value: 2", "value: 2000", 9, "expected 0.01 to 8 GHz; if this is in mhz, write 2"),
        ("value: 2", "value: fast", 9, "found 'fast'"),
        ("value: 2", "value: .nan", 9, "finite"),
        ("value: 2", "value: 2 GHz", 9, "expected a number of GHz without the unit, found '2 GHz'"),
        ("value: 2", "value: yes", 9, "expected a number of GHz without the unit, found True"),
        ("title: My phone", "title: My phone\ntiming_resolution_ms: yes", 3, "expected a number, found True"),
        ("title: My phone", "title: 2020", 2, "expected text (put it into quotes"),
        ("kind: phone", "kind: phone\naliases: my_other", 4, "expected a list"),
        ("value: 2", "valeu: 2", 9, "did you mean 'value'?"),
        ("    source: printed on the box\n", "", 8, "'source' is missing"),
        ("kind: phone", "kind: phon", 3, "'phone'"),
        ("  threads: 4", "  threads: four", 6, "found 'four'"),
        ("  threads: 4", "  threads: 0", 6, "found 0"),
        ("  threads: 4", "  thread: 4", 6, "did you mean 'threads'?"),
        ("title: My phone", "titel: My phone", 2, "did you mean 'title'?"),
        ("title: My phone", "timing_resolution_s: 1", 2, "multiply the value by 1000"),
        ("title: My phone\n", "title: My phone\ntitle: Again\n", 3, "already set in line 2"),
        ("title: My phone", "title: *anchor", 2, "not YAML"),
        ("title: My phone", "title: !!python/object:os.system x", 2, "cannot be read"),
        ("target:", "1: 2\ntarget:", 4, "not text"),
    ],
)
def test_a_wrong_file_explains_itself(folder: Path, old: str, new: str, line: int, expected: str) -> None:
    text = message(folder, GOOD.replace(old, new))
    assert expected in text
    assert f"line {line}" in text
    assert str(folder / "my_phone.yaml") in text


def test_all_mistakes_are_told_in_the_order_of_the_file(folder: Path) -> None:
    text = message(folder, GOOD.replace("kind: phone", "kind: toaster").replace("clock_ghz", "clock_mhz"))
    assert text.index("line 3") < text.index("line 8")


def test_the_name_must_be_that_of_the_file(folder: Path) -> None:
    assert "Call the file my_phone.yaml" in message(folder, GOOD, "other")


@pytest.mark.parametrize("text", ["", "just words", "- a list", "a: &x 1\nb: *x", "[" * 3000, "\x00"])
def test_what_is_no_config_is_refused(folder: Path, text: str) -> None:
    message(folder, text)


def test_large_and_binary_files_are_refused(folder: Path) -> None:
    assert "larger than" in message(folder, GOOD + "#" * 70_000)
    path = folder / "my_phone.yaml"
    path.write_bytes(b"name: \xff\xfe")
    with pytest.raises(InputError, match="UTF-8"):
        load_file(path)


def test_a_missing_folder_in_the_variable_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FLEETFRONT_DEVICES", str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match="nowhere"):
        device_names()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.integers(0, len(GOOD)), noise=st.text(max_size=6))
def test_any_damage_is_either_a_config_or_an_input_error(folder: Path, position: int, noise: str) -> None:
    path = folder / "my_phone.yaml"
    path.write_text(GOOD[:position] + noise + GOOD[position + len(noise) :], encoding="utf-8", errors="replace")
    try:
        config = load_file(path)
    except InputError:
        return
    assert config.name == "my_phone"


def test_files_are_read_for_aliases_once_and_again_when_they_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLEETFRONT_DEVICES", str(tmp_path))
    own = tmp_path / "mine.yaml"
    text = "name: mine\ntitle: Mine\nkind: board\naliases: [{}]\ntarget:\n  runtime: tflite-cpu\n"
    own.write_text(text.format("first"))
    assert loader.find_devices(["first", "second"])["first"].name == "mine"
    reads: list[Path] = []
    read = loader._read

    def counted(path: Path) -> DeviceConfig:
        reads.append(path)
        return read(path)

    monkeypatch.setattr(loader, "_read", counted)
    assert loader.find_devices(["nobody", "none"]) == {}
    assert reads == []
    own.write_text(text.format("second-name"))
    assert list(loader.find_devices(["first", "second-name"])) == ["second-name"]
    assert {path.name for path in reads} == {"mine.yaml"}
