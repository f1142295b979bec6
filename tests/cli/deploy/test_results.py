"""Measurements of a deployed network stand beside what was promised of it."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from fleetfront.cli.deploy.results import PROMISES, accuracy_lines, promise_cells, report, told_promise
from fleetfront.pipelines.deploy.bundling import sitting_facts
from fleetfront.pipelines.deploy.records import Deployed, Pick
from fleetfront.pipelines.measure.files import FileLatency
from fleetfront.pipelines.measure.promised import Promise, Promises
from fleetfront.quantities import Clock
from fleetfront.targets import Target

TIMED = FileLatency(Target("cpu", "litert"), Clock.WALL, "min", 8.1, 0.0, 12, sitting=0.8)
FAR = ("adb:P1/tflite-cpu/fp32/t1/b1", "cpu/litert/fp32/t1/b1", "pixel3/tflite/fp32/t1/b1")
PROMISED = replace(TIMED, promises=Promises(Promise(10.0, 1.0), Promise(8.0, 0.1), 10, 8.1))


def test_both_promises_of_a_file_are_shown_with_what_holds(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    cells = promise_cells(PROMISED)
    assert cells == ("cpu/litert/fp32/t1/b1", "8.1", "8.355 to 11.64", "MISSED", "7.836 to 8.164", "holds")
    assert len(cells) == len(promise_cells(TIMED)) == len(PROMISES)
    assert PROMISED.promises is not None
    busy = replace(PROMISED, promises=replace(PROMISED.promises, this_sitting=None, measured_ms=None))
    assert promise_cells(busy)[3:] == ("not judged", "-", "-")
    report([Deployed(Pick("one", "net"), folder=tmp_path, measured=(PROMISED,))], as_json=False)
    said = capsys.readouterr()
    assert "8.355 to 11.64" in said.out
    assert "as of today" in said.out
    facts = sitting_facts(PROMISED)["promises"]
    assert (facts["as_profiled"]["holds"], facts["today"]["holds"]) == (False, True)
    assert "promises" not in sitting_facts(TIMED)


def test_what_one_sitting_does_not_promise_is_a_dash_with_the_reason(
    tmp_path, capsys: pytest.CaptureFixture[str]
) -> None:
    alone = replace(TIMED, promises=Promises(None, Promise(8.0, 0.1), 10, 8.1, "known from one sitting alone"))
    assert promise_cells(alone)[2:] == ("-", "-", "7.836 to 8.164", "holds")
    report([Deployed(Pick("one", "net"), folder=tmp_path, measured=(alone,))], as_json=False)
    assert "nothing is promised for whenever they are run: its model is known from one" in capsys.readouterr().err
    facts = sitting_facts(alone)["promises"]
    assert (facts["as_profiled"], facts["not_promised"]) == (None, "known from one sitting alone")


def test_a_measured_promise_stands_beside_what_was_measured() -> None:
    def promised(**more: object) -> str:
        row = {"value": 97.0, "std": 0.9, "tier": "measured", "source": "supernet:w", **more}
        return told_promise(Pick("one", "net", accuracy=(row,)), 96.0, 400)

    assert promised(split="test") == "; the front says 97.00 +-0.90 %"
    assert "harder or easier" in promised(split="test", value=99.9)
    assert "flatter" in promised()
    assert promised(source="csv:t") == ""


def test_what_the_front_says_of_int8_stands_beside_the_int8_file() -> None:
    row = {"value": 96.0, "std": 0.9, "tier": "predicted", "source": "supernet:w", "split": "test"}
    file = SimpleNamespace(name="network-int8.tflite", accuracy=95.5)
    one = Deployed(Pick("one", "net", accuracy=(row,), precision="int8"), files=(file,), test_images=400)  # type: ignore[arg-type]
    assert accuracy_lines(one, 97.0) == [
        "torch in fp32: 97.00 % of 400 held-out images",
        "network-int8.tflite: 95.50 %; the front says 96.00 +-0.90 %",
    ]
    floats = replace(one, pick=replace(one.pick, precision="fp32"))
    assert accuracy_lines(floats, 97.0) == [
        "torch in fp32: 97.00 % of 400 held-out images; the front says 96.00 +-0.90 %"
    ]


def test_devices_where_no_file_was_timed_are_named_with_what_times_them(
    tmp_path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = [{"target": name, "ms": 9.0, "std_ms": None, "tier": "measured", "clock": "wall"} for name in FAR]
    here = Deployed(Pick("one", "net", tuple(said)), folder=tmp_path, measured=(TIMED,))
    report([here], as_json=False)
    told = capsys.readouterr().err
    assert "adb:P1: no file was timed there; that takes --measure adb:P1" in told
    assert "pixel3: no file" not in told
    report([replace(here, measured=())], as_json=False)
    assert "no file was timed" not in capsys.readouterr().err
