"""Options of every verb take plain, finite numbers within bounds, or say what they take; dry runs as well."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetfront.cli.deploy.export import NetworkChoices
from fleetfront.cli.main import cli
from fleetfront.cli.options import Amount, Batches, Count
from fleetfront.cli.profile.file import TimedFiles
from fleetfront.cli.profile.settings import Settings
from fleetfront.cli.profile.space import ProfileChoices
from fleetfront.errors import InputError
from fleetfront.profilers.adb.kind import AdbKind
from fleetfront.profilers.store.store import Store
from fleetfront.quantities import parse_duration_s
from fleetfront.workspace import Workspace

pytestmark = pytest.mark.usefixtures("no_adb_server")

Told = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--target-error", "nan", "is not a number"),
        ("--target-error", "inf", "is not a number"),
        ("--target-error", "0", "above 0"),
        ("--target-error", "1e5", "above 0 to 100"),
        ("--threads", "1" + "0" * 22, "from 1 to 4096"),
        ("--threads", "1_0", "from 1 to 4096"),
        ("--threads", "\uff12", "from 1 to 4096"),
        ("--batch", "1,1", "gives a batch twice"),
        ("--batch", "9" * 30, "is not a batch"),
        ("--calibration", "99999999", "from 0 to 10000"),
        ("--validation", "99999999", "from 0 to 10000"),
        ("--few", "99999999", "from 1 to 10000"),
        ("--seed", "9" * 25, "from 0 to"),
        ("--budget", "99999999h", "longer than 30 days"),
        ("--budget", "9" * 400 + "h", "is not a duration"),
        ("--device", "cuda:999", "not a CUDA device"),
        ("--max-temp", "-300", "from 0 to 150"),
    ],
)
def test_absurd_values_are_refused_before_anything_is_done(option: str, value: str, said: str, told: Told) -> None:
    code, out, err = told("profile", option, value, "--dry-run")
    assert (code, out) == (2, "")
    assert said in err
    assert len(err) < 600


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("search", "--evaluations", "1e9"), "from 1 to"),
        (("search", "--share", "9" * 12), "from 1 to 10000"),
        (("train", "digits", "--epochs", "9" * 12), "from 1 to 100000"),
        (("export", "--torch", "x.py:make", "--size", "1" * 9), "from 1 to 8192"),
        (("export", "x.py", "--size", "8"), "--torch FILE.py:FACTORY"),
        (("report", "--random-seeds", "9" * 9), "from 0 to 1000"),
        (("deploy", "--max-drop", "nan"), "is not a number"),
        (("deploy", "--per-device", "9" * 9), "from 1 to 10000"),
    ],
)
def test_other_verbs_have_bounds_too(command: tuple[str, ...], said: str, told: Told) -> None:
    code, _, err = told(*command)
    assert code == 2
    assert said in err


def all_options(command: click.Command, path: str = "") -> list[tuple[str, click.Parameter]]:
    found = [(f"{path} {one.name}", one) for one in command.params]
    if isinstance(command, click.Group):
        for name, child in command.commands.items():
            found += all_options(child, f"{path} {name}")
    return found


def test_no_option_takes_what_python_takes_for_a_number() -> None:
    """``int`` and ``float`` read 1_0, nan and full-width digits, and know no bounds."""
    context = click.Context(cli)
    commands = {name: cli.get_command(context, name) for name in cli.list_commands(context)}
    options = [found for name, command in commands.items() if command for found in all_options(command, name)]
    assert len(options) > 60
    loose = (click.types.IntParamType, click.types.FloatParamType)
    assert [name for name, one in options if isinstance(one.type, loose)] == []


@given(st.text(max_size=30))
def test_any_text_is_a_value_within_bounds_or_refused(text: str) -> None:
    for kind in (Count(1, 50), Amount(0, 100, is_above=True), Batches()):
        try:
            value = kind.convert(text, None, None)
        except click.BadParameter:
            continue
        values = value if isinstance(value, tuple) else (value,)
        assert all(0 < one <= 1_000_000 for one in values)
        assert text.isascii()


@given(st.text(max_size=30))
def test_any_text_is_a_duration_or_refused(text: str) -> None:
    with contextlib.suppress(InputError):
        assert 0 < parse_duration_s(text) <= 30 * 24 * 3600


@pytest.mark.parametrize(
    ("value", "message"),
    [("int9", "Did you mean 'int8'?"), ("fp32,int9", "Did you mean 'int8'?"), ("", "Unknown precision")],
)
def test_precisions_that_are_none_are_refused(value: str, message: str, told: Told) -> None:
    code, _, err = told("profile", "--precision", value, "--dry-run")
    assert (code, message in err) == (2, True), err


def test_a_file_has_one_precision(tmp_path: Path, told: Told) -> None:
    code, _, err = told("profile", "--file", str(tmp_path / "a.onnx"), "--precision", "int8,fp32")
    assert code == 2
    assert "--precision fp32,int8: a file is timed with one precision at a time." in err


def test_several_precisions_are_planned_one_after_the_other(told: Told) -> None:
    code, out, _ = told("profile", "--device", "cpu", "--precision", "int8,fp32", "--dry-run", "--json")
    assert code == 0
    assert [one["target"].split("/")[2] for one in json.loads(out)] == ["fp32", "int8"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--precision", "fp32,fp16"), "not in fp16"),
        (("--operators",), "--operators has no --dry-run"),
        (("--operators", "--precision", "int8"), "--operators has no --dry-run"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_measured(options: tuple[str, ...], said: str, told: Told) -> None:
    code, out, err = told("profile", "--device", "cpu", *options, "--dry-run")
    assert (code, out, said in err) == (2, "", True), err


def test_a_precision_that_was_not_measured_is_named(told: Told) -> None:
    Store(Workspace.default().store).close()
    code, _, err = told("fit", "--precision", "fp16", "--space", "ofa-mbv3-mini")
    assert code == 2
    assert "Nothing of ofa-mbv3-mini has been measured in fp16." in err
    assert "Of  there" not in err


@pytest.mark.parametrize(
    ("command", "records"),
    [("profile", (ProfileChoices, TimedFiles, Settings)), ("export", (NetworkChoices,))],
)
def test_every_field_of_a_group_is_an_option_of_its_command(command: str, records: tuple[type, ...]) -> None:
    found = cli.get_command(click.Context(cli), command)
    assert found is not None
    names = {option.name for option in found.params}
    assert {one.name for record in records for one in fields(record)} <= names


def test_settings_go_by_the_names_that_a_kind_of_device_knows() -> None:
    assert {one.name for one in fields(Settings)} <= AdbKind().settings


def test_settings_without_effect_are_named_as_they_are_typed(told: Told) -> None:
    typed = ("--cooldown", "30s", "--any-unit", "--max-temp", "40")
    code, _, err = told("profile", "--device", "cpu", *typed, "--space", "ofa-mbv3-mini", "--dry-run", "--json")
    assert code == 0
    assert "--max-temp, --cooldown, --any-unit: only for devices over ADB; without effect on cpu." in err
